"""What the experiments share: data, and where their pictures go."""

import os
import sys
from pathlib import Path

import numpy as np

from fastnn import data

HERE = Path(__file__).parent
FOLDERS = (os.environ.get("FASTNN_MNIST"), HERE / "mnist", HERE.parents[1] / "shared" / "data" / "mnist")


def digits(rows=None):
    """(X, y, X_test, y_test): MNIST's images as rows of numbers from 0 to 1, where its IDX files lie in examples/mnist or in the folder
    that FASTNN_MNIST names (ten thousand are enough), else the small ones that are packaged with fastnn. `rows`: so many to train on."""
    found = [sorted(Path(folder).glob(f"{part}-*")) for folder in filter(None, FOLDERS) for part in ("train", "t10k")]
    files = next((files for files in found if len(files) == 2), None)  # images, labels
    images, labels = map(data.read_idx, files) if files else data.load_digits()
    X, X_test, y, y_test = data.train_test_split(images, labels.astype(np.int64), test_size=0.2)
    X, X_test = (np.float32(a).reshape(len(a), -1) / (255 if files else 16) for a in (X, X_test))
    return X[:rows], y[:rows], X_test, y_test


def save(figure, script):
    """Write the picture of a script into examples/output, or into the folder that is its first argument."""
    from PIL import Image

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "output"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{Path(script).stem}.png"
    figure.savefig(path, dpi=70)
    Image.open(path).convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)  # small enough for a page
    print(f"picture in {path}")


def smooth(values, share=0.9):
    """A moving average, corrected for its start."""
    average, out = 0.0, []
    for i, v in enumerate(values, 1):
        average = share * average + (1 - share) * v
        out.append(average / (1 - share**i))
    return out
