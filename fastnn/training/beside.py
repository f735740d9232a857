"""Jobs side by side, one on each thread: what fails in one ends the others."""

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from .callbacks import Callback


class StopWith(Callback):
    """Ends a training between two steps where another has failed, or Ctrl-C has come: when an event is set."""

    def __init__(self, event):
        self._event = event

    def on_epoch_begin(self, epoch):
        if self._event.is_set():
            self.trainer.stop_training = True

    def on_progress(self, step, logs):
        if self._event.is_set():
            self.trainer.stop_training = True


def in_threads(job, arguments, threads, event):
    """The results of ``job(*a)`` for each of the arguments, at most so many at a time, in order. The first exception, and Ctrl-C, set the
    event, which is to end the others, and are raised here."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(job, *a) for a in arguments]
        try:
            wait(waiting, return_when=FIRST_EXCEPTION)
            return [future.result() for future in waiting if future.done()]
        except BaseException:
            event.set()
            for future in waiting:
                future.cancel()
            raise
