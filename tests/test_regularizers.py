"""fastnn.regularizers: values and gradients, which weights they concern, the same bits in every form of a plan, files."""

import itertools
import pickle

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim, regularizers
from fastnn.executors import NativeExecutor

LOSS = losses.SoftmaxCrossEntropy()
PENALTIES = [regularizers.L1(0.02), regularizers.L2(0.3), regularizers.ElasticNet(0.01, 0.1)]
ids = [type(p).__name__ for p in PENALTIES]


def network(penalties=(None, None, None), widths=(7, 20, 17, 3), activation="tanh"):
    fastnn.manual_seed(5)
    layers = [
        nn.Dense(a, b, activation=activation, penalty=r) for (a, b), r in zip(itertools.pairwise(widths), penalties)
    ]
    model = nn.Sequential(*layers)
    for p in model.parameters():
        p.data[...] += 0.1 * np.random.default_rng(p.size).normal(size=p.shape)
    return model


def samples(rows=23, features=7, classes=3):
    rng = np.random.default_rng(2)
    return rng.normal(size=(rows, features)).astype(np.float32), rng.integers(0, classes, rows)


def weights(model):
    return [p for p in model.parameters() if p.data.ndim == 2]


# --- what is added ---


@pytest.mark.parametrize("penalty", PENALTIES, ids=ids)
def test_value_and_gradient(penalty):
    w = np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32)
    w[3] = 0
    expected = penalty.l1 * np.abs(w.astype(float)).sum() + penalty.l2 / 2 * (w.astype(float) ** 2).sum()
    assert penalty(w) == pytest.approx(expected, rel=1e-12)
    assert np.allclose(penalty.gradient(w), penalty.l1 * np.sign(w) + penalty.l2 * w, atol=1e-7)
    assert not penalty.gradient(w)[3].any()


@pytest.mark.parametrize("penalty", PENALTIES, ids=ids)
def test_it_is_part_of_loss_and_gradients(penalty):
    x, y = samples()
    plain_loss, plain = fastnn.value_and_grad(network(), LOSS, x, y)
    model = network((penalty, None, penalty))
    loss, gradients = fastnn.value_and_grad(model, LOSS, x, y)
    first, second, third = weights(model)
    assert loss == pytest.approx(plain_loss + penalty(first) + penalty(third), rel=1e-12)
    for p, g, without in zip(model.parameters(), gradients, plain):
        if p is first or p is third:
            assert np.allclose(g - without, penalty.gradient(p), atol=1e-6)
        else:
            assert (g == without).all()


@pytest.mark.parametrize("penalty", PENALTIES, ids=ids)
def test_on_all_weights(penalty):
    """Of two dimensions, where the layer has no penalty of its own; a layer may be exempt."""
    x, y = samples()
    own = regularizers.L2(1.0)
    model = network((None, own, regularizers.L2(0)))
    loss, gradients = fastnn.value_and_grad(model, LOSS, x, y, penalty=penalty)
    plain_loss, plain = fastnn.value_and_grad(network(), LOSS, x, y)
    first, second, third = weights(model)
    assert loss == pytest.approx(plain_loss + penalty(first) + own(second), rel=1e-12)
    changed = [(g != without).any() for g, without in zip(gradients, plain)]
    assert changed == [True, False, True, False, False, False]
    assert fastnn.value_and_grad(model, LOSS, x, y)[0] == pytest.approx(plain_loss + own(second), rel=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES, ids=ids)
def test_central_differences(penalty):
    x, y = samples(9)
    assert fastnn.check_gradients(network((penalty, None, penalty)), LOSS, x, y)
    assert fastnn.check_gradients(network(), LOSS, x, y, penalty=penalty)


def test_the_trainer_reports_it():
    x, y = samples(25)
    penalty, model = regularizers.L2(0.3), network((None, regularizers.L1(0.1), None))
    trainer = fastnn.Trainer(model, LOSS, optim.SGD(model.parameters(), lr=0.0), penalty=penalty)
    first, second, third = weights(model)
    extra = penalty(first) + regularizers.L1(0.1)(second) + penalty(third)
    plain = network()
    mean = fastnn.Trainer(plain, LOSS, optim.SGD(plain.parameters(), lr=0.0)).evaluate(x, y)
    assert trainer.evaluate(x, y)["loss"] == pytest.approx(mean["loss"] + extra, rel=1e-9)
    assert trainer.evaluate(x, y, batch_size=4)["loss"] == pytest.approx(mean["loss"] + extra, rel=1e-9)
    assert trainer.evaluate(x, y)["accuracy"] == mean["accuracy"]
    assert trainer.step(x, y) == pytest.approx(mean["loss"] + extra, rel=1e-6)
    history = trainer.fit(x, y, epochs=2, batch_size=10, validation_data=(x, y), verbose=0)
    assert history["loss"] == pytest.approx([mean["loss"] + extra] * 2, rel=1e-6)
    assert history["val_loss"] == pytest.approx([mean["loss"] + extra] * 2, rel=1e-6)


