"""Makes digests.json: to which bits short trainings lead, with every optimizer, layer, loss, activation and kind of product.

    python tests/golden/make_digests.py      # on a machine whose kernels have fused multiply-adds

A case is a function that trains something for a few steps; its digest is of the bits of all parameters, running statistics,
states of the optimizer and losses. The other golden files say that results are right, to a tolerance; this one says that
they are still the same. A change of the code that is not meant to change a bit must leave the file as it is. After one that
is meant to, make the file anew: its diff says which trainings have changed.

Each case has two digests: one of all instruction sets with fused multiply-adds, which agree to the bit, and one of `generic`.
Threads change neither.

What goes in is made from the raw bits of a PCG64 generator by exact arithmetic, so that it is the same with every NumPy.
Nor do results depend on the platform's mathematics library, as far as can be: where a decay is raised to the power of the
step it is a fraction like 13/16, whose powers are exact. The cases that MATHEMATICS_LIBRARY names do use it, in double, and
round what it gives to float32; a last place of a double is hardly ever seen there. Other hyper-parameters are no round
fractions, nor are differences of these decays from 1: what is multiplied by a power of two is exact, and would not show
whether the addition behind it is fused. tests/test_digests.py imports CASES.
"""

import hashlib
import json
import math
from pathlib import Path

import numpy as np

import fastnn
from fastnn import init, kernels, losses, nn, optim, regularizers, schedules
from fastnn.core import activations

FILE = Path(__file__).with_name("digests.json")
BETAS = (13 / 16, 61 / 64)  # their powers are exact in double, for as many steps as are done here; products with them are not
MATHEMATICS_LIBRARY = (  # cosines, logarithms and powers that are not exact; LAPACK too, for the orthogonal initialiser
    "optimizer/adam by default", "optimizer/nadam", "schedule/cosine", "schedule/cosine restarts", "schedule/one cycle",
    "init/normal", "init/truncated_normal", "init/lecun_normal", "init/xavier_normal", "init/he_normal", "init/orthogonal",
)  # fmt: skip

CASES = {}  # name: function that returns arrays and numbers, nested in any way


def case(name):
    def add(function):
        assert name not in CASES, name
        CASES[name] = function
        return function

    return add


# ---- what goes in, and what comes out ----


def uniform(seed, *shape, dtype=np.float32):
    """Numbers in [-1, 1), with as many bits as the type has."""
    digits = 24 if dtype == np.float32 else 53
    words = np.random.PCG64(seed).random_raw(math.prod(shape)) >> np.uint64(64 - digits)
    return (words.astype(np.float64) * 2.0 ** (1 - digits) - 1.0).astype(dtype).reshape(shape)


def whole(seed, below, *shape):
    """Integers from 0 to below - 1."""
    words = np.random.PCG64(seed).random_raw(math.prod(shape)) >> np.uint64(32)
    return (words * np.uint64(below) >> np.uint64(32)).astype(np.int64).reshape(shape)


