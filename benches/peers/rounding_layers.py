"""The layers whose rounding `rounding.py` compares: their text in the project's language, and what PyTorch has for it."""

import torch
import torch.nn.functional as F

AXES = ["a", "b", "c", "d"]


class Layer:
    """`call` is applied to `x`, of `shape` without the batch; `parameters` are the shapes of those of the layer."""

    is_loss = False
    least_batch = 1

    def __init__(self, name, call, function, shape, means=(0,), tiles=False, scale=1.0, has_gradients=True, **parameters):
        self.name, self.call, self.function, self.shape = name, call, function, list(shape)
        self.means, self.tiles, self.scale, self.has_gradients = means, tiles, scale, has_gradients
        self.parameters = parameters

    def values(self, batch, mean, generator):
        """Inputs, parameters and the gradient of the output."""
        normal = lambda shape: torch.randn(shape, generator=generator)
        values = {"x": normal([batch, *self.shape]) * self.scale + mean}
        for name, shape in self.parameters.items():
            values[f"op.{name}"] = self.parameter(name, shape, normal) + (mean if name == "running_mean" else 0)
        with torch.no_grad():
            y = self.function(values["x"], **self.named(values))
        values["target"] = normal(list(y.shape))
        return values

    @staticmethod
    def parameter(name, shape, normal):
        """Weights of products are smaller the more of these are summed, scales are around 1, variances positive."""
        if name == "weight" and len(shape) > 1:
            return normal(shape) / torch.tensor(shape[1:]).prod().sqrt()
        if name == "running_var":
            return 0.5 + normal(shape).square()
        return normal(shape) / 4 + (1 if name == "weight" else 0)

    def named(self, values):
        return {name: values[f"op.{name}"] for name in self.parameters}

    def prediction(self):
        return f'model M(x: f32[N, {listed(self.shape)}]) {{ x |> {self.call} as "op" }}'

    def text(self, batch):
        """A parameter of zeros beside the input gets its gradient; the loss makes that of the output the target."""
        with torch.no_grad():
            values = self.values(batch, 0, torch.Generator().manual_seed(0))
        axes = AXES[:values["target"].dim()]
        extents = listed(axes).upper()
        bounds = listed(f"{axis} < {axis.upper()}" for axis in axes)
        return f"""
op weighted(prediction: f32[{extents}], target: f32[{extents}]) -> loss: f32 {{
  loss = sum[{bounds}] prediction[{listed(axes)}] * target[{listed(axes)}];
}}
{model(self.shape, batch, f' |> {self.call} as "op"')}
train M on D {{ loss = weighted; }}
"""

    def results(self, values, dtype):
        """What PyTorch computes in a precision, by direction."""
        values = {name: value.to(dtype) for name, value in values.items()}
        leaves = {name: value.requires_grad_() for name, value in values.items()
                  if name != "target" and "running" not in name}
        y = self.function(values["x"], **self.named(values))
        results = {"forward": y}
        if self.has_gradients:
            results["training"] = y
            gradients = torch.autograd.grad(y, list(leaves.values()), values["target"])
            results.update({f"d {name.removeprefix('op.')}": d for name, d in zip(leaves, gradients)})
        return {name: result.detach().double().numpy() for name, result in results.items()}

    @staticmethod
    def output(direction):
        """What cnnc's program of the gradients calls it."""
        if direction in ("training", "loss"):
            return {"training": "y", "loss": "loss"}[direction]
        name = direction.removeprefix("d ")
        return "d_shift" if name == "x" else f"d_op.{name}"


class Training(Layer):
    """A layer that does something else in training: it has no prediction."""

    def results(self, values, dtype):
        results = super().results(values, dtype)
        del results["forward"]
        return results


class Loss(Layer):
    """A loss of the input itself: `target` makes its targets."""

    is_loss = True

    def __init__(self, name, call, function, shape, target, scale=1.0, prepare=None):
        super().__init__(name, call, function, shape, scale=scale)
        self.target, self.prepare = target, prepare

    def values(self, batch, mean, generator):
        x = torch.randn([batch, *self.shape], generator=generator) * self.scale + mean
        x = self.prepare(x) if self.prepare else x
        if self.target == "label":
            return {"x": x, "target": torch.randint(self.shape[0], [batch], generator=generator, dtype=torch.int32)}
        target = torch.randn(x.shape, generator=generator)
        return {"x": x, "target": target.sigmoid() if self.target == "unit" else target}

    def text(self, batch):
        return f"{model(self.shape, batch, '')}\ntrain M on D {{ loss = {self.call}; }}\n"

    def results(self, values, dtype):
        x = values["x"].to(dtype).requires_grad_()
        target = values["target"].long() if self.target == "label" else values["target"].to(dtype)
        loss = self.function(x, target)
        (gradient,) = torch.autograd.grad(loss, [x])
        return {"loss": loss.detach().double().numpy(), "d x": gradient.double().numpy()}


def listed(items):
    return ", ".join(str(item) for item in items)


