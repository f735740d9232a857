"""Errors: nothing has changed, and the message says which argument, what was expected and what came."""

import math
import re

import numpy as np
import pytest

from fastnn import kernels
from fastnn.core.activations import ACTIVATIONS

from kernel_checks import F32, F64, frozen, normal, rng, same_bits


def f32(*shape):
    return normal(rng(*shape), *shape)


def misaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    raw[...] = a
    return raw


GOOD = {
    "dense_forward": lambda: {"x": f32(4, 3), "w": f32(3, 5), "b": f32(5), "activation": "relu", "out": f32(4, 5), "z": f32(4, 5)},
    "dense_backward": lambda: {"dy": f32(4, 5), "x": f32(4, 3), "w": f32(3, 5), "saved": f32(4, 5), "activation": "relu",
                               "out": (f32(4, 3), f32(3, 5), f32(5))},
    "bias_gradient": lambda: {"dy": f32(4, 5), "out": f32(5)},
    "activation_forward": lambda: {"x": f32(4, 5), "activation": "tanh", "out": f32(4, 5)},
    "activation_backward": lambda: {"dy": f32(4, 5), "saved": f32(4, 5), "activation": "tanh", "out": f32(4, 5)},
    "softmax_forward": lambda: {"x": f32(4, 5), "out": f32(4, 5)},
    "batchnorm_forward": lambda: {"x": f32(4, 5), "weight": f32(5), "bias": f32(5), "out": f32(4, 5)},
    "batchnorm_inference": lambda: {"x": f32(4, 5), "mean": f32(5), "var": np.abs(f32(5)), "weight": f32(5), "bias": f32(5),
                                    "out": f32(4, 5)},
    "batchnorm_backward": lambda: {"dy": f32(4, 5), "x": f32(4, 5), "statistics": f32(4, 5), "weight": f32(5), "out": f32(4, 5)},
    "layernorm_forward": lambda: {"x": f32(4, 5), "weight": f32(5), "bias": f32(5), "out": f32(4, 5)},
    "layernorm_backward": lambda: {"dy": f32(4, 5), "x": f32(4, 5), "statistics": f32(4, 3), "weight": f32(5), "out": f32(4, 5)},
    "rmsnorm_forward": lambda: {"x": f32(4, 5), "weight": f32(5), "out": f32(4, 5)},
    "rmsnorm_backward": lambda: {"dy": f32(4, 5), "x": f32(4, 5), "statistics": f32(4, 3), "weight": f32(5), "out": f32(4, 5)},
    "dropout_forward": lambda: {"x": f32(4, 5), "p": 0.5, "seed": 0, "out": f32(4, 5)},
    "dropout_backward": lambda: {"dy": f32(4, 5), "p": 0.5, "seed": 0, "out": f32(4, 5)},
    "gaussian_noise": lambda: {"x": f32(4, 5), "std": 0.5, "seed": 0, "out": f32(4, 5)},
    "maxout_forward": lambda: {"x": f32(4, 6), "pieces": 3, "out": f32(4, 2)},
    "maxout_backward": lambda: {"dy": f32(4, 2), "x": f32(4, 6), "pieces": 3, "out": f32(4, 6)},
    "softmax_cross_entropy": lambda: {"logits": f32(4, 5), "targets": np.array([0, 1, 2, 4]), "out": f32(4, 5),
                                      "class_weight": np.abs(f32(5)), "sample_weight": np.abs(f32(4))},
    "softmax_backward": lambda: {"dy": f32(4, 5), "y": f32(4, 5), "out": f32(4, 5)},
    "log_softmax_forward": lambda: {"x": f32(4, 5), "out": f32(4, 5)},
    "log_softmax_backward": lambda: {"dy": f32(4, 5), "y": f32(4, 5), "out": f32(4, 5)},
    "prelu_forward": lambda: {"x": f32(4, 5), "slope": f32(5), "out": f32(4, 5)},
    "prelu_backward": lambda: {"dy": f32(4, 5), "x": f32(4, 5), "slope": f32(5), "out": (f32(4, 5), f32(5))},
    **{name: lambda: {"outputs": f32(4, 5), "targets": np.abs(f32(4, 5)), "out": f32(4, 5), "sample_weight": np.abs(f32(4))}
       for name in ("mean_squared_error", "mean_absolute_error", "huber", "quantile", "poisson")},
    "binary_cross_entropy": lambda: {"logits": f32(4, 5), "targets": np.abs(f32(4, 5)), "out": f32(4, 5),
                                     "class_weight": np.abs(f32(2, 5)), "sample_weight": np.abs(f32(4))},
    "binary_hinge": lambda: {"outputs": f32(4, 5), "targets": np.abs(f32(4, 5)), "out": f32(4, 5),
                             "class_weight": np.abs(f32(2, 5)), "sample_weight": np.abs(f32(4))},
    "multiclass_hinge": lambda: {"outputs": f32(4, 5), "targets": np.array([0, 1, 2, 4]), "out": f32(4, 5),
                                 "class_weight": np.abs(f32(5)), "sample_weight": np.abs(f32(4))},
    "gather": lambda: {"source": f32(6, 5), "index": np.array([5, 0]), "out": f32(2, 5)},
    "gather_labels": lambda: {"labels": np.arange(6), "index": np.array([5, 0]), "classes": 6, "out": np.zeros(2, np.int32)},
    "sgd_update": lambda: {"params": [f32(4, 5), f32(3)], "grads": [f32(4, 5), f32(3)], "buffers": [f32(4, 5), f32(3)], "step": 1,
                           "lr": 0.1, "momentum": 0.9},
    "adam_update": lambda: {"params": [f32(4, 5), f32(3)], "grads": [f32(4, 5), f32(3)], "exp_avgs": [f32(4, 5), f32(3)],
                            "exp_avg_sqs": [np.abs(f32(4, 5)), np.abs(f32(3))], "step": 1},
    "embedding_forward": lambda: {"codes": np.array([[0, 2], [1, 1]]), "weight": f32(3, 4), "out": f32(2, 8)},
    "embedding_backward": lambda: {"dy": f32(2, 8), "codes": np.array([[0, 2], [1, 1]]), "num_embeddings": 3, "out": f32(3, 4)},
    "conv2d_forward": lambda: {"x": f32(2, 5, 4, 3), "w": f32(2, 3, 3, 6), "b": f32(6), "activation": "relu", "out": f32(2, 4, 2, 6),
                               "z": f32(2, 4, 2, 6)},
    "conv2d_backward": lambda: {"dy": f32(2, 4, 2, 6), "x": f32(2, 5, 4, 3), "w": f32(2, 3, 3, 6), "saved": f32(2, 4, 2, 6),
                                "activation": "relu", "out": (f32(2, 5, 4, 3), f32(2, 3, 3, 6), f32(6))},
    "maxpool2d_forward": lambda: {"x": f32(2, 4, 4, 3), "kernel_size": 2, "out": f32(2, 2, 2, 3)},
    "maxpool2d_backward": lambda: {"dy": f32(2, 2, 2, 3), "x": f32(2, 4, 4, 3), "kernel_size": 2, "out": f32(2, 4, 4, 3)},
    "avgpool2d_forward": lambda: {"x": f32(2, 4, 4, 3), "kernel_size": 2, "out": f32(2, 2, 2, 3)},
    "avgpool2d_backward": lambda: {"dy": f32(2, 2, 2, 3), "input_size": 4, "kernel_size": 2, "out": f32(2, 4, 4, 3)},
    "global_maxpool2d_forward": lambda: {"x": f32(2, 4, 4, 3), "out": f32(2, 3)},
    "global_maxpool2d_backward": lambda: {"dy": f32(2, 3), "x": f32(2, 4, 4, 3), "out": f32(2, 4, 4, 3)},
    "global_avgpool2d_forward": lambda: {"x": f32(2, 4, 4, 3), "out": f32(2, 3)},
    "global_avgpool2d_backward": lambda: {"dy": f32(2, 3), "input_size": 4, "out": f32(2, 4, 4, 3)},
    "stochastic_pool2d_forward": lambda: {"x": f32(2, 4, 4, 3), "kernel_size": 2, "seed": 0, "out": f32(2, 2, 2, 3)},
    "stochastic_pool2d_backward": lambda: {"dy": f32(2, 2, 2, 3), "x": f32(2, 4, 4, 3), "kernel_size": 2, "seed": 0, "out": f32(2, 4, 4, 3)},
    "stochastic_pool2d_inference": lambda: {"x": f32(2, 4, 4, 3), "kernel_size": 2, "out": f32(2, 2, 2, 3)},
    "stochastic_pool2d_inference_backward": lambda: {"dy": f32(2, 2, 2, 3), "x": f32(2, 4, 4, 3), "kernel_size": 2, "out": f32(2, 4, 4, 3)},
    "groupnorm_forward": lambda: {"x": f32(2, 3, 4), "num_groups": 2, "weight": f32(4), "bias": f32(4), "out": f32(2, 3, 4)},
    "groupnorm_backward": lambda: {"dy": f32(2, 3, 4), "x": f32(2, 3, 4), "num_groups": 2, "weight": f32(4), "out": f32(2, 3, 4)},
    "dropout2d_forward": lambda: {"x": f32(2, 3, 4), "p": 0.5, "seed": 0, "out": f32(2, 3, 4)},
    "dropout2d_backward": lambda: {"dy": f32(2, 3, 4), "p": 0.5, "seed": 0, "out": f32(2, 3, 4)},
    "penalty_forward": lambda: {"w": f32(4, 5), "l1": 0.1, "l2": 0.2},
    "penalty_backward": lambda: {"w": f32(4, 5), "dw": f32(4, 5), "l1": 0.1, "l2": 0.2},
    "random_bits": lambda: {"n": 5, "seed": 0, "stream": 0},
    "permutation": lambda: {"n": 5, "seed": 0},
}  # fmt: skip

