"""fastnn.ensemble: trainings side by side are their lone runs to the bit, averages are averages, files hold what they held."""

import threading
import warnings

import numpy as np
import pytest

import fastnn
from fastnn import callbacks, data, ensemble, losses, nn, optim
from fastnn.core import safetensors


def samples(rows=200):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(rows, 6)).astype(np.float32)
    return x, (x[:, 0] + 0.5 * rng.normal(size=rows) > 0).astype(int) + (x[:, 1] > 0.5)


def make_model():
    return nn.Sequential(nn.Dense(6, 8, activation="relu"), nn.BatchNorm(8), nn.Dropout(0.2), nn.Dense(8, 3))


def make_trainer(i):
    fastnn.manual_seed(i)
    model = make_model()
    return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01), seed=i)


def bits(model):
    return [p.data.tobytes() for _, p in (*model.named_parameters(), *model.named_buffers())]


# --- many at once ---


@pytest.mark.parametrize("threads, members", [(1, 3), (2, 5), (4, 5), (4, 1)])
@pytest.mark.parametrize("large", [False, True])
def test_members_have_the_bits_of_their_lone_runs(team, threads, members, large, monkeypatch):
    """Also those that the whole team trains, where they are left over: `large` makes any step work enough for it."""
    x, y = samples()
    settings, seeds = [0.001 * (i + 1) for i in range(members)], [7 + i for i in range(members)]
    loss = losses.SoftmaxCrossEntropy()

    def make_optimizer(parameters, lr):
        return optim.Adam(parameters, lr=lr, weight_decay=1e-3)

    with team(threads):
        if large:
            monkeypatch.setattr(fastnn._native, "TEAM_WORK", 1)
        many = ensemble.train_many(make_model, loss, make_optimizer, x, y, settings, seeds, epochs=3, batch_size=20, validation_data=(x, y))
    for i, (model, history) in enumerate(zip(many.models, many.histories)):
        fastnn.manual_seed(seeds[i])
        lone = make_model()
        trainer = fastnn.Trainer(lone, loss, make_optimizer(lone.parameters(), settings[i]), seed=seeds[i])
        found = trainer.fit(x, y, epochs=3, batch_size=20, validation_data=(x, y), verbose=0)
        assert bits(lone) == bits(model)
        assert found["loss"] == history["loss"] and found["val_loss"] == history["val_loss"]
        assert trainer.steps_done == many.trainers[i].steps_done
    many.trainers[0].fit(x, y, verbose=0)  # goes on as any other
    assert len(many) == members and many.settings == settings and many.seeds == seeds


def test_settings_and_seeds_have_defaults():
    x, y = samples(40)
    given = []

    def make_optimizer(parameters, setting):
        given.append(setting)
        return optim.SGD(parameters, lr=0.1)

    arguments = make_model, losses.SoftmaxCrossEntropy(), make_optimizer, x, y
    assert ensemble.train_many(*arguments, seeds=[4, 9]).seeds == [4, 9]
    assert ensemble.train_many(*arguments, settings=["a", {"b": 1}]).seeds == [0, 1]
    assert given == [None, None, "a", {"b": 1}]


def test_members_have_callbacks_of_their_own():
    x, y = samples()
    made = {}

    def of(i):
        made[i] = [callbacks.EarlyStopping(patience=1 + i)]
        return made[i]

    many = ensemble.train_many(make_model, losses.SoftmaxCrossEntropy(), lambda p, lr: optim.Adam(p, lr=lr), x, y, settings=[0.5, 0.5],
                               epochs=40, validation_data=samples(60), callbacks=of)
    assert [len(h["loss"]) for h in many.histories] == [made[i][0].stopped_epoch + 1 for i in range(2)]
    with pytest.raises(TypeError, match="write callbacks=lambda i"):
        ensemble.train_many(make_model, losses.SoftmaxCrossEntropy(), lambda p, _: optim.SGD(p), x, y, seeds=[1], callbacks=made[0])


