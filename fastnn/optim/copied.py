"""Copies and pickles of optimizers."""

import pickle
from copy import deepcopy

from .. import _native
from .parameters import check_param, copy_of
from .scheduled import schedules_in


def no_cached_step(grads):
    """In place of a step that may be done again without a closer look."""
    return False


class Copied:
    """The part of an `Optimizer` that makes it possible to copy and to pickle it."""

    def __getstate__(self):
        """Everything but the pointers, which are found again when they are needed."""
        with self.kernel_state.lock:
            own = {k: v for k, v in self.__dict__.items() if not isinstance(v, (_native.OptimizerState, _native.Exchange))}
            standing = {
                "progress": self._progress(),
                "skipped": self.skipped,
                "made": {k: v.made for k, v in self.__dict__.items() if isinstance(v, _native.Exchange)},
            }
            groups = tuple(map(dict, self.param_groups))
            return {**own, "param_groups": groups, "kernel_state": standing, "_tensors": None, "_cached_step": None, "_ahead": {}}

    def __reduce_ex__(self, protocol):
        for i, g in enumerate(self.param_groups):
            for name in self._checks:
                for schedule in schedules_in(g[name]):
                    try:
                        pickle.dumps(schedule)
                    except Exception as error:  # whatever a stranger's object raises
                        raise TypeError(
                            f"param_groups[{i}][{name!r}]: expected {'a rate' if name == 'lr' else 'a schedule'} that can be pickled, got "
                            f"{schedule!r}: of a function only the name is pickled, so it must be one of a module, not a lambda or a "
                            "function within a function; fastnn.schedules can be pickled, and so can state_dict(), which leaves "
                            f"functions out ({error})"
                        ) from error
        return super().__reduce_ex__(protocol)

    def __copy__(self):
        found = type(self).__new__(type(self))
        found.__setstate__(self.__getstate__())
        return found

    def __deepcopy__(self, memo):
        found = memo[id(self)] = type(self).__new__(type(self))
        found.__setstate__(deepcopy(self.__getstate__(), memo))
        return found

    def __setstate__(self, given):
        """A copy of a Parameter has an array of its own. So have the states, which may come as a file's memory that nobody may write."""
        standing = given["kernel_state"]
        self.__dict__.update(given)
        self._state = [tuple(map(copy_of, states)) for states in self._state]
        self._averages = [None if a is None else copy_of(a) for a in self._averages]
        self._params = [check_param(p, name) for p, name in zip(self._objects, self._names)]
        self._cached_step = no_cached_step
        self.kernel_state = _native.OptimizerState()
        self.kernel_state.set_progress(standing["progress"])
        self.kernel_state.skipped = standing["skipped"]
        self.param_groups = tuple(_native.Settings(g, self.kernel_state) for g in self.param_groups)
        for name, made in standing["made"].items():
            setattr(self, name, _native.Exchange(self.kernel_state, made))
