"""Times PyTorch and ONNX Runtime beside cnnc, by turns in one run.

    python benches/peers/compare.py [MODEL...] [--large] [--infer] [--ways WAY,...] [--rounds 5] [--seconds 2]
                                    [--threads 2] [--cnnc PATH] [--json]
                                    [--device gpu[:NAME]]

It installs nothing. It needs Python 3.9 with PyTorch 2 (the CPU build is enough: `pip install torch`), and the release
binary (`cargo build --release`). The large models need torchvision, and the way `onnxruntime` needs onnxruntime, onnx
and onnxscript; what is not installed is left out, and a line says so.

A training step is forward, loss, backward and Adam on a batch that stays in memory. The ways of PyTorch:

    default                 as it comes: eager, contiguous, torch.optim.Adam with its defaults
    fused                   eager, contiguous, torch.optim.Adam(fused=True)
    channels-last           eager, net and pictures in channels_last, fused Adam
    compile                 forward and loss by torch.compile, contiguous, fused Adam
    compile-channels-last   the same in channels_last

With `--infer` it times the outputs of the net in evaluation mode. There the ways are `default`, `channels-last` and
`compile` of PyTorch in inference_mode, and `onnxruntime`, which runs the net that PyTorch exported.

With `--device gpu` both train on a graphics card: PyTorch by CUDA, cnnc (built with `--features gpu`) by that device,
which NAME tells apart where there are several. The ways are `eager`, `graphs` (the step as a CUDA graph) and `compile`,
all with fused Adam, and each again with `-tf32`, where products round their factors to ten bits. PyTorch is waited for
after ten steps, cnnc after each. The result is a table in Markdown.

Each round times cnnc by `cnnc bench`, then every way for so many seconds. The table has the median, least and most of
the rounds, and how many times as long as cnnc a way takes by the medians. Other programs on the machine disturb all of
them, PyTorch most; on Linux a line says when there were any. PyTorch on Linux is often faster with another malloc, as
by `LD_PRELOAD=libtcmalloc_minimal.so.4`.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec

try:
    import torch
except ImportError:
    sys.exit("compare.py needs PyTorch: pip install torch")

import models
import ways

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Failed(Exception):
    """cnnc could not time a model."""


def cnnc_milliseconds(model, batch, arguments):
    """The median of a training step, with Adam as the others have it, or of an inference."""
    command = [arguments.cnnc, "bench", ROOT / "examples" / f"{model.file}.cnn", "--json"]
    command += ["--mode", "infer" if arguments.infer else "train"]
    command += ["--set", "train.optim=adam(3e-4)", "--batch", batch, "--threads", arguments.threads]
    if model.section:
        command += ["--model", model.section]
    if arguments.device:
        command += ["--device", arguments.device]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed("\n".join(done.stderr.strip().splitlines()[:2]))  # the rest of a panic is its stack
    return json.loads(done.stdout)["infer_ms" if arguments.infer else "train_step_ms"]["median"]


def compare(model, batch, makers, arguments):
    """The milliseconds of every round, by way."""
    times, calls = {way: [] for way in ["cnnc", *makers]}, {}
    milliseconds = ways.milliseconds_on_card if arguments.device else ways.milliseconds
    for _ in range(arguments.rounds):
        times["cnnc"].append(cnnc_milliseconds(model, batch, arguments))
        for way, make in makers.items():
            if way not in calls:
                calls[way] = make(model, batch)
            times[way].append(milliseconds(calls[way], arguments.seconds))
    if any("compile" in way for way in makers):
        torch.compiler.reset()  # or it gives up after some nets
    return times


def seconds_of_others():
    """What other programs have used of the processors since the start of the machine; 0 where there is no saying."""
    if not os.path.exists("/proc/stat"):
        return 0.0
    with open("/proc/stat") as file:
        user, nice, system, _, _, interrupts, soft, stolen = map(int, file.readline().split()[1:9])
    ticks = user + nice + system + interrupts + soft + stolen
    return ticks / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def watched(work):
    """What `work` returns, and how many processors others kept busy meanwhile."""
    start, others = time.perf_counter(), seconds_of_others()
    result = work()
    return result, (seconds_of_others() - others) / (time.perf_counter() - start)


def summary(times):
    """Of each way: median, least, most, and the ratio of its median to that of cnnc."""
    medians = {way: statistics.median(ms) for way, ms in times.items()}
    return {
        way: {"median": medians[way], "least": min(ms), "most": max(ms), "ratio": medians[way] / medians["cnnc"]}
        for way, ms in times.items()
    }


def fastest(columns):
    """Of the ways that are not cnnc."""
    return min((way for way in columns if way != "cnnc"), key=lambda way: columns[way]["median"])


def print_head(arguments):
    what = "inference" if arguments.infer else "a training step"
    rounds = f"{arguments.threads} threads, {arguments.rounds} rounds"
    print(f"milliseconds of {what}, {rounds}, PyTorch {torch.__version__}")
    print(f"{'model':<15} {'batch':>5}  {'way':<22} {'median':>10} {'least':>10} {'most':>10}   / cnnc", flush=True)


def print_rows(name, batch, times):
    columns = summary(times)
    label, best = f"{name:<15} {batch:>5}", fastest(columns)
    for way, column in columns.items():
        numbers = " ".join(f"{column[key]:10.3f}" for key in ("median", "least", "most"))
        print(f"{label:<21}  {way:<22} {numbers} {column['ratio']:8.2f}{'  best' if way == best else ''}", flush=True)
        label = ""


def driver():
    """The version of the card's driver."""
    try:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def print_head_of_card(makers, arguments):
    card = f"{torch.cuda.get_device_name()}, driver {driver()}, PyTorch {torch.__version__} (CUDA {torch.version.cuda})"
    print(f"Milliseconds of a training step, medians of {arguments.rounds} rounds; {card}.\n")
    print(f"| model | batch | cnnc | {' | '.join(makers)} | best f32 / cnnc | best / cnnc |")
    print("| --- " + "| ---: " * (len(makers) + 4) + "|", flush=True)


