"""Data: files and arrays in, splits, tables made into numbers, images, streams, and data sets.

    files       read_csv, read_npy, read_npz, read_idx, write_idx, load_images
    splits      train_test_split, train_validation_test_split
    numbers     Table (columns of a table), Standardizer, one_hot
    batches     stream (files larger than memory)
    images      augment (images made anew for every epoch)
    data sets   load_digits (packaged), load_mnist, load_fashion_mnist (downloaded once)
"""

from typing import TYPE_CHECKING

from ..core.lazy import lazily

_NAMES = {
    "arrays": "read_npy read_npz",
    "csv_files": "Frame read_csv",
    "digits": "load_digits",
    "download": "load_fashion_mnist load_mnist",
    "idx": "read_idx write_idx",
    "images": "load_images",
    "labels": "one_hot",
    "splits": "train_test_split train_validation_test_split",
    "standardizer": "Standardizer",
    "streams": "stream",
    "table": "Table",
}

if TYPE_CHECKING:  # the same names for type checkers, which do not run what is below
    from . import augment as augment
    from .arrays import *
    from .csv_files import *
    from .digits import *
    from .download import *
    from .idx import *
    from .images import *
    from .labels import *
    from .splits import *
    from .standardizer import *
    from .streams import *
    from .table import *
else:
    __getattr__, __dir__, __all__ = lazily(__name__, _NAMES, modules="augment")
