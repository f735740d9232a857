"""fastnn trains neural networks on CPUs from NumPy arrays, with fused C kernels.

Four doors, each usable alone: fused optimizers on arrays (`fastnn.optim`), fused kernels on arrays (`fastnn.kernels`),
models (`fastnn.nn`, `fastnn.losses`, `fastnn.Trainer`), and the command line (``fastnn train``).
"""

from importlib.util import find_spec as _find_spec

if _find_spec("fastnn._native") is None:
    raise ImportError(
        f"the compiled part of fastnn is missing in {__path__[0]}: this is the source folder, which has not been built; "
        "run 'pip install -e .' in it, or start Python elsewhere to use an installed fastnn"
    )

from . import data, init, kernels, losses, nn, optim, reference, regularizers, schedules
from ._version import __version__
from .init import manual_seed
from .core.runtime import available_isas, get_isa, get_num_threads, set_num_threads, show_config, use_isa
from .optim.minimize import minimize
from .selftest import selftest
from .training import GradientCheck, History, Trainer, callbacks, check_gradients, value_and_grad

__all__ = [
    "GradientCheck",
    "History",
    "Trainer",
    "__version__",
    "available_isas",
    "callbacks",
    "check_gradients",
    "data",
    "get_isa",
    "get_num_threads",
    "init",
    "kernels",
    "losses",
    "manual_seed",
    "minimize",
    "nn",
    "optim",
    "reference",
    "regularizers",
    "schedules",
    "selftest",
    "set_num_threads",
    "show_config",
    "use_isa",
    "value_and_grad",
]


_WHEN_ASKED_FOR = ("io",)  # packages that nothing else here needs


def __getattr__(name):
    if name in _WHEN_ASKED_FOR:
        from importlib import import_module

        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return [*__all__, *_WHEN_ASKED_FOR]