# Every array argument of the kernels that take float32 arrays, with the names of those that are written.
FLOAT_ARRAYS = {
    "dense_forward": (["x", "w", "b"], ["out", "z"]),
    "dense_backward": (["dy", "x", "w", "saved"], []),
    "bias_gradient": (["dy"], ["out"]),
    "activation_forward": (["x"], ["out"]),
    "activation_backward": (["dy", "saved"], ["out"]),
    "softmax_forward": (["x"], ["out"]),
    "batchnorm_forward": (["x", "weight", "bias"], ["out"]),
    "batchnorm_inference": (["x", "mean", "var", "weight", "bias"], ["out"]),
    "batchnorm_backward": (["dy", "x", "statistics", "weight"], ["out"]),
    "layernorm_forward": (["x", "weight", "bias"], ["out"]),
    "layernorm_backward": (["dy", "x", "statistics", "weight"], ["out"]),
    "rmsnorm_forward": (["x", "weight"], ["out"]),
    "rmsnorm_backward": (["dy", "x", "statistics", "weight"], ["out"]),
    "dropout_forward": (["x"], ["out"]),
    "dropout_backward": (["dy"], ["out"]),
    "gaussian_noise": (["x"], ["out"]),
    "maxout_forward": (["x"], ["out"]),
    "maxout_backward": (["dy", "x"], ["out"]),
    "softmax_cross_entropy": (["logits", "class_weight", "sample_weight"], ["out"]),
    "softmax_backward": (["dy", "y"], ["out"]),
    "log_softmax_forward": (["x"], ["out"]),
    "log_softmax_backward": (["dy", "y"], ["out"]),
    "prelu_forward": (["x", "slope"], ["out"]),
    "prelu_backward": (["dy", "x", "slope"], []),
    **{name: (["outputs", "targets", "sample_weight"], ["out"])
       for name in ("mean_squared_error", "mean_absolute_error", "huber", "quantile", "poisson")},
    "binary_cross_entropy": (["logits", "targets", "class_weight", "sample_weight"], ["out"]),
    "binary_hinge": (["outputs", "targets", "class_weight", "sample_weight"], ["out"]),
    "multiclass_hinge": (["outputs", "class_weight", "sample_weight"], ["out"]),
    "gather": ([], ["out"]),
    "embedding_forward": (["weight"], ["out"]),
    "embedding_backward": (["dy"], ["out"]),
    "conv2d_forward": (["x", "w", "b"], ["out", "z"]),
    "conv2d_backward": (["dy", "x", "w", "saved"], []),
    **{f"{kind}pool2d_forward": (["x"], ["out"]) for kind in ("max", "avg", "global_max", "global_avg")},
    **{f"{kind}pool2d_backward": (["dy", "x"], ["out"]) for kind in ("max", "global_max")},
    **{f"{kind}pool2d_backward": (["dy"], ["out"]) for kind in ("avg", "global_avg")},
    **{f"stochastic_pool2d_{way}": (["x"], ["out"]) for way in ("forward", "inference")},
    **{f"stochastic_pool2d_{way}": (["dy", "x"], ["out"]) for way in ("backward", "inference_backward")},
    "groupnorm_forward": (["x", "weight", "bias"], ["out"]),
    "groupnorm_backward": (["dy", "x", "weight"], ["out"]),
    "dropout2d_forward": (["x"], ["out"]),
    "dropout2d_backward": (["dy"], ["out"]),
    "penalty_forward": (["w"], []),
    "penalty_backward": (["w"], ["dw"]),
}

