"""The ways in which others train and predict: each makes a function that does it once, on a batch in memory."""

import statistics
import time
from functools import partial

import torch
from torch.nn.functional import cross_entropy


def prepared(model, batch, channels_last):
    """The net, and pictures and labels for it."""
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = model.make().to(memory_format=layout)
    pixels = torch.rand(batch, *model.shape).to(memory_format=layout)
    return net, pixels, torch.randint(0, model.classes, (batch,))


def training(model, batch, fused=None, channels_last=False, compiled=False):
    """Forward, loss, backward and Adam, by PyTorch."""
    net, pixels, labels = prepared(model, batch, channels_last)
    net.train()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-4, fused=fused)

    def loss_of(pixels, labels):
        return cross_entropy(net(pixels), labels)

    if compiled:
        loss_of = torch.compile(loss_of, dynamic=False, fullgraph=True)

    def step():
        optimiser.zero_grad()
        loss_of(pixels, labels).backward()
        optimiser.step()

    return step


def inference(model, batch, channels_last=False, compiled=False):
    """The outputs, by PyTorch."""
    net, pixels, _ = prepared(model, batch, channels_last)
    net.eval()
    if compiled:
        net = torch.compile(net, dynamic=False, fullgraph=True)

    def predict():
        with torch.inference_mode():
            return net(pixels)

    return predict


def onnx_inference(model, batch):
    """The outputs, by ONNX Runtime with as many threads as PyTorch has."""
    import onnxruntime

    net, pixels, _ = prepared(model, batch, channels_last=False)
    exported = torch.onnx.export(net.eval(), (pixels,), dynamo=True, verbose=False).model_proto
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(exported.SerializeToString(), options, ["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: pixels.numpy()}
    return lambda: session.run(None, inputs)


def training_on_card(model, batch, graph=False, compiled=False, tf32=False):
    """Forward, loss, backward and fused Adam, by PyTorch on a graphics card; the step does not wait for it."""
    net, pixels, labels = (part.to("cuda") for part in prepared(model, batch, channels_last=False))
    net.train()
    torch.backends.cudnn.benchmark = True
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-4, fused=True, capturable=graph)

    def loss_of(pixels, labels):
        return cross_entropy(net(pixels), labels)

    if compiled:
        loss_of = torch.compile(loss_of, dynamic=False, fullgraph=True)

    def step():
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        optimiser.zero_grad()
        loss_of(pixels, labels).backward()
        optimiser.step()

    return recorded(step) if graph else step


def recorded(step):
    """A step as a CUDA graph, after some that do not count."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def replay():
        graph.replay()

    replay.step = step  # whose tensors the graph uses, and does not keep
    return replay


TRAINING = {
    "default": training,
    "fused": partial(training, fused=True),
    "channels-last": partial(training, fused=True, channels_last=True),
    "compile": partial(training, fused=True, compiled=True),
    "compile-channels-last": partial(training, fused=True, channels_last=True, compiled=True),
}

INFERENCE = {
    "default": inference,
    "channels-last": partial(inference, channels_last=True),
    "compile": partial(inference, compiled=True),
    "onnxruntime": onnx_inference,
}

CARD = {
    "eager": training_on_card,
    "graphs": partial(training_on_card, graph=True),
    "compile": partial(training_on_card, compiled=True),
    "eager-tf32": partial(training_on_card, tf32=True),
    "graphs-tf32": partial(training_on_card, graph=True, tf32=True),
    "compile-tf32": partial(training_on_card, compiled=True, tf32=True),
}


def milliseconds(once, seconds):
    """The median of the calls that fit into so many seconds, at least three, after one that does not count."""
    once()
    times, start = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        once()
        times.append(1e3 * (time.perf_counter() - before))
    return statistics.median(times)


def milliseconds_on_card(once, seconds):
    """The same on a graphics card, which is waited for after ten calls."""

    def ten():
        for _ in range(10):
            once()
        torch.cuda.synchronize()

    return milliseconds(ten, seconds) / 10
