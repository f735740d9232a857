"""Losses: values, gradients, weights, rows that are ignored, correct rows."""

import numpy as np
import pytest

import fastnn
from fastnn import kernels, reference

from kernel_checks import (
    across, assert_guards, assert_within, CLASSES, clean, everywhere, F32, F64, ISAS, logits_of, normal, placed, poisoned, rng,
    same_bits, softmax_bound, special_logits, TINY, U, wide,
)  # fmt: skip


def entropy_bounds(z, t):
    """(expected row losses, their bound, expected dlogits, their bound) of targets given as rows."""
    z, t = wide(z, t)
    batch = len(z)
    p_bound, sum_bound = softmax_bound(z)
    rows = reference.softmax_cross_entropy_rows(z, t)
    _, d = reference.softmax_cross_entropy(z, t)
    with np.errstate(all="ignore"):
        p, mass = reference.softmax_forward(z), t.sum(axis=1, keepdims=True)
        log_total = np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
        # log is off by its argument's relative error and 2 ulp; the rest of a row's loss is in double
        row_bound = (np.abs(t).sum(axis=1, keepdims=True) * (sum_bound + 4 * U * log_total)).ravel() + 1e-15 * np.abs(rows)
        # p, its product with the mass (rounded too), the difference with t, the rounded scale and the product with it;
        # a subnormal p is off by its exponential's 2 ulp and the quotient's half
        d_bound = (np.abs(mass) * (p * (p_bound + 3 * U) + 3 * TINY) + 4 * U * np.abs(p * mass - t)) / batch + TINY
    return rows, clean(row_bound), d, clean(d_bound)


def one_hot(labels, classes):
    return np.eye(classes, dtype=F32)[labels]


def assert_entropy(cases, in_place=False):
    """Loss, gradient, row losses and correct rows, for each (logits, targets, targets as rows)."""

    def call(case):
        z, targets, _ = case
        out = placed(z) if in_place else poisoned(*z.shape)
        loss, d = kernels.softmax_cross_entropy(out if in_place else z, targets, out=out)
        assert d is out and isinstance(loss, float)
        assert_guards(out)
        correct = kernels.softmax_cross_entropy_correct(z, targets)
        assert isinstance(correct, int)
        return loss, d, kernels.softmax_cross_entropy_rows(z, targets), correct

    for _, (z, targets, t), (loss, dlogits, losses, correct) in across(call, cases):
        rows, row_bound, d, d_bound = entropy_bounds(z, t)
        assert losses.dtype == F64
        assert_within(losses, rows, row_bound)
        assert_within(dlogits, d, d_bound)
        with np.errstate(invalid="ignore"):
            assert_within(loss, rows.mean(), row_bound.mean() + 1e-15 * np.abs(clean(rows)).sum())
        assert correct == reference.softmax_cross_entropy_correct(z, targets)


@pytest.mark.parametrize("classes", CLASSES)
def test_softmax_cross_entropy(classes):
    by_label, by_row = [], []
    for batch in (1, 2, 17, 33):
        r = rng(batch, classes)
        z = logits_of(batch, classes)
        labels = r.integers(0, classes, batch)
        labels[0], labels[-1] = 0, classes - 1
        by_label.append((z, labels, one_hot(labels, classes)))
        t = r.uniform(0, 1, (batch, classes)).astype(F32)
        t *= t > 0.3
        t[-1] *= -2  # not a distribution at all
        by_row.append((z, t, t))
    assert_entropy(by_label, in_place=True)
    assert_entropy(by_row)


def test_softmax_cross_entropy_special_values():
    z = special_logits()
    labels = [np.full(len(z), label) for label in (0, 5, 16)]
    t = np.zeros(z.shape, F32)
    t[:, 1] = 1
    t[20, 3], t[21] = np.nan, 0
    assert_entropy([*((z, label, one_hot(label, 17)) for label in labels), (z, t, t)])
    assert kernels.softmax_cross_entropy_rows(F32([[-np.inf, 0]]), np.array([0]))[0] == np.inf
    assert kernels.softmax_cross_entropy_rows(F32([[-np.inf, 0]]), np.array([1]))[0] == 0


