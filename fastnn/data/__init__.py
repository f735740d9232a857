"""Data: files and arrays in, splits, tables made into numbers, images, streams, and data sets.

    files       read_csv, read_npy, read_npz, read_idx, write_idx, load_images
    splits      train_test_split, train_validation_test_split
    numbers     Table (columns of a table), Standardizer, one_hot
    batches     stream (files larger than memory)
    images      augment (images made anew for every epoch)
    data sets   load_digits (packaged), load_mnist, load_fashion_mnist (downloaded once)
"""

from . import augment
from .arrays import read_npy, read_npz
from .csv_files import Frame, read_csv
from .digits import load_digits
from .download import load_fashion_mnist, load_mnist
from .idx import read_idx, write_idx
from .images import load_images
from .labels import one_hot
from .splits import train_test_split, train_validation_test_split
from .standardizer import Standardizer
from .streams import stream
from .table import Table

__all__ = [
    "Frame",
    "Standardizer",
    "Table",
    "augment",
    "load_digits",
    "load_fashion_mnist",
    "load_images",
    "load_mnist",
    "one_hot",
    "read_csv",
    "read_idx",
    "read_npy",
    "read_npz",
    "stream",
    "train_test_split",
    "train_validation_test_split",
    "write_idx",
]


def __dir__():
    return __all__