def fill(model):
    """Parameters that do not depend on the initialisers: weights of a fitting size, everything else a little beside where it
    starts."""
    for i, p in enumerate(model.parameters()):
        if len(p.shape) > 1:
            p.data = uniform(100 + i, *p.shape) * np.float32(2.0 ** (1 - math.prod(p.shape[:-1]).bit_length() // 2))
        else:
            p.data = p.data + uniform(100 + i, *p.shape) * np.float32(0.125)
    return model


def flat(found):
    """Arrays one after the other; numbers as float64, of dicts the values by their keys' order."""
    if isinstance(found, dict):
        found = [found[key] for key in sorted(found)]
    if isinstance(found, (list, tuple)):
        for part in found:
            yield from flat(part)
    elif found is not None:
        yield found if isinstance(found, np.ndarray) else np.array(found, np.float64)


def digest(found):
    """Of the bits, types and shapes of everything that a case returns."""
    total = hashlib.sha256()
    for a in flat(found):
        assert np.isfinite(a).all(), "a NaN has more than one pattern of bits"
        total.update(f"{a.dtype.str}{a.shape}".encode())
        total.update(np.ascontiguousarray(a).tobytes())
    return total.hexdigest()[:16]


def column(isa=None):
    """Which of a case's digests holds for an instruction set, or for the one in use."""
    return "generic" if (isa or fastnn.get_isa()) == "generic" else "fused"


def inputs(model, seed, rows, codes=()):
    """Samples of the model's shape; codes: for each column how many categories it has, 0 where it has numbers."""
    x = uniform(seed, rows, *model.in_shape)
    for column, count in enumerate(codes):
        if count:
            x[:, column] = whole(seed + column, count, rows)
    return x


def train(model, loss, optimizer, target, batch=24, steps=4, weighted=False, codes=(), **settings):
    """What a model has become in some steps, the last of fewer rows. `target`: function of a seed and a number of rows."""
    fill(model)
    trainer = fastnn.Trainer(model, loss, optimizer(model.parameters()), seed=5, **settings)
    found = []
    for step in range(steps):
        rows = batch if step + 1 < steps else max(batch - batch // 3, 1)
        weights = np.abs(uniform(3000 + step, rows)) * np.float32(2) if weighted else None
        found.append(trainer.step(inputs(model, 1000 + step, rows, codes), target(2000 + step, rows), weights))
    return result(trainer), found


def result(trainer):
    return trainer.model.state_dict(), trainer.optimizer.state_dict()["state"]


def labels(classes):
    return lambda seed, rows: whole(seed, classes, rows)


def rows_of(columns):
    return lambda seed, rows: uniform(seed, rows, columns)


def dense(n_in, n_out, activation=None, **settings):
    """A Dense layer whose weights are not drawn, since `fill` gives it others."""
    return nn.Dense(n_in, n_out, activation, init="zeros", **settings)


def chain(*sizes, activation="relu", **settings):
    """Dense layers with an activation between them."""
    between = [activation] * (len(sizes) - 2) + [None]
    return nn.Sequential(*[dense(a, b, f, **settings) for a, b, f in zip(sizes, sizes[1:], between)])


def sgd(params):
    return optim.SGD(params, lr=0.1, momentum=0.9)


def adam(params):
    return optim.Adam(params, lr=0.015, betas=BETAS)


CROSS_ENTROPY = losses.SoftmaxCrossEntropy()


# ---- optimizers, inside the products and on arrays ----


OPTIMIZERS = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd decay": ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    "momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "momentum dampened": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.1}),
    "momentum classic": ("SGD", {"lr": 0.1, "momentum": 0.9, "form": "classic", "weight_decay": 0.01}),
    "momentum average": ("SGD", {"lr": 0.1, "momentum": 0.9, "form": "average"}),
    "momentum corrected": ("SGD", {"lr": 0.1, "momentum": 13 / 16, "form": "corrected"}),
    "nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "nesterov classic": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "form": "classic", "weight_decay": 0.1}),
    "adagrad": ("Adagrad", {"lr": 0.07}),
    "adagrad decayed": ("Adagrad", {"lr": 0.07, "lr_decay": 0.3, "weight_decay": 0.1, "initial_accumulator_value": 0.5}),
    "adadelta": ("Adadelta", {}),
    "adadelta slow": ("Adadelta", {"lr": 0.5, "rho": 0.97, "eps": 1e-4, "weight_decay": 0.1}),
    "rmsprop": ("RMSprop", {"lr": 0.01}),
    "rmsprop momentum": ("RMSprop", {"lr": 0.01, "alpha": 0.85, "momentum": 0.7, "weight_decay": 0.1}),
    "rmsprop centered": ("RMSprop", {"lr": 0.01, "alpha": 0.85, "centered": True, "eps": 1e-4}),
    "rmsprop centered momentum": ("RMSprop", {"lr": 0.01, "alpha": 0.85, "centered": True, "momentum": 0.7}),
    "adam": ("Adam", {"lr": 0.01, "betas": BETAS}),
    "adam by default": ("Adam", {}),
    "adam decay": ("Adam", {"lr": 0.01, "betas": BETAS, "weight_decay": 0.1, "eps": 1e-4}),
    "adam epsilon hat": ("Adam", {"lr": 0.01, "betas": BETAS, "epsilon_hat": True, "eps": 1e-4}),
    "amsgrad": ("Adam", {"lr": 0.01, "betas": BETAS, "amsgrad": True}),
    "adamw": ("AdamW", {"lr": 0.01, "betas": BETAS, "weight_decay": 0.3}),
    "adamw amsgrad": ("AdamW", {"lr": 0.01, "betas": BETAS, "weight_decay": 0.3, "amsgrad": True}),
    "nadam": ("NAdam", {"lr": 0.01, "betas": BETAS}),
    "nadam steady": ("NAdam", {"lr": 0.01, "betas": BETAS, "momentum_decay": 0.0, "weight_decay": 0.1}),
    "adamax": ("Adamax", {"lr": 0.01, "betas": BETAS}),
    "adamax decay": ("Adamax", {"lr": 0.01, "betas": BETAS, "weight_decay": 0.1}),
    "radam": ("RAdam", {"lr": 0.01, "betas": BETAS}),
    "radam decoupled": ("RAdam", {"lr": 0.01, "betas": BETAS, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "lion": ("Lion", {"lr": 0.01, "betas": BETAS}),
    "lion decay": ("Lion", {"lr": 0.01, "betas": BETAS, "weight_decay": 0.3}),
    "lamb": ("LAMB", {"lr": 0.05, "betas": BETAS}),
    "lamb decay": ("LAMB", {"lr": 0.05, "betas": BETAS, "weight_decay": 0.1}),
    "schedule-free": ("ScheduleFreeAdamW", {"lr": 3 / 64, "betas": BETAS}),
    "schedule-free warm-up": (
        "ScheduleFreeAdamW",
        {"lr": 0.05, "betas": BETAS, "weight_decay": 0.1, "warmup_steps": 2, "r": 1.0, "weight_lr_power": 1.0},
    ),
    "adafactor": ("Adafactor", {"lr": 0.05, "beta2_decay": -1.0, "weight_decay": 0.1}),
    "muon": ("Muon", {"lr": 0.02, "betas": BETAS, "weight_decay": 0.1}),
    "muon steady": ("Muon", {"lr": 0.02, "betas": BETAS, "nesterov": False, "ns_steps": 2, "adjust_lr_fn": "match_rms_adamw"}),
}  # fmt: skip

SHAPES = ((33, 129), (70, 35), (17,), (1,), (2, 3, 4))


def steps_on_arrays(optimizer, dtype, steps=4, clip_norm=None):
    """Steps on arrays of odd sizes, in C and in Fortran order, the gradients from a generator."""
    params = [np.asarray(uniform(10 + i, *s, dtype=dtype), order="CF"[i % 2]) for i, s in enumerate(SHAPES)]
    opt, norms = optimizer(params), []
    for step in range(steps):
        grads = [np.asarray(uniform(50 * step + i, *s, dtype=dtype), order="CF"[i % 2]) for i, s in enumerate(SHAPES)]
        norms.append(opt.step(grads, clip_norm=clip_norm))
    return params, opt.state_dict()["state"], norms


def add_optimizer(name, kind, settings):
    def make(params):
        return getattr(optim, kind)(params, **settings)

    steps = 8 if kind == "RAdam" else 4  # before its sixth step it is momentum

    # 5 columns: their gradient is computed turned. 33 and 20: in tiles, the last of which is partly empty.
    @case(f"optimizer/{name}")
    def in_a_model():
        return train(chain(20, 33, 5), CROSS_ENTROPY, make, labels(5), steps=steps)

    if f"optimizer/{name}" not in MATHEMATICS_LIBRARY:  # whose last place a float64 shows

        @case(f"optimizer on arrays/{name}")
        def on_arrays():
            return [steps_on_arrays(make, dtype, steps) for dtype in (np.float32, np.float64)]


for _name, _settings in OPTIMIZERS.items():
    add_optimizer(_name, *_settings)

OPTIONS = {
    "maximize": {"maximize": True},
    "decoupled decay": {"weight_decay": 0.2, "decoupled_weight_decay": True},
    "l1": {"l1": 0.06},
    "elastic net": {"l1": 0.06, "weight_decay": 0.13},
    "clip_value": {"clip_value": 0.008},
    "max_norm": {"max_norm": 0.7},
    "ema": {"ema": 0.7},
    "ema and max_norm": {"ema": 0.7, "max_norm": 0.7},
    "all": {"maximize": True, "l1": 0.03, "clip_value": 0.008, "max_norm": 0.7, "ema": 0.6, "weight_decay": 0.13},
}
OPTIONED = {
    "momentum": lambda params, **options: optim.SGD(params, lr=0.1, momentum=0.9, **options),
    "amsgrad": lambda params, **options: optim.Adam(params, lr=0.01, betas=BETAS, amsgrad=True, **options),
    "lamb": lambda params, **options: optim.LAMB(params, lr=0.05, betas=BETAS, **options),
}


def add_option(name, options, kind, make):
    @case(f"option/{name}, {kind}")
    def in_a_model():
        return train(chain(20, 33, 5), CROSS_ENTROPY, lambda params: make(params, **options), labels(5))

    @case(f"option on arrays/{name}, {kind}")
    def on_arrays():
        return [steps_on_arrays(lambda params: make(params, **options), dtype) for dtype in (np.float32, np.float64)]


for _name, _options in OPTIONS.items():
    for _kind, _make in OPTIONED.items():
        if not (_kind == "lamb" and "decoupled_weight_decay" in _options):  # its decay is its own
            add_option(_name, _options, _kind, _make)

for _name, _make in {"sgd": sgd, "adam": adam, "lamb": OPTIONED["lamb"]}.items():
    CASES[f"option/clip_norm, {_name}"] = lambda make=_make: train(
        chain(20, 33, 5), CROSS_ENTROPY, make, labels(5), clip_norm=0.13
    )
    CASES[f"option on arrays/clip_norm, {_name}"] = lambda make=_make: [
        steps_on_arrays(make, dtype, clip_norm=0.5) for dtype in (np.float32, np.float64)
    ]


@case("option/skip_nonfinite")
def skip_nonfinite():
    """A batch with an infinity in it is left out, statistics and all; its loss is no number."""
    model = fill(nn.Sequential(dense(9, 12), nn.BatchNorm(12), dense(12, 4)))
    trainer = fastnn.Trainer(model, CROSS_ENTROPY, optim.Adam(model.parameters(), betas=BETAS, skip_nonfinite=True))
    found = []
    for step in range(4):
        x = uniform(1000 + step, 20, 9)
        if step == 2:
            x[3, 4] = np.inf
        loss = trainer.step(x, whole(2000 + step, 4, 20))
        found += [loss] if step != 2 else []
    return result(trainer), found, trainer.optimizer.skipped


@case("option/groups")
def groups():
    """Hyper-parameters of its own for each group, one of which comes later; some parameters are frozen."""
    model = fill(chain(20, 33, 12, 5))
    p = model.parameters()
    opt = optim.AdamW([{"params": p[:2], "lr": 0.02, "weight_decay": 0.5}, {"params": [p[3]], "ema": 0.6}], betas=BETAS)
    trainer = fastnn.Trainer(model, CROSS_ENTROPY, opt)
    found = []
    for step in range(5):
        if step == 2:
            opt.add_param_group({"params": [p[4]], "maximize": True, "weight_decay": 0.0})
        if step == 3:
            opt.param_groups[0]["lr"] = 0.005
        found.append(trainer.step(uniform(1000 + step, 24, 20), whole(2000 + step, 5, 24)))
    return result(trainer), found


@case("option/schedule-free, evaluated")
def schedule_free():
    model = fill(chain(20, 33, 5))
    opt = optim.ScheduleFreeAdamW(model.parameters(), lr=3 / 64, betas=BETAS)
    trainer = fastnn.Trainer(model, CROSS_ENTROPY, opt)
    for step in range(3):
        trainer.step(uniform(1000 + step, 24, 20), whole(2000 + step, 5, 24))
    opt.eval()
    return model.state_dict(), model.predict(uniform(1, 9, 20))


SCHEDULES = {
    "constant": lambda: schedules.Constant(0.3),
    "step": lambda: schedules.Step(0.3, 2, gamma=0.5),
    "multi step": lambda: schedules.MultiStep(0.3, [1, 3], gamma=0.5),
    "exponential": lambda: schedules.Exponential(0.3, 0.5),
    "inverse time": lambda: schedules.InverseTime(0.3, 0.5),
    "cosine": lambda: schedules.Cosine(0.3, 5),
    "cosine restarts": lambda: schedules.CosineRestarts(0.3, 3, T_mult=2),
    "linear": lambda: schedules.Linear(0.3, total_iters=4),
    "polynomial": lambda: schedules.Polynomial(0.3, total_iters=8, power=2.0),
    "one cycle": lambda: schedules.OneCycle(0.3, 6),
    "one cycle linear": lambda: schedules.OneCycle(0.3, 6, anneal_strategy="linear"),
    "warm-up": lambda: schedules.WarmUp(schedules.Step(0.3, 3, gamma=0.25), 4),
    "sequence": lambda: schedules.Sequence([schedules.Constant(0.1), schedules.Linear(0.3, total_iters=3)], [2]),
    "product": lambda: schedules.Product(schedules.Constant(0.3), schedules.InverseTime(1.0, 0.25)),
    "per epoch": lambda: schedules.PerEpoch(schedules.Step(0.3, 1, gamma=0.5), steps_per_epoch=3),
    "function": lambda: lambda step: 0.3 / (1 + step),
}
for _name, _make in SCHEDULES.items():
    CASES[f"schedule/{_name}"] = lambda make=_make: train(
        chain(12, 5), CROSS_ENTROPY, lambda params: optim.SGD(params, lr=make(), momentum=0.6), labels(5), steps=6
    )


# ---- losses ----


def counts(columns):
    return lambda seed, rows: whole(seed, 6, rows, columns).astype(np.float32)


def bits(columns):
    return lambda seed, rows: whole(seed, 2, rows, columns)


def shares(columns):
    return lambda seed, rows: np.abs(uniform(seed, rows, columns))


def quartic(outputs, targets, *weights):
    """(loss, gradient), by sums and products of elements only, which are the same with every NumPy."""
    d = (outputs - targets).astype(np.float64)
    w = weights[0][:, None].astype(np.float64) if weights else np.ones((len(d), 1))
    square = d * d
    return math.fsum((w * square * square).ravel().tolist()) / d.size, 4 * w * square * d / d.size


LOSSES = {
    "cross-entropy, labels": (losses.SoftmaxCrossEntropy(), labels(5)),
    "cross-entropy, rows": (losses.SoftmaxCrossEntropy(), shares(5)),
    "cross-entropy, sum": (losses.SoftmaxCrossEntropy(reduction="sum"), labels(5)),
    "cross-entropy, smoothed": (losses.SoftmaxCrossEntropy(label_smoothing=0.1), labels(5)),
    "cross-entropy, class weights": (losses.SoftmaxCrossEntropy(class_weight=[1, 0.6, 1.7, 0, 3]), labels(5)),
    "cross-entropy, smoothed rows, class weights": (losses.SoftmaxCrossEntropy(0.2, {1: 0.6, 3: 1.7}), shares(5)),
    "squared": (losses.MeanSquaredError(), rows_of(5)),
    "squared, sum": (losses.MeanSquaredError(reduction="sum"), rows_of(5)),
    "absolute": (losses.MeanAbsoluteError(), rows_of(5)),
    "huber": (losses.Huber(), rows_of(5)),
    "huber, narrow": (losses.Huber(delta=0.1), rows_of(5)),
    "quantiles": (losses.Quantile([0.1, 0.3, 0.5, 0.7, 0.9]), rows_of(5)),
    "poisson, log": (losses.Poisson(), counts(5)),
    "poisson, log, full": (losses.Poisson(full=True), counts(5)),
    "poisson": (losses.Poisson(log_input=False, eps=4.0), counts(5)),
    "binary": (losses.BinaryCrossEntropy(), bits(5)),
    "binary, pos_weight": (losses.BinaryCrossEntropy(pos_weight=[1, 1.7, 0.6, 3, 0]), shares(5)),
    "binary, class weights": (losses.BinaryCrossEntropy(pos_weight=1.7, class_weight=(0.6, 1.3)), bits(5)),
    "hinge": (losses.BinaryHinge(), bits(5)),
    "hinge, squared": (losses.BinaryHinge(margin=0.6, squared=True, class_weight={0: 0.6}), bits(5)),
    "classes' hinge": (losses.MulticlassHinge(), labels(5)),
    "classes' hinge, squared": (losses.MulticlassHinge(0.6, True, [1, 0.6, 1.7, 0, 3], reduction="sum"), labels(5)),
    "custom": (losses.Custom(quartic), rows_of(5)),
}
for _name, (_loss, _target) in LOSSES.items():
    for _weighted in (False, True):
        CASES[f"loss/{_name}{', weighted' * _weighted}"] = lambda loss=_loss, target=_target, weighted=_weighted: train(
            chain(12, 9, 5), loss, lambda params: optim.SGD(params, lr=0.015), target, weighted=weighted
        )
for _name, (_loss, _target) in {
    "squared": (losses.MeanSquaredError(), rows_of(1)),
    "binary": (losses.BinaryCrossEntropy(), bits(1)),
    "hinge": (losses.BinaryHinge(), bits(1)),
}.items():
    CASES[f"loss/{_name}, one output"] = lambda loss=_loss, target=_target: train(chain(12, 9, 1), loss, sgd, target)


# ---- activations and layers ----


ACTIVATIONS = {
    "identity": None, "sigmoid": None, "tanh": None, "relu": None, "leaky_relu": 0.3, "elu": 0.7, "selu": None, "gelu": None,
    "gelu_tanh": None, "silu": None, "softplus": 1.7, "hard_tanh": None, "mish": None,
}  # fmt: skip

SAVES = {name: a.saves for name, a in activations.ACTIVATIONS.items()}


def add_activation(name, alpha):
    @case(f"activation/{name}")
    def inside_products():
        model = nn.Sequential(dense(12, 20, nn.Activation(name, alpha)), dense(20, 17, nn.Activation(name, alpha)), dense(17, 5))
        return train(model, CROSS_ENTROPY, sgd, labels(5))

    @case(f"activation/{name}, on its own")
    def behind_a_sum():
        model = nn.Sequential(dense(12, 20), nn.Residual(dense(20, 20)), nn.Activation(name, alpha), dense(20, 5))
        return train(model, CROSS_ENTROPY, sgd, labels(5))

    @case(f"kernel/activation {name}")
    def kernel():
        x, dy = uniform(1, 16, 37) * np.float32([[0.1], [1], [8], [30]] * 4), uniform(2, 16, 37)
        y = kernels.activation_forward(x, name, alpha=alpha)
        saved = x if SAVES[name] == "z" else y
        return y, kernels.activation_backward(dy, saved, name, alpha=alpha)


for _name, _alpha in ACTIVATIONS.items():
    add_activation(_name, _alpha)


def tied(activation="sigmoid", transpose=True, features=24, units=9, bias=True):
    first = dense(features, units, activation)
    return nn.Sequential(first, nn.Tied(first, transpose=transpose, bias=bias))


def shared():
    """One matrix in three places: as it is, and transposed."""
    first = dense(11, 11, "tanh")
    return nn.Sequential(
        first, nn.Tied(first, transpose=False, activation="relu"), dense(11, 11), nn.Tied(first, activation="softmax"), dense(11, 5)
    )


def conv(*sizes, **settings):
    """A Conv2d layer whose weights are not drawn."""
    return nn.Conv2d(*sizes, init="zeros", **settings)


LAYERS = {
    "prelu": lambda: nn.Sequential(dense(12, 20), nn.PReLU(), dense(20, 5, "prelu")),
    "prelu of each feature": lambda: nn.Sequential(dense(12, 20), nn.PReLU(20), dense(20, 5)),
    "softmax": lambda: nn.Sequential(dense(12, 20, "softmax"), nn.Softmax(), dense(20, 5)),
    "log_softmax": lambda: nn.Sequential(dense(12, 20, "log_softmax"), nn.LogSoftmax(), dense(20, 5)),
    "batch norm": lambda: nn.Sequential(dense(12, 20), nn.BatchNorm(20), nn.Activation("relu"), dense(20, 5)),
    "batch norm behind": lambda: nn.Sequential(nn.BatchNorm(12), dense(12, 20, "gelu"), nn.BatchNorm(20, 0.3, 1e-3), dense(20, 5)),
    "batch norm, not affine": lambda: nn.Sequential(dense(12, 20, bias=False), nn.BatchNorm(20, affine=False), dense(20, 5)),
    "layer norm": lambda: nn.Sequential(nn.LayerNorm(12), dense(12, 20), nn.LayerNorm(20), nn.Activation("tanh"), dense(20, 5)),
    "layer norm, not affine": lambda: nn.Sequential(dense(12, 37), nn.LayerNorm(37, affine=False), dense(37, 5)),
    "rms norm": lambda: nn.Sequential(nn.RMSNorm(12), dense(12, 20), nn.RMSNorm(20, 1e-3), nn.Activation("silu"), dense(20, 5)),
    "rms norm, not affine": lambda: nn.Sequential(dense(12, 37), nn.RMSNorm(37, affine=False), dense(37, 5)),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.3), dense(12, 20, "relu"), nn.Dropout(), dense(20, 5)),
    "dropconnect": lambda: nn.Sequential(nn.DropConnect(dense(12, 20, "relu"), 0.3), nn.DropConnect(dense(20, 5))),
    "noise": lambda: nn.Sequential(nn.GaussianNoise(0.3), dense(12, 20, "relu"), nn.GaussianNoise(0.1), dense(20, 5)),
    "maxout": lambda: nn.Sequential(nn.Maxout(12, 20, init="zeros"), nn.Maxout(20, 5, pieces=3, bias=False, init="zeros")),
    "residual": lambda: nn.Sequential(
        dense(12, 20), nn.Residual(nn.LayerNorm(20), dense(20, 40, "gelu"), dense(40, 20)),
        nn.Residual(nn.Residual(dense(20, 20, "tanh")), dense(20, 20)), dense(20, 5)),
    "shared": lambda: nn.Sequential(dense(12, 11), *shared().layers),
    "nested": lambda: nn.Sequential(nn.Sequential(dense(12, 20, "elu"), nn.Sequential(dense(20, 20))), dense(20, 5)),
    "no biases": lambda: chain(12, 20, 17, 5, bias=False),
    "one layer": lambda: chain(12, 5),
    "deep": lambda: chain(12, *[16] * 20, 5, activation="tanh"),
    "everything": lambda: nn.Sequential(
        nn.Rescaling(0.7, 0.3), nn.GaussianNoise(0.1), dense(12, 33), nn.BatchNorm(33), nn.Activation("leaky_relu"),
        nn.Dropout(0.3), nn.Residual(nn.RMSNorm(33), nn.DropConnect(dense(33, 33, "silu")), nn.PReLU(33)),
        nn.Maxout(33, 14, init="zeros"), dense(14, 5)),
    "parametric activations": lambda: nn.Sequential(
        dense(12, 20), nn.ParametricActivation(20, "selu"), nn.ParametricActivation(20, "mish"), dense(20, 5)),
    "numbers": lambda: nn.Sequential(
        nn.Scale(12), nn.PiecewiseLinear([[-0.7, 0.1, 0.6]] * 12), dense(24, 20, "tanh"), nn.Scale(20), dense(20, 5)),
    "waves": lambda: nn.Sequential(nn.PBLD(12, 5, 3, embedded=7), dense(26, 8), nn.PBLD(8, 17, 6), dense(48, 5)),
    "embedding": lambda: nn.Sequential(nn.Input(3), nn.Embedding(7, 6), nn.Flatten(), dense(18, 5)),
    "table": lambda: nn.Sequential(nn.TabularEmbedding(2, (3, 7), dim=4), dense(10, 20, "relu"), dense(20, 5)),
    "convolutions": lambda: nn.Sequential(
        nn.Input(9, 8, 2), conv(2, 5, 3, padding=1, activation="relu"), nn.MaxPool2d(2), conv(5, 17, 2, activation="gelu"),
        nn.AvgPool2d(2, 1, padding=1), nn.Flatten(), dense(272, 5)),
    "convolutions in groups": lambda: nn.Sequential(
        nn.Input(9, 8, 2), conv(2, 6, 3, stride=2, groups=2), nn.PReLU(6), conv(6, 6, 2, dilation=2, groups=6),
        nn.GlobalAvgPool2d(), dense(6, 5)),
    "convolutions, normalised": lambda: nn.Sequential(
        nn.Input(9, 8, 2), conv(2, 6, 3), nn.BatchNorm(6), nn.Activation("relu"), conv(6, 6, 2), nn.GroupNorm(3, 6),
        nn.Dropout2d(0.3), nn.GlobalMaxPool2d(), dense(6, 5)),
    "stochastic pooling": lambda: nn.Sequential(
        nn.Input(9, 8, 2), conv(2, 6, 3, activation="relu"), nn.StochasticPool2d(2), nn.Flatten(), dense(54, 5)),
    "transposed convolution": lambda: nn.Sequential(
        nn.Input(4, 3, 2), nn.ConvTranspose2d(2, 3, 2, stride=2, init="zeros", activation="tanh"), nn.Flatten(), dense(144, 5)),
}  # fmt: skip
CODES = {"embedding": (7, 7, 7), "table": (0, 0, 3, 7)}
for _name, _make in LAYERS.items():
    for _kind, _optimizer in {"sgd": sgd, "adam": adam}.items():
        CASES[f"layer/{_name}, {_kind}"] = lambda make=_make, optimizer=_optimizer, codes=CODES.get(_name, ()): train(
            make(), CROSS_ENTROPY, optimizer, labels(5), codes=codes
        )
    if _name not in ("dropout", "dropconnect", "noise"):  # which do nothing then
        CASES[f"predict/{_name}"] = lambda make=_make, codes=CODES.get(_name, ()): predictions(make(), codes)