def test_an_exception_ends_the_others(team):
    x, y = samples()
    seen = []

    def fail(epoch, logs):
        raise RuntimeError("enough")

    def of(i):
        return [callbacks.Lambda(on_epoch_end=fail if i == failing else lambda epoch, logs: seen.append(i))]

    with team(2):
        failing = min(1, fastnn.get_num_threads() - 1)  # on one thread they come one after the other
        with pytest.raises(RuntimeError, match="enough"):
            ensemble.train_many(make_model, losses.SoftmaxCrossEntropy(), lambda p, _: optim.SGD(p), x, y, seeds=range(4),
                                epochs=10**6, callbacks=of)
    assert len(seen) < 10**6 and threading.active_count() < 20


@pytest.mark.parametrize("change, kind, message", [
    ({"settings": None, "seeds": None}, ValueError, "settings, seeds: expected a list of at least one, got none"),
    ({"settings": [1, 2], "seeds": [1]}, ValueError, "settings, seeds: expected lists of one length"),
    ({"settings": []}, ValueError, "settings, seeds"),
    ({"seeds": [-1]}, ValueError, "seeds"),
    ({"seeds": 3}, TypeError, "seeds: expected a list, of one for each member, got int"),
    ({"settings": {"lr": 1e-3}}, TypeError, "settings: expected a list, of one for each member, got dict"),
    ({"callbacks": lambda i: callbacks.TerminateOnNaN()}, TypeError, "callbacks: expected a function that returns a list"),
    ({"make_model": 3}, TypeError, "make_model: expected a function"),
    ({"make_model": lambda: 3}, TypeError, "make_model: expected it to return a fastnn.nn.Sequential, got int"),
    ({"make_optimizer": None}, TypeError, "make_optimizer: expected a function"),
    ({"make_optimizer": lambda p, s: s}, TypeError, "optimizer: expected an optimizer"),
    ({"batch_size": 0}, ValueError, "batch_size"),
    ({"epoch": 1}, TypeError, "epoch"),
    ({"y": np.zeros(3, int)}, ValueError, "y: expected 200 targets"),
])
def test_what_train_many_refuses(change, kind, message):
    x, y = samples()
    arguments = {"make_model": make_model, "loss": losses.SoftmaxCrossEntropy(), "make_optimizer": lambda p, _: optim.SGD(p), "X": x, "y": y,
                 "settings": [1]}
    with pytest.raises(kind, match=message):
        ensemble.train_many(**{**arguments, **change})


def test_a_model_that_is_no_new_one():
    x, y = samples()
    model = make_model()
    with pytest.raises(ValueError, match="make_model: expected a new model for each member"):
        ensemble.train_many(lambda: model, losses.SoftmaxCrossEntropy(), lambda p, _: optim.SGD(p), x, y, seeds=[1, 2])


# --- bagging and k-fold ---


def test_bagging_trains_on_rows_drawn_with_replacement():
    x, y = samples()
    w = np.linspace(0.5, 1.5, len(x)).astype(np.float32)
    found = ensemble.bagging(make_trainer, x, y, n=3, seed=4, epochs=2, batch_size=20, sample_weight=w)
    outputs = np.zeros((3, len(x), 3))
    seen = np.zeros((3, len(x)), bool)
    for i, model in enumerate(found.models):
        rows = np.random.Generator(np.random.Philox(key=[4, i])).integers(0, len(x), len(x))
        lone = make_trainer(i)
        lone.fit(x[rows], y[rows], epochs=2, batch_size=20, sample_weight=w[rows], verbose=0)
        assert bits(lone.model) == bits(model)
        seen[i, rows] = True
        assert found.scores[i] == lone.evaluate(x[~seen[i]], y[~seen[i]])
        outputs[i] = model.predict(x)
    assert 0.5 < seen.mean() < 0.75
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.nanmean(np.where(seen[:, :, None], np.nan, outputs), axis=0)
    np.testing.assert_allclose(found.held_out, expected, rtol=1e-5, atol=1e-6)
    assert np.isnan(found.held_out).any() and len(found.histories) == 3
    again = ensemble.bagging(make_trainer, x, y, n=3, seed=5, epochs=2, batch_size=20, sample_weight=w)
    assert bits(again.models[0]) != bits(found.models[0])