def test_softmax_cross_entropy_label_dtypes():
    z = logits_of(9, 5)
    labels = np.array([0, 1, 2, 3, 4, 3, 2, 1, 0])
    expected = kernels.softmax_cross_entropy(z, labels)
    for dtype in "bBhHiIlLqQ":
        assert same_bits(kernels.softmax_cross_entropy(z, labels.astype(dtype)), expected)
    assert same_bits(kernels.softmax_cross_entropy(z, labels[::-1]), kernels.softmax_cross_entropy(z, labels[::-1].copy()))
    assert same_bits(kernels.softmax_cross_entropy(z, one_hot(labels, 5))[1], expected[1])


ELEMENTWISE = {
    "mean_squared_error": [{}],
    "mean_absolute_error": [{}],
    "quantile": [{}, {"quantile": 0.2}],
    "huber": [{}, {"delta": 0.25}],
    "poisson": [{}, {"full": True}, {"log_input": False}, {"log_input": False, "full": True, "eps": 0.5}],
    "binary_cross_entropy": [{}, {"class_weight": True}],
    "binary_hinge": [{}, {"margin": 0.5, "squared": True, "class_weight": True}],
}
WIDTHS = (1, 2, 3, 5, 8, 9, 15, 16, 17, 33, 100)


def targets_for(function, r, z):
    if function == "poisson":
        return r.poisson(3, z.shape).astype(F32)
    if function.startswith("binary"):
        t = r.integers(0, 2, z.shape).astype(F32)
        return t if function == "binary_hinge" else np.where(r.random(z.shape) < 0.3, r.random(z.shape), t).astype(F32)
    return normal(r, *z.shape, scale=2)


def assert_loss(function, cases, value_bound, gradient_bound):
    """Loss and gradient of each (outputs, targets, options), in place too, against the twin in float64."""

    def call(case):
        z, t, options = case
        out, again = poisoned(*z.shape), placed(z)
        loss, d = getattr(kernels, function)(z, t, out=out, **options)
        assert d is out and isinstance(loss, float)
        assert same_bits(getattr(kernels, function)(again, t, out=again, **options), (loss, d))
        assert_guards(out, again)
        return loss, d

    for _, (z, t, options), (loss, d) in across(call, cases):
        wider = {k: v.astype(F64) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        expected, gradient = getattr(reference, function)(z.astype(F64), t if t.dtype.kind == "i" else t.astype(F64), **wider)
        rows = len(z) * (z.shape[1] if function in ELEMENTWISE else 1) if options.get("reduction") != "sum" else 1
        weight = options.get("sample_weight", np.ones(len(z), F32)).astype(F64)[:, None]
        size = weight * np.max(options.get("class_weight", 1.0))
        np.testing.assert_allclose(loss, expected, rtol=1e-6, atol=(size * value_bound(z, t)).sum() / rows)
        assert_within(d, gradient, (size * gradient_bound(z, t) + 4 * U * np.abs(gradient) * rows) / rows + TINY)


@pytest.mark.parametrize("function", ELEMENTWISE)
def test_elementwise_losses(function):
    for options in ELEMENTWISE[function]:
        cases = []
        for columns in WIDTHS:
            r = rng(columns)
            for rows in (1, 7, 33):
                z = normal(r, rows, columns, scale=3)
                if function == "poisson" and not options.get("log_input", True):
                    z = np.abs(z) + F32(0.1)
                more = {"class_weight": r.random((2, columns)).astype(F32)} if options.get("class_weight") else {}
                if rows == 33:
                    more |= {"sample_weight": r.random(rows).astype(F32) * (r.random(rows) > 0.2), "reduction": "sum"}
                cases.append((z, targets_for(function, r, z), options | more))
        rate = lambda z: np.exp(np.minimum(np.abs(z.astype(F64)), 80)) if function == "poisson" else 1.0
        # a few roundings of terms of the size of outputs, targets and rates
        value = lambda z, t: 12 * U * (np.abs(z) + np.abs(t) + rate(z) + 1) ** (2 if function != "poisson" else 1)
        gradient = lambda z, t: 8 * U * (np.abs(z) + np.abs(t) + rate(z) + 1)
        assert_loss(function, cases, value, gradient)


@pytest.mark.parametrize("squared", [False, True])
def test_multiclass_hinge(squared):
    cases = []
    for columns in (2, 3, 10, 15, 16, 17, 33, 100):
        r = rng(columns)
        for rows in (1, 7, 33):
            labels = r.integers(0, columns, rows)
            labels[0], labels[-1] = 0, columns - 1
            options = {"margin": 0.75, "squared": squared}
            if rows == 33:
                options |= {"sample_weight": r.random(rows).astype(F32), "class_weight": r.random(columns).astype(F32)}
            cases.append((normal(r, rows, columns, scale=2), labels, options))
    bound = lambda z, t: np.full((len(z), 1), 16 * U * z.shape[1] * (np.abs(z).max() + 1) ** (2 if squared else 1))
    assert_loss("multiclass_hinge", cases, bound, bound)


def test_losses_special_values():
    """A NaN stays in its row and element; large and infinite outputs give what the formulas say."""
    z = F32([[0, 1], [np.nan, 1], [0, -1e38], [3e38, -3e38], [np.inf, 0], [1e-40, -1e-40], [0, 1]])
    t = F32([[0, 1], [0, 1], [0, 1], [1, 0], [0, 0], [1, 1], [np.nan, 1]])
    for function in ELEMENTWISE:
        with np.errstate(all="ignore"):
            loss, d = getattr(reference, function)(*wide(z, t), reduction="sum")
            rows = [getattr(reference, function)(*wide(z[i : i + 1], t[i : i + 1]), reduction="sum")[0] for i in range(len(z))]
        for isa in ISAS:
            fastnn.use_isa(isa)
            found, gradient = getattr(kernels, function)(z, t, reduction="sum")
            assert np.isnan(found)
            np.testing.assert_array_equal(np.isnan(gradient), np.isnan(d))
            for i, want in enumerate(rows):
                found = getattr(kernels, function)(z[i : i + 1], t[i : i + 1], reduction="sum")[0]
                if abs(want) <= float(np.finfo(F32).max):  # what float32 can hold
                    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-6, err_msg=f"{function} {i}")
                else:
                    assert np.isnan(found) == np.isnan(want), (function, i)
    z = F32([[1, np.nan, 0], [1, 2, 3e38], [np.nan, 1, 0]])
    for isa in ISAS:
        fastnn.use_isa(isa)
        for label in range(3):
            loss, d = kernels.multiclass_hinge(z, np.full(3, label), reduction="sum")
            expected = reference.multiclass_hinge(z.astype(F64), np.full(3, label), reduction="sum")
            assert np.isnan(loss) and same_bits(np.isnan(d), np.isnan(expected[1]))


