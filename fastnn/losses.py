"""Losses: what a model is trained to make small. Each emits its operation into a plan."""


class Loss:
    """Base of the losses.

    A loss checks the targets that it is given and emits its operation; `emit` is called by the trainer.
    """

    name = "loss"

    def __repr__(self):
        return f"{type(self).__name__}()"


class SoftmaxCrossEntropy(Loss):
    """Softmax followed by cross-entropy, on the model's outputs (logits), for one class out of several.

        loss = mean over rows of  sum_j t_j (log sum_k exp z_k - z_j)
        dloss/dz_j = (softmax(z)_j sum_k t_k - t_j) / rows

    Stable for any finite logits. Targets are integer labels [rows], from 0 to the number of outputs less 1, of any integer
    dtype; or one row of floats for each sample [rows, outputs]: one-hot, or probabilities.

    The model's last layer gives the logits; do not put a softmax into it. `model.predict_proba` applies it.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dense(4, 3))
    >>> loss, grads = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), np.ones((2, 4)), np.array([0, 2]))
    >>> [g.shape for g in grads]
    [(4, 3), (3,)]
    """

    name = "softmax_cross_entropy"

    def check_targets(self, y, outputs, name="y"):
        """Return how the targets stand: "labels" or "rows". Errors name what was expected."""
        if y.dtype.kind in "biu":
            if y.ndim == 2 and y.shape[1] == 1 and outputs > 1:
                raise ValueError(f"{name}: expected labels of shape (rows,), got {y.shape}; use {name}.ravel()")
            if y.ndim == 1:
                return "labels"
        if y.dtype.kind == "f" and y.ndim == 1:
            raise TypeError(f"{name}: expected integer labels, got dtype {y.dtype}")
        if y.dtype.kind not in "biuf":
            raise TypeError(f"{name}: expected integer labels or rows of real numbers, got dtype {y.dtype}")
        if y.ndim != 2 or y.shape[1] != outputs:
            raise ValueError(f"{name}: expected labels of shape (rows,) or rows of shape (rows, {outputs}), got {y.shape}")
        return "rows"

    def emit(self, builder, outputs, kind):
        """Emit targets and loss for the model's outputs."""
        targets = builder.labels(outputs.columns) if kind == "labels" else builder.target_rows(outputs.columns)
        builder.softmax_cross_entropy(outputs, targets)


def check_loss(loss):
    """`loss` itself, once it is one."""
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise TypeError(f"loss: expected an instance, got the class {loss.__name__}; write losses.{loss.__name__}()")
    if not isinstance(loss, Loss):
        raise TypeError(f"loss: expected a loss of fastnn.losses, got {type(loss).__name__}")
    return loss
