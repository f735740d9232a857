"""Files and arrays: IDX in and out, a packaged data set, splits and one-hot labels.

IDX is the format of MNIST: four bytes (0, 0, type code, number of dimensions), one big-endian uint32 per dimension,
then the elements in row-major order, big-endian. Files are not trusted: what a header claims is never allocated before
the bytes have been read.
"""

import math
import numbers
import os
import sys

import numpy as np

from . import _native
from .core.atomic_files import replacing
from .init import check_seed

__all__ = ["load_digits", "one_hot", "read_idx", "train_test_split", "write_idx"]


def __dir__():
    return __all__


_IDX_DTYPES = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20  # bytes asked for at a time: the most that a false header can make the reader reserve


def read_idx(path):
    """Read an array from an IDX file, plain or gzip.

    Gzip is recognised by the first bytes, not by the name. At most the bytes that the header claims are read, plus one
    that shows whether anything follows; memory grows with what the file really holds.

    Parameters
    ----------
    path : str, bytes or os.PathLike
        The file.

    Returns
    -------
    numpy.ndarray
        A new, writable, C-contiguous array in native byte order, of dtype uint8, int8, int16, int32, float32 or
        float64, in the shape that the header states.

    Raises
    ------
    ValueError
        If the file is not IDX, is shorter or longer than its header says, or is a broken gzip stream.
    OSError
        If the file cannot be opened or read (FileNotFoundError, IsADirectoryError, PermissionError ...).

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastnn.data import read_idx, write_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "labels-idx1-ubyte.gz")
    ...     write_idx(path, np.array([5, 0, 4], dtype=np.uint8))
    ...     read_idx(path)
    array([5, 0, 4], dtype=uint8)
    """
    import gzip
    import zlib

    name = os.fsdecode(path)
    with open(name, "rb") as file:
        packed = file.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
        stream = gzip.GzipFile(fileobj=file, mode="rb") if packed else file
        try:
            return _parse_idx(stream, name)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{name!r}: expected an intact gzip stream, got a broken one: {error}") from error


def _parse_idx(stream, name):
    """The array in `stream`, which stands at the first byte of the header; `name` is for the errors."""
    magic = stream.read(4)
    if len(magic) < 4:
        raise ValueError(f"{name!r}: expected an IDX header of at least 4 bytes, got {len(magic)} bytes")
    dtype, ndim = _IDX_DTYPES.get(magic[2]), magic[3]
    if magic[:2] != b"\0\0" or dtype is None or ndim == 0:
        codes = " ".join(f"{code:02x}" for code in _IDX_DTYPES)
        raise ValueError(
            f"{name!r}: expected an IDX file, whose first bytes are 00 00, a type code ({codes}) "
            f"and the number of dimensions (01 to ff), got {magic.hex(' ')}"
        )
    header = stream.read(4 * ndim)
    if len(header) < 4 * ndim:
        raise ValueError(
            f"{name!r}: expected a header of {4 + 4 * ndim} bytes for {ndim} dimensions, got {4 + len(header)} bytes"
        )
    shape = tuple(np.frombuffer(header, dtype=">u4").tolist())
    size = math.prod(shape) * dtype.itemsize
    if size > sys.maxsize:
        raise ValueError(
            f"{name!r}: expected a size that fits in memory, got a header that claims {_describe(size, shape, dtype)}"
        )
    data = bytearray()
    while len(data) < size:
        chunk = stream.read(min(_CHUNK, size - len(data)))
        if not chunk:
            raise ValueError(
                f"{name!r}: expected {_describe(size, shape, dtype)}, as its header claims, got {len(data)} bytes"
            )
        data += chunk
    if stream.read(1):  # at the end of a gzip stream, this read is also what checks its CRC
        raise ValueError(f"{name!r}: expected {_describe(size, shape, dtype)}, as its header claims, got more")
    try:
        array = np.ndarray(shape, dtype=dtype, buffer=data)
    except ValueError as error:  # more dimensions than NumPy has, or (beside a 0) sizes it cannot index
        raise ValueError(
            f"{name!r}: expected a shape that NumPy can hold, got {_describe(size, shape, dtype)}: {error}"
        ) from error
    return array.astype(dtype.newbyteorder("="), copy=False)


def _describe(size, shape, dtype):
    """For an error: a claimed size, short even for 255 dimensions."""
    dims = " x ".join(map(str, shape[:8])) + (" x ..." if len(shape) > 8 else "")
    amount = f"{size} bytes" if size <= sys.maxsize else f"more than {sys.maxsize} bytes"
    return f"{amount} of data ({len(shape)} dimensions {dims} of {dtype.name})"


