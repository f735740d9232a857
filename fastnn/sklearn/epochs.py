"""What an estimator does after each epoch, as a callback of the trainer: curves, scores, the best weights, and when to stop."""

from ..training.callbacks import Callback


class Epochs(Callback):
    """Tells an estimator of each epoch. It ends training where the estimator says so.

    Parameters
    ----------
    estimator : object
        Whose ``_end_epoch(logs)`` returns whether to stop.
    tasks : Tasks
        For the callbacks of scikit-learn.
    """

    def __init__(self, estimator, tasks):
        self.estimator, self.tasks = estimator, tasks

    def on_epoch_begin(self, epoch):
        self.tasks.begin()

    def on_epoch_end(self, epoch, logs):
        stop = self.estimator._end_epoch(logs)
        stop = self.tasks.end() or stop
        if stop:
            self.trainer.stop_training = True


class Tasks:
    """The tasks of a fit, for the callbacks of scikit-learn 1.9 and later (`sklearn.callback`): one of its own for each epoch.

    Parameters
    ----------
    estimator : object
        Nothing is done unless it, or an estimator around it, has callbacks of scikit-learn.
    epochs : int
    X, y, sample_weight
        What is trained on, as it was given: scores of it are those of an estimator that has been fitted.
    """

    def __init__(self, estimator, epochs, X, y, sample_weight=None):
        self.estimator, self.root, self.task = estimator, None, None
        self.data = {"X": X, "y": y, "metadata": {} if sample_weight is None else {"sample_weight": sample_weight}}
        if hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx"):
            self.root = estimator._init_callback_context(max_subtasks=epochs)
            self.root.call_on_fit_task_begin(estimator=estimator, **self.data)

    def begin(self):
        if self.root is not None:
            self.task = self.root.subcontext(task_name="epoch")
            self.task.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end(self, attributes=dict):
        """Whether a callback asks to stop. attributes: gives what a copy of the estimator needs more to predict as it stands now."""
        if self.root is None:
            return False
        return bool(self.task.call_on_fit_task_end(estimator=self.estimator, **self.data, reconstruction_attributes=attributes))

    def close(self):
        if self.root is not None:
            self.root.call_on_fit_task_end(estimator=self.estimator, **self.data, reconstruction_attributes=dict)