@pytest.mark.parametrize("n, shuffle, stratified", [(5, True, False), (3, False, False), (4, True, True), (20, True, False)])
def test_kfold(n, shuffle, stratified):
    x, y = samples()
    batch = 50
    found = ensemble.kfold(make_trainer, x, y, n, shuffle=shuffle, stratify=y if stratified else None, epochs=1, batch_size=batch,
                           drop_last=True)
    assert len(found.scores) == n and not np.isnan(found.held_out).any()
    folds = [np.flatnonzero((model.predict(x) == found.held_out).all(axis=1)) for model in found.models]
    assert sorted(np.concatenate(folds)) == list(range(200))  # every row in one fold
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    if stratified:
        for c in range(3):
            counts = [np.count_nonzero(y[fold] == c) for fold in folds]
            assert max(counts) - min(counts) <= 1
    if not shuffle:
        assert all((np.diff(fold) == 1).all() for fold in folds)
    i, rest = 1, np.setdiff1d(np.arange(200), folds[1])
    lone = make_trainer(i)
    lone.fit(x[rest], y[rest], batch_size=batch, drop_last=True, verbose=0)
    assert bits(lone.model) == bits(found.models[i]) and found.scores[i] == lone.evaluate(x[folds[i]], y[folds[i]])


def test_members_in_other_processes():
    """By joblib: what threads of this one give."""
    pytest.importorskip("joblib")
    x, y = samples()

    def make_trainer(i):  # local, since other processes cannot import this module
        fastnn.manual_seed(i)
        model = nn.Sequential(nn.Dense(6, 8, activation="relu"), nn.BatchNorm(8), nn.Dropout(0.2), nn.Dense(8, 3))
        return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01), seed=i)

    here, there = (ensemble.bagging(make_trainer, x, y, n=3, epochs=2, sample_weight=np.linspace(0, 1, len(x)), jobs=jobs) for jobs in (None, 2))
    assert [bits(m) for m in here.models] == [bits(m) for m in there.models] and here.scores == there.scores
    assert np.array_equal(here.held_out, there.held_out, equal_nan=True)
    assert [h.fingerprint() for h in here.histories] == [h.fingerprint() for h in there.histories]

    def make_model():
        return nn.Sequential(nn.Dense(6, 8, activation="relu"), nn.Dropout(0.2), nn.Dense(8, 3))

    arguments = make_model, losses.SoftmaxCrossEntropy(), lambda parameters, lr: optim.Adam(parameters, lr=lr), x, y
    here, there = (ensemble.train_many(*arguments, settings=[0.01, 0.02], epochs=2, jobs=jobs) for jobs in (None, 2))
    assert [bits(m) for m in here.models] == [bits(m) for m in there.models]
    assert [t.steps_done for t in here.trainers] == [t.steps_done for t in there.trainers]
    for many in (here, there):
        many.trainers[1].fit(x, y, verbose=0)
    assert bits(here.models[1]) == bits(there.models[1])


def test_an_ensemble_is_better_than_its_members():
    X, X_test, y, y_test = data.train_test_split(*data.load_digits(), test_size=0.5)

    def make(i):
        fastnn.manual_seed(i)
        model = nn.Sequential(nn.Flatten(), nn.Rescaling(1 / 16), nn.Dense(64, 20, activation="relu"), nn.Dense(20, 10))
        return fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optim.Adam(model.parameters(), lr=0.01), seed=i)

    found = ensemble.bagging(make, X, y, n=7, epochs=6)
    alone = [np.mean(model.predict_classes(X_test) == y_test) for model in found.models]
    together = np.mean(found.predict_classes(X_test) == y_test)
    assert together > np.mean(alone) + 0.01
    seen = ~np.isnan(found.held_out[:, 0])
    assert abs(np.mean(found.held_out[seen].argmax(axis=1) == y[seen]) - together) < 0.04


