"""Fixed: the base of what plans are built on, whose settings stay as they are once it is made. It checks no values."""

import functools

from .checks import suggesting


class Fixed:
    """Refuses to set or delete attributes once its constructor, that of a subclass included, has returned.

    Of the package's own classes all public attributes are fixed but those in `changes`; of others what `_is_fixed` says.
    """

    changes = ()
    _made = False

    def __init_subclass__(cls, **more):
        super().__init_subclass__(**more)
        if "__init__" in vars(cls):
            setattr(cls, "__init__", _noting(cls.__init__))  # as an assignment checkers would take it for the constructor of all

    def _is_fixed(self, name):
        return type(self).__module__.startswith("fastnn.") and not name.startswith("_") and name not in self.changes

    def _instead(self, name):
        """What to do in place of setting it."""
        return f"make another {type(self).__name__}"

    def _refuse(self, name):
        if self._made and self._is_fixed(name):
            raise AttributeError(f"{type(self).__name__}.{name}: is fixed when it is made; {self._instead(name)}")

    def __setattr__(self, name, value):
        self._refuse(name)
        super().__setattr__(name, value)

    def __delattr__(self, name):
        self._refuse(name)
        super().__delattr__(name)


def _noting(init):
    init = suggesting(init)

    @functools.wraps(init)
    def noting(self, *args, **settings):
        init(self, *args, **settings)
        if type(self).__init__ is noting:  # and not that of a base
            vars(self)["_made"] = True

    return noting