def write_idx(path, array):
    """Write an array to an IDX file, gzip if the name ends in ``.gz``.

    The file appears whole or not at all: the bytes go to a temporary file in the same folder, which then takes the
    place of `path`. If anything fails, the folder is as it was. A gzip file carries no name and no time, so equal
    arrays give equal files.

    Parameters
    ----------
    path : str, bytes or os.PathLike
        The file, replaced if it exists. Through a symbolic link, the file it points to is replaced.
    array : array_like, 1 to 255 dimensions
        Of dtype uint8, int8, int16, int32, float32 or float64, in any byte order and memory layout; nothing is cast.

    Raises
    ------
    TypeError
        If IDX has no code for the dtype.
    ValueError
        If `array` has no dimension, or one longer than 2**32 - 1.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastnn.data import write_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "pair.idx")
    ...     write_idx(path, np.array([1, 2], dtype=np.int16))
    ...     with open(path, "rb") as file:
    ...         print(file.read().hex(" "))
    00 00 0b 01 00 00 00 02 00 01 00 02
    """
    name = os.fsdecode(path)
    array = np.asarray(_native.plain(array, "array"))
    code = next((c for c, d in _IDX_DTYPES.items() if d == array.dtype.newbyteorder(">")), None)
    if code is None:
        known = ", ".join(d.name for d in _IDX_DTYPES.values())
        raise TypeError(f"array: expected one of the dtypes of IDX ({known}), got {array.dtype}")
    if array.ndim == 0:
        raise ValueError("array: expected 1 to 255 dimensions, got a scalar")
    if max(array.shape) > 0xFFFFFFFF:
        raise ValueError(f"array: expected dimensions of at most {0xFFFFFFFF}, got shape {array.shape}")

    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    data = np.ascontiguousarray(array, dtype=_IDX_DTYPES[code]).reshape(-1).view(np.uint8)
    with replacing(name) as file:
        if name.endswith(".gz"):
            import gzip

            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packer:
                packer.write(header)
                packer.write(data)
        else:
            file.write(header)
            file.write(data)


def load_digits():
    """Load 1,797 handwritten digits, packaged with fastnn: no download, no file of your own.

    They are the test set of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (1998), UCI
    Machine Learning Repository, https://doi.org/10.24432/C50P49, licensed under CC BY 4.0
    (https://creativecommons.org/licenses/by/4.0/). Each pixel counts the dark points in one 4 x 4 block of a 32 x 32
    bitmap. Thirteen people wrote them.

    Returns
    -------
    images : numpy.ndarray, uint8 [1797, 8, 8]
        Values 0 (empty) to 16 (full).
    labels : numpy.ndarray, uint8 [1797]
        Values 0 to 9, 174 to 183 images of each.

    Both are new at every call and may be written to.

    Examples
    --------
    >>> from fastnn.data import load_digits
    >>> images, labels = load_digits()
    >>> images.shape, int(images.max()), labels[:3]
    ((1797, 8, 8), 16, array([0, 1, 2], dtype=uint8))
    """
    from importlib import resources

    packaged = resources.files("fastnn") / "datasets" / "digits.npz"
    with packaged.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return arrays["images"], arrays["labels"]


def train_test_split(X, y, test_size=0.2, seed=None, *, stratify=None, random_state=None):
    """Split rows at random into a training and a test set.

    The rows are shuffled by a permutation that depends on their number and on `seed` only (Philox4x32-10): its first
    entries are the test rows, the rest the training rows, both in shuffled order.

    Parameters
    ----------
    X : array_like [n, ...]
        Of any dtype, n >= 2. A memory map is read only at the rows as they are copied.
    y : array_like [n, ...]
        Rows that belong to those of `X`.
    test_size : float or int, default 0.2
        A float between 0 and 1, both excluded, is a share of n, rounded to the nearest number of rows that leaves at
        least one on each side. An int from 1 to n - 1 is a number of rows.
    seed : int, default 0
        In [0, 2**64). The same seed gives the same split, on any machine.
    stratify : array_like [n], optional
        Classes, usually `y` itself: each gives its share of the test rows, (rows of the class) · tests / n. The largest remainders
        are rounded up, of equal ones those of the first classes, as many as make the number of test rows right.
    random_state : int, optional
        What scikit-learn calls the seed.

    Returns
    -------
    X_train, X_test, y_train, y_test : numpy.ndarray
        C-contiguous copies of rows, of the dtypes of `X` and `y`.

    Raises
    ------
    ValueError
        If `X` or `y` has no rows to split, their numbers of rows differ, or `test_size` or `seed` is out of range.
    TypeError
        If `test_size` is not a number, or `seed` and `random_state` are both given.

    Examples
    --------
    >>> from fastnn.data import load_digits, train_test_split
    >>> labels = np.array([0] * 90 + [1] * 10)
    >>> *_, y_test = train_test_split(labels, labels, test_size=20, stratify=labels)
    >>> np.bincount(y_test)
    array([18,  2])
    >>> X_train, X_test, y_train, y_test = train_test_split(*load_digits(), test_size=297, seed=1)
    >>> X_train.shape, X_test.shape, y_train.shape, y_test.shape
    ((1500, 8, 8), (297, 8, 8), (1500,), (297,))
    """
    X, y = np.asarray(_native.plain(X, "X")), np.asarray(_native.plain(y, "y"))
    for name, array in (("X", X), ("y", y)):
        if array.ndim == 0:
            raise ValueError(f"{name}: expected an array of at least 1 dimension, got a single {array.dtype}")
    n = len(X)
    if len(y) != n:
        raise ValueError(f"X and y: expected equal numbers of rows, got {n} and {len(y)}")
    if n < 2:
        raise ValueError(f"X: expected at least 2 rows to split, got {n}")

    tests = _test_rows(test_size, n)
    if seed is not None and random_state is not None:
        raise TypeError("seed, random_state: expected one of them, for they are the same, got both")
    order = _native.permutation(n, check_seed(0 if seed is random_state else random_state if seed is None else seed), 0)
    if stratify is not None:
        order = _stratified(order, stratify, tests)
    train, test = order[tests:], order[:tests]
    return tuple(np.ascontiguousarray(array[rows]) for array in (X, y) for rows in (train, test))