@pytest.mark.parametrize("ignore, dtype", [(-100, np.int64), (1, np.uint8), (2**64 - 1, np.uint64), (300, np.int8)])
@pytest.mark.parametrize("classes", (2, 10, 16, 17, 40))
def test_softmax_cross_entropy_ignores_rows(classes, ignore, dtype):
    """As if the batch had only the others, whatever the logits of the ignored ones are; 300 is no int8, so nothing is ignored."""
    r = rng(classes)
    z, labels = normal(r, 37, classes), r.integers(0, classes, 37).astype(dtype)
    if ignore != 300:
        labels[[0, 5, 36]] = ignore
    rest = np.flatnonzero(labels != ignore)
    z[np.setdiff1d(range(37), rest)] = [np.nan] * classes if ignore != 1 else 3
    for options in ({}, {"label_smoothing": 0.1, "class_weight": r.random(classes).astype(F32)}, {"reduction": "sum"}):
        weight = r.random(37).astype(F32)

        def call():
            loss, d = kernels.softmax_cross_entropy(z, labels, sample_weight=weight, ignore_index=ignore, **options)
            rows = kernels.softmax_cross_entropy_rows(z, labels, ignore_index=ignore)
            return loss, d, rows, kernels.softmax_cross_entropy_correct(z, labels, ignore_index=ignore)

        alone = z[rest], labels[rest]
        twin = reference.softmax_cross_entropy(*wide(z), labels, sample_weight=weight.astype(F64), ignore_index=ignore,
                                               **{k: v.astype(F64) if k == "class_weight" else v for k, v in options.items()})
        for isa, (loss, d, rows, correct) in everywhere(call).items():
            fastnn.use_isa(isa)
            of_rest = kernels.softmax_cross_entropy(*alone, sample_weight=weight[rest], **options)
            np.testing.assert_allclose(loss, of_rest[0], rtol=1e-12)  # the sum over rows may have another order
            assert same_bits(d[rest], of_rest[1]) and same_bits(rows[rest], kernels.softmax_cross_entropy_rows(*alone))
            assert (np.delete(d, rest, axis=0) == 0).all() and (np.delete(rows, rest) == 0).all()
            assert correct == kernels.softmax_cross_entropy_correct(*alone)
            np.testing.assert_allclose(loss, twin[0], rtol=1e-6)
            assert_within(d, twin[1], 1e-6)
        assert_within(rows, reference.softmax_cross_entropy_rows(*wide(z), labels, ignore_index=ignore), 1e-5)
        assert correct == reference.softmax_cross_entropy_correct(*wide(z), labels, ignore_index=ignore)


