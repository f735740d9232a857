"""fastnn trains neural networks on CPUs from NumPy arrays, with fused C kernels.

Five doors, each usable alone: fused optimizers on arrays (`fastnn.optim`), fused kernels on arrays (`fastnn.kernels`), models
(`fastnn.nn`, `fastnn.losses`, `fastnn.Trainer`), estimators (`fastnn.sklearn`), and the command line (``fastnn train``).
"""

from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec

if _find_spec("fastnn._native") is None:
    raise ImportError(
        f"the compiled part of fastnn is missing in {__path__[0]}: this is the source folder, which has not been built; "
        "run 'pip install -e .' in it, or start Python elsewhere to use an installed fastnn"
    )

from ._version import __version__
from .core.dtypes import get_default_dtype, set_default_dtype
from .core.runtime import available_isas, get_isa, get_num_threads, set_num_threads, show_config, use_isa

# All else is imported when it is first asked for, so that nobody waits for what he does not use: name -> the module that has it;
# None: it is a module itself.
_HOMES = dict.fromkeys("data ensemble evolution init io kernels losses nn optim reference regularizers schedules tune".split())
_HOMES |= dict.fromkeys(("GradientCheck", "History", "Trainer", "callbacks", "check_gradients", "value_and_grad"), "training")
_HOMES |= {"manual_seed": "init", "minimize": "optim.minimize", "selftest": "self_test"}

__all__ = ["__version__", "available_isas", "get_default_dtype", "get_isa", "get_num_threads", "set_default_dtype", "set_num_threads",
           "show_config", "use_isa", *_HOMES]  # fmt: skip

# What needs more than NumPy, and what users seldom need by name.
_HOMES |= dict.fromkeys("cli distributed executors ops plan sklearn training".split())


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    value = _import_module(f"{__name__}.{home or name}")
    if home:
        value = getattr(value, name)
    globals()[name] = value
    return value


def __dir__():
    return [*__all__, "sklearn"]