for _batch in (1, 7, 64):
    for _name, _make in {
        "tied": lambda: tied(),
        "tied, wide": lambda: tied("relu", features=150, units=70),
        "tied, as it is": lambda: nn.Sequential(dense(12, 24), *tied("tanh", False, 24, 24, bias=False).layers),
    }.items():
        CASES[f"layer/{_name} @ {_batch}"] = lambda make=_make, batch=_batch: train(
            (model := make()), losses.MeanSquaredError(), sgd, rows_of(model.out_features), batch
        )

PENALTIES = {
    "l1": regularizers.L1(0.015), "l2": regularizers.L2(0.06), "elastic net": regularizers.ElasticNet(0.015, 0.06),
}  # fmt: skip
for _name, _penalty in PENALTIES.items():
    for _kind, _optimizer in {"sgd": sgd, "adam": adam, "lamb": OPTIONED["lamb"]}.items():
        CASES[f"penalty/{_name}, {_kind}"] = lambda penalty=_penalty, optimizer=_optimizer: train(
            chain(20, 33, 5), CROSS_ENTROPY, optimizer, labels(5), penalty=penalty
        )
CASES["penalty/of layers"] = lambda: train(
    nn.Sequential(
        dense(12, 20, "relu", penalty=regularizers.L1(0.03)), nn.Maxout(20, 20, init="zeros", penalty=regularizers.L2(0)),
        dense(20, 5)),
    CROSS_ENTROPY, sgd, labels(5), penalty=regularizers.L2(0.06), clip_norm=0.5,
)  # fmt: skip
CASES["penalty/of shared weights"] = lambda: train(
    tied(), losses.MeanSquaredError(), adam, rows_of(24), penalty=regularizers.ElasticNet(0.015, 0.06)
)