@pytest.mark.parametrize("function", [ensemble.bagging, ensemble.kfold])
def test_what_resampling_refuses(function):
    x, y = samples()
    trainer = make_trainer(0)
    for make, kind, message in (
        (3, TypeError, "make_trainer: expected a function"),
        (lambda i: make_model(), TypeError, "make_trainer: expected it to return a Trainer, got Sequential"),
        (lambda i: trainer, ValueError, "make_trainer: expected a new model for each member"),
    ):
        with pytest.raises(kind, match=message):
            function(make, x, y, n=2)
    with pytest.raises(ValueError, match="y: expected one for each of X's 200 rows"):
        function(make_trainer, x, y[:9])
    with pytest.raises(ValueError, match="sample_weight: expected one for each"):
        function(make_trainer, x, y, sample_weight=np.ones(3))
    with pytest.raises(ValueError, match="n: expected an integer"):
        function(make_trainer, x, y, n=0)
    with pytest.raises(ValueError, match="X: expected at least 2 rows"):
        function(make_trainer, x[:1], y[:1])
    with pytest.raises(TypeError, match="callbacks=lambda i"):
        function(make_trainer, x, y, n=2, callbacks=[callbacks.TerminateOnNaN()])


@pytest.mark.parametrize("function", [ensemble.bagging, ensemble.kfold])
def test_resampling_of_sparse_rows(function):
    sparse = pytest.importorskip("scipy.sparse")
    x, y = samples(60)
    x[abs(x) < 0.5] = 0
    dense, found = (function(make_trainer, rows, y, n=2, epochs=2) for rows in (x, sparse.coo_array(x)))
    assert [bits(m) for m in found.models] == [bits(m) for m in dense.models] and found.scores == dense.scores
    np.testing.assert_array_equal(found.held_out, dense.held_out)


def test_what_kfold_refuses():
    x, y = samples()
    with pytest.raises(ValueError, match="n: expected at most as many folds as rows, 200, got 201"):
        ensemble.kfold(make_trainer, x, y, 201)
    with pytest.raises(ValueError, match="stratify: expected one class for each of the 200 rows"):
        ensemble.kfold(make_trainer, x, y, stratify=y[:3])


# --- averages ---


def trained(loss, outputs, targets, count=3):
    x, _ = samples()
    models = []
    for i in range(count):
        fastnn.manual_seed(i)
        model = nn.Sequential(nn.Dense(6, outputs))
        fastnn.Trainer(model, loss, optim.SGD(model.parameters(), lr=0.1)).fit(x, targets, verbose=0)
        models.append(model)
    return x, models


def test_outputs_and_probabilities_are_means():
    x, models = trained(losses.SoftmaxCrossEntropy(), 3, samples()[1])
    found = ensemble.Ensemble(models)
    np.testing.assert_allclose(found.predict(x), np.mean([m.predict(x) for m in models], axis=0), rtol=1e-6, atol=1e-7)
    p = np.mean([m.predict_proba(x) for m in models], axis=0)
    np.testing.assert_allclose(found.predict_proba(x), p, rtol=1e-6)
    assert (found.predict_classes(x) == found.predict_proba(x).argmax(axis=1)).all()
    assert found.predict(x).dtype == np.float32 and len(found) == 3


def test_classes_of_every_head():
    x, y = samples()
    two = (y > 0).astype(int)
    many = np.stack([two, 1 - two], axis=1).astype(np.float32)
    for loss, outputs, targets in (
        (losses.BinaryCrossEntropy(), 1, two),
        (losses.BinaryCrossEntropy(), 2, many),
        (losses.BinaryHinge(), 1, 2 * two - 1),
        (losses.MulticlassHinge(), 3, y),
        (losses.MeanSquaredError(), 1, two.astype(np.float32)),
    ):
        x, models = trained(loss, outputs, targets, 1)
        one = ensemble.Ensemble(models)
        assert (one.predict_classes(x) == models[0].predict_classes(x)).all(), loss
        x, models = trained(loss, outputs, targets)
        found = ensemble.Ensemble(models).predict_classes(x)
        assert found.shape == models[0].predict_classes(x).shape and set(np.unique(found)) <= set(np.unique(targets))
    x, models = trained(losses.Poisson(), 1, two.astype(np.float32))
    with pytest.raises(ValueError, match="predict_classes: expected outputs that tell classes"):
        ensemble.Ensemble(models).predict_classes(x)
    with pytest.raises(ValueError, match="predict_proba"):
        ensemble.Ensemble(models).predict_proba(x)


