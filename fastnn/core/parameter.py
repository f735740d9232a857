"""Parameter: a named array that a model owns and an optimizer may change."""

import numpy as np

from .. import _native


class Parameter:
    """An array of weights, in one 64-byte-aligned block from birth to death.

    Plans keep the block's address, so the array is never replaced: assigning to `data` copies into it.

    Parameters
    ----------
    data : array_like
        Initial values; copied, as float32.
    name : str, default "parameter"
        For messages, files and tables.
    trained : bool, default True
        False for what a model saves but does not train, such as running statistics.

    Examples
    --------
    >>> p = fastnn.nn.Parameter(np.ones((2, 3)))
    >>> p.data = np.zeros((2, 3)); float(p.data.sum())
    0.0
    """

    def __init__(self, data, name="parameter", trained=True):
        data = np.asarray(_native.plain(data, name))
        self._data = _native.aligned_zeros(data.shape, np.float32)
        self._data[...] = data
        self.name = name
        self.trained = trained
        self.frozen = False  # `Layer.freeze` sets it

    def __reduce__(self):
        return Parameter, (np.array(self._data), self.name, self.trained), {"frozen": self.frozen}

    @property
    def data(self):
        """The values, a float32 view. Write into it, or assign an array of the same shape, between native calls."""
        return self._data

    @data.setter
    def data(self, value):
        value = np.asarray(_native.plain(value, self.name))
        if value.shape != self._data.shape:
            raise ValueError(f"{self.name}: expected shape {self._data.shape}, got {value.shape}")
        self._data[...] = value

    @property
    def shape(self):
        return self._data.shape

    @property
    def size(self):
        return self._data.size

    @property
    def dtype(self):
        return self._data.dtype

    def __array__(self, dtype=None, copy=None):
        if dtype is None or np.dtype(dtype) == self._data.dtype:
            return self._data.copy() if copy else self._data
        if copy is False:
            raise ValueError(f"{self.name}: a copy is needed to convert float32 to {np.dtype(dtype)}")
        return self._data.astype(dtype)

    def __repr__(self):
        return f"Parameter({self.name}, shape={self.shape})"
