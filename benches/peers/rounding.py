"""How far results and gradients of single layers are from double precision: cnnc's, and PyTorch's in single precision.

    python benches/peers/rounding.py [LAYER...] [--draws 3] [--batches 1,8,64] [--every] [--level avx2]
                                     [--program PATH]

It needs Python 3.9 with PyTorch 2 and NumPy. It builds and calls `cargo bench --bench rounding`, which computes the
same layers from the same arrays.

A distance is the largest error of a tensor, in units of its largest element, and beside it the mean error in units of
the mean element; both are means over the draws. The base is PyTorch in double precision on the same inputs. Rows are
the directions of a layer: `forward` is a prediction, whose lanes are channels where the batch is small, `training` the
same result in a training step, `d x`, `d weight` ... are gradients. `mean` is what was added to inputs that are drawn
from the normal distribution; activations and losses have none. cnnc computes with `fast_math = false`, and in a column
of its own with Winograd's tiles, where these serve.

Without `--every`, each layer and direction shows the batch and mean of the worst ratio alone. A ratio above 2 is
marked, where the distance is more than a rounding or two of the largest element can explain.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch

import rounding_layers

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Two roundings of the largest element.
EXPLAINED = 2**-23
MOST = 2.0


class Case:
    """A layer on a batch of inputs around a mean."""

    def __init__(self, layer, batch, mean):
        self.layer, self.batch, self.mean = layer, batch, mean
        self.name = f"{layer.name}.{batch}.{mean}".replace(" ", "-")

    def values(self, draw):
        """The inputs of a draw, in single precision, by their names."""
        generator = torch.Generator().manual_seed(1000 * draw + self.batch)
        return self.layer.values(self.batch, self.mean, generator)

    def programs(self):
        """What cnnc is to compute: the prediction, and the gradients; both ways where Winograd's tiles may serve."""
        text = self.layer.text(self.batch)
        ways = {"plain": False, "tiles": True} if self.layer.tiles else {"plain": False}
        for way, fast_math in ways.items():
            if not self.layer.is_loss:
                yield f"{self.name}.forward.{way}", self.layer.prediction(), fast_math
            if self.layer.has_gradients:
                yield f"{self.name}.step.{way}", text, fast_math


def distances(found, exact):
    """The largest error in units of the largest element, and the mean error in units of the mean one."""
    error, size = np.abs(found - exact), np.abs(exact)
    if not np.isfinite(found).all():
        return np.array([np.inf, np.inf])
    return np.array([error.max() / max(size.max(), 1e-300), error.mean() / max(size.mean(), 1e-300)])


def computed(folder, cases, draws, arguments):
    """Writes the inputs of all cases and lets cnnc compute them."""
    programs = []
    for case in cases:
        names = [f"{case.name}.values.{draw}" for draw in range(draws)]
        for draw, name in enumerate(names):
            for path, tensor in case.values(draw).items():
                np.save(folder / f"{name}.{path}.npy", tensor.numpy())
        for name, text, fast_math in case.programs():
            programs.append({"name": name, "text": text, "batch": case.batch, "fast_math": fast_math, "values": names})
    (folder / "cases.json").write_text(json.dumps(programs))
    command = [arguments.program] if arguments.program else ["cargo", "bench", "--bench", "rounding", "--"]
    level = [arguments.level] if arguments.level else []
    subprocess.run([*command, str(folder), *level], check=True, cwd=ROOT)


def compared(folder, case, draws):
    """Of each direction: the distances of PyTorch, of cnnc, and of cnnc with Winograd's tiles."""
    rows = {}
    for draw in range(draws):
        values = case.values(draw)
        single = case.layer.results(values, torch.float32)
        exact = case.layer.results(values, torch.float64)
        for direction, expected in exact.items():
            program, output = ("forward", "y") if direction == "forward" else ("step", case.layer.output(direction))
            columns = [distances(single[direction], expected)]
            for way in ("plain", "tiles"):
                path = folder / f"{case.name}.{program}.{way}.{draw}.{output}.npy"
                found = np.load(path).astype(np.float64).reshape(expected.shape) if path.exists() else None
                columns.append(np.full(2, np.nan) if found is None else distances(found, expected))
            rows[direction] = rows.get(direction, 0) + np.array(columns) / draws
    return rows


def ratio(row, at):
    """cnnc's distance over PyTorch's; 0 where it is no more than a rounding or two."""
    if row[1][at] <= EXPLAINED:
        return 0.0
    return row[1][at] / max(row[0][at], 1e-300)


def printed(case, direction, row):
    label = f"{case.layer.name:<26} {direction:<10} {case.batch:>5} {case.mean:>5}"
    (torch_most, torch_mean), (most, mean), (tiles, _) = row
    ratios = f"{most / max(torch_most, 1e-300):6.2f} {mean / max(torch_mean, 1e-300):6.2f}"
    of_tiles = "" if np.isnan(tiles) else f" {tiles:8.1e} {tiles / max(torch_most, 1e-300):6.1f}"
    far = max(ratio(row, 0), ratio(row, 1)) > MOST
    print(f"{label}  {torch_most:8.1e} {most:8.1e} {torch_mean:8.1e} {mean:8.1e} {ratios}{of_tiles}"
          f"{'  more' if far else ''}", flush=True)
    return far


def arguments_of():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("layers", nargs="*", metavar="LAYER", help="the beginning of the name of layers; all by default")
    add("--draws", type=int, default=3)
    add("--batches", type=lambda text: [int(batch) for batch in text.split(",")], default=[1, 8, 64])
    add("--every", action="store_true", help="a row for each batch and mean")
    add("--level", help="of vectors; the machine's best by default")
    add("--program", help="a built `rounding`, in place of `cargo bench --bench rounding`")
    return parser.parse_args()


def main():
    arguments = arguments_of()
    chosen = [layer for layer in rounding_layers.ALL
              if not arguments.layers or any(layer.name.startswith(name) for name in arguments.layers)]
    print(f"{'layer':<26} {'direction':<10} batch  mean   PyTorch     cnnc  (mean)    (mean)   ratio (mean)    tiles")
    far = 0
    for layer in chosen:
        cases = [Case(layer, batch, mean) for batch in arguments.batches for mean in layer.means
                 if batch >= layer.least_batch]
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            computed(folder, cases, arguments.draws, arguments)
            rows = [(case, direction, row) for case in cases
                    for direction, row in compared(folder, case, arguments.draws).items()]
        for direction in dict.fromkeys(direction for _, direction, _ in rows):
            own = [row for row in rows if row[1] == direction]
            if not arguments.every:
                own = [max(own, key=lambda row: max(ratio(row[2], 0), ratio(row[2], 1)))]
            far += sum([printed(*row) for row in own])
    print(f"{far} beyond {MOST:g} times PyTorch's distance" if far else f"none beyond {MOST:g} times PyTorch's distance")
    sys.exit(far > 0)


if __name__ == "__main__":
    main()
