"""Training steps of the course-note models: PyTorch as it comes, and cnnc, by turns in one run.

    python benches/peers/compare.py [--rounds 5] [--seconds 2] [--threads 2] [--cnnc PATH] [MODEL...]

It installs nothing. It needs Python 3.9 with PyTorch 2 (the CPU build is enough: `pip install torch`), and the release
binary (`cargo build --release`). Each round times one model first in PyTorch, for `seconds`, then by `cnnc bench`;
the table shows the medians over the rounds and their ratio. A step is forward, loss, backward and Adam on a batch
that stays in memory. PyTorch runs as it comes: eager, contiguous, torch.optim.Adam with its defaults.

Other programs on the machine disturb both sides; each column of the table shows how far the rounds lie apart.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

try:
    import torch
    from torch import nn
except ImportError:
    sys.exit("compare.py needs PyTorch: pip install torch")


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


# The name here, the example, the model, and the batch of the example.
MODELS = {
    "convnet1": ("convnet_gap", lambda: convnet(nn.AvgPool2d(3)), 64),
    "convnet2": ("convnet_gmp", lambda: convnet(nn.MaxPool2d(3)), 64),
    "lenet5": ("lenet", lenet, 256),
    "mnist_cnn": ("mnist_cnn", mnist_cnn, 256),
    "mnist_cnn_all": ("mnist_cnn_all", mnist_cnn_all, 256),
}


def torch_step(make, batch):
    """A function that does one training step."""
    torch.manual_seed(0)
    net = make().train()
    pixels, labels = torch.rand(batch, 1, 28, 28), torch.randint(0, 10, (batch,))
    loss_of, optimiser = nn.CrossEntropyLoss(), torch.optim.Adam(net.parameters(), lr=3e-4)

    def step():
        optimiser.zero_grad()
        loss_of(net(pixels), labels).backward()
        optimiser.step()

    return step


def torch_ms(step, seconds):
    """The median milliseconds of the steps that fit into so many seconds, at least three."""
    for _ in range(2):
        step()
    times, start = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        step()
        times.append(time.perf_counter() - before)
    return 1e3 * statistics.median(times)


def cnnc_ms(binary, example, batch, threads):
    """The median milliseconds of a training step by `cnnc bench`."""
    command = [binary, "bench", ROOT / "examples" / f"{example}.cnn", "--json"]
    command += ["--batch", str(batch), "--threads", str(threads)]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"cnnc bench failed:\n{done.stderr}")
    return json.loads(done.stdout)["train_step_ms"]["median"]


def spread(times):
    return f"{statistics.median(times):9.2f} ({min(times):.2f} to {max(times):.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of PyTorch, a model and round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cnnc", type=pathlib.Path, default=ROOT / "target" / "release" / "cnnc")
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; all by default")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.models if name not in MODELS]
    if unknown:
        parser.error(f"unknown model {unknown[0]}; there are {', '.join(MODELS)}")
    if not arguments.cnnc.exists():
        parser.error(f"there is no {arguments.cnnc}: cargo build --release")
    torch.set_num_threads(arguments.threads)
    print(f"milliseconds of a training step, {arguments.threads} threads, {arguments.rounds} rounds: "
          f"median (least to most); PyTorch {torch.__version__}")
    print(f"{'model':<14} {'batch':>5}   {'PyTorch':<30} {'cnnc':<30} PyTorch / cnnc")
    for name in arguments.models or MODELS:
        example, make, batch = MODELS[name]
        step, theirs, ours = torch_step(make, batch), [], []
        for _ in range(arguments.rounds):
            theirs.append(torch_ms(step, arguments.seconds))
            ours.append(cnnc_ms(arguments.cnnc, example, batch, arguments.threads))
        ratio = statistics.median(theirs) / statistics.median(ours)
        print(f"{name:<14} {batch:>5}   {spread(theirs):<30} {spread(ours):<30} {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