# ---- products: every way through csrc/kernels/gemm.h ----


def penalised_adamw(params):
    return optim.AdamW(params, lr=0.015, betas=BETAS, weight_decay=0.15)


# Columns that fill vectors of 16 lanes, leave some empty, or leave one over; at the end so few that products are turned.
COLUMNS = (30, 100, 65, 64, 63, 48, 33, 17, 16, 15, 13, 4, 3, 2, 1)
for _batch in (1, 2, 7, 16, 64, 100, 300):
    for _name, _optimizer, _settings in (
        ("sgd", sgd, {}),
        ("adam", adam, {}),
        ("adamw and a penalty", penalised_adamw, {"penalty": regularizers.L2(0.015)}),
        ("gradients stored", sgd, {"clip_norm": 0.2}),
    ):
        CASES[f"product/columns, {_name} @ {_batch}"] = lambda batch=_batch, optimizer=_optimizer, settings=_settings: train(
            chain(*COLUMNS, activation="tanh"), losses.MeanSquaredError(), optimizer, rows_of(1), batch, steps=2, **settings
        )

PRODUCTS = {  # features, and rows of a batch
    "digits": ((64, 100, 10), 32),
    "images": ((784, 100, 10), 100),
    "one row, wide": ((300, 600, 30), 1),
    "no more than a tile of rows": ((70, 90, 40), 5),
    "k in blocks, unpacked": ((2200, 24, 5), 64),
    "k in blocks, transposed": ((20, 30, 330, 40), 50),
    "k in blocks on the stack": ((150, 520, 10), 200),
    "rows of whole pages": ((150, 1024, 10), 100),
    "k in blocks in scratch": ((1100, 512, 12), 200),
    "k in blocks in scratch, transposed": ((20, 300, 1100, 5), 64),
    "few outputs, wide": ((40, 600, 16), 120),
    "few rows, large": ((600, 700, 30), 7),
    "deep update": ((400, 520, 5), 300),
    "deep update, in groups": ((800, 512, 5), 257),
    "deeper update": ((390, 512, 5), 1100),
    "update over many rows, pages": ((100, 1024, 5), 300),
}
for _name, (_sizes, _batch) in PRODUCTS.items():
    for _kind, _optimizer in {"sgd": sgd, "adam": adam}.items():
        CASES[f"product/{_name}, {_kind}"] = lambda sizes=_sizes, batch=_batch, optimizer=_optimizer: train(
            chain(*sizes), CROSS_ENTROPY, optimizer, labels(sizes[-1]), batch, steps=2
        )
