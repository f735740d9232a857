"""`evaluate` and `value_and_grad`."""

import threading

import numpy as np
import pytest

import fastnn
from fastnn import losses, nn, optim

from trainer_cases import BACKENDS, bits, make, samples


@pytest.mark.parametrize("backend", BACKENDS)
def test_evaluate(backend):
    x, y = samples(700)
    model, t = make(backend=backend)
    z = model.predict(x).astype(np.float64)
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    before = bits(t)
    for batch_size in (None, 1, 33, 10**6):
        found = t.evaluate(x, y, batch_size=batch_size)
        assert found["loss"] == pytest.approx(-log_p[range(700), y].mean(), abs=1e-6)
        assert found["accuracy"] == (z.argmax(axis=1) == y).mean()
    assert t.evaluate(x, np.eye(3)[y])["loss"] == pytest.approx(found["loss"], abs=1e-12)
    assert bits(t) == before and t.steps_done == 0


def test_evaluate_depends_on_nothing_but_the_data(team):
    x, y = samples(300)
    _, t = make()
    found = t.evaluate(x, y)
    t.step(x[:1], y[:1] * 0)
    assert t.evaluate(x, y) != found
    with team(3):
        _, again = make()
        assert again.evaluate(x, y) == found


@pytest.mark.parametrize("batch_size, error", [(0, ValueError), (-3, ValueError), (2.0, TypeError)])
def test_evaluate_refuses(batch_size, error):
    x, y = samples()
    _, t = make()
    with pytest.raises(error, match="^batch_size: expected an integer"):
        t.evaluate(x, y, batch_size=batch_size)


def test_value_and_grad():
    x, y = samples(20)
    model, t = make()
    loss, grads = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x, y)
    assert type(loss) is float and loss == pytest.approx(t.evaluate(x, y)["loss"], rel=1e-12)
    assert [g.shape for g in grads] == [p.shape for p in model.parameters()] and all(g.dtype == np.float32 for g in grads)
    # one step of plain SGD is the gradient
    plain, other = make(optimizer=optim.SGD, lr=1.0)
    other.step(x, y)
    before, _ = make()
    differences = [b.data - a.data for a, b in zip(plain.parameters(), before.parameters())]
    assert all(np.abs(d - g).max() < 1e-6 for d, g in zip(differences, grads))


def test_gradients_are_the_callers():
    x, y = samples(20)
    model, _ = make()
    first = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x, y)[1]
    kept = [g.copy() for g in first]
    for g in fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x[:3], y[:3])[1]:
        g[...] = np.nan
    assert all((a == b).all() for a, b in zip(first, kept))
    again = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x, y)[1]
    assert all((a == b).all() for a, b in zip(again, kept))


def test_an_optimizer_of_ones_own():
    x, y = samples(40)
    model, t = make()
    opt = optim.Adam(model.parameters(), lr=0.01)
    for _ in range(5):
        t.step(x, y)
    twin, _ = make()
    opt = optim.Adam(twin.parameters(), lr=0.01)
    for _ in range(5):
        opt.step(fastnn.value_and_grad(twin, losses.SoftmaxCrossEntropy(), x, y)[1])
    assert [p.data.tobytes() for p in twin.parameters()] == [p.data.tobytes() for p in model.parameters()]


def test_value_and_grad_from_many_threads():
    model, _ = make((8, 64, 3))
    x, y = samples(64)
    expected = [fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x[:n], y[:n]) for n in (1, 20, 64)]
    wrong = []

    def work():
        for i in range(40):
            loss, grads = fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x[: (1, 20, 64)[i % 3]], y[: (1, 20, 64)[i % 3]])
            if loss != expected[i % 3][0] or any((a != b).any() for a, b in zip(grads, expected[i % 3][1])):
                wrong.append(i)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_value_and_grad_refuses():
    x, y = samples(5)
    model, _ = make()
    with pytest.raises(TypeError, match="^model: expected a fastnn.nn.Sequential, got Dense"):
        fastnn.value_and_grad(nn.Dense(8, 3), losses.SoftmaxCrossEntropy(), x, y)
    with pytest.raises(ValueError, match="^x: expected 8 features a row"):
        fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x[:, 1:], y)
    with pytest.raises(ValueError, match="^y: expected labels from 0 to 2, got 9 in row 1"):
        fastnn.value_and_grad(model, losses.SoftmaxCrossEntropy(), x, [0, 9, 0, 0, 0])
