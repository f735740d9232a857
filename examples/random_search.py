"""Random search of the learning rate and the weight decay, on logarithmic scales: 10^U(-6, -2) and 10^U(-8, -4), 100 trials.

The best trials lie close together: their rates are the largest, some thousandths, their decays anywhere. A second round would draw from
there. (J. Bergstra and Y. Bengio, 2012; K. Saito, "Deep Learning from Scratch", chapter 6.)
"""

import fastnn
from common import digits, save
from fastnn import data, losses, nn, optim, tune

SPACE = {"lr": tune.LogUniform(1e-6, 1e-2), "decay": tune.LogUniform(1e-8, 1e-4)}


def run(short=False):
    """(study, {(rate, decay): accuracies by epoch in training and on the validation's images})"""
    X, y, *_ = digits(500)
    X, X_val, y, y_val = data.train_test_split(X, y, test_size=0.2)
    curves = {}

    def objective(p):
        fastnn.manual_seed(0)
        model = nn.mlp([X.shape[1], *[100] * 6, 10])
        optimizer = optim.SGD(model.parameters(), lr=p["lr"], weight_decay=p["decay"])
        trainer = fastnn.Trainer(model, losses.SoftmaxCrossEntropy(), optimizer)
        history = trainer.fit(X, y, epochs=50, batch_size=100, validation_data=(X_val, y_val), verbose=0)
        curves[p["lr"], p["decay"]] = history["accuracy"], history["val_accuracy"]
        return history["val_accuracy"][-1]

    return tune.random(objective, SPACE, n=8 if short else 100, direction="maximize", threads=fastnn.get_num_threads()), curves


def draw(found):
    import matplotlib.pyplot as plt

    study, curves = found
    best = sorted((t for t in study.trials if t.value is not None), key=lambda t: -t.value)[:12]
    figure = plt.figure(figsize=(10, 5.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(3, 1))
    for ax, t in zip(left.subplots(3, 4).flat, best):
        train, validation = curves[t.params["lr"], t.params["decay"]]
        ax.plot(validation)
        ax.plot(train, "--")
        ax.set(ylim=(0, 1), xticks=[], yticks=[])
        ax.set_title(f"{t.params['lr']:.1e}, {t.params['decay']:.0e}", fontsize=9)
    left.suptitle("accuracy by epoch of the best trials: learning rate, weight decay", fontsize=10)
    ax = right.subplots()
    points = ax.scatter(*zip(*[(t.params["lr"], t.params["decay"]) for t in study.trials]), c=[t.value for t in study.trials])
    ax.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="weight decay")
    right.colorbar(points, label="accuracy", location="bottom")
    save(figure, __file__)


if __name__ == "__main__":
    draw(run())
