"""fastnn trains neural networks on CPUs from NumPy arrays, with fused C kernels.

Four doors, each usable alone: fused optimizers on arrays (`fastnn.optim`), fused kernels on arrays (`fastnn.kernels`),
models (`fastnn.nn`, `fastnn.losses`, `fastnn.Trainer`), and the command line (``fastnn train``).
"""

from . import kernels, reference
from ._version import __version__
from .runtime import available_isas, get_isa, get_num_threads, set_num_threads, show_config, use_isa

from . import callbacks, data, init, losses, nn, optim
from .init import manual_seed
from .trainer import History, Trainer, value_and_grad