for _name in ("images", "k in blocks in scratch", "deep update"):
    _sizes, _batch = PRODUCTS[_name]
    CASES[f"product/{_name}, stored and penalised"] = lambda sizes=_sizes, batch=_batch: train(
        chain(*sizes, activation="silu"), CROSS_ENTROPY, OPTIONED["lamb"], labels(sizes[-1]), batch, steps=2,
        penalty=regularizers.ElasticNet(0.001, 0.001),
    )  # fmt: skip


# ---- the other doors: predict, fit, value_and_grad, initialisers, kernels ----


def predictions(model, codes=()):
    """Of batches that are computed whole and in parts."""
    fill(model)
    found = []
    for rows, at_once in ((1, None), (5, None), (40, None), (40, 7)):
        x = inputs(model, rows, rows, codes)
        found += [model.predict(x, at_once), model.predict_proba(x, at_once), model.predict_classes(x)]
    return found


for _name in ("digits", "images", "one row, wide", "k in blocks in scratch"):
    CASES[f"predict/{_name}"] = lambda sizes=PRODUCTS[_name][0]: predictions(chain(*sizes, activation="gelu"))
CASES["predict/columns"] = lambda: predictions(chain(*COLUMNS, activation="sigmoid"))


def fit(model, X, loss=CROSS_ENTROPY, target=None, weights=None, optimizer=adam, **settings):
    """What two epochs make of a model. Not the reported losses, whose last place depends on how an epoch was cut into calls."""
    trainer = fastnn.Trainer(fill(model), loss, optimizer(model.parameters()), seed=9)
    y = whole(2, model.out_features, len(X)) if target is None else target
    trainer.fit(X, y, epochs=2, verbose=0, sample_weight=weights, **settings)
    return result(trainer)


