"""What `dir` shows of models, optimizers and trainers: what their users call, not what the package's own parts call of each other."""


class Listed:
    """Leaves out of `dir` private names, and those that the class and its bases name in `_internal`.

    Examples
    --------
    >>> class Thing(Listed):
    ...     _internal = ("bind",)
    ...     def bind(self): pass
    ...     def step(self): pass
    >>> [name for name in dir(Thing()) if not name.startswith("__")]
    ['step']
    """

    _internal = ()

    def __dir__(self):
        internal = {name for kind in type(self).__mro__ for name in vars(kind).get("_internal", ())}
        return [n for n in super().__dir__() if n not in internal and (not n.startswith("_") or n.startswith("__"))]