def model(shape, batch, rest):
    return f"""model M(x: f32[N, {listed(shape)}]) {{
  param shift: f32[{listed([batch, *shape])}] = 0;
  x + shift{rest}
}}
data D {{ source = digits(); }}"""


FAR = (0, 100, 1000)


def conv(name, inputs, outputs, size, k, tiles=False, **options):
    groups = options.get("groups", 1)
    text = listed([outputs, k, *(f"{key}={value}" for key, value in options.items())])
    named = {{"pad": "padding"}.get(key, key): value for key, value in options.items()}
    return Layer(f"conv {name}", f"conv({text})", lambda x, weight, bias: F.conv2d(x, weight, bias, **named),
                 [inputs, size, size], FAR[:2], tiles, weight=[outputs, inputs // groups, k, k], bias=[outputs])


CONVOLUTIONS = [
    conv("3x3 16@28", 16, 16, 28, 3, True, pad=1),
    conv("3x3 64@14", 64, 64, 14, 3, True, pad=1),
    conv("3x3 256@8", 256, 256, 8, 3, True, pad=1),
    conv("3x3 512@4", 512, 128, 4, 3, True, pad=1),
    conv("3x3 stride 2 128@14", 128, 64, 14, 3, stride=2, pad=1),
    conv("5x5 32@14", 32, 32, 14, 5, pad=2),
    conv("7x7 stride 2 3@32", 3, 32, 32, 7, stride=2, pad=3),
    conv("11x11 3@23", 3, 16, 23, 11),
    conv("1x1 64@14", 64, 128, 14, 1),
    conv("1x1 250@7", 250, 64, 7, 1),
    conv("1x1 1024@7", 1024, 128, 7, 1),
    conv("groups 128@14", 128, 128, 14, 3, pad=1, groups=4),
    conv("depthwise 96@14", 96, 96, 14, 3, pad=1, groups=96),
    conv("whole 64@7", 64, 32, 7, 7),
]


def linear(inputs, outputs):
    return Layer(f"linear {inputs}", f"linear({outputs})", lambda x, weight, bias: F.linear(x, weight, bias),
                 [inputs], FAR[:2], weight=[outputs, inputs], bias=[outputs])


def batchnorm(name, shape):
    channels = [shape[0]]
    trained = Training(
        f"batchnorm {name}", "batchnorm", lambda x, weight, bias, **_: F.batch_norm(x, None, None, weight, bias, True),
        shape, FAR, weight=channels, bias=channels, running_mean=channels, running_var=channels)
    predicted = Layer(
        f"batchnorm {name} predicts", "batchnorm",
        lambda x, weight, bias, running_mean, running_var: F.batch_norm(x, running_mean, running_var, weight, bias),
        shape, FAR, has_gradients=False, weight=channels, bias=channels, running_mean=channels, running_var=channels)
    trained.least_batch = 1 if len(shape) > 1 else 2
    return [trained, predicted]


NORMS = [
    *batchnorm("32@28", [32, 28, 28]),
    *batchnorm("256@7", [256, 7, 7]),
    *batchnorm("300", [300]),
    *[Layer(f"layernorm {listed(shape)}", "layernorm",
            lambda x, weight, bias: F.layer_norm(x, weight.shape, weight, bias), shape, FAR, weight=shape, bias=shape)
      for shape in ([5], [64], [768], [4096], [64, 14, 14])],
    *[Layer(f"groupnorm {groups} of {channels}@{size}", f"groupnorm({groups})",
            lambda x, weight, bias, groups=groups: F.group_norm(x, groups, weight, bias),
            [channels, size, size], FAR, weight=[channels], bias=[channels])
      for groups, channels, size in ((8, 32, 14), (1, 64, 14), (32, 256, 7), (4, 24, 9))],
    *[Layer(f"instancenorm {channels}@{size}", "instancenorm", F.instance_norm, [channels, size, size], FAR)
      for channels, size in ((16, 28), (64, 7))],
    Layer("lrn 64@14", "lrn(5)", lambda x: F.local_response_norm(x, 5), [64, 14, 14], FAR[:2]),
    Layer("lrn strong 64@14", "lrn(5, alpha=0.5)", lambda x: F.local_response_norm(x, 5, 0.5), [64, 14, 14], FAR[:2]),
]


def windows(x, k, pad, outside):
    return F.pad(x, (pad, pad, pad, pad), value=outside).unfold(2, k, k).unfold(3, k, k).flatten(4)


def softmaxpool(x, k):
    taken = windows(x, k, 0, 0.0)
    return (taken * taken.softmax(-1)).sum(-1)


POOLS = [
    Layer("maxpool 2", "maxpool(2)", lambda x: F.max_pool2d(x, 2), [16, 14, 14], FAR[:2]),
    Layer("avgpool 2", "avgpool(2)", lambda x: F.avg_pool2d(x, 2), [16, 14, 14], FAR[:2]),
    Layer("avgpool 7 padded", "avgpool(7, stride=2, pad=3)", lambda x: F.avg_pool2d(x, 7, 2, 3), [16, 28, 28], FAR[:2]),
    Layer("avgpool 3 uncounted", "avgpool(3, stride=2, pad=1, count_include_pad=false)",
          lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), [16, 15, 15], FAR[:2]),
    Layer("sumpool 4", "sumpool(4)", lambda x: windows(x, 4, 0, 0.0).sum(-1), [16, 16, 16], FAR[:2]),
    Layer("lppool 3", "lppool(3)", lambda x: F.lp_pool2d(x, 2.0, 3), [16, 15, 15], FAR[:2]),
    Layer("lppool 3 p 3", "lppool(3, p=3)", lambda x: windows(x, 3, 0, 0.0).abs().pow(3).sum(-1).pow(1 / 3),
          [16, 15, 15], FAR[:2]),
    Layer("softmaxpool 3", "softmaxpool(3)", lambda x: softmaxpool(x, 3), [16, 15, 15], FAR[:2]),
    Layer("adaptiveavgpool 5", "adaptiveavgpool(5)", lambda x: F.adaptive_avg_pool2d(x, 5), [16, 14, 14], FAR[:2]),
    Layer("depthavgpool 8", "depthavgpool(8)", lambda x: x.unflatten(1, (-1, 8)).mean(2), [64, 7, 7], FAR[:2]),
    *[Layer(f"globalavgpool {size}", "globalavgpool", lambda x: F.adaptive_avg_pool2d(x, 1), [16, size, size], FAR)
      for size in (7, 28, 64)],
]

ACTIVATIONS = [
    *[Layer(name, name, function, [16, 9, 9], scale=3.0) for name, function in (
        ("relu6", F.relu6), ("leakyrelu", F.leaky_relu), ("elu", F.elu), ("gelu", F.gelu), ("silu", F.silu),
        ("hardswish", F.hardswish), ("hardsigmoid", F.hardsigmoid), ("sigmoid", torch.sigmoid), ("tanh", torch.tanh),
        ("softplus", F.softplus))],
    Layer("prelu 16@14", "prelu(16)", lambda x, weight: F.prelu(x, weight), [16, 14, 14], weight=[16]),
    Layer("prelu one 16@14", "prelu", lambda x, weight: F.prelu(x, weight), [16, 14, 14], weight=[1]),
    *[Layer(f"{name} {listed(shape)}", name, function, shape, FAR[:2], scale=3.0)
      for name, function in (("softmax", lambda x: F.softmax(x, 1)), ("logsoftmax", lambda x: F.log_softmax(x, 1)))
      for shape in ([10], [1000], [21, 12, 12])],
]

PICTURES = [
    Layer("upsample nearest", "upsample(2)", lambda x: F.interpolate(x, scale_factor=2), [8, 9, 9], FAR[:2]),
    Layer("upsample bilinear", 'upsample(3, mode="bilinear")',
          lambda x: F.interpolate(x, scale_factor=3, mode="bilinear", align_corners=False), [8, 9, 9], FAR[:2]),
    Layer("filter2d", "filter2d([[1, 2, 1], [0, 0, 0], [-1, -2, -1]])",
          lambda x: F.conv2d(x, torch.tensor([[[[1, 2, 1], [0, 0, 0], [-1, -2, -1]]]], dtype=x.dtype)
                             .expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1]), [8, 9, 9], FAR[:2]),
]

