"""What reaches five layers of 100 units from normal inputs, for initial weights of different deviations.

Sigmoids under weights of deviation 1 sit at 0 and 1, where there is no gradient; of 0.01 they all say 0.5; Xavier's √(1/n) spreads
them. ReLUs need He's √(2/n): under less than that, what is passed on dies away from layer to layer.
(X. Glorot and Y. Bengio, 2010; K. He et al., 2015; K. Saito, "Deep Learning from Scratch", chapter 6.)
"""

import numpy as np

import fastnn
from common import save
from fastnn import nn

CASES = [
    ("sigmoid", "1", 1.0),
    ("sigmoid", "0.01", 0.01),
    ("sigmoid", "Xavier", 100**-0.5),
    ("relu", "0.01", 0.01),
    ("relu", "Xavier", 100**-0.5),
    ("relu", "He", (2 / 100) ** 0.5),
]


def run(short=False):
    """(activation, deviation's name) -> the outputs of the five layers."""
    x = np.random.default_rng(0).normal(size=(200 if short else 1000, 100))
    found = {}
    for activation, name, deviation in CASES:
        fastnn.manual_seed(1)
        model = nn.Sequential(*[nn.Dense(100, 100, activation=activation, init=deviation) for _ in range(5)])
        found[activation, name] = list(model.activations(x).values())
    return found


def draw(found):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(found), 5, figsize=(9, 9), sharex=True, layout="constrained")
    for row, ((activation, name), layers) in zip(axes, found.items()):
        for i, (ax, values) in enumerate(zip(row, layers), 1):
            ax.hist(values.ravel(), 30, range=(0, 1), color="tab:blue" if activation == "sigmoid" else "tab:orange")
            ax.set(yticks=[], ylim=(0, 0.2 * values.size if activation == "relu" else None))
            if ax in axes[0]:
                ax.set_title(f"layer {i}")
        row[0].set_ylabel(f"{activation}\n{name}")
    save(figure, __file__)


if __name__ == "__main__":
    draw(run())
