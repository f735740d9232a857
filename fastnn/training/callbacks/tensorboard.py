"""TensorBoard: the numbers of every epoch for that program, by tensorboardX."""

import os
import time

import numpy as np

from ..checks import count
from .base import Callback
from .rates import rates_by_name


class TensorBoard(Callback):
    """Writes the numbers of every epoch for TensorBoard, which need not be installed; the package tensorboardX must be.

    Into the folder itself: ``tensorboard --logdir folder`` shows them. Tags are the history's names, and lr, or lr_0, lr_1 … where the
    optimizer has several groups, for the rates of the epoch's last step; steps are epochs, from 0 over the trainer's life. Where
    training is resumed, what was written beyond the checkpoint is not shown any more.

    Parameters
    ----------
    folder : str or os.PathLike
        Is made.
    histogram_freq : int, default 0
        After every so many epochs histograms of the parameters, by their names; 0: none.

    Raises
    ------
    ImportError
        From `fit`, before its first step, where tensorboardX is not installed.

    Examples
    --------
    >>> callbacks.TensorBoard("runs/first", histogram_freq=5).histogram_freq
    5
    """

    writes_files = True

    def __init__(self, folder, histogram_freq=0) -> None:
        self.folder, self.histogram_freq = os.fspath(folder), count(histogram_freq, "histogram_freq", 0)
        self._writer = None

    def check_names(self, names) -> None:
        try:
            import tensorboardX  # noqa: F401
        except ImportError as error:
            raise ImportError("callbacks.TensorBoard: expected the package tensorboardX; pip install tensorboardX", name=error.name) from None

    def on_train_begin(self) -> None:
        from tensorboardX import SummaryWriter

        # files are named by the second, and the next `fit` may begin in the same
        suffix = f".{time.time_ns() % 10**9:09d}"
        self._writer = SummaryWriter(logdir=self.folder, purge_step=self.trainer.epochs_done or None, filename_suffix=suffix)

    def on_epoch_end(self, epoch, logs) -> None:
        for name, value in {**rates_by_name(self.trainer), **logs}.items():
            self._writer.add_scalar(name, value, epoch)
        if self.histogram_freq and (epoch + 1) % self.histogram_freq == 0:
            for name, p in self.trainer.model.named_parameters():
                finite = p.data[np.isfinite(p.data)]
                if finite.size:  # there are no bins for others
                    self._writer.add_histogram(name, finite, epoch)
        self._writer.flush()

    def on_train_end(self) -> None:
        self._close()

    def on_exception(self, error) -> None:
        self._close()

    def _close(self):
        if self._writer is not None:
            self._writer.close()
            self._writer = None
