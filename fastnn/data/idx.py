"""IDX files, the format of MNIST: four bytes (0, 0, type code, number of dimensions), one big-endian uint32 per dimension, then the
elements in row-major order, big-endian. Files are not trusted: what a header claims is never allocated before the bytes have been read.
"""

import math
import os
import sys

import numpy as np

from .. import _native
from ..core.atomic_files import replacing

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


def read_idx(path) -> np.ndarray:
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


def write_idx(path, array) -> None:
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