@case("fit/shuffled")
def fit_shuffled():
    return fit(chain(12, 20, 5), uniform(1, 103, 12), batch_size=16)


@case("fit/in order, without the last")
def fit_in_order():
    return fit(chain(12, 20, 5), uniform(1, 103, 12), batch_size=16, shuffle=False, drop_last=True)


@case("fit/bytes")
def fit_bytes():
    images = whole(1, 256, 75, 5, 4).astype(np.uint8)
    model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 255, -0.5), dense(20, 20, "relu"), nn.Dropout(0.3), dense(20, 5))
    return fit(model, images, batch_size=20)


@case("fit/float64, weighted, with a schedule by epochs")
def fit_float64():
    X, weights = uniform(1, 75, 12, dtype=np.float64) / 3, np.abs(uniform(3, 75))

    def optimizer(params):
        return optim.SGD(params, lr=schedules.PerEpoch(schedules.Step(0.3, 1, gamma=0.5)), momentum=0.6)

    model = nn.Sequential(dense(12, 20), nn.BatchNorm(20), nn.Activation("tanh"), dense(20, 5))
    return fit(model, X, losses.MeanSquaredError(), uniform(2, 75, 5), weights, optimizer, batch_size=20)


@case("value_and_grad")
def value_and_grad():
    model = fill(nn.Sequential(dense(12, 20, "relu"), nn.Dropout(0.3), nn.LayerNorm(20), dense(20, 5)))
    batch = uniform(1, 30, 12), whole(2, 5, 30)
    found = [
        fastnn.value_and_grad(model, CROSS_ENTROPY, *batch, training=training, seed=3, step=4, penalty=PENALTIES["elastic net"])
        for training in (True, False)
    ]
    return [*found, fastnn.value_and_grad(model, CROSS_ENTROPY, *batch, np.abs(uniform(3, 30)))]