BAD = [
    # what is wrong with one array: a change, the exception
    (lambda a: a.astype(F64), TypeError),
    (lambda a: a.astype(np.int32), TypeError),
    (lambda a: a.astype(np.float16), TypeError),
    (lambda a: a.astype(np.complex64), TypeError),
    (lambda a: a.astype(a.dtype.newbyteorder()), TypeError),
    (lambda a: a.tolist(), TypeError),
    (lambda a: 1.0, TypeError),
    (lambda a: np.repeat(a, 2, axis=-1)[..., ::2], ValueError),
    (lambda a: np.flip(np.flip(a, -1).copy(), -1), ValueError),
    (lambda a: misaligned(a), ValueError),
    (lambda a: a[:0], ValueError),
]
BAD_SHAPE = [lambda a: a[:-1].copy(), lambda a: np.concatenate([a, a]), lambda a: a[None].copy()]


def arrays_in(value):
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from arrays_in(v)


def assert_refused(function, args, error, message=None):
    before = [a.copy() for a in arrays_in(list(args.values()))]
    with pytest.raises(error) as caught:
        getattr(kernels, function)(**args)
    text = str(caught.value)
    assert re.match(r"[\w\[\]., ]+: expected .+, got .+", text), text
    if message:
        assert message in text, text
    assert same_bits(tuple(arrays_in(list(args.values()))), tuple(before))


def test_good_arguments_are_good():
    for function, args in GOOD.items():
        getattr(kernels, function)(**args())
    rest = {"softmax_cross_entropy_rows", "softmax_cross_entropy_correct"}
    assert set(GOOD) | rest == set(kernels.__all__)


@pytest.mark.parametrize("function", FLOAT_ARRAYS)
def test_arrays_that_are_refused(function):
    inputs, outputs = FLOAT_ARRAYS[function]
    for name in inputs + outputs:
        for change, error in BAD[len(inputs + outputs) == 1 and function != "gather" :]:  # alone it says the dtype
            args = GOOD[function]()
            args[name] = change(args[name])
            assert_refused(function, args, error)
    for name in outputs:
        args = GOOD[function]()
        assert_refused(function, args | {name: frozen(args[name])}, ValueError, f"{name}: expected a writable array")
        for change in BAD_SHAPE:
            args = GOOD[function]()
            assert_refused(function, args | {name: change(args[name])}, ValueError, f"{name}: expected")


def test_read_only_inputs_are_fine():
    for function, (inputs, _) in FLOAT_ARRAYS.items():
        args = GOOD[function]()
        getattr(kernels, function)(**args | {name: frozen(args[name]) for name in inputs})