CLASS_WEIGHTS = [0.25 + at % 7 for at in range(10)]

LOSSES = [
    *[Loss(f"cross_entropy {classes}", "cross_entropy", F.cross_entropy, [classes], "label", 3.0)
      for classes in (10, 1000)],
    Loss("cross_entropy smoothed", "cross_entropy(label_smoothing=0.1)",
         lambda x, target: F.cross_entropy(x, target, label_smoothing=0.1), [100], "label", 3.0),
    Loss("cross_entropy weighted", f"cross_entropy(weight=[{listed(CLASS_WEIGHTS)}])",
         lambda x, target: F.cross_entropy(x, target, torch.tensor(CLASS_WEIGHTS, dtype=x.dtype)), [10], "label", 3.0),
    Loss("nll", "nll", F.nll_loss, [100], "label"),
    *[Loss(f"{name} {shape[0]}", name, function, shape, "normal")
      for name, function in (("mse", F.mse_loss), ("l1", F.l1_loss), ("huber", F.huber_loss))
      for shape in ([10], [3072], [3, 32, 32])],
    Loss("bce 1000", "bce", F.binary_cross_entropy, [1000], "unit", prepare=torch.sigmoid),
    Loss("bce_with_logits 1000", "bce_with_logits", F.binary_cross_entropy_with_logits, [1000], "unit", 3.0),
]

ALL = [*CONVOLUTIONS, linear(784, 100), linear(4096, 64), linear(9216, 32), *NORMS, *POOLS, *ACTIVATIONS, *PICTURES,
       *LOSSES]