def print_row_of_card(name, batch, times):
    columns = summary(times)
    exact = {way: column for way, column in columns.items() if not way.endswith("tf32")}
    ratios = [f"{of[fastest(of)]['ratio']:.2f}" if len(of) > 1 else "" for of in (exact, columns)]
    medians = [f"{column['median']:.3f}" for column in columns.values()]
    print(f"| {' | '.join([f'`{name}`', str(batch), *medians, *ratios])} |", flush=True)


def print_json(name, batch, times, others, arguments):
    columns = summary(times)
    report = {
        "measured": "inference" if arguments.infer else "training step",
        "device": arguments.device,
        "card": torch.cuda.get_device_name() if arguments.device else None,
        "driver": driver() if arguments.device else None,
        "model": name,
        "batch": batch,
        "threads": arguments.threads,
        "torch": torch.__version__,
        "others": others,
        "best": fastest(columns),
        "ways": {way: {**columns[way], "ms": times[way]} for way in times},
    }
    print(json.dumps(report), flush=True)


def note(text):
    print(text, file=sys.stderr, flush=True)


def missing(*packages):
    return [package for package in packages if find_spec(package) is None]


def chosen_ways(arguments, parser):
    """What makes each way to time."""
    makers = ways.CARD if arguments.device else ways.INFERENCE if arguments.infer else ways.TRAINING
    names = arguments.ways or [way for way in makers if arguments.device or "compile" not in way]
    for way in names:
        if way not in makers:
            parser.error(f"no way {way}; there are {', '.join(makers)}")
    lacking = missing("onnxruntime", "onnx", "onnxscript")
    if "onnxruntime" in names and lacking:
        note(f"without onnxruntime: pip install {' '.join(lacking)}")
        names = [way for way in names if way != "onnxruntime"]
    return {way: makers[way] for way in names}


def chosen_cases(arguments, parser):
    """Name and batch of what to time."""
    what = "card" if arguments.device else "infer" if arguments.infer else "train"
    batches = {name: getattr(model, what) for name, model in models.ALL.items()}
    known = [name for name in batches if batches[name]]
    all_of_them = arguments.large or arguments.device
    names = arguments.models or [name for name in known if all_of_them or name in models.COURSE]
    for name in names:
        if name not in known:
            parser.error(f"no model {name}; there are {', '.join(known)}")
    if missing("torchvision") and any(name in models.LARGE for name in names):
        note("without the large models: pip install torchvision")
        names = [name for name in names if name in models.COURSE]
    return [(name, batch) for name in names for batch in batches[name]]


def arguments_of(parser):
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help=f"those of the course notes by default: {', '.join(models.COURSE)}")
    add("--large", action="store_true", help=f"the large models too: {', '.join(models.LARGE)}")
    add("--infer", action="store_true", help="inference in place of training steps")
    add("--ways", type=lambda text: text.split(","), metavar="WAY,...",
        help="of those above; by default all but those that compile, for which PyTorch needs a minute or more a model")
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=2.0, help="of each way in a round, and three steps at least")
    add("--device", metavar="gpu[:NAME]", help="train on this graphics card, and by PyTorch on the one that CUDA has")
    add("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch, ONNX Runtime and cnnc")
    add("--cnnc", type=pathlib.Path, default=ROOT / "target" / "release" / "cnnc")
    add("--json", action="store_true", help="print a line of JSON for each model and batch")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("a round is the least")
    if arguments.device and arguments.device.split(":")[0] != "gpu":
        parser.error("--device is gpu or gpu:NAME")
    if arguments.device and arguments.infer:
        parser.error("on graphics cards training steps alone are compared")
    if arguments.device and not torch.cuda.is_available():
        note("there is no CUDA: --device gpu compares with PyTorch on a card of NVIDIA")
        sys.exit(2)
    if not arguments.cnnc.exists():
        parser.error(f"there is no {arguments.cnnc}: cargo build --release")
    return arguments


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments = arguments_of(parser)
    makers, cases = chosen_ways(arguments, parser), chosen_cases(arguments, parser)
    if not makers or not cases:
        sys.exit("nothing to compare with")
    torch.set_num_threads(arguments.threads)
    if not arguments.json:
        print_head_of_card(makers, arguments) if arguments.device else print_head(arguments)
    failed = False
    for name, batch in cases:
        try:
            times, others = watched(lambda: compare(models.ALL[name], batch, makers, arguments))
        except Failed as error:
            note(f"{name}: cnnc bench failed: {error}")
            failed = True
            continue
        if arguments.json:
            print_json(name, batch, times, others, arguments)
        elif arguments.device:
            print_row_of_card(name, batch, times)
        else:
            print_rows(name, batch, times)
        if others > 0.1:
            note(f"{name}: other programs kept {others:.1f} processors busy meanwhile")
    sys.exit(failed)


if __name__ == "__main__":
    main()
