"""A tied autoencoder: digits through a layer of few units and back, where the decoder's weights are the encoder's, transposed.

With 16 units the digits come back blurred, with 64 nearly as they were. (P. Vincent et al., 2010; G. Hinton and R. Salakhutdinov, 2006.)
"""

import fastnn
from common import digits, save
from fastnn import losses, nn, optim

SIZES = (4, 16, 64)


def train(X, units, epochs):
    """A model whose outputs are logits of its inputs, and the loss of each epoch."""
    fastnn.manual_seed(0)
    encoder = nn.Dense(X.shape[1], units, activation="sigmoid")
    model = nn.Sequential(encoder, nn.Tied(encoder))
    trainer = fastnn.Trainer(model, losses.BinaryCrossEntropy(), optim.Adam(model.parameters(), lr=3e-3))
    return model, trainer.fit(X, X, epochs=epochs, batch_size=100, verbose=0)["loss"]


def run(short=False):
    """(some test images, {units: (what comes back, losses)})"""
    X, _, X_test, _ = digits()
    found = {}
    for units in SIZES[1:] if short else SIZES:
        model, history = train(X, units, 5 if short else 30)
        found[units] = model.predict_proba(X_test[:12]), history
    return X_test[:12], found


def draw(found):
    import matplotlib.pyplot as plt

    images, models = found
    side = round(images.shape[1] ** 0.5)
    rows = {"given": images, **{f"{units} units": back for units, (back, _) in models.items()}}
    figure, axes = plt.subplots(len(rows), len(images), figsize=(10, 0.95 * len(rows)), layout="constrained")
    for line, (name, pictures) in zip(axes, rows.items()):
        for ax, picture in zip(line, pictures):
            ax.imshow(picture.reshape(side, side), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=8)
    save(figure, __file__)


if __name__ == "__main__":
    draw(run())