# function, changed arguments, exception, part of the message
REFUSED = [
    ("dense_forward", {"w": f32(4, 5)}, ValueError, "w: expected shape (3, 5), got (4, 5)"),
    ("dense_forward", {"b": f32(4)}, ValueError, "b: expected shape (5,), got (4,)"),
    ("dense_forward", {"x": f32(3)}, ValueError, "x: expected 2 dimensions, got shape (3,)"),
    ("dense_forward", {"activation": "softmax"}, ValueError, f"activation: expected one of {', '.join(ACTIVATIONS)}, got 'softmax'"),
    ("dense_forward", {"activation": 3}, TypeError, "activation: expected a name, got int"),
    ("dense_forward", {"activation": "leaky_relu", "alpha": -0.1}, ValueError, "alpha: expected"),
    ("dense_forward", {"activation": "leaky_relu", "alpha": np.nan}, ValueError, "alpha: expected"),
    ("dense_forward", {"activation": "leaky_relu", "alpha": np.inf}, ValueError, "alpha: expected"),
    ("dense_forward", {"activation": "leaky_relu", "alpha": 1e39}, ValueError, "alpha: expected"),
    ("dense_forward", {"activation": "leaky_relu", "alpha": "0.1"}, TypeError, "alpha: expected"),
    ("dense_backward", {"dy": f32(3, 5)}, ValueError, "dy: expected shape (4, 5), got (3, 5)"),
    ("dense_backward", {"x": f32(4, 2)}, ValueError, "w: expected shape (2, 5), got (3, 5)"),
    ("dense_backward", {"saved": None}, ValueError, "saved: expected"),
    ("dense_backward", {"saved": f32(4, 4)}, ValueError, "saved: expected shape (4, 5), got (4, 4)"),
    ("dense_backward", {"need_dx": False}, ValueError, "out: expected no dx where need_dx is False"),
    ("dense_backward", {"out": f32(4, 3)}, TypeError, "out: expected None or a tuple (dx, dw, db), got ndarray"),
    ("dense_backward", {"out": (None, None)}, TypeError, "out: expected None or a tuple (dx, dw, db), got 2 items"),
    ("dense_backward", {"out": (f32(4, 2), None, None)}, ValueError, "dx: expected shape (4, 3), got (4, 2)"),
    ("dense_backward", {"out": (None, f32(5, 3), None)}, ValueError, "dw: expected shape (3, 5), got (5, 3)"),
    ("dense_backward", {"out": (None, None, f32(3))}, ValueError, "db: expected shape (5,), got (3,)"),
    ("dense_backward", {"out": (None, None, frozen(f32(5)))}, ValueError, "db: expected a writable array"),
    ("dense_backward", {"activation": "leaky_relu", "alpha": -1}, ValueError, "alpha: expected"),
    ("activation_backward", {"saved": None}, ValueError, "saved: expected the output of tanh, got None"),
    ("activation_backward", {"saved": f32(5, 4)}, ValueError, "saved: expected"),
    ("activation_backward", {"activation": "gelu?"}, ValueError, "activation: expected"),
    ("activation_forward", {"activation": "Relu"}, ValueError, "activation: expected"),
    ("softmax_forward", {"x": f32(5)}, ValueError, "x: expected 2 dimensions, got shape (5,)"),
    ("softmax_cross_entropy", {"targets": np.array([0, 1, 2, 5])}, ValueError, "targets[3]: expected a class number >= 0 and < 5, got 5"),
    ("softmax_cross_entropy", {"targets": np.array([0, -1, 2, 9])}, ValueError, "targets[1]: expected a class number >= 0 and < 5, got -1"),
    ("softmax_cross_entropy", {"targets": np.array([0, 1, 2])}, ValueError, "targets: expected shape (4,), got (3,)"),
    ("softmax_cross_entropy", {"targets": np.zeros((4, 5), int)}, ValueError, "targets: expected shape (4,), got (4, 5)"),
    ("softmax_cross_entropy", {"targets": np.zeros(4, F32)}, TypeError, "targets: expected class numbers of an integer dtype, got dtype float32"),
    ("softmax_cross_entropy", {"targets": np.zeros(4, bool)}, TypeError, "targets: expected integers or rows of floating-point numbers, got dtype bool"),
    ("softmax_cross_entropy", {"targets": np.zeros((4, 5))}, TypeError, "targets: expected dtype float32, got float64"),
    ("softmax_cross_entropy", {"targets": f32(4, 4)}, ValueError, "targets: expected shape (4, 5), got (4, 4)"),
    ("softmax_cross_entropy", {"targets": [0, 1, 2, 3]}, TypeError, "targets: expected a NumPy array, got list"),
    ("softmax_cross_entropy", {"targets": np.zeros(4, ">i8")}, TypeError, "targets: expected"),
    ("conv2d_forward", {"x": f32(5, 4, 3)}, ValueError, "x: expected 4 dimensions, got shape (5, 4, 3)"),
    ("conv2d_forward", {"w": f32(2, 3, 4, 6)}, ValueError, "w: expected shape (2, 3, 3, 6), got (2, 3, 4, 6)"),
    ("conv2d_forward", {"w": f32(6, 3, 3, 6)}, ValueError, "x: expected images of at least 6 pixels along each side"),
    ("conv2d_forward", {"groups": 2}, ValueError, "groups: expected a divisor of the 3 channels and the 6 filters, got 2"),
    ("conv2d_forward", {"groups": 0}, ValueError, "groups: expected an integer from 1"),
    ("conv2d_forward", {"stride": 0}, ValueError, "stride: expected an integer from 1"),
    ("conv2d_forward", {"stride": (1, 2, 3)}, ValueError, "stride: expected a number, or two"),
    ("conv2d_forward", {"dilation": 1.5}, TypeError, "dilation: expected an integer, got 1.5"),
    ("conv2d_forward", {"padding": -1}, ValueError, "padding: expected an integer from 0"),
    ("conv2d_forward", {"padding": "full"}, ValueError, "padding: expected numbers, 'same' or 'valid', got 'full'"),
    ("conv2d_forward", {"padding": 2**30}, ValueError, "x, padding: expected images of fewer than 2**31 elements"),
    ("conv2d_forward", {"b": f32(5)}, ValueError, "b: expected shape (6,), got (5,)"),
    ("conv2d_forward", {"out": f32(2, 4, 3, 6)}, ValueError, "out: expected shape (2, 4, 2, 6), got (2, 4, 3, 6)"),
    ("conv2d_backward", {"dy": f32(2, 4, 3, 6)}, ValueError, "dy: expected shape (2, 4, 2, 6), got (2, 4, 3, 6)"),
    ("conv2d_backward", {"saved": None}, ValueError, "saved: expected the output of the activation, got None"),
    ("conv2d_backward", {"need_dx": False}, ValueError, "out: expected no dx where need_dx is False"),
    ("conv2d_backward", {"out": (None, None)}, TypeError, "out: expected None or a tuple (dx, dw, db), got 2 items"),
    ("conv2d_backward", {"out": (None, f32(2, 3, 3, 5), None)}, ValueError, "dw: expected shape (2, 3, 3, 6), got (2, 3, 3, 5)"),
    ("maxpool2d_forward", {"kernel_size": 5}, ValueError, "x: expected images of at least 5 pixels along each side"),
    ("maxpool2d_forward", {"padding": 2}, ValueError, "padding: expected less than the kernel, (2, 2), got (2, 2, 2, 2)"),
    ("maxpool2d_forward", {"x": f32(2, 1, 4, 3), "padding": 1, "dilation": 2}, ValueError, "x: expected images of which every window has a pixel"),
    ("maxpool2d_forward", {"ceil_mode": 1}, TypeError, "ceil_mode: expected True or False, got 1"),
    ("maxpool2d_backward", {"dy": f32(2, 2, 3, 3)}, ValueError, "dy: expected shape (2, 2, 2, 3), got (2, 2, 3, 3)"),
    ("avgpool2d_backward", {"input_size": (4, 1)}, ValueError, "input_size: expected images of at least 2 pixels"),
    ("avgpool2d_backward", {"input_size": 2**20}, ValueError, "input_size: expected fewer than 2**31 pixels"),
    ("global_maxpool2d_backward", {"dy": f32(2, 4)}, ValueError, "dy: expected shape (2, 3), got (2, 4)"),
    ("groupnorm_forward", {"num_groups": 3}, ValueError, "num_groups: expected a divisor of the 4 channels, got 3"),
    ("groupnorm_forward", {"num_groups": 0}, ValueError, "num_groups: expected an integer from 1"),
    ("groupnorm_forward", {"x": f32(4)}, ValueError, "x: expected 2 dimensions or more, got shape (4,)"),
    ("groupnorm_forward", {"weight": f32(3)}, ValueError, "weight: expected shape (4,), got (3,)"),
    ("groupnorm_backward", {"dy": f32(2, 4, 4)}, ValueError, "dy: expected shape (2, 3, 4), got (2, 4, 4)"),
    ("dropout2d_forward", {"p": 2.0}, ValueError, "p: expected a number from 0 to 1, got 2.0"),
    ("dropout2d_forward", {"x": f32(4)}, ValueError, "x: expected 2 dimensions or more, got shape (4,)"),
    ("stochastic_pool2d_forward", {"seed": -1}, ValueError, "seed: expected an integer from 0"),
    ("stochastic_pool2d_backward", {"dy": f32(2, 2, 3, 3)}, ValueError, "dy: expected shape (2, 2, 2, 3), got (2, 2, 3, 3)"),
    ("batchnorm_forward", {"weight": f32(4)}, ValueError, "weight: expected shape (5,), got (4,)"),
    ("batchnorm_forward", {"eps": -1.0}, ValueError, "eps: expected a number >= 0, got -1.0"),
    ("batchnorm_forward", {"eps": 1e39}, ValueError, "eps: expected a number that is finite in float32"),
    ("batchnorm_forward", {"activation": "softmax"}, ValueError, "activation: expected"),
    ("batchnorm_inference", {"var": f32(6)}, ValueError, "var: expected shape (5,), got (6,)"),
    ("batchnorm_backward", {"statistics": f32(3, 5)}, ValueError, "statistics: expected shape (4, 5), got (3, 5)"),
    ("batchnorm_backward", {"x": f32(4, 6)}, ValueError, "dy: expected shape (4, 6), got (4, 5)"),
    ("layernorm_backward", {"statistics": f32(4, 2)}, ValueError, "statistics: expected shape (4, 3), got (4, 2)"),
    ("rmsnorm_forward", {"eps": np.nan}, ValueError, "eps: expected a number >= 0, got nan"),
    ("dropout_forward", {"p": 1.5}, ValueError, "p: expected a number from 0 to 1, got 1.5"),
    ("dropout_forward", {"p": np.nan}, ValueError, "p: expected a number from 0 to 1, got nan"),
    ("dropout_forward", {"p": None}, TypeError, "p: expected a number, got None"),
    ("dropout_forward", {"seed": -1}, ValueError, "seed: expected an integer from 0"),
    ("dropout_forward", {"offset": 2**32}, ValueError, "offset: expected an integer from 0"),
    ("dropout_backward", {"stream": 2**32}, ValueError, "stream: expected an integer from 0"),
    ("gaussian_noise", {"std": -1}, ValueError, "std: expected a number >= 0, got -1"),
    ("gaussian_noise", {"std": 1e39}, ValueError, "std: expected a number that is finite in float32"),
    ("maxout_forward", {"pieces": 4}, ValueError, "x: expected 4 pieces of one width in a row, got shape (4, 6)"),
    ("maxout_forward", {"pieces": 0}, ValueError, "pieces: expected an integer from 1"),
    ("maxout_backward", {"dy": f32(4, 3)}, ValueError, "dy: expected shape (4, 2), got (4, 3)"),
    ("softmax_cross_entropy", {"label_smoothing": 1.5}, ValueError, "label_smoothing: expected a number from 0 to 1, got 1.5"),
    ("softmax_cross_entropy", {"class_weight": f32(4)}, ValueError, "class_weight: expected shape (5,), got (4,)"),
    ("softmax_cross_entropy", {"sample_weight": f32(5)}, ValueError, "sample_weight: expected shape (4,), got (5,)"),
    ("softmax_cross_entropy", {"reduction": "none"}, ValueError, "reduction: expected 'mean' or 'sum', got 'none'"),
    ("softmax_backward", {"y": f32(4, 4)}, ValueError, "y: expected shape (4, 5), got (4, 4)"),
    ("prelu_forward", {"slope": f32(4)}, ValueError, "slope: expected shape (1,) or (5,), got (4,)"),
    ("prelu_backward", {"slope": f32(4)}, ValueError, "slope: expected shape (1,) or (5,), got (4,)"),
    ("prelu_backward", {"x": f32(4, 4)}, ValueError, "x: expected shape (4, 5), got (4, 4)"),
    ("prelu_backward", {"out": f32(4, 5)}, TypeError, "out: expected None or a tuple (dx, dslope), got ndarray"),
    ("prelu_backward", {"out": (f32(4, 4), None)}, ValueError, "dx: expected shape (4, 5), got (4, 4)"),
    ("prelu_backward", {"out": (None, f32(1))}, ValueError, "dslope: expected shape (5,), got (1,)"),
    ("mean_squared_error", {"targets": f32(4, 4)}, ValueError, "targets: expected shape (4, 5), got (4, 4)"),
    ("mean_squared_error", {"outputs": f32(5)}, ValueError, "outputs: expected 2 dimensions, got shape (5,)"),
    ("mean_absolute_error", {"reduction": None}, ValueError, "reduction: expected 'mean' or 'sum', got None"),
    ("huber", {"delta": 0}, ValueError, "delta: expected a number > 0, finite in float32, got 0.0"),
    ("huber", {"delta": np.nan}, ValueError, "delta: expected"),
    ("poisson", {"eps": -1}, ValueError, "eps: expected a number >= 0, finite in float32, got -1.0"),
    ("binary_cross_entropy", {"logits": f32(4, 4)}, ValueError, "class_weight: expected shape (2, 4), got (2, 5)"),
    ("binary_cross_entropy", {"targets": np.zeros((4, 5), int)}, TypeError, "targets: expected dtype float32, got int64"),
    ("binary_hinge", {"margin": "1x"}, TypeError, "margin: expected a number, got '1x'"),
    ("multiclass_hinge", {"margin": np.inf}, ValueError, "margin: expected"),
    ("multiclass_hinge", {"targets": np.array([0, 1, 2, 5])}, ValueError, "targets[3]: expected a class number >= 0 and < 5, got 5"),
    ("multiclass_hinge", {"targets": np.zeros(4)}, TypeError, "targets: expected class numbers of an integer dtype, got dtype float64"),
    ("gather", {"source": np.zeros((6, 5), complex)}, TypeError, "source: expected a real dtype in native byte order"),
    ("gather", {"source": np.zeros((6, 5), object)}, TypeError, "source: expected a real dtype"),
    ("gather", {"source": np.zeros((6, 5), np.longdouble)}, TypeError, "source: expected a real dtype"),
    ("gather", {"source": np.zeros((6, 5), "M8[s]")}, TypeError, "source: expected a real dtype"),
    ("gather", {"source": np.zeros((6, 5), "U3")}, TypeError, "source: expected a real dtype"),
    ("gather", {"source": np.zeros((6, 5), ">f4")}, TypeError, "source: expected a real dtype in native byte order, got >f4"),
    ("gather", {"source": [[1.0]]}, TypeError, "source: expected a NumPy array, got list"),
    ("gather", {"source": np.zeros(6)}, ValueError, "source: expected 2 dimensions or more, got shape (6,)"),
    ("gather", {"source": np.zeros((0, 5))}, ValueError, "source: expected at least one row"),
    ("gather", {"source": np.zeros((5, 6)).T}, ValueError, "source: expected the elements of a row side by side"),
    ("gather", {"source": np.zeros((6, 10))[:, ::2]}, ValueError, "source: expected the elements of a row side by side"),
    ("gather", {"source": misaligned(np.zeros((6, 5)))}, ValueError, "source: expected an aligned array"),
    ("gather", {"index": np.array([5, 0], np.int32)}, TypeError, "index: expected dtype int64, got int32"),
    ("gather", {"index": np.array([5.0, 0.0])}, TypeError, "index: expected dtype int64, got float64"),
    ("gather", {"index": [5, 0]}, TypeError, "index: expected a NumPy array, got list"),
    ("gather", {"index": np.array([[5, 0]])}, ValueError, "index: expected 1 dimension, got shape (1, 2)"),
    ("gather", {"index": np.zeros(0, np.int64)}, ValueError, "index: expected at least one element"),
    ("gather", {"index": np.array([5, 0, 1, 2])[::2]}, ValueError, "index: expected a C-contiguous array"),
    ("gather", {"index": np.array([0, 6])}, IndexError, "index[1]: expected a row from 0 to 5, got 6"),
    ("gather", {"scale": "2x"}, TypeError, "scale: expected a number, got '2x'"),
    ("gather_labels", {"labels": np.zeros(6)}, TypeError, "labels: expected an integer dtype, got float64"),
    ("gather_labels", {"labels": np.zeros(6, bool)}, TypeError, "labels: expected an integer dtype, got bool"),
    ("gather_labels", {"labels": [0] * 6}, TypeError, "labels: expected a NumPy array, got list"),
    ("gather_labels", {"labels": np.zeros((6, 1), int)}, ValueError, "labels: expected 1 dimension, got shape (6, 1)"),
    ("gather_labels", {"labels": np.zeros(6, ">i4")}, TypeError, "labels: expected a real dtype in native byte order"),
    ("gather_labels", {"out": np.zeros(2, np.int64)}, TypeError, "out: expected dtype int32, got int64"),
    ("gather_labels", {"out": np.zeros(3, np.int32)}, ValueError, "out: expected shape (2,), got (3,)"),
    ("gather_labels", {"classes": 2**31 + 1}, ValueError, "classes: expected an integer from 0 to 2147483648"),
    ("gather_labels", {"classes": -1}, ValueError, "classes: expected"),
    ("gather_labels", {"classes": 6.0}, TypeError, "classes: expected an integer, got 6.0"),
    ("sgd_update", {"params": f32(4, 5)}, TypeError, "params: expected a list of arrays, got ndarray"),
    ("sgd_update", {"grads": [f32(4, 5)]}, ValueError, "grads: expected 2 arrays, one for each parameter, got 1"),
    ("sgd_update", {"grads": [f32(4, 5), f32(4)]}, ValueError, "grads[1]: expected the parameter's shape (3,), got (4,)"),
    ("sgd_update", {"grads": [f32(4, 5), np.zeros(3)]}, TypeError, "grads[1]: expected the parameter's dtype float32, got float64"),
    ("sgd_update", {"grads": [f32(5, 4).T, f32(3)]}, ValueError, "grads[0]: expected the parameter's memory layout"),
    ("sgd_update", {"grads": [f32(4, 10)[:, ::2], f32(3)]}, ValueError, "grads[0]: expected the parameter's memory layout"),
    ("sgd_update", {"grads": [f32(4, 5), misaligned(f32(3))]}, ValueError, "grads[1]: expected an aligned array"),
    ("sgd_update", {"grads": [f32(4, 5), None]}, TypeError, "grads[1]: expected a NumPy array, got NoneType"),
    ("sgd_update", {"params": [f32(4, 5), frozen(f32(3))]}, ValueError, "params[1]: expected a writable array"),
    ("sgd_update", {"params": [f32(4, 5), np.zeros(3, np.float16)]}, TypeError, "params[1]: expected dtype float32 or float64, got float16"),
    ("sgd_update", {"params": [f32(4, 5), np.zeros(3, ">f4")]}, TypeError, "params[1]: expected dtype float32 or float64, got >f4"),
    ("sgd_update", {"params": [f32(4, 5), f32(6)[::2]]}, ValueError, "params[1]: expected a contiguous array"),
    ("sgd_update", {"params": [f32(4, 5), f32(0)]}, ValueError, "params[1]: expected at least one element"),
    ("sgd_update", {"buffers": [f32(4, 5), frozen(f32(3))]}, ValueError, "buffers[1]: expected a writable array"),
    ("sgd_update", {"buffers": [np.asfortranarray(f32(4, 5)), f32(3)]}, ValueError, "buffers[0]: expected the parameter's memory layout"),
    ("sgd_update", {"buffers": None}, TypeError, "buffers: expected a list of arrays, got NoneType"),
    ("sgd_update", {"momentum": 0.0}, ValueError, "buffers: expected None when momentum is 0, got list"),
    ("sgd_update", {"momentum": -0.5}, ValueError, "momentum: expected a number >= 0, got -0.5"),
    ("sgd_update", {"momentum": None}, TypeError, "momentum: expected a number, got None"),
    ("sgd_update", {"lr": np.nan}, ValueError, "lr: expected a number >= 0, got nan"),
    ("sgd_update", {"lr": 10**400}, ValueError, "lr: expected a number that a double can hold"),
    ("sgd_update", {"weight_decay": -1}, ValueError, "weight_decay: expected a number >= 0, got -1"),
    ("sgd_update", {"nesterov": True, "dampening": 0.5}, ValueError, "nesterov: expected momentum > 0 and dampening 0"),
    ("sgd_update", {"step": 0}, ValueError, "step: expected an integer from 1"),
    ("sgd_update", {"step": 1.0}, TypeError, "step: expected an integer, got 1.0"),
    ("adam_update", {"beta1": 1.0}, ValueError, "beta1: expected a number >= 0 and < 1, got 1.0"),
    ("adam_update", {"beta2": -0.1}, ValueError, "beta2: expected a number >= 0 and < 1, got -0.1"),
    ("adam_update", {"eps": -1e-8}, ValueError, "eps: expected a number >= 0"),
    ("adam_update", {"exp_avgs": [f32(4, 5)]}, ValueError, "exp_avgs: expected 2 arrays"),
    ("adam_update", {"exp_avg_sqs": [f32(4, 5), np.zeros(3)]}, TypeError, "exp_avg_sqs[1]: expected the parameter's dtype"),
    ("adam_update", {"exp_avg_sqs": [f32(4, 5), frozen(f32(3))]}, ValueError, "exp_avg_sqs[1]: expected a writable array"),
    ("adam_update", {"step": -1}, ValueError, "step: expected"),
    ("penalty_forward", {"l1": -1}, ValueError, "l1: expected a number >= 0, got -1"),
    ("penalty_forward", {"l2": np.nan}, ValueError, "l2: expected a number >= 0, got nan"),
    ("penalty_backward", {"l2": 1e39}, ValueError, "l2: expected a number that is finite in float32, got 1e+39"),
    ("penalty_backward", {"l1": "x"}, TypeError, "l1: expected a number, got 'x'"),
    ("random_bits", {"n": -1}, ValueError, "n: expected"),
    ("random_bits", {"n": 2.5}, TypeError, "n: expected an integer, got 2.5"),
    ("random_bits", {"seed": 2**64}, ValueError, "seed: expected"),
    ("random_bits", {"stream": 2**32}, ValueError, "stream: expected"),
    ("random_bits", {"step": -1}, ValueError, "step: expected"),
    ("random_bits", {"offset": 2**64 - 1}, ValueError, "offset: expected offset + n of at most 2**64"),
    ("permutation", {"n": -1}, ValueError, "n: expected"),
    ("permutation", {"seed": -1}, ValueError, "seed: expected"),
    ("permutation", {"epoch": 2**32}, ValueError, "epoch: expected"),
]  # fmt: skip


