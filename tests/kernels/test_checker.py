"""What the checker of the kernels' tests rejects, that every kernel has a test, and that twins have its signature."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from fastnn import kernels, reference
from fastnn.core.update_rules import RULES

from kernel_checks import assert_guards, assert_within, F32, F64, GUARD, normal, poisoned, product_bound, rng, same_bits


def test_checker_rejects_zeros_and_changes():
    x, w, b = normal(rng(0), 20, 30), normal(rng(1), 30, 40), normal(rng(2), 40)
    y = kernels.dense_forward(x, w, b)
    expected, bound = product_bound(x, w, b)
    assert_within(y, expected, bound)
    for change in (lambda a: a.fill(0), lambda a: a.__setitem__((19, 39), 0), lambda a: a.__setitem__((7, 3), np.nan),
                   lambda a: a.__setitem__((0, 0), np.inf), lambda a: a.__setitem__((3, 5), a[3, 5] * F32(1.001))):
        changed = y.copy()
        change(changed)
        with pytest.raises(AssertionError):
            assert_within(changed, expected, bound)
        assert not same_bits(changed, y)
    with pytest.raises(AssertionError):
        assert_within(kernels.dense_forward(x[:, :-1].copy(), w[:-1], b), expected, bound)  # one term of 30 left out
    with pytest.raises(AssertionError):
        assert_within(y[:-1], expected, bound)
    with pytest.raises(AssertionError):  # NaN where a number is expected, and the reverse
        assert_within([np.nan, 1.0], [0.0, np.nan], np.inf)


def test_checker_tells_bits_apart():
    y = normal(rng(0), 5, 7)
    nudged = y.copy()
    nudged[4, 6] = np.nextafter(nudged[4, 6], F32(np.inf))
    assert same_bits(y, y.copy()) and not same_bits(nudged, y)
    assert not same_bits(F32([0.0]), F32([-0.0]))
    assert not same_bits(y, y.astype(F64)) and not same_bits(y, y.ravel())
    other_nan = np.uint32([0xFFC00001]).view(F32)
    assert same_bits(F32([np.nan]), other_nan) and not same_bits(F32([np.nan]), F32([1.0]))
    assert same_bits((y, None), (y, None)) and not same_bits((y, None), (y, y))


def test_checker_sees_guards():
    out = poisoned(3, 4)
    assert_guards(out)
    out.base[GUARD + 12] = 0
    with pytest.raises(AssertionError):
        assert_guards(out)


def test_every_kernel_has_a_test():
    tested = {
        "gemm": "test_dense_exact",
        **dict.fromkeys(("windows_pack", "windows_product", "windows_gradient", "depthwise_product", "depthwise_gradient")),  # in test_convolution.py
        "activation_forward": "test_activation_forward",
        "activation_backward": "test_activation_backward",
        "bias_gradient": "test_bias_gradient",
        "softmax_forward": "test_softmax_forward",
        "softmax_backward": "test_softmax_backward",
        "log_softmax_forward": "test_log_softmax_forward",
        "log_softmax_backward": "test_log_softmax_backward",
        "prelu_forward": "test_prelu",
        "prelu_backward": "test_prelu",
        "prelu_slope_gradient": "test_prelu",
        # in test_numerical.py
        **dict.fromkeys(f"pbld_{what}" for what in ("forward", "backward_input", "backward_frequencies", "backward_weights")),
        **dict.fromkeys(f"parametric_activation_{what}" for what in ("forward", "backward", "gradient")),
        "softmax_cross_entropy": "test_softmax_cross_entropy",
        "batchnorm_forward": "test_batchnorm",
        "batchnorm_inference": "test_batchnorm_inference",
        "batchnorm_backward": "test_batchnorm",
        "rownorm_forward": "test_rownorm",
        "rownorm_backward": "test_rownorm",
        "rownorm_backward_weights": "test_rownorm",
        "random_words": "test_random_bits",
        "dropout": "test_dropout",
        "gaussian_noise": "test_gaussian_noise",
        "add": "test_add",
        "maxout_forward": "test_maxout",
        "maxout_backward": "test_maxout",
        "elementwise_loss": "test_elementwise_losses",
        "multiclass_hinge": "test_multiclass_hinge",
        "convert": "test_gather_dtypes",
        "all_finite": "test_gather_check_finite",
        "sum_squares": "test_gradient_norm",
        "penalty_forward": "test_penalty",
        "penalty_backward": "test_penalty",
        "math_map": "test_math_ulps",
        "fma_peak": "test_fma_peak",
        "fma_literal": "test_fma_peak",
        "streams": "test_streams",
        "sgd": "test_sgd",
        "adam": "test_adam",
        # in test_optim_rules.py
        **{name: None for name in RULES if name not in ("sgd", "adam")},
        **dict.fromkeys(("trust_norms", "trust_update", "max_norm", "max_norm_unit")),
        **dict.fromkeys(("prepared_gradient", "scaled", "momentum_of", "square_columns", "divided_by_root", "variance_of")),
        "batchnorm_running": None,  # in tests/layers
        "drop_rows": None,
        "drop_channels": "test_dropout2d",
        "groupnorm_forward": "test_groupnorm",
        "groupnorm_backward": "test_groupnorm",
        **dict.fromkeys((name for name in kernels.__all__ if name.startswith("stochastic_pool2d")), "test_stochastic_pool2d"),
        **dict.fromkeys((f"{kind}pool2d_{way}" for kind in ("max", "avg") for way in ("forward", "backward")), "test_pooling"),
        **dict.fromkeys(f"augment_{what}" for what in ("pixels", "sample", "colors", "fill", "mix")),  # in test_augment.py
    }
    text = (Path(__file__).parents[2] / "csrc" / "defs" / "kernels.def").read_text()
    names = set(re.findall(r"^FNN_KERNEL\((\w+)", text, re.M)) | set(RULES)
    assert names == set(tested)
    written = "".join(p.read_text(encoding="utf-8") for p in Path(__file__).parent.glob("test_*.py"))
    assert not [test for test in set(tested.values()) - {None} if f"\ndef {test}(" not in written]


def test_twins_have_the_same_signature():
    for name in kernels.__all__:
        assert str(inspect.signature(getattr(kernels, name))) == str(inspect.signature(getattr(reference, name))), name
