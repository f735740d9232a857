"""Arrays in NumPy's files, which are not trusted: no Python objects, and no header that claims more than the file holds."""

import math
import os
import warnings

import numpy as np


def read_npy(path) -> np.ndarray:
    """A memory map of the array in an .npy file: nothing is read before it is used.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    numpy.ndarray
        Read-only, of the file's dtype and shape.

    Raises
    ------
    ValueError
        If it is no .npy file, holds Python objects, or its header and its size do not agree.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "x.npy")
    ...     np.save(path, np.arange(3))
    ...     data.read_npy(path)
    array([0, 1, 2])
    """
    name = os.fsdecode(path)

    def refuse(why):
        return ValueError(f"{name!r}: expected an .npy file, got {why}")

    with open(name, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers in old forms
        try:
            shape, fortran, dtype = _header(file)
        except Exception as error:  # whatever a hostile header makes the parser do
            raise refuse(f"one whose header cannot be read ({' '.join(str(error).split())})") from None
        if dtype.hasobject:
            raise refuse("one of Python objects, which could run code when they are read")
        size, held = dtype.itemsize * math.prod(shape), os.fstat(file.fileno()).st_size - file.tell()
        if min(shape, default=0) < 0 or size != held:
            raise refuse(f"one whose header claims shape {shape} of {dtype}, {size} bytes, while {held} bytes follow it")
        if size == 0:
            return np.empty(shape, dtype)
        order = "F" if fortran else "C"
        return np.memmap(file, dtype=dtype, mode="r", offset=file.tell(), shape=shape, order=order).view(np.ndarray)


def _header(file):
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version[0]}.{version[1]} of the format, which is for dtypes with names")
    return readers[version](file)


def read_npz(path) -> dict[str, np.ndarray]:
    """The arrays in an .npz file, by name.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If it is no .npz file, or a broken one, or holds Python objects.
    OSError
        If it cannot be read.
    """
    import zipfile
    import zlib

    name = os.fsdecode(path)
    try:
        with open(name, "rb") as file:
            if file.read(2) != b"PK":
                raise ValueError("no zip file")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise ValueError(f"{name!r}: expected an .npz file of arrays, got another: {' '.join(str(error).split())}") from None
