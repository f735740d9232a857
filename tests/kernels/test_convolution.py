"""Convolution and pooling."""

import math

import numpy as np
import pytest

from fastnn import kernels, reference
from fastnn.core.activations import ACTIVATIONS

from kernel_checks import across, assert_guards, assert_within, F32, F64, mixed, normal, poisoned, rng, same_bits, U, whole, wide

CONVOLUTIONS = [  # image, filters, kernel, how it goes over the image
    ((5, 6, 3), 7, (3, 2), {}),
    ((7, 7, 4), 6, (3, 3), {"stride": 2, "padding": 1, "groups": 2}),
    ((9, 5, 5), 10, (2, 3), {"padding": (0, 2, 1, 0), "dilation": (2, 1), "groups": 5}),
    ((8, 8, 17), 33, (1, 1), {}),
    ((6, 9, 1), 1, (4, 4), {"padding": "same", "stride": (1, 3)}),
    ((9, 11, 5), 6, (3, 3), {"stride": 2, "padding": 1}),  # a gradient of its inputs as four of stride 1
    ((13, 17, 4), 7, (3, 2), {"stride": (3, 4), "padding": (2, 0, 1, 3), "dilation": (2, 1)}),  # of pixels that no window reads
    ((8, 9, 20), 20, (3, 3), {"padding": 1, "groups": 20}),  # each channel with a filter of its own
    ((7, 6, 33), 33, (2, 4), {"padding": "same", "stride": 2, "groups": 33}),
]


