"""Argument checks shared by the reference functions: kind, dtype, shape, and the arrays that receive results.

Nothing here copies, casts or repairs: an argument is as it must be, or the error names it, what was expected and what came.
"""

import numpy as np


def check_array(obj, name, dtype=None, shape=None, writable=False):
    """Return `obj` if it is an array of the dtype (None: float32 or float64) and shape (None in a place: any size) asked for."""
    if not isinstance(obj, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(obj).__name__}")
    if dtype is None:
        if obj.dtype not in (np.float32, np.float64):
            raise TypeError(f"{name} must be float32 or float64, got {obj.dtype}")
    elif obj.dtype != dtype:
        raise TypeError(f"{name} must be {np.dtype(dtype)}, got {obj.dtype}")
    if shape is not None:
        fits = len(obj.shape) == len(shape) and all(want in (None, have) for want, have in zip(shape, obj.shape))
        if not fits:
            raise ValueError(f"{name} must have shape [{_spell(shape)}], got [{_spell(obj.shape)}]")
    if writable and not obj.flags.writeable:
        raise ValueError(f"{name} must be writable, got a read-only array")
    return obj


def check_out(out, name, shape, dtype):
    """Return the array that receives a result: `out` once it fits, a new one if it is None."""
    if out is None:
        return np.empty(shape, dtype)
    return check_array(out, name, dtype, shape, writable=True)


def check_integers(obj, name, shape):
    """Return `obj` if it is an array of some integer dtype, in native byte order, and of the shape asked for."""
    if not isinstance(obj, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(obj).__name__}")
    if obj.dtype.kind not in "iu" or not obj.dtype.isnative:
        raise TypeError(f"{name} must be of an integer dtype, got {obj.dtype}")
    return check_array(obj, name, obj.dtype, shape)


def _spell(shape):
    return ", ".join("any" if size is None else str(size) for size in shape)