def test_sums_weights_and_losses_in_python():
    """The penalty counts once for a batch, whether the loss is a mean, a sum, weighted, or made in Python."""
    x, y = samples(20)
    penalty, weight = regularizers.ElasticNet(0.1, 0.3), np.linspace(0, 2, 20)

    def mean_squares(outputs, targets, sample_weight=None):
        rows = len(outputs)
        d = outputs - np.eye(3, dtype=np.float32)[targets]
        return float((d * d).sum() / rows), (2 * d / rows).astype(np.float32)

    for loss, more in (
        (losses.SoftmaxCrossEntropy(reduction="sum"), {}),
        (losses.SoftmaxCrossEntropy(), {"sample_weight": weight}),
        (losses.MulticlassHinge(reduction="sum"), {"sample_weight": weight}),
        (losses.Custom(mean_squares), {}),
    ):
        for backend in ("native", "reference"):
            model = network()
            extra = sum(penalty(p) for p in weights(model))
            plain = fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.0), backend=backend)
            trainer = fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.0), backend=backend, penalty=penalty)
            assert trainer.step(x, y, **more) == pytest.approx(plain.step(x, y, **more) + extra, rel=1e-6)
            a, b = trainer.evaluate(x, y, batch_size=20, **more), plain.evaluate(x, y, batch_size=20, **more)
            assert a["loss"] == pytest.approx(b["loss"] + extra, rel=1e-6)
        assert fastnn.check_gradients(network(), loss, x, y, penalty=penalty, **more)
    model = network()
    opt = optim.SGD(model.parameters(), lr=0.1)
    fastnn.Trainer(model, losses.Custom(mean_squares), opt, penalty=penalty).fit(x, y, epochs=3, batch_size=6, verbose=0)
    again = network()
    gradients = fastnn.value_and_grad(again, losses.Custom(mean_squares), x[:6], y[:6], penalty=penalty)[1]
    without = fastnn.value_and_grad(again, losses.Custom(mean_squares), x[:6], y[:6])[1]
    assert np.allclose(gradients[0] - without[0], penalty.gradient(weights(again)[0]), atol=1e-6)


def test_predictions_know_nothing_of_it():
    x, _ = samples()
    model = network((PENALTIES[2],) * 3)
    assert model.predict(x).tobytes() == network().predict(x).tobytes()
    assert not any("penalty" in op.kind for op in model.plan(10).ops)


def test_frozen_weights_count_in_the_loss_only():
    x, y = samples()
    penalty = regularizers.L2(0.5)
    model = network((penalty, penalty, None))
    before = weights(model)[0].data.copy()
    trainer = fastnn.Trainer(model, LOSS, optim.SGD(model.parameters()[3:], lr=0.1))
    plain = network()
    expected = fastnn.value_and_grad(plain, LOSS, x, y)[0] + penalty(weights(model)[0]) + penalty(weights(model)[1])
    assert trainer.step(x, y) == pytest.approx(expected, rel=1e-6)
    assert (weights(model)[0].data == before).all()
    for fused in (True, False):
        kinds = [op.kind for op in trainer.plan(10, fused=fused).ops]
        assert kinds.count("penalty_forward") == kinds.count("reduce_penalty") == 2
        assert not any("penalty" in op.kind and "backward" in op.kind for op in trainer.plan(10).ops)


# --- the same bits ---


def run(team, penalties, optimizer, fused=True, schedule="rows", threads=1, steps=3, whole=None):
    x, y = samples()
    model = network(penalties)
    opt = optimizer(model.parameters())
    trainer = fastnn.Trainer(model, LOSS, opt, penalty=whole)
    with team(threads):
        executor = NativeExecutor(trainer.plan(10, fused=fused, schedule=schedule))
        found = []
        for _ in range(steps):
            losses_ = np.zeros(3)
            opt.prepare()
            executor.run(x, y, np.arange(23), np.full((3, 1), 0.05), losses_)
            found.append(losses_)
    return np.concatenate(found), [p.data.tobytes() for p in model.parameters()]