def _stratified(order, stratify, tests):
    """The same rows, each class's share of the `tests` first in front, in the order that they had."""
    classes = np.asarray(_native.plain(stratify, "stratify"))
    if classes.shape != order.shape:
        raise ValueError(f"stratify: expected one class for each of the {len(order)} rows, got shape {classes.shape}")
    _, classes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    shares = counts * tests  # in units of 1 / n: whole numbers, so that no machine rounds otherwise
    taken, remainders = np.divmod(shares, len(order))
    taken[np.argsort(-remainders, kind="stable")[: tests - taken.sum()]] += 1
    place = np.empty(len(order), np.int64)  # of each row of the order among those of its class
    by_class = np.argsort(classes[order], kind="stable")
    place[by_class] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[np.argsort(place >= taken[classes[order]], kind="stable")]


def _test_rows(test_size, n):
    """How many of n >= 2 rows `test_size` stands for."""
    if isinstance(test_size, (bool, np.bool_)) or not isinstance(test_size, numbers.Real):
        raise TypeError(f"test_size: expected a float (share) or an int (number of rows), got {test_size!r}")
    if isinstance(test_size, numbers.Integral):
        if not 1 <= test_size <= n - 1:
            raise ValueError(f"test_size: expected 1 to {n - 1} of {n} rows, got {test_size}")
        return int(test_size)
    if not 0 < test_size < 1:
        raise ValueError(f"test_size: expected a share between 0 and 1, both excluded, got {test_size}")
    return min(max(round(float(test_size) * n), 1), n - 1)


def one_hot(labels, classes=None, dtype=np.float32):
    """One-hot rows: 1 in the column of each label, 0 elsewhere.

    Parameters
    ----------
    labels : array_like of integers [n]
        Values 0 to `classes` - 1, of any integer dtype.
    classes : int, optional
        The number of columns, at least 1; by default the largest label plus one.
    dtype : dtype, default float32
        Any bool, integer or real floating dtype.

    Returns
    -------
    numpy.ndarray, `dtype` [n, classes]

    Raises
    ------
    TypeError
        If `labels` or `classes` are not integers, or `dtype` is of another kind.
    ValueError
        If `labels` is not one-dimensional, is empty without `classes`, or holds a label out of range; or if `classes`
        is less than 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.data import one_hot
    >>> one_hot([2, 0], classes=3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    labels = np.asarray(_native.plain(labels, "labels"))
    dtype = np.dtype(dtype)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels: expected an integer dtype, got {labels.dtype}")
    if labels.ndim != 1:
        raise ValueError(f"labels: expected 1 dimension, got shape {labels.shape}")
    if dtype.kind not in "biuf":
        raise TypeError(f"dtype: expected a bool, integer or real floating dtype, got {dtype}")
    if classes is None:
        if labels.size == 0:
            raise ValueError("classes: expected a number of classes for empty labels, got None")
        bound = max(int(labels.max()) + 1, 1)
    elif isinstance(classes, (bool, np.bool_)) or not isinstance(classes, numbers.Integral):
        raise TypeError(f"classes: expected an int, got {classes!r}")
    elif classes < 1:
        raise ValueError(f"classes: expected at least 1, got {classes}")
    else:
        bound = int(classes)
    if labels.size and (labels.min() < 0 or labels.max() >= bound):
        bad = np.flatnonzero((labels < 0) | (labels >= bound))
        raise ValueError(
            f"labels: expected values 0 to {bound - 1}, got {labels[bad[0]]} in row {bad[0]} ({len(bad)} bad in all)"
        )
    rows = np.zeros((len(labels), bound), dtype=dtype)
    rows[np.arange(len(labels)), labels.astype(np.intp)] = 1
    return rows
