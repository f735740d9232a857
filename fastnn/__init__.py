"""fastnn trains neural networks on CPUs from NumPy arrays, with fused C kernels.

Five doors, each usable alone: fused optimizers on arrays (`fastnn.optim`), fused kernels on arrays (`fastnn.kernels`), models
(`fastnn.nn`, `fastnn.losses`, `fastnn.Trainer`), estimators (`fastnn.sklearn`), and the command line (``fastnn train``).
"""

from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING

if _find_spec("fastnn._native") is None:
    raise ImportError(
        f"the compiled part of fastnn is missing in {__path__[0]}: this is the source folder, which has not been built; "
        "run 'pip install -e .' in it, or start Python elsewhere to use an installed fastnn"
    )

from ._version import __version__ as __version__
from .core.dtypes import get_default_dtype as get_default_dtype
from .core.dtypes import set_default_dtype as set_default_dtype
from .core.lazy import opener as _opener
from .core.runtime import available_isas as available_isas
from .core.runtime import get_isa as get_isa
from .core.runtime import get_num_threads as get_num_threads
from .core.runtime import set_num_threads as set_num_threads
from .core.runtime import show_config as show_config
from .core.runtime import use_isa as use_isa

# All else is imported when it is first asked for, so that nobody waits for what he does not use: name -> the module that has it;
# None: it is a module itself.
_HOMES = dict.fromkeys("data ensemble evolution init io kernels losses nn optim reference regularizers schedules tune".split())
_HOMES |= dict.fromkeys(("GradientCheck", "History", "Trainer", "callbacks", "check_gradients", "value_and_grad"), "training")
_HOMES |= {"manual_seed": "init", "minimize": "optim.minimize", "selftest": "self_test"}

__all__ = ["__version__", "available_isas", "get_default_dtype", "get_isa", "get_num_threads", "set_default_dtype", "set_num_threads",
           "show_config", "use_isa", *_HOMES]  # fmt: skip

# What needs more than NumPy, and what users seldom need by name.
_HOMES |= dict.fromkeys("cli distributed executors ops plan sklearn training".split())

if TYPE_CHECKING:  # the same names for type checkers, which do not run what is below
    from . import cli as cli
    from . import data as data
    from . import distributed as distributed
    from . import ensemble as ensemble
    from . import evolution as evolution
    from . import executors as executors
    from . import init as init
    from . import io as io
    from . import kernels as kernels
    from . import losses as losses
    from . import nn as nn
    from . import ops as ops
    from . import optim as optim
    from . import plan as plan
    from . import reference as reference
    from . import regularizers as regularizers
    from . import schedules as schedules
    from . import sklearn as sklearn
    from . import training as training
    from . import tune as tune
    from .init import manual_seed as manual_seed
    from .optim.minimize import minimize as minimize
    from .self_test import selftest as selftest
    from .training import GradientCheck as GradientCheck
    from .training import History as History
    from .training import Trainer as Trainer
    from .training import callbacks as callbacks
    from .training import check_gradients as check_gradients
    from .training import value_and_grad as value_and_grad
else:
    __getattr__ = _opener(__name__, _HOMES)


def __dir__():
    return [*__all__, "sklearn"]
