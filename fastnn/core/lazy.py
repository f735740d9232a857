"""Packages whose modules are imported when a name of theirs is first used, so that nobody waits for what he does not use."""

import sys
from importlib import import_module


def opener(package, homes):
    """The ``__getattr__`` of a package. homes: {name: the module that has it; None: it is a module itself}."""

    def __getattr__(name):
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = import_module(f"{package}.{homes[name] or name}")
        if homes[name]:
            value = getattr(value, name)
        setattr(sys.modules[package], name, value)
        return value

    return __getattr__


def lazily(package, names, modules=""):
    """(``__getattr__``, ``__dir__``, ``__all__``) of a package. names: {module: its public names, with spaces between}; modules: those that
    are public themselves."""
    homes = {name: module for module, listed in names.items() for name in listed.split()} | dict.fromkeys(modules.split())
    public = sorted(homes)
    return opener(package, homes), lambda: public, public
