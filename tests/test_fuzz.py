"""Random calls of every eager kernel and every optimizer, whose arguments fit or nearly fit: each returns, or raises an error of
the kinds that arguments are refused with, and no memory is touched but the arguments'.

What an array is given for, and what is wrong with it (its shape, dtype, layout, alignment, or what it says of itself: subclasses
that lie), is drawn anew for each call. Outputs stand between guard elements where it is not for AddressSanitizer to find writes
beyond them. `pytest -m slow tests/test_fuzz.py` makes 250,000 calls; for a build with sanitizers see the switches in setup.py.
"""

import os
import warnings

import numpy as np
import pytest

import fastnn
from fastnn import kernels, optim
from fastnn.core.window import Window, pair, paddings

from kernel_checks import teams_for_the_smallest_work  # noqa: F401

F32 = np.float32
ERRORS = (TypeError, ValueError, IndexError)
SIZES = (1, 1, 2, 3, 5, 7, 15, 16, 17, 33, 64, 70)
GUARD, SENTINEL = 8, 0xA5
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")  # then arrays have no guards, so that reads beyond them are found too


class Liar(np.ndarray):
    """An array that says of itself what `said` has; of what is an exception, it raises it."""

    said = {}


def _said(name):
    plain = getattr(np.ndarray, name)

    def get(self):
        value = type(self).said.get(name, plain)
        if isinstance(value, Exception):
            raise value
        return plain.__get__(self) if value is plain else value

    return property(get)


for _name in ("dtype", "shape", "flags", "strides", "size", "ndim", "itemsize", "nbytes", "base", "T", "data", "ctypes"):
    setattr(Liar, _name, _said(_name))


def liar(rng, array):
    """A view that claims to be larger, of another dtype, writable, contiguous, or raises where it is asked."""
    big = np.zeros(tuple(n + int(rng.integers(0, 100)) for n in array.shape) or (7,), rng.choice(["f4", "f8", "i4", "i8", "u1"]))
    said = {k: getattr(big, k) for k in ("dtype", "shape", "flags", "strides", "size", "ndim", "itemsize", "nbytes") if rng.random() < 0.5}
    if rng.random() < 0.1:
        said[rng.choice(["dtype", "shape", "flags", "size", "ndim", "ctypes", "base"])] = RuntimeError("asked")
    more = {}
    if rng.random() < 0.3:
        more = {"__len__": lambda self: 10**6, "__eq__": lambda self, other: True, "__hash__": None}
    if rng.random() < 0.3:
        more |= {"astype": lambda self, *a, **k: big, "copy": lambda self, *a: big, "reshape": lambda self, *a: big}
    if rng.random() < 0.2:
        more |= {"__array__": lambda self, *a, **k: big, "__array_interface__": property(lambda self: {"data": (0, False)})}
    return array.view(type("Liar", (Liar,), {"said": said, **more}))