def add_initialiser(name, **settings):
    @case(f"init/{name}")
    def drawn():
        fastnn.manual_seed(11)
        make = getattr(init, name)(**settings)
        found = [make((6, 4)), make((6, 4), np.float32), nn.Dense(5, 3, init=make).weight.data]
        fastnn.manual_seed(0)
        return [a.astype(np.float32) for a in found]


for _name, _settings in {
    "constant": {"value": 0.5}, "identity": {"gain": 2.0}, "normal": {"std": 0.5, "mean": 0.25}, "truncated_normal": {"std": 0.5},
    "orthogonal": {}, "lecun_normal": {}, "xavier_normal": {}, "xavier_uniform": {"gain": 2.0}, "he_normal": {"slope": 0.25},
    "he_uniform": {},
}.items():  # fmt: skip
    add_initialiser(_name, **_settings)


@case("kernel/dense")
def dense_kernels():
    found = []
    for rows, n_in, n_out in ((1, 300, 100), (7, 5, 3), (50, 37, 100), (64, 300, 17)):
        x, w, b, dy = uniform(1, rows, n_in), uniform(2, n_in, n_out), uniform(3, n_out), uniform(4, rows, n_out)
        y = kernels.dense_forward(x, w, b, "tanh")
        found += [y, kernels.dense_forward(x, w), kernels.dense_backward(dy, x, w, y, "tanh"), kernels.bias_gradient(dy)]
    return found


