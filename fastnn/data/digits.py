"""The handwritten digits that are packaged with fastnn."""

import numpy as np


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Load 1,797 handwritten digits, packaged with fastnn: no download, no file of your own.

    They are the test set of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (1998), UCI
    Machine Learning Repository, https://doi.org/10.24432/C50P49, licensed under CC BY 4.0
    (https://creativecommons.org/licenses/by/4.0/). Each pixel counts the dark points in one 4 x 4 block of a 32 x 32
    bitmap. Thirteen people wrote them.

    Returns
    -------
    images : numpy.ndarray, uint8 [1797, 8, 8]
        Values 0 (empty) to 16 (full).
    labels : numpy.ndarray, uint8 [1797]
        Values 0 to 9, 174 to 183 images of each.

    Both are new at every call and may be written to.

    Examples
    --------
    >>> from fastnn.data import load_digits
    >>> images, labels = load_digits()
    >>> images.shape, int(images.max()), labels[:3]
    ((1797, 8, 8), 16, array([0, 1, 2], dtype=uint8))
    """
    from importlib import resources

    packaged = resources.files("fastnn") / "datasets" / "digits.npz"
    with packaged.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return arrays["images"], arrays["labels"]