def convolutions(draw):
    """x, w, b, dy and how, for 1 and for 40 images: of more than one chunk."""
    for image, filters, kernel, how in CONVOLUTIONS:
        for rows in (1, 40):
            r = rng(rows, filters)
            x, w, b = draw(r, rows, *image), draw(r, *kernel, image[2] // how.get("groups", 1), filters), draw(r, filters)
            yield x, w, b, draw(r, *reference.conv2d_forward(x[:1], w, b, **how).shape[1:])[None].repeat(rows, 0), how


def convolve(case):
    """y, z, dx, dw, db, into outputs between guards."""
    x, w, b, dy, how = case
    out = [poisoned(*a.shape) for a in (dy, dy, x, w, b)]
    assert kernels.conv2d_forward(x, w, b, **how, out=out[0], z=out[1]) is out[0]
    found = kernels.conv2d_backward(dy, x, w, **how, out=tuple(out[2:]))
    assert all(a is o for a, o in zip(found, out[2:]))
    assert_guards(*out)
    return tuple(out)


def test_conv2d_exact():
    for _, (x, w, b, dy, how), found in across(convolve, convolutions(lambda r, *shape: whole(r, *shape, largest=4))):
        y = reference.conv2d_forward(*wide(x, w, b), **how)
        for a, e in zip(found, (y, y, *reference.conv2d_backward(*wide(dy, x, w), **how)), strict=True):
            np.testing.assert_array_equal(a, e)


def test_conv2d_rounding():
    """A chain of so many terms; dx and dw have as many as filters see, or as there are pixels."""
    for _, (x, w, b, dy, how), found in across(convolve, convolutions(normal)):
        y = reference.conv2d_forward(*wide(x, w, b), **how)
        bounds = reference.conv2d_forward(*wide(*map(np.abs, (x, w, b))), **how), *reference.conv2d_backward(*wide(*map(np.abs, (dy, x, w))), **how)
        terms = w[..., 0].size + 1, w[:, :, 0].size, dy[..., 0].size, dy[..., 0].size
        for a, e, bound, n in zip(found[1:], (y, *reference.conv2d_backward(*wide(dy, x, w), **how)), bounds, terms, strict=True):
            assert_within(a, e, 2 * n * U * bound)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_conv2d_with_activation_is_its_parts(activation):
    for x, w, b, dy, how in list(convolutions(normal))[:4]:
        z = np.empty_like(dy)
        y = kernels.conv2d_forward(x, w, b, **how, activation=activation, z=z)
        assert same_bits(z, kernels.conv2d_forward(x, w, b, **how)) and same_bits(y, kernels.activation_forward(z, activation))
        saved = z if ACTIVATIONS[activation].saves == "z" else y
        dz = kernels.activation_backward(dy, saved, activation)
        found = kernels.conv2d_backward(dy, x, w, **how, saved=saved, activation=activation)
        assert same_bits(found, kernels.conv2d_backward(dz, x, w, **how))
        assert kernels.conv2d_backward(dy, x, w, **how, saved=saved, activation=activation, need_dx=False)[0] is None


def test_conv2d_images_do_not_depend_on_the_batch():
    for x, w, b, _, how in list(convolutions(normal))[1::2]:
        y = kernels.conv2d_forward(x, w, b, **how)
        assert same_bits(kernels.conv2d_forward(x[7:9].copy(), w, b, **how), y[7:9])


POOLINGS = [
    ((5, 6, 3), 2, {}),
    ((7, 7, 17), 3, {"stride": 2, "padding": 1}),
    ((9, 5, 1), (2, 3), {"padding": (0, 1, 1, 0), "stride": (1, 3), "ceil_mode": True}),
    ((6, 9, 70), 3, {"padding": "same", "stride": 2}),
    # every pixel in one window: parts of vectors are written as whole ones where pixels of the image follow
    *(((4, 6, channels), 2, {}) for channels in (1, 5, 6, 8, 14, 16, 22, 30, 33)),
    ((5, 7, 11), 2, {"ceil_mode": True}),
    ((5, 5, 19), 3, {"padding": 1}),
    ((3, 6, 3), (1, 2), {}),
]


@pytest.mark.parametrize("mode", ["max", "average", "average of the image alone"])
def test_pooling(mode):
    r, draw = rng(5), mixed if mode == "max" else normal
    cases = [(draw(r, 4 * math.prod(image)).reshape(4, *image), kernel, how) for image, kernel, how in POOLINGS]
    if mode == "max":
        cases.append((cases[1][0], 2, {"dilation": (2, 3)}))
    counts = {} if mode == "max" else {"count_include_pad": mode == "average"}
    kind, backward = ("maxpool2d", lambda dy, x: (dy, x)) if mode == "max" else ("avgpool2d", lambda dy, x: (dy, x.shape[1:3]))

    def call(case, where=kernels, dtype=F32):
        x, kernel, how = case
        x, how = np.asarray(x, dtype), {**how, **counts}
        shape = getattr(reference, f"{kind}_forward")(x, kernel, **how).shape
        y, dx = poisoned(*shape, dtype=dtype), poisoned(*x.shape, dtype=dtype)
        dy = normal(rng(1), *shape).astype(dtype)
        assert getattr(where, f"{kind}_forward")(x, kernel, **how, out=y) is y
        assert getattr(where, f"{kind}_backward")(*backward(dy, x), kernel, **how, out=dx) is dx
        whole_image = f"global_{kind}_forward", f"global_{kind}_backward"
        g, dg = poisoned(len(x), x.shape[-1], dtype=dtype), poisoned(*x.shape, dtype=dtype)
        assert getattr(where, whole_image[0])(x, out=g) is g
        assert getattr(where, whole_image[1])(*backward(y[:, 0, 0].copy(), x), out=dg) is dg
        assert_guards(y, dx, g, dg)
        return y, dx, g, dg

    for _, case, found in across(call, cases):
        for a, e in zip(found, call(case, reference, F64), strict=True):
            if mode == "max":
                np.testing.assert_allclose(a, e, rtol=1e-6, atol=1e-6)  # gradients that meet in one element are added up
            else:
                assert_within(a, e, 1e-5 * (1 + np.abs(e)) * max(1, np.abs(case[0]).max()))
    if mode == "max":
        for x, kernel, how in cases:
            np.testing.assert_array_equal(kernels.maxpool2d_forward(x, kernel, **how), reference.maxpool2d_forward(x, kernel, **how))


@pytest.mark.parametrize("dtype", [F32, F64])
def test_stochastic_pool2d(dtype):
    """What comes out bit for bit as the twins': choices, and sums in one order. Gradients that meet in one element are added up."""
    cases = [(mixed(rng(7, *image), 3 * math.prod(image)).reshape(3, *image).astype(dtype), kernel, how) for image, kernel, how in POOLINGS]
    cases += [(normal(rng(8, *image), 3, *image).astype(dtype), kernel, how) for image, kernel, how in POOLINGS]

    def call(case, where=kernels):
        x, kernel, how = case
        shape = reference.maxpool2d_forward(x, kernel, **how).shape
        dy = normal(rng(1), *shape).astype(dtype)
        y, z, dx, dz = (poisoned(*s, dtype=dtype) for s in (shape, shape, x.shape, x.shape))
        assert where.stochastic_pool2d_forward(x, kernel, 11, 5, **how, out=y, stream=19) is y
        assert where.stochastic_pool2d_backward(dy, x, kernel, 11, 5, **how, out=dx, stream=19) is dx
        assert where.stochastic_pool2d_inference(x, kernel, **how, out=z) is z
        assert where.stochastic_pool2d_inference_backward(dy, x, kernel, **how, out=dz) is dz
        assert_guards(y, z, dx, dz)
        return y, z, dx, dz

    for _, case, found in across(call, cases):
        expected = call(case, reference)
        for a, e in zip(found[:2], expected[:2], strict=True):
            np.testing.assert_array_equal(a, e)
        for a, e in zip(found[2:], expected[2:], strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5)