def test_softmax_cross_entropy_of_ignored_rows_alone():
    for where in (kernels, reference):
        loss, d = where.softmax_cross_entropy(F32([[1, 2], [np.nan, np.inf]]), np.array([-1, -1]), ignore_index=-1)
        assert loss == 0 and (d == 0).all()
        with pytest.raises(ValueError, match="class numbers, since there is an ignore_index"):
            where.softmax_cross_entropy(F32([[1, 2]]), F32([[1, 0]]), ignore_index=-1)
        with pytest.raises(ValueError, match=r"targets\[1\].* got -1"):
            where.softmax_cross_entropy(F32([[1, 2], [1, 2]]), np.array([-2, -1]), ignore_index=-2)
    with pytest.raises(TypeError, match="ignore_index: expected an integer"):
        kernels.softmax_cross_entropy(F32([[1, 2]]), np.array([0]), ignore_index=1.0)


@pytest.mark.parametrize("classes", (2, 10, 16, 17, 40))
def test_softmax_cross_entropy_options(classes):
    """Label smoothing, class weights, sample weights and sums are what they do to the targets and the rows."""
    r = rng(classes)
    z, labels = normal(r, 37, classes, scale=3), r.integers(0, classes, 37)
    weight, of_class = r.random(37).astype(F32), r.random(classes).astype(F32) + F32(0.1)

    def check(result, t, weights=1.0, total=False):
        losses = reference.softmax_cross_entropy_rows(z.astype(F64), t) * weights
        d = reference.softmax_cross_entropy(z.astype(F64), t, reduction="sum")[1] * np.reshape(weights, (-1, 1))
        n = 1 if total else 37
        np.testing.assert_allclose(result[0], losses.sum() / n, rtol=2e-6)
        assert_within(result[1], d / n, 40 * U / n)

    t = one_hot(labels, classes).astype(F64)
    options = [
        ({}, t),
        ({"label_smoothing": 0.125}, 0.875 * t + 0.125 / classes),
        ({"class_weight": of_class}, t * of_class),
        ({"label_smoothing": 1.0, "class_weight": of_class}, of_class * np.full(t.shape, 1 / classes)),
    ]
    for settings, wanted in options:
        for targets in (labels, t.astype(F32)):
            for more, weights in (({}, 1.0), ({"sample_weight": weight}, weight.astype(F64))):
                for reduction in ("mean", "sum"):
                    call = lambda: kernels.softmax_cross_entropy(z, targets, **settings, **more, reduction=reduction)
                    for result in everywhere(call).values():
                        check(result, wanted, weights, reduction == "sum")
    plain = kernels.softmax_cross_entropy(z, labels)
    ones = {"sample_weight": np.ones(37, F32)}
    assert same_bits(kernels.softmax_cross_entropy(z, labels, **ones), plain)


def test_correct_counts_first_of_equals():
    z = F32([[1, 1, 0], [0, 1, 1], [2, np.nan, 1], [-np.inf] * 3, [-0.0, 0.0, -1]])
    for labels, want in (([0, 1, 0, 0, 0], 4), ([1, 2, 1, 1, 1], 0)):
        assert reference.softmax_cross_entropy_correct(z, np.array(labels)) == want
        for isa in ISAS:
            fastnn.use_isa(isa)
            assert kernels.softmax_cross_entropy_correct(z, np.array(labels)) == want
            assert kernels.softmax_cross_entropy_correct(z, one_hot(labels, 3)) == want
