"""The models in PyTorch, and where the same ones lie among the examples."""

from dataclasses import dataclass
from functools import partial
from typing import Callable, Optional

from torch import nn


@dataclass(frozen=True)
class Model:
    make: Callable[[], nn.Module]
    shape: tuple  # of a picture: channels, rows, columns
    classes: int
    file: str  # in examples/, without `.cnn`
    section: Optional[str] = None  # the model in the file, where it has several
    train: tuple = ()  # batches of the training steps to compare
    infer: tuple = ()  # batches of the inferences
    card: tuple = ()  # batches of the training steps on a graphics card


def convnet(last):
    """1-8-8, 16-16, 32-32 channels with three max-pools, ten maps, and one number a map."""
    layers, channels = [], 1
    for width in (8, 16, 32):
        for _ in range(2):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Conv2d(channels, 10, 1), last, nn.Flatten(), nn.Sigmoid())


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10),
    )


def mnist_cnn():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(64 * 28 * 28, 128), nn.ReLU(), nn.Linear(128, 10),
    )


def mnist_cnn_all():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(32), nn.Dropout2d(0.25),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(64), nn.Dropout2d(0.5), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 14 * 14, 128), nn.ReLU(), nn.BatchNorm1d(128), nn.Dropout(0.25),
        nn.Linear(128, 10),
    )


def torchvision(name, **options):
    import torchvision.models

    return torchvision.models.get_model(name, weights=None, **options)


def cifar_resnet18():
    """ResNet-18 whose first convolution keeps the 32 pixels, without the pooling after it."""
    net = torchvision("resnet18", num_classes=10)
    net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return net


def course(make, file, **batches):
    return Model(make, (1, 28, 28), 10, file, **batches)


def photos(name, family, size=224, train=(), card=(), **options):
    """A model of torchvision for photos; the options leave out slow initial weights and auxiliary classifiers."""
    make = partial(torchvision, name, **options)
    return Model(make, (3, size, size), 1000, f"zoo/{family}", name, train, infer=(1, 16), card=card)


# Those of the course notes; training at the batch of the example.
COURSE = {
    "convnet1": course(lambda: convnet(nn.AvgPool2d(3)), "convnet_gap", train=(64,), infer=(1, 64), card=(64,)),
    "convnet2": course(lambda: convnet(nn.MaxPool2d(3)), "convnet_gmp", train=(64,)),
    "lenet5": course(lenet, "lenet", train=(256,), infer=(1, 256), card=(256,)),
    "mnist_cnn": course(mnist_cnn, "mnist_cnn", train=(256,), infer=(1, 256), card=(256,)),
    "mnist_cnn_all": course(mnist_cnn_all, "mnist_cnn_all", train=(256,)),
}

# Those that need torchvision.
LARGE = {
    "cifar_resnet18": Model(
        cifar_resnet18, (3, 32, 32), 10, "zoo/resnet", "cifar_resnet18", train=(128,), card=(128,)
    ),
    "alexnet": photos("alexnet", "alexnet"),
    "vgg16": photos("vgg16", "vgg", init_weights=False),
    "resnet18": photos("resnet18", "resnet", train=(16,)),
    "resnet50": photos("resnet50", "resnet"),
    "densenet121": photos("densenet121", "densenet"),
    "googlenet": photos("googlenet", "googlenet", aux_logits=False, init_weights=False),
    "inception_v3": photos("inception_v3", "inception", size=299, aux_logits=False, init_weights=False),
    "efficientnet_b0": photos("efficientnet_b0", "efficientnet", train=(16,), card=(32,)),
}

ALL = {**COURSE, **LARGE}
