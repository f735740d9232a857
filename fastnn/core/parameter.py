"""Parameter: a named array that a model owns and an optimizer may change."""

import weakref

import numpy as np

from .. import _native
from .dtypes import check_dtype, get_default_dtype


class Parameter:
    """An array of weights, in one 64-byte-aligned block from birth to death.

    Plans keep the block's address, so the array is never replaced: assigning to `data` copies into it.

    Parameters
    ----------
    data : array_like
        Initial values; copied, as `dtype`.
    name : str, default "parameter"
        For messages, files and tables.
    trained : bool, default True
        False for what a model saves but does not train, such as running statistics.
    dtype : {"float32", "float64"}, optional
        By default what `fastnn.set_default_dtype` says, float32. A model that takes the parameter in makes it one of its own dtype.

    Examples
    --------
    >>> p = fastnn.nn.Parameter(np.ones((2, 3)))
    >>> p.data = np.zeros((2, 3)); float(p.data.sum())
    0.0
    """

    def __init__(self, data, name="parameter", trained=True, dtype=None) -> None:
        data = np.asarray(_native.plain(data, name))
        self._data = _native.aligned_zeros(data.shape, get_default_dtype() if dtype is None else check_dtype(dtype))
        self._data[...] = data
        self.name = name
        self.trained = trained
        self.sparse = False  # whether training changes, of its rows, those alone that a batch names: of a table
        self.settled = False  # whether it stands in a model, whose dtype it has from then on
        self._frozen = False
        self._watchers = None

    def __reduce__(self):
        return Parameter, (np.array(self._data), self.name, self.trained, self._data.dtype), {"_frozen": self._frozen, "sparse": self.sparse}

    def convert(self, dtype):
        """Give it another dtype, and another block of memory: for one that stands in no model. Values are rounded where they must be."""
        if self._data.dtype != dtype:
            data = _native.aligned_zeros(self.shape, dtype)
            data[...] = self._data
            self._data = data

    def settle(self, dtype):
        """It stands in a model of that dtype from now on, and has it."""
        self.convert(dtype)
        self.settled = True

    @property
    def frozen(self):
        """Whether training leaves it as it is: `Layer.freeze` sets it."""
        return self._frozen

    @frozen.setter
    def frozen(self, frozen):
        self._frozen = bool(frozen)
        for watcher in self._watchers or ():
            watcher.invalidate()

    def watch(self, watcher):
        """Call ``watcher.invalidate()`` whenever `frozen` is set, for as long as the watcher lives."""
        if self._watchers is None:
            self._watchers = weakref.WeakSet()
        self._watchers.add(watcher)

    @property
    def data(self):
        """The values, a view of the parameter's dtype. Write into it, or assign an array of the same shape, between native calls."""
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
            raise ValueError(f"{self.name}: a copy is needed to convert {self._data.dtype} to {np.dtype(dtype)}")
        return self._data.astype(dtype)

    def __repr__(self):
        return f"Parameter({self.name}, shape={self.shape})"