OPTIMIZERS = {
    "sgd": optim.SGD,
    "momentum": lambda ps: optim.SGD(ps, momentum=0.9, weight_decay=0.01),
    "adam": optim.Adam,
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("penalty", PENALTIES, ids=ids)
def test_fusion_schedule_and_team_change_no_bit(team, penalty, optimizer):
    penalties = (penalty, None, penalty)
    losses_, expected = run(team, penalties, OPTIMIZERS[optimizer])
    assert (run(team, (None,) * 3, OPTIMIZERS[optimizer])[1] != expected) and np.isfinite(losses_).all()
    for fused, schedule, threads in itertools.product((True, False), ("rows", "layers"), (1, 2, 3)):
        again, bits = run(team, penalties, OPTIMIZERS[optimizer], fused, schedule, threads)
        assert bits == expected and (again == losses_).all(), (fused, schedule, threads)


@pytest.mark.parametrize("penalty", PENALTIES, ids=ids)
def test_instruction_sets_with_fma_agree(team, penalty):
    before, found = fastnn.get_isa(), []
    for name in fastnn.available_isas():
        fastnn.use_isa(name)
        losses_, bits = run(team, (penalty,) * 3, optim.Adam)
        if name != "generic":
            found.append((losses_.tobytes(), bits))
    fastnn.use_isa(before)
    assert all(f == found[0] for f in found)


@pytest.mark.parametrize("widths", [(90, 110), (800, 520)])
def test_large_weights(team, widths):
    """More rows than a block of the product is deep, more elements than a chunk of the penalty; and so large a layer that its
    update copies parts of the input, with all of an optimizer's states."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, widths[0])).astype(np.float32), rng.integers(0, 5, 300)
    results = []
    for fused, threads in ((True, 1), (False, 1), (True, 3), (False, 2)):
        fastnn.manual_seed(1)
        model = nn.Sequential(nn.Dense(*widths, activation="relu"), nn.Dense(widths[1], 5))
        opt = optim.Adam(model.parameters(), amsgrad=True)
        trainer = fastnn.Trainer(model, LOSS, opt, penalty=regularizers.ElasticNet(1e-3, 1e-2))
        with team(threads):
            executor = NativeExecutor(trainer.plan(300, fused=fused))
            losses_ = np.zeros(1)
            for _ in range(2):
                opt.prepare()
                executor.run(x, y, None, [[0.01]], losses_)
        results.append((losses_[0], [p.data.tobytes() for p in model.parameters()]))
    assert all(r == results[0] for r in results)


def test_updates_stay_inside_the_products():
    model = network((PENALTIES[2],) * 3)
    plan = fastnn.Trainer(model, LOSS, optim.Adam(model.parameters())).plan(10)
    kinds = [op.kind for op in plan.ops]
    assert "update" not in kinds and "penalty_backward" not in kinds
    assert all(op.update_w >= 0 and op.l1 == 0.01 for op in plan.ops if op.kind == "dense_backward_weights")
    assert "dense_backward_weights+penalty+update" in plan.describe() and "penalty_forward" in plan.describe()
    plain = fastnn.Trainer(model, LOSS, optim.Adam(model.parameters())).plan(10, fused=False)
    assert [op.kind for op in plain.ops].count("penalty_backward") == 3


def test_no_more_meetings_than_without():
    def meetings(penalties):
        model = network(penalties)
        return sum(op.barrier for op in fastnn.Trainer(model, LOSS, optim.Adam(model.parameters())).plan(10).ops)

    assert meetings((PENALTIES[2],) * 3) == meetings((None,) * 3)


def test_l2_takes_the_steps_of_coupled_decay():
    """Bit for bit, on the weights; decay concerns the biases too."""
    decayed = lambda make: lambda ps: make([{"params": [p for p in ps if p.data.ndim == 2], "weight_decay": 0.1},
                                            {"params": [p for p in ps if p.data.ndim == 1]}])  # fmt: skip
    x, y = samples()
    for make in (lambda ps: optim.SGD(ps, lr=0.05, momentum=0.9), lambda ps: optim.Adam(ps, lr=0.05)):
        found = []
        for penalty, optimizer in ((regularizers.L2(0.1), make), (None, decayed(make))):
            model = network()
            trainer = fastnn.Trainer(model, LOSS, optimizer(model.parameters()), penalty=penalty)
            for _ in range(5):
                trainer.step(x, y)
            found.append([p.data.tobytes() for p in model.parameters()])
        assert found[0] == found[1]


def test_the_reference_backend_agrees():
    x, y = samples()
    found = []
    for backend in ("native", "reference"):
        model = network((PENALTIES[0], None, PENALTIES[2]))
        trainer = fastnn.Trainer(model, LOSS, optim.Adam(model.parameters(), lr=0.01), backend=backend, penalty=PENALTIES[1])
        found.append(trainer.fit(x, y, epochs=5, batch_size=7, verbose=0)["loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_l1_makes_useless_weights_small():
    """One input of ten matters; the others' weights fall below a hundredth of its."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 10)).astype(np.float32)
    y = (x[:, 3] > 0).astype(int)
    model = nn.Sequential(nn.Dense(10, 2))
    trainer = fastnn.Trainer(model, LOSS, optim.SGD(model.parameters(), lr=0.05), penalty=regularizers.L1(0.05))
    trainer.fit(x, y, epochs=60, batch_size=50, verbose=0)
    size = np.abs(model.layers[0].weight.data).max(axis=1)
    assert size.argmax() == 3 and np.delete(size, 3).max() < 0.02 * size[3]


def test_weights_of_nan_are_not_hidden():
    model = network((regularizers.L1(0.1), None, None))
    weights(model)[0].data[0, 0] = np.nan
    x, y = samples()
    loss, gradients = fastnn.value_and_grad(model, LOSS, x, y)
    assert np.isnan(loss) and np.isnan(gradients[0][0, 0])


# --- files, equality, refusals ---


@pytest.mark.parametrize("penalty", [None, *PENALTIES, regularizers.L2(0)])
def test_files_and_pickles_keep_it(tmp_path, penalty):
    model = network((penalty, None, penalty))
    model.save(tmp_path / "m.safetensors")
    for again in (nn.load(tmp_path / "m.safetensors"), pickle.loads(pickle.dumps(model))):
        assert [layer.penalty for layer in again.layers] == [penalty, None, penalty]
        assert [type(layer.penalty) for layer in again.layers] == [type(penalty), type(None), type(penalty)]
        assert again.config() == model.config() and repr(again) == repr(model)


def test_hostile_penalties_in_files():
    from fastnn.nn.serialization import layers_from

    for bad in ({"l1": 1.0}, {"l1": -1.0, "l2": 0.0}, {"l1": "x", "l2": 0.0}, [1, 2], {"l1": 0.0, "l2": 1e39}, 3, {"l1": True, "l2": 0}):
        config = {"layers": [{"class": "Dense", "in_features": 2, "out_features": 2, "penalty": bad}]}
        with pytest.raises(ValueError, match="x: layer 0: .*l[12]"):
            layers_from(config, "x", {"Dense": nn.Dense})


def test_equality_and_repr():
    assert regularizers.L2(0.1) == regularizers.ElasticNet(0, 0.1) != regularizers.L1(0.1)
    assert hash(regularizers.L2(0.1)) == hash(regularizers.L2(0.1)) and regularizers.L2() != 3
    assert [repr(p) for p in (regularizers.L1(0.5), regularizers.L2(1), regularizers.ElasticNet(0.1, 0.2))] == [
        "regularizers.L1(0.5)", "regularizers.L2(1.0)", "regularizers.ElasticNet(0.1, 0.2)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: regularizers.L1(-1), ValueError, "l1: expected a finite number >= 0, got -1"),
        (lambda: regularizers.L2(float("nan")), ValueError, "l2: expected a finite number >= 0, got nan"),
        (lambda: regularizers.L2("x"), TypeError, "l2: expected a number, got 'x'"),
        (lambda: regularizers.ElasticNet(0.1, 1e39), ValueError, r"l2: expected a number that is finite in float32, got 1e\+39"),
        (lambda: nn.Dense(2, 2, penalty=regularizers.L2), TypeError, r"penalty: expected an instance, got the class L2; write regularizers.L2\(\)"),
        (lambda: nn.Dense(2, 2, penalty=0.1), TypeError, "penalty: expected a penalty of fastnn.regularizers, got float"),
        (lambda: fastnn.value_and_grad(network(), LOSS, *samples(), penalty="l2"), TypeError, "penalty: expected a penalty"),
        (lambda: fastnn.check_gradients(network(), LOSS, *samples(), penalty="l2"), TypeError, "penalty: expected a penalty"),
        (lambda: fastnn.Trainer(network(), LOSS, optim.SGD(network().parameters()), penalty=3), TypeError, "penalty: expected a penalty"),
        (lambda: regularizers.L2(0.1)(np.ones(3, int)), TypeError, "w: expected dtype float32 or float64, got int64"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_an_evaluation_counts_it_once_however_it_is_cut(backend):
    x, y = samples(20)
    penalty = regularizers.ElasticNet(0.1, 0.3)
    for reduction in ("mean", "sum"):
        model, loss = network((penalty, None, regularizers.L2(0.2))), losses.SoftmaxCrossEntropy(reduction=reduction)
        trainer = fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.0), backend=backend, penalty=regularizers.L1(0.3))
        expected = fastnn.value_and_grad(model, loss, x, y, penalty=regularizers.L1(0.3))[0]
        for batch in (3, 7, 20, None):
            assert trainer.evaluate(x, y, batch_size=batch)["loss"] == pytest.approx(expected, rel=1e-6)