def test_members_that_do_not_fit_together():
    with pytest.raises(ValueError, match="models: expected at least one"):
        ensemble.Ensemble([])
    with pytest.raises(TypeError, match=r"models\[1\]: expected a fastnn.nn.Sequential, got int"):
        ensemble.Ensemble([make_model(), 3])
    with pytest.raises(ValueError, match=r"models\[1\]: expected one of out_shape \(3,\), as models\[0\] has, got \(4,\)"):
        ensemble.Ensemble([make_model(), nn.Sequential(nn.Dense(6, 4))])
    with pytest.raises(ValueError, match="in_shape"):
        ensemble.Ensemble([make_model(), nn.Sequential(nn.Dense(5, 3))])
    other = make_model()
    other.head = "largest"
    with pytest.raises(ValueError, match="expected one without a Trainer, as models.0. is, got one of answers of the kind 'largest'"):
        ensemble.Ensemble([make_model(), other])
    both = ensemble.Ensemble([make_model(), make_model()])
    for given, message in ((None, "got NoneType"), (make_model(), "got Sequential"), (both, "got Ensemble; write .models behind it")):
        with pytest.raises(TypeError, match="models: expected a list of models, " + message):
            ensemble.Ensemble(given)


# --- files ---


def test_one_file_holds_all(tmp_path):
    x, models = trained(losses.MulticlassHinge(), 3, samples()[1])
    path = tmp_path / "all.safetensors"
    found = ensemble.Ensemble([*models, nn.Sequential(nn.Dense(6, 4), nn.BatchNorm(4), nn.Dense(4, 3))][:3])
    found.save(path)
    again = ensemble.load(path)
    assert (again.predict(x) == found.predict(x)).all() and [m.head for m in again.models] == ["largest"] * 3
    assert (again.predict_classes(x) == found.predict_classes(x)).all()
    mixed = ensemble.Ensemble([nn.Sequential(nn.Dense(6, 4), nn.BatchNorm(4), nn.Dense(4, 3)), nn.Sequential(nn.Dense(6, 3))])
    mixed.save(path)
    assert (ensemble.load(path).predict(x) == mixed.predict(x)).all()


def test_files_that_are_no_ensembles(tmp_path):
    path = tmp_path / "file"
    models = [nn.Sequential(nn.Dense(6, 3)) for _ in range(2)]
    models[0].save(path)
    with pytest.raises(ValueError, match="expected an ensemble's file of fastnn, got a file of format 'fastnn'"):
        ensemble.load(path)
    ensemble.Ensemble(models).save(path)
    whole = path.read_bytes()
    for size in (0, 7, 40, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="expected an ensemble's file"):
            ensemble.load(path)
    tensors, metadata = safetensors.parse(whole)
    for change in (
        {"version": "9"}, {"members": "[]"}, {"members": "{}"}, {"members": "["}, {"members": "[{}, {}]"},
        {"members": metadata["members"].replace("6", "60")}, {"members": metadata["members"].replace('"3"', '"x"').replace("Dense", "Dence")},
    ):
        safetensors.write(path, tensors, {**metadata, **change})
        with pytest.raises(ValueError, match="expected an ensemble's file"):
            ensemble.load(path)
    for name in ("7:0.weight", "0.weight", "0:9.weight"):
        safetensors.write(path, {**tensors, name: np.zeros(3, np.float32)}, metadata)
        with pytest.raises(ValueError, match="expected an ensemble's file"):
            ensemble.load(path)
    with pytest.raises(OSError):
        ensemble.load(tmp_path / "none")