@case("kernel/softmax")
def softmax_kernels():
    found = []
    for columns in (1, 5, 16, 37):
        x, dy = uniform(1, 9, columns) * np.float32(8), uniform(2, 9, columns)
        y, log = kernels.softmax_forward(x), kernels.log_softmax_forward(x)
        found += [y, log, kernels.softmax_backward(dy, y), kernels.log_softmax_backward(dy, log)]
    return found


@case("kernel/losses")
def loss_kernels():
    z, t, w = uniform(1, 9, 37) * np.float32(4), uniform(2, 9, 37), np.abs(uniform(3, 9))
    y, share, weights = whole(4, 37, 9), np.abs(t), np.abs(uniform(5, 37))
    return [
        kernels.softmax_cross_entropy(z, y, label_smoothing=0.1, class_weight=weights, sample_weight=w),
        kernels.softmax_cross_entropy(z, share, reduction="sum"),
        kernels.softmax_cross_entropy_rows(z, y), kernels.softmax_cross_entropy_correct(z, y),
        kernels.mean_squared_error(z, t), kernels.mean_absolute_error(z, t, sample_weight=w), kernels.huber(z, t, delta=0.5),
        kernels.poisson(z, share * np.float32(5), full=True), kernels.poisson(share, share, log_input=False, reduction="sum"),
        kernels.binary_cross_entropy(z, share), kernels.binary_hinge(z, t), kernels.binary_hinge(z, t, squared=True),
        kernels.multiclass_hinge(z, y), kernels.multiclass_hinge(z, y, squared=True, class_weight=weights),
    ]  # fmt: skip


@case("kernel/normalisations")
def normalisation_kernels():
    found = []
    for rows, columns in ((2, 1), (9, 37), (70, 16)):
        x, dy, w, b = uniform(1, rows, columns), uniform(2, rows, columns), uniform(3, columns), uniform(4, columns)
        for forward, backward, shift in (
            (kernels.batchnorm_forward, kernels.batchnorm_backward, (b,)),
            (kernels.layernorm_forward, kernels.layernorm_backward, (b,)),
            (kernels.rmsnorm_forward, kernels.rmsnorm_backward, ()),
        ):
            y, statistics = forward(x, w, *shift, activation="gelu")
            found += [y, statistics, backward(dy, x, statistics, w), backward(dy, x, statistics)]
        found.append(kernels.batchnorm_inference(x, b, np.abs(w), w, b, activation="relu"))
    return found


@case("kernel/random")
def random_kernels():
    x, dy = uniform(1, 9, 37), uniform(2, 9, 37)
    return [
        kernels.dropout_forward(x, 0.3, 3, 4, stream=20), kernels.dropout_backward(dy, 0.3, 3, 4, stream=20),
        kernels.gaussian_noise(x, 0.3, 3, 4), kernels.random_bits(37, 5, 6, 7, 8), kernels.permutation(101, 5, 2),
    ]  # fmt: skip


@case("kernel/others")
def other_kernels():
    x, dy, slope = uniform(1, 9, 36), uniform(2, 9, 36), uniform(3, 36)
    return [
        kernels.prelu_forward(x, slope), kernels.prelu_backward(dy, x, slope), kernels.prelu_backward(dy, x, slope[:1].copy()),
        kernels.maxout_forward(x, 3), kernels.maxout_backward(dy[:, :12].copy(), x, 3),
        kernels.penalty_forward(x, 0.3, 0.7), kernels.penalty_backward(x, dy.copy(), 0.3, 0.7),
    ]  # fmt: skip


@case("kernel/gather")
def gather_kernels():
    index, found = whole(4, 9, 20), []
    for dtype in "?bBhHiIqQefd":
        source = (whole(5, 128, 9, 6) - (0 if dtype in "?BHIQ" else 64)).astype(dtype)
        found += [kernels.gather(source, index), kernels.gather(source, None, 1 / 255, -0.3)]
        if dtype in "bBhHiIqQ":
            found.append(kernels.gather_labels(whole(6, 5, 9).astype(dtype), index, 5))
    return found


@case("kernel/updates")
def update_kernels():
    found = []
    for dtype in (np.float32, np.float64):
        p, a, b, g = (uniform(i, 37, 5, dtype=dtype) for i in range(4))
        b = np.abs(b)
        kernels.adam_update([p], [g], [a], [b], 3, lr=0.1, beta1=BETAS[0], beta2=BETAS[1], weight_decay=0.15)
        kernels.sgd_update([p], [g], [a], 2, lr=0.1, momentum=0.9, nesterov=True)
        found += [p, a, b]
    return found


def make(isa):
    """{case: digest} with an instruction set."""
    fastnn.use_isa(isa)
    return {name: digest(function()) for name, function in CASES.items()}


if __name__ == "__main__":
    fastnn.set_num_threads(1)
    found = {}
    for isa in fastnn.available_isas():
        new = make(isa)
        differ = [name for name, value in found.setdefault(column(isa), new).items() if new[name] != value]
        if differ:
            raise SystemExit(f"{isa} gives other bits than the instruction set before it: {', '.join(differ)}")
    if "fused" not in found:
        raise SystemExit("this machine has no fused multiply-adds: one of the two digests cannot be made here")
    lines = [json.dumps(name) + ": " + json.dumps({c: found[c][name] for c in sorted(found)}) for name in CASES]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{FILE}: {len(lines)} cases")