IDS = [f"{function}-{'-'.join(change)}-{i}" for i, (function, change, _, _) in enumerate(REFUSED)]


@pytest.mark.parametrize("function, change, error, message", REFUSED, ids=IDS)
def test_arguments_that_are_refused(function, change, error, message):
    assert_refused(function, GOOD[function]() | change, error, message)


def test_integers_of_numpy_are_integers():
    assert same_bits(kernels.random_bits(np.int32(5), np.uint64(7), np.int8(1)), kernels.random_bits(5, 7, 1))


def parts_of(size, *shapes, dtype=F32):
    """Arrays of the shapes that each begin one element after the one before, in one block."""
    block = np.zeros(size, dtype)
    return [block[i : i + math.prod(s)].reshape(s) for i, s in enumerate(shapes)]


def assert_overlap_refused(function, name, **change):
    assert_refused(function, GOOD[function]() | change, ValueError, f"{name}: expected")


def test_outputs_that_overlap_are_refused():
    x, out = parts_of(100, (4, 3), (4, 5))
    assert_overlap_refused("dense_forward", "out", x=x, out=out)
    w, z = parts_of(100, (3, 5), (4, 5))
    assert_overlap_refused("dense_forward", "z", w=w, z=z)
    assert_overlap_refused("dense_forward", "z", out=z, z=z)
    dy, dw = parts_of(100, (4, 5), (3, 5))
    assert_overlap_refused("dense_backward", "dw", dy=dy, out=(None, dw, None))
    assert_overlap_refused("dense_backward", "dx", dy=dy, out=(dy.reshape(-1)[:12].reshape(4, 3), None, None))
    assert_overlap_refused("dense_backward", "db", dy=dy, out=(None, None, dy[0]))
    dx, dw = parts_of(100, (4, 3), (3, 5))
    assert_overlap_refused("dense_backward", "dw", out=(dx, dw, None))
    assert_overlap_refused("bias_gradient", "out", dy=dy, out=dy[1])
    for function, name in (
        ("activation_forward", "x"),
        ("activation_backward", "dy"),
        ("activation_backward", "saved"),
        ("softmax_forward", "x"),
        ("softmax_cross_entropy", "logits"),
        ("batchnorm_forward", "x"),
        ("batchnorm_inference", "x"),
        ("batchnorm_backward", "dy"),
        ("layernorm_forward", "x"),
        ("rmsnorm_backward", "dy"),
        ("dropout_forward", "x"),
        ("gaussian_noise", "x"),
    ):
        a, out = parts_of(100, (4, 5), (4, 5))  # not the input itself, but a part of it
        assert_refused(function, GOOD[function]() | {name: a, "out": out}, ValueError, f"out: expected {name} itself or memory")
    t, out = parts_of(100, (4, 5), (4, 5))
    assert_overlap_refused("softmax_cross_entropy", "out", targets=t, out=out)
    assert_overlap_refused("batchnorm_backward", "out", x=t, out=out)
    assert_overlap_refused("layernorm_backward", "out", x=t, out=out)
    assert_overlap_refused("batchnorm_forward", "out", weight=out[0], out=out)
    x, dx = parts_of(100, (4, 6), (4, 6))
    assert_overlap_refused("maxout_backward", "out", x=x, out=dx)
    x, y = parts_of(200, (2, 5, 4, 3), (2, 4, 2, 6))
    assert_overlap_refused("conv2d_forward", "out", x=x, out=y)
    assert_overlap_refused("conv2d_forward", "z", out=y, z=y)
    assert_overlap_refused("conv2d_backward", "dx", x=x, out=(x, None, None))
    x, y = parts_of(200, (2, 4, 4, 3), (2, 2, 2, 3))
    for kind in ("max", "avg"):
        assert_overlap_refused(f"{kind}pool2d_forward", "out", x=x, out=y)
        assert_overlap_refused(f"{kind}pool2d_backward", "out", dy=y, out=x)
        assert_overlap_refused(f"global_{kind}pool2d_forward", "out", x=x, out=x[0, 0, :2])
    assert_overlap_refused("stochastic_pool2d_forward", "out", x=x, out=y)
    assert_overlap_refused("stochastic_pool2d_inference_backward", "out", x=x, out=x)
    x, y = parts_of(100, (2, 3, 4), (2, 3, 4))
    assert_overlap_refused("groupnorm_forward", "out", x=x, out=y)
    assert_overlap_refused("groupnorm_backward", "out", x=x, out=x)
    assert_overlap_refused("dropout2d_forward", "out", x=x, out=y)


