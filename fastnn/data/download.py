"""Data sets that are downloaded once, and checked: MNIST and Fashion-MNIST.

MNIST: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits"; the files of the original site, from two
mirrors. Fashion-MNIST: H. Xiao, K. Rasul and R. Vollgraf, 2017, https://github.com/zalandoresearch/fashion-mnist, MIT licence.
"""

import os

import numpy as np

from ..core.atomic_files import replacing
from ..core.runtime import cache_folder
from .idx import read_idx

# name of a data set -> (places, {file: (algorithm, digest)})
_SETS = {
    "mnist": (
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        {
            "train-images-idx3-ubyte.gz": ("sha256", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            "train-labels-idx1-ubyte.gz": ("sha256", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            "t10k-images-idx3-ubyte.gz": ("sha256", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            "t10k-labels-idx1-ubyte.gz": ("sha256", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        },
    ),
    "fashion-mnist": (
        ("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",),
        {
            "train-images-idx3-ubyte.gz": ("md5", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            "train-labels-idx1-ubyte.gz": ("md5", "25c81989df183df01b3e8a0aad5dffbe"),
            "t10k-images-idx3-ubyte.gz": ("md5", "bef4ecab320f06d8554ea6380940ec79"),
            "t10k-labels-idx1-ubyte.gz": ("md5", "bb300cfdad3c16e7a12a480ee83cd310"),
        },
    ),
}
_SECONDS = 30  # that a server may say nothing


def load_mnist(folder=None, download=True) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """MNIST: 70,000 handwritten digits, 28 x 28, of which 10,000 are the test set.

    Parameters
    ----------
    folder : str or os.PathLike, optional
        Where the four files are, or are to be put; by default the folder ``mnist`` in ``~/.cache/fastnn``, or in what the variable
        FASTNN_CACHE says. Files that are there are used as they are, without a connection; compressed or not.
    download : bool, default True
        Fetch files that are not there (11 MB), and check them by their digests.

    Returns
    -------
    (X_train, y_train), (X_test, y_test)
        uint8 [60000, 28, 28], uint8 [60000], uint8 [10000, 28, 28], uint8 [10000].

    Raises
    ------
    OSError
        If files are not there and cannot be fetched.
    ValueError
        If one that was fetched has another digest, or one is no such file.
    """
    return _load("mnist", folder, download)


def load_fashion_mnist(folder=None, download=True) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Fashion-MNIST: 70,000 pictures of clothes in ten classes, in the form of MNIST; see `load_mnist`.

    The classes: T-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot.
    """
    return _load("fashion-mnist", folder, download)


def _load(kind, folder, download):
    places, files = _SETS[kind]
    folder = os.path.join(cache_folder(), kind) if folder is None else os.fsdecode(folder)
    found = []
    for name, digest in files.items():
        path = os.path.join(folder, name)
        there = next((p for p in (path, path.removesuffix(".gz")) if os.path.exists(p)), None)
        if there is None:
            if not download:
                raise FileNotFoundError(f"{path!r}: expected the file of {kind}, got none; download=True fetches it")
            _fetch([place + name for place in places], path, *digest)
            there = path
        found.append(read_idx(there))
    X, y, X_test, y_test = found
    for part, (images, labels) in {"train": (X, y), "t10k": (X_test, y_test)}.items():
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise ValueError(f"{folder!r}: expected images and as many labels in the {part} files, got shapes {images.shape} and {labels.shape}")
    return (X, y), (X_test, y_test)


def _fetch(addresses, path, algorithm, digest):
    """Download a file, from the first address that has it, and keep it if its digest is right."""
    import hashlib
    import urllib.error
    import urllib.request

    os.makedirs(os.path.dirname(path), exist_ok=True)
    problems = []
    for address in addresses:
        try:
            with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
                content = answer.read()
        except (OSError, urllib.error.URLError) as error:
            problems.append(f"{address}: {getattr(error, 'reason', error)}")
            continue
        found = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
        if found != digest:
            raise ValueError(f"{address}: expected a file with the {algorithm} {digest}, got one with {found}")
        with replacing(path) as file:
            file.write(content)
        return
    raise OSError(f"{path!r}: expected a file that can be fetched, got none: {'; '.join(problems)}; put it there by hand, or try again")
