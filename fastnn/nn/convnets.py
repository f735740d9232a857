"""Ready-made convolutional networks for small images."""

from .convolution import AvgPool2d, Conv2d, MaxPool2d
from .dense import Dense
from .inputs import Flatten, Input
from .model import Sequential


def lenet5(shape=(32, 32, 1), classes=10, dtype=None) -> Sequential:
    """LeNet-5: two convolutions with average pooling, three dense layers, tanh between them.

    Y. LeCun et al., "Gradient-based learning applied to document recognition", 1998, with every map of the second convolution
    connected to all of the first, and logits in place of the radial basis functions at the end.

    Parameters
    ----------
    shape : tuple of int, default (32, 32, 1)
        Height, width and channels of an image, at least 16 pixels along each side.
    classes : int, default 10
    dtype : {"float32", "float64"}, optional
        What the model computes in; as for `Sequential`.

    Returns
    -------
    Sequential

    Examples
    --------
    >>> nn.lenet5().num_parameters()
    61706
    """
    return Sequential(
        Input(*shape),
        Conv2d(None, 6, 5, activation="tanh"),
        AvgPool2d(2),
        Conv2d(None, 16, 5, activation="tanh"),
        AvgPool2d(2),
        Flatten(),
        Dense(None, 120, activation="tanh"),
        Dense(None, 84, activation="tanh"),
        Dense(None, classes),
        dtype=dtype,
    )


def simple_convnet(shape=(28, 28, 1), classes=10, filters=30, kernel_size=5, hidden=100, dtype=None) -> Sequential:
    """A small network for small images: one convolution with relu and max-pooling, one hidden layer.

    Parameters
    ----------
    shape : tuple of int, default (28, 28, 1)
        Height, width and channels of an image.
    classes, filters, kernel_size, hidden : int, default 10, 30, 5, 100
        Outputs; filters of the convolution and their size; units of the hidden layer.
    dtype : {"float32", "float64"}, optional
        What the model computes in; as for `Sequential`.

    Returns
    -------
    Sequential

    Examples
    --------
    >>> nn.simple_convnet().predict(np.zeros((2, 28, 28), np.uint8)).shape
    (2, 10)
    """
    return Sequential(
        Input(*shape),
        Conv2d(None, filters, kernel_size, activation="relu"),
        MaxPool2d(2),
        Flatten(),
        Dense(None, hidden, activation="relu"),
        Dense(None, classes),
        dtype=dtype,
    )