class Drawn:
    """The arguments of one call. a, labels and so on give an array that fits, or, now and then, one that does not."""

    def __init__(self, rng):
        self.rng, self.arrays, self.guarded, self.lies = rng, [], [], False
        self.m, self.n, self.k = (int(rng.choice(SIZES)) for _ in range(3))
        self.spoilt = rng.choice([0.0, 0.05, 0.3])  # the share of arrays with something wrong

    def chance(self, p):
        return self.rng.random() < p

    def choice(self, *values):
        return values[int(self.rng.integers(len(values)))]

    def memory(self, shape, dtype):
        count, dtype = int(np.prod(shape)), np.dtype(dtype)
        if SANITIZED:
            return np.empty(shape, dtype)
        block = np.full(count * dtype.itemsize + 2 * GUARD * 8, SENTINEL, np.uint8)
        array = block[GUARD * 8 : GUARD * 8 + count * dtype.itemsize].view(dtype).reshape(shape)
        self.guarded.append((block, GUARD * 8, count * dtype.itemsize))
        return array

    def values(self, shape, dtype=F32):
        rng, out = self.rng, self.memory(shape, dtype)
        with np.errstate(all="ignore"):
            out[...] = rng.standard_normal(shape) * self.choice(1.0, 1.0, 1.0, 1e-30, 1e20, 1e38)
        if out.size and self.chance(0.1):
            out.flat[int(rng.integers(out.size))] = self.choice(np.nan, np.inf, -np.inf, 1e-45, -0.0)
        return out

    def keep(self, array):
        """The array, spoilt or not; it may be an output of the same call."""
        if self.chance(self.spoilt):
            array = self.spoil(array)
        if isinstance(array, np.ndarray):
            self.arrays.append(array)
        return array

    def a(self, *shape, dtype=F32):
        return self.keep(self.values(shape, dtype))

    def maybe(self, *shape):
        return self.a(*shape) if self.chance(0.5) else None

    def out(self, *shape, dtype=F32):
        """None, an array of its own, or one that is an argument too, or a part of one."""
        if self.chance(0.4):
            return None
        if self.arrays and self.chance(0.3):
            array = self.choice(*self.arrays)
            return array if self.chance(0.7) or type(array) is not np.ndarray or array.ndim == 0 else array[: int(self.rng.integers(1, len(array) + 1))]
        out = self.memory(shape, dtype)
        out[...] = 0
        return self.keep(out)

    def whole(self, shape, low, high, dtypes="bBhHiIlLqQ"):
        out = self.memory(shape, np.dtype(self.choice(*dtypes)))
        info = np.iinfo(out.dtype)
        out[...] = self.rng.integers(max(low, int(info.min)), min(high, int(info.max)), shape)
        if out.size and self.chance(0.1):
            out.flat[int(self.rng.integers(out.size))] = self.choice(info.min, info.max, min(max(high, 0), int(info.max)))
        return out

    def labels(self, count, classes):
        return self.keep(self.whole((count,), 0, classes))

    def index(self, rows):
        return None if self.chance(0.3) else self.keep(self.whole((self.k,), 0, rows, "l"))

    def number(self, *usual):
        if self.chance(0.03):
            return self.choice(np.nan, np.inf, -1.0, 0.0, 1e300, 10**400, "1", None, np.float32(0.5), np.array(0.5), True)
        return self.choice(*usual)

    def count(self, *usual):
        return self.choice(-1, 2**32, 2**70, 1.0, None, np.int64(1)) if self.chance(0.03) else self.choice(*usual)

    def size(self, *usual):
        return self.choice(-1, 0, 1.0, None, np.int64(3)) if self.chance(0.03) else self.choice(*usual)

    def spoil(self, a):
        rng = self.rng
        kind = int(rng.integers(16))
        if kind == 0:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return a.astype(self.choice("f8", "f4", ">f4", "f2", "i4", "i8", "u1", "?", "c8", "O", "U5", "m8[s]"))
        if kind == 1:
            return np.zeros(tuple(max(0, n + int(rng.integers(-1, 2))) for n in a.shape), a.dtype)
        if kind == 2:
            return np.zeros((), a.dtype) if self.chance(0.5) else np.zeros((*a.shape, int(rng.integers(0, 3))), a.dtype)
        if kind == 3:
            return np.zeros(a.size, a.dtype)
        if kind == 4:
            return np.asfortranarray(a) if self.chance(0.5) else a.T
        if kind == 5:
            return np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a
        if kind == 6:
            return a[..., ::-1] if a.ndim else a
        if kind == 7:
            return np.broadcast_to(a.flat[0] if a.size else a.dtype.type(0), a.shape)
        if kind == 8:
            a = a.copy()
            a.flags.writeable = False
            return a
        if kind == 9:
            return np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
        if kind == 10:
            return self.choice(None, a.tolist(), "array", 3, object(), a.tobytes(), memoryview(a))
        if kind == 11:
            return np.ma.masked_array(a)
        if kind == 12:
            return np.zeros(tuple(self.choice(0, n) for n in a.shape), a.dtype)
        self.lies = True
        shrunk = a if self.chance(0.5) else a[tuple(slice(0, int(rng.integers(0, n + 1))) for n in a.shape)]
        return liar(rng, np.ascontiguousarray(shrunk))

    def intact(self):
        return all((block[:at] == SENTINEL).all() and (block[at + size :] == SENTINEL).all() for block, at, size in self.guarded)


ACTIVATIONS = (*fastnn.reference.ACTIVATIONS, "x", None)


def _activated(d):
    return {"activation": d.choice(*ACTIVATIONS), "alpha": d.choice(None, None, None, d.number(0.1, 1.0))}


