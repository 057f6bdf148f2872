"""Makes places.npz and strokes.npz from the digits that cnnc has built in. Needs NumPy: python make.py"""

import gzip
import pathlib

import numpy as np

HERE = pathlib.Path(__file__).parent
DIGITS = HERE / "../../src/data"


def digits():
    """The pictures, 0 to 255."""
    with gzip.open(DIGITS / "digits-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 8, 8)
    return np.minimum(pixels.astype(int) * 16, 255).astype(np.uint8)


def placed(rng, picture, size):
    """A picture somewhere in an empty field, and its corner."""
    field = np.zeros((size, size), np.uint8)
    top, left = rng.integers(0, size - 8 + 1, 2)
    field[top : top + 8, left : left + 8] = picture
    return field, (top, left)


def places(rng, pictures):
    """A field with a digit, and the middle of its ink as shares of the height and the width."""
    x, y = [], []
    for picture in pictures:
        field, _ = placed(rng, picture, 16)
        rows, columns = np.mgrid[0:16, 0:16] + 0.5
        ink = field / field.sum()
        x.append(field)
        y.append([(rows * ink).sum() / 16, (columns * ink).sum() / 16])
    return np.stack(x), np.array(y, np.float32)


def strokes(rng, pictures):
    """A field with a digit and a few straight strokes, and what each pixel is: 0 paper, 1 stroke, 2 digit."""
    x, y = [], []
    for picture in pictures:
        field, _ = placed(rng, picture, 16)
        kinds = np.where(field > 96, 2, 0).astype(np.uint8)
        for _ in range(3):
            at, start, length = rng.integers(0, 16), rng.integers(0, 10), rng.integers(4, 8)
            line = (at, slice(start, start + length))
            line = line if rng.random() < 0.5 else line[::-1]
            free = kinds[line] == 0
            field[line] = np.where(free, rng.integers(128, 255), field[line])
            kinds[line] = np.where(free, 1, kinds[line])
        x.append(field)
        y.append(kinds)
    return np.stack(x), np.stack(y)


def write(name, make, seed):
    rng = np.random.default_rng(seed)
    pictures = digits()
    parts = {}
    for split, chosen in [("train", pictures[:800]), ("test", pictures[1200:1400])]:
        parts["x_" + split], parts["y_" + split] = make(rng, chosen)
    np.savez_compressed(HERE / name, **parts)


write("places.npz", places, 1)
write("strokes.npz", strokes, 2)
