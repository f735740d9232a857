"""examples/: each script runs in a short form, and what it finds is what its page says; the gallery shows all of them."""

import importlib
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES, GALLERY = ROOT / "examples", ROOT / "docs" / "gallery.md"
pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="needs the sources")
SCRIPTS = sorted(p.stem for p in EXAMPLES.glob("*.py") if p.stem not in ("common", "dask_search"))


def paths(found):
    ends = {name: np.abs(seen[-1]).max() for name, seen in found.items()}
    assert max(ends.values()) < 1.5
    sides = np.sign(found["SGD, 0.95"][:, 1])
    assert (sides[1:] == -sides[:-1]).all()  # from side to side
    assert (found["AdaGrad, 1.5"][:, 1] > -0.01).all()


def ravine(found):
    slow, swinging, momentum = (np.abs(seen) for seen in found.values())
    assert momentum[-1, 0] < 0.1 < swinging[-1, 0] < slow[-1, 0]
    assert (np.diff(np.sign(list(found.values())[1][:, 1])) != 0).all()


def optimizers(found):
    ends = {name: np.mean(values[-50:]) for name, values in found.items()}
    assert all(ends["SGD"] > 3 * ends[name] for name in ("momentum", "AdaGrad", "Adam"))


def activations(found):
    last = {case: layers[-1] for case, layers in found.items()}
    at_limits = np.mean(np.abs(last["sigmoid", "1"] - 0.5) > 0.45)
    assert at_limits > 0.6 and last["sigmoid", "0.01"].std() < 0.02 < 0.05 < last["sigmoid", "Xavier"].std()
    assert last["relu", "0.01"].std() < 1e-4 < last["relu", "Xavier"].std() < 0.5 * last["relu", "He"].std()


def initialization(found):
    narrow, xavier, he = (np.mean(values[-50:]) for values in found.values())
    assert narrow > 2.25 and he < xavier < 2


def batch_normalization(found):
    for with_, without in found.values():
        assert with_[-1] > 0.6 and without[-1] < 0.4


def overfitting(found):
    gaps = {name: train[-1] - test[-1] for name, (train, test) in found.items()}
    assert found["as it is"][0][-1] > found["weight decay 0.1"][0][-1] + 0.05
    assert gaps["weight decay 0.1"] < gaps["as it is"] + 0.02


def random_search(found):
    study, curves = found
    assert study.best.params["lr"] > 1e-4 and len(curves) == 8 and len(study.trials) == 8


def decision_boundaries(found):
    accuracies = [accuracy for _, accuracy in found[2].values()]
    assert len(accuracies) == 2 and min(accuracies) > 0.75


def moving_averages(found):
    values, lines = found
    v, expected = 0.0, []
    for t, value in enumerate(values, 1):
        v = 0.9 * v + 0.1 * value
        expected.append((v, v / (1 - 0.9**t)))
    for form, column in (("average", 0), ("corrected", 1)):
        np.testing.assert_allclose(lines[0.9, form], np.array(expected)[:, column], rtol=1e-10)
    assert lines[0.98, "average"].argmax() > lines[0.9, "average"].argmax() > 100


def autoencoder(found):
    images, models = found
    errors = [np.square(back - images).mean() for back, _ in models.values()]
    assert errors[1] < errors[0] < np.square(images - images.mean()).mean()


def convnet(found):
    _, images, labels, p = found
    assert images.ndim == 4 and np.mean(p.argmax(axis=1) == labels) > 0.95


def photographs(found):
    assert found[3]["val_accuracy"][-1] > 0.9


def maxout(found):
    curves, _, _, models = found
    assert all(np.abs(learnt - y).max() < 0.5 for name, (_, y, learnt) in curves.items() if "two" not in name)
    assert all(accuracy > 0.6 for _, accuracy in models.values())


def svm_softmax(found):
    (_, svm, hinges), (_, softmax, entropies) = found.values()
    assert abs(svm - softmax) < 0.06 and min(svm, softmax) > 0.85
    assert np.mean(hinges == 0) > 0.4 and (entropies > 0).all()


@pytest.fixture
def script(request, monkeypatch, tmp_path):
    """The module of an example, which reads the packaged digits and draws into a folder of its own."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(sys, "argv", ["example", str(tmp_path)])
    for name in ("common", request.param):
        monkeypatch.delitem(sys.modules, name, raising=False)
    common = importlib.import_module("common")
    monkeypatch.setattr(common, "FOLDERS", ())
    yield importlib.import_module(request.param)
    for name in ("common", request.param):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("script", SCRIPTS, indirect=True)
def test_the_short_form(script, tmp_path):
    if script.__name__ == "photographs":
        pytest.importorskip("sklearn")
        pytest.importorskip("PIL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # some diverge, to show it
        found = script.run(short=True)
    globals()[script.__name__](found)
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of matplotlib's own
        script.draw(found)
    assert (tmp_path / f"{script.__name__}.png").stat().st_size > 2000


def test_a_search_on_a_cluster(monkeypatch, capsys):
    pytest.importorskip("distributed")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Dask's own
        study, accuracy, alone = importlib.import_module("dask_search").main(trials=4, members=2, epochs=2)
    assert [t.state for t in study.trials] == ["done"] * 4 and study.best.value > 0.5
    assert accuracy > alone - 0.01 and "members together" in capsys.readouterr().out


def test_each_is_short_and_shown():
    page = GALLERY.read_text(encoding="utf-8")
    for name in SCRIPTS:
        text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 80, name
        assert f"(gallery/{name}.png)" in page and f"(../examples/{name}.py)" in page, name
        picture = GALLERY.parent / "gallery" / f"{name}.png"
        assert picture.stat().st_size < 60_000, name
    assert len(SCRIPTS) == page.count("](gallery/")