def _elementwise(d, **more):
    return ((d.a(d.m, d.n), d.a(d.m, d.n), d.out(d.m, d.n)),
            {"sample_weight": d.choice(None, d.maybe(d.m), d.maybe(d.m, d.n)), "reduction": d.choice("mean", "sum", "x"), **more})


def _cross_entropy(d, **more):
    targets = d.labels(d.m, d.n) if d.chance(0.7) else d.a(d.m, d.n)
    return (d.a(d.m, d.n), targets), {"ignore_index": d.choice(None, None, d.count(0, -100, 2**63)), **more}


def _draws(d):
    return d.count(0, 7, 2**64 - 1), d.count(0, 5)


def _update(d, states, **more):
    shapes = [d.choice((), (0,), (d.n,), (d.m, d.n)) for _ in range(int(d.rng.integers(1, 4)))]
    dtypes = [d.choice(F32, F32, np.float64) for _ in shapes]
    lists = [[d.a(*s, dtype=t) for s, t in zip(shapes, dtypes)] for _ in range(states)]
    return (*lists, d.count(1, 2, 100)), {"lr": d.number(0.1), "weight_decay": d.number(0.0, 0.01), **more}


def _windows(d, image, kernel, **how):
    """How a kernel goes over an image (height, width, channels), and the size of what comes out."""
    how = {"stride": d.size(1, 2, (2, 1)), "padding": d.choice(0, 0, "same", "valid", kernel // 2), **how}
    try:
        stride, padding = pair(how["stride"], "stride"), paddings(how["padding"])
        window = Window.over(image, (kernel, kernel), stride, padding, ceil=how.get("ceil_mode", False))
        return how, (window.out_height, window.out_width)
    except (TypeError, ValueError):
        return how, (1, 1)


def _image(d):
    return d.choice(1, 2, 4, 7), d.choice(1, 3, 4, 6), d.choice(1, 2, 5, 17)


def _conv2d(d, backward=False):
    (height, width, depth), kernel, groups = _image(d), d.choice(1, 1, 2, 3), d.choice(1, 1, 2)
    filters = groups * d.choice(1, 3, 16)
    how, size = _windows(d, (height, width, depth * groups), kernel, groups=groups if d.chance(0.95) else d.size(3))
    x, w = (d.m, height, width, depth * groups), (kernel, kernel, depth, filters)
    y = (d.m, *size, filters)
    if not backward:
        return (d.a(*x), d.a(*w), d.maybe(filters)), how | _activated(d) | {"out": d.out(*y), "z": d.choice(None, d.out(*y))}
    return (d.a(*y), d.a(*x), d.a(*w)), how | _activated(d) | {"saved": d.maybe(*y), "need_dx": d.chance(0.7),
                                                               "out": d.choice(None, (d.out(*x), d.out(*w), d.out(filters)))}


def _pool2d(d, backward=False, average=False):
    image, kernel = _image(d), d.choice(1, 1, 2, 3)
    how, size = _windows(d, image, kernel, ceil_mode=d.chance(0.3))
    x, y = (d.m, *image), (d.m, *size, image[2])
    if not backward:
        return (d.a(*x), d.size(kernel)), how | {"out": d.out(*y)}
    return (d.a(*y), image[:2] if average else d.a(*x), d.size(kernel)), how | {"out": d.out(*x)}


def _stochastic(d, call):
    """With what the draws are a function of."""
    arguments, how = call
    return (*arguments, *_draws(d)), how | {"stream": d.count(0, 3)}


def _global_pool2d(d, backward=False, average=False):
    image = _image(d)
    x, y = (d.m, *image), (d.m, image[2])
    if not backward:
        return (d.a(*x), d.out(*y)), {}
    return (d.a(*y), (d.size(image[0]), image[1]) if average else d.a(*x), d.out(*x)), {}


CALLS = {
    "activation_forward": lambda d: ((d.a(d.m, d.n),), _activated(d) | {"out": d.out(d.m, d.n)}),
    "activation_backward": lambda d: ((d.a(d.m, d.n), d.a(d.m, d.n)), _activated(d) | {"out": d.out(d.m, d.n)}),
    "prelu_forward": lambda d: ((d.a(d.m, d.n), d.a(d.choice(1, d.n)), d.out(d.m, d.n)), {}),
    "prelu_backward": lambda d: ((d.a(d.m, d.n), d.a(d.m, d.n), d.a(d.choice(1, d.n))), {"out": d.choice(None, (d.out(d.m, d.n), d.out(d.n)), 3)}),
    "dense_forward": lambda d: ((d.a(d.m, d.k), d.a(d.k, d.n), d.maybe(d.n)), _activated(d) | {"out": d.out(d.m, d.n), "z": d.choice(None, d.out(d.m, d.n))}),
    "dense_backward": lambda d: ((d.a(d.m, d.n), d.a(d.m, d.k), d.a(d.k, d.n)), _activated(d) | {"saved": d.maybe(d.m, d.n), "need_dx": d.chance(0.7),
                                 "out": d.choice(None, (d.out(d.m, d.k), d.out(d.k, d.n), d.out(d.n)))}),
    "bias_gradient": lambda d: ((d.a(d.m, d.n), d.out(d.n)), {}),
    "softmax_forward": lambda d: ((d.a(d.m, d.n), d.out(d.m, d.n)), {}),
    "softmax_backward": lambda d: ((d.a(d.m, d.n), d.a(d.m, d.n), d.out(d.m, d.n)), {}),
    "log_softmax_forward": lambda d: ((d.a(d.m, d.n), d.out(d.m, d.n)), {}),
    "log_softmax_backward": lambda d: ((d.a(d.m, d.n), d.a(d.m, d.n), d.out(d.m, d.n)), {}),
    "softmax_cross_entropy": lambda d: _cross_entropy(d, out=d.out(d.m, d.n), label_smoothing=d.number(0.0, 0.1, 1.0), class_weight=d.maybe(d.n),
                                                      sample_weight=d.maybe(d.m), reduction=d.choice("mean", "sum", None)),
    "softmax_cross_entropy_rows": _cross_entropy,
    "softmax_cross_entropy_correct": _cross_entropy,
    "mean_squared_error": _elementwise,
    "mean_absolute_error": _elementwise,
    "huber": lambda d: _elementwise(d, delta=d.number(1.0, 0.1)),
    "quantile": lambda d: _elementwise(d, quantile=d.number(0.5, 0.9)),
    "poisson": lambda d: _elementwise(d, log_input=d.chance(0.5), full=d.chance(0.5), eps=d.number(1e-8)),
    "binary_cross_entropy": lambda d: _elementwise(d, class_weight=d.maybe(2, d.n)),
    "binary_hinge": lambda d: _elementwise(d, margin=d.number(1.0), squared=d.chance(0.5), class_weight=d.maybe(2, d.n)),
    "multiclass_hinge": lambda d: ((d.a(d.m, d.n), d.labels(d.m, d.n), d.out(d.m, d.n)), {"margin": d.number(1.0), "squared": d.chance(0.5),
                                   "class_weight": d.maybe(d.n), "sample_weight": d.maybe(d.m), "reduction": d.choice("mean", "sum")}),
    "batchnorm_forward": lambda d: ((d.a(d.m, d.n), d.maybe(d.n), d.maybe(d.n)), _activated(d) | {"eps": d.number(1e-5, 0.0), "out": d.out(d.m, d.n)}),
    "batchnorm_inference": lambda d: ((d.a(d.m, d.n), d.a(d.n), d.a(d.n), d.maybe(d.n), d.maybe(d.n)), _activated(d) | {"eps": d.number(1e-5), "out": d.out(d.m, d.n)}),
    "batchnorm_backward": lambda d: ((d.a(d.m, d.n), d.a(d.m, d.n), d.a(4, d.n), d.maybe(d.n), d.out(d.m, d.n)), {}),
    "layernorm_forward": lambda d: ((d.a(d.m, d.n), d.maybe(d.n), d.maybe(d.n)), _activated(d) | {"eps": d.number(1e-5, 0.0), "out": d.out(d.m, d.n)}),
    "layernorm_backward": lambda d: ((d.a(d.m, d.n), d.a(d.m, d.n), d.a(d.m, 3), d.maybe(d.n), d.out(d.m, d.n)), {}),
    "rmsnorm_forward": lambda d: ((d.a(d.m, d.n), d.maybe(d.n)), _activated(d) | {"eps": d.number(1e-5, 0.0), "out": d.out(d.m, d.n)}),
    "rmsnorm_backward": lambda d: ((d.a(d.m, d.n), d.a(d.m, d.n), d.a(d.m, 3), d.maybe(d.n), d.out(d.m, d.n)), {}),
    "maxout_forward": lambda d: ((d.a(d.m, 3 * d.n), d.count(3, 1, d.n), d.out(d.m, d.n)), {}),
    "maxout_backward": lambda d: ((d.a(d.m, d.n), d.a(d.m, 3 * d.n), d.count(3, 1), d.out(d.m, 3 * d.n)), {}),
    "dropout_forward": lambda d: ((d.a(d.m, d.n), d.number(0.5, 0.1, 0.0), *_draws(d), d.out(d.m, d.n)), {}),
    "dropout_backward": lambda d: ((d.a(d.m, d.n), d.number(0.5, 0.1), *_draws(d), d.out(d.m, d.n)), {}),
    "gaussian_noise": lambda d: ((d.a(d.m, d.n), d.number(0.5, 0.0), *_draws(d), d.out(d.m, d.n)), {"stream": d.count(0, 3)}),
    "embedding_forward": lambda d: ((d.keep(d.whole((d.m, 3), 0, d.k)), d.a(d.k, d.n), d.out(d.m, 3 * d.n)), {"unknown": d.chance(0.5)}),
    "embedding_backward": lambda d: ((d.a(d.m, 3 * d.n), d.keep(d.whole((d.m, 3), 0, d.k)), d.size(d.k), d.out(d.k, d.n)), {"unknown": d.chance(0.5)}),
    "conv2d_forward": _conv2d,
    "conv2d_backward": lambda d: _conv2d(d, True),
    "maxpool2d_forward": _pool2d,
    "maxpool2d_backward": lambda d: _pool2d(d, True),
    "avgpool2d_forward": _pool2d,
    "avgpool2d_backward": lambda d: _pool2d(d, True, True),
    "global_maxpool2d_forward": _global_pool2d,
    "global_maxpool2d_backward": lambda d: _global_pool2d(d, True),
    "global_avgpool2d_forward": _global_pool2d,
    "global_avgpool2d_backward": lambda d: _global_pool2d(d, True, True),
    "stochastic_pool2d_forward": lambda d: _stochastic(d, _pool2d(d)),
    "stochastic_pool2d_backward": lambda d: _stochastic(d, _pool2d(d, True)),
    "stochastic_pool2d_inference": _pool2d,
    "stochastic_pool2d_inference_backward": lambda d: _pool2d(d, True),
    "groupnorm_forward": lambda d: ((d.a(d.m, 3, 2 * d.n), d.size(1, 2, 2), d.maybe(2 * d.n), d.maybe(2 * d.n)), _activated(d) | {"eps": d.number(1e-5), "out": d.out(d.m, 3, 2 * d.n)}),
    "groupnorm_backward": lambda d: ((d.a(d.m, 3, 2 * d.n), d.a(d.m, 3, 2 * d.n), d.size(1, 2, 2), d.maybe(2 * d.n)), {"eps": d.number(1e-5), "out": d.out(d.m, 3, 2 * d.n)}),
    "dropout2d_forward": lambda d: ((d.a(d.m, 3, d.n), d.number(0.5, 0.1, 0.0), *_draws(d), d.out(d.m, 3, d.n)), {}),
    "dropout2d_backward": lambda d: ((d.a(d.m, 3, d.n), d.number(0.5, 0.1), *_draws(d), d.out(d.m, 3, d.n)), {}),
    "gather": lambda d: ((d.keep(d.whole((d.m, d.n), 0, 100)) if d.chance(0.5) else d.a(d.m, d.n, dtype=d.choice("f2", "f4", "f8")), d.index(d.m), d.number(1.0, 0.5),
                          d.number(0.0, 1.0), d.out(d.k, d.n), d.chance(0.5)), {}),
    "gather_labels": lambda d: ((d.labels(d.m, d.n), d.index(d.m), d.count(d.n, 1, 2**31), d.out(d.k, dtype=np.int32)), {}),
    "penalty_forward": lambda d: ((d.a(d.m, d.n), d.number(0.1, 0.0), d.number(0.1, 0.0)), {}),
    "penalty_backward": lambda d: ((d.a(d.m, d.n), d.a(d.m, d.n), d.number(0.1, 0.0), d.number(0.1, 0.0)), {}),
    "permutation": lambda d: ((d.size(d.m * d.n, 1), *_draws(d)), {}),
    "random_bits": lambda d: ((d.size(d.m * d.n), d.count(1, 2**63), d.count(0, 9)), {"step": d.count(0, 2**31), "offset": d.count(0, 5)}),
    "sgd_update": lambda d: _update(d, 3, momentum=d.number(0.9, 0.5)),
    "adam_update": lambda d: _update(d, 4),
}

OPTIMIZERS = [getattr(optim, name) for name in optim.__all__ if name not in ("Optimizer", "LBFGS")]


def optimize(d):
    """An optimizer of a few arrays, and some steps, states and averages of it; yields after each call."""
    kind, shapes = d.choice(*OPTIMIZERS), [d.choice((), (0,), (d.n,), (d.m, d.n), (d.k, d.m, 2)) for _ in range(int(d.rng.integers(1, 4)))]
    options = {"clip_norm": d.number(1.0), "clip_value": d.number(1.0), "weight_decay": d.number(0.01), "ema": d.number(0.9), "l1": d.number(0.01),
               "max_norm": d.number(1.0), "maximize": d.chance(0.5), "skip_nonfinite": d.chance(0.5)}
    params = [d.a(*s, dtype=d.choice(F32, F32, np.float64)) for s in shapes]
    yield (opt := kind(params, lr=d.number(0.1, 1e-3), **{k: v for k, v in options.items() if d.chance(0.15)}))
    for _ in range(int(d.rng.integers(1, 5))):
        grads = [None if d.chance(0.05) else d.a(*s, dtype=getattr(np.ndarray, "dtype").__get__(p)) for s, p in zip(shapes, params)]
        yield opt.step(grads)
    state = opt.state_dict()
    for path in ("state", "averages"):
        entries = state.get(path)
        for entry in entries.values() if isinstance(entries, dict) else []:
            for name, value in entry.items() if isinstance(entry, dict) else []:
                if isinstance(value, np.ndarray) and d.chance(0.2):
                    entry[name] = d.spoil(value)
    yield opt.load_state_dict(state)
    yield opt.step([d.a(*s, dtype=getattr(np.ndarray, "dtype").__get__(p)) for s, p in zip(shapes, params)])


def fuzz(seed, calls):
    """At least so many calls; {what was called: [calls, of which refused]}."""
    rng, counts, done = np.random.default_rng(seed), {}, 0
    names = [*CALLS, *(["optimizer"] * 4)]
    while done < calls:
        fastnn.use_isa(str(rng.choice(fastnn.available_isas())))
        fastnn.set_num_threads(2 if rng.random() < 0.2 else 1)  # changed seldom: the threads are made anew
        for _ in range(min(500, calls - done)):
            name = names[int(rng.integers(len(names)))]
            found = counts.setdefault(name, [0, 0])
            d = Drawn(rng)
            try:
                if name == "optimizer":
                    for _ in optimize(d):
                        found[0] += 1
                        done += 1
                else:
                    args, options = CALLS[name](d)
                    found[0] += 1
                    done += 1
                    getattr(kernels, name)(*args, **options)
            except ERRORS:
                found[1] += 1
            except RuntimeError as error:  # of an array that raises when it is asked
                assert d.lies and str(error) == "asked"
                found[1] += 1
            assert d.intact(), f"{name} wrote beyond its outputs"
    return counts


def check(counts):
    assert set(counts) == {*kernels.__all__, "optimizer"}
    for name, (calls, refused) in counts.items():
        assert 0 < refused < calls, f"{name}: {refused} of {calls} calls refused: the others are not tried"


@pytest.mark.filterwarnings("ignore")
def test_random_calls():
    check(fuzz(0, 3000))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_random_calls_in_full():
    counts = fuzz(int(os.environ.get("FASTNN_FUZZ_SEED", "1")), 250_000)
    check(counts)
    calls, refused = np.sum(list(counts.values()), axis=0)
    print(f"{calls} calls, {refused} of them refused")
