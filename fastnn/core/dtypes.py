"""The dtypes that models compute in, float32 and float64, and which of them a new model has by default."""

import numpy as np

__all__ = ["check_dtype", "get_default_dtype", "set_default_dtype"]

DTYPES = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}
_default = DTYPES["float32"]


def check_dtype(value, name="dtype"):
    """The np.dtype of what a user gave: float32 or float64, by name or as NumPy's."""
    try:
        dtype = None if value is None else np.dtype(value)
    except TypeError:
        dtype = None
    if dtype is None or dtype not in DTYPES.values():
        raise TypeError(f"{name}: expected 'float32' or 'float64', got {value!r:.60}")
    return DTYPES[dtype.name]


def set_default_dtype(dtype) -> None:
    """Set the dtype of models, layers and parameters that are made from now on without one of their own.

    Parameters
    ----------
    dtype : {"float32", "float64"} or numpy.dtype

    Raises
    ------
    TypeError
        If it is another. Nothing has changed then.

    Examples
    --------
    >>> fastnn.set_default_dtype("float64")
    >>> nn.Sequential(nn.Dense(4, 3)).dtype
    dtype('float64')
    >>> fastnn.set_default_dtype("float32")
    """
    global _default
    _default = check_dtype(dtype)


def get_default_dtype() -> np.dtype:
    """The dtype of models, layers and parameters that are made without one of their own: float32, unless `set_default_dtype` was called.

    Returns
    -------
    numpy.dtype

    Examples
    --------
    >>> fastnn.get_default_dtype()
    dtype('float32')
    """
    return _default