def test_outputs_within_strided_rows_are_refused():
    """The last row is where such an array ends, not its number of bytes from its start."""
    block = np.zeros((9, 5), F32)
    for source in (block[::4], block[::-4]):
        for at in (0, 4, 7):
            assert_overlap_refused("gather", "out", source=source, index=np.array([0]), out=block[at : at + 1])
    labels = np.zeros(12, np.int32)
    assert_overlap_refused("gather_labels", "out", labels=labels[::-3], index=np.array([0]), out=labels[2:3])


def test_updated_arrays_that_overlap_are_refused():
    block = np.zeros(40, F32)
    a, b, c = block[:10], block[9:19], block[19:29]
    good = lambda: np.ones(10, F32)
    for params, grads, buffers, name in (
        ([a, b], [good(), good()], [good(), good()], "params[1]"),
        ([a, a], [good(), good()], [good(), good()], "params[1]"),
        ([a, good()], [good(), a], [good(), good()], "params[0]"),
        ([a, good()], [good(), b], [good(), good()], "grads[1]"),
        ([a, good()], [good(), good()], [c, b], "buffers[1]"),
        ([good(), good()], [a, b], [b, good()], "buffers[0]"),
        ([good(), good()], [a, a], [c, c], "buffers[1]"),
    ):
        args = {"params": params, "grads": grads, "buffers": buffers, "step": 1, "lr": 0.1, "momentum": 0.9}
        assert_refused("sgd_update", args, ValueError, f"{name}: expected memory of its own, got an array that overlaps")
