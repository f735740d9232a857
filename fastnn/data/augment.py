"""Images made anew for every epoch: flipped, shifted, turned. `Trainer.fit(..., augment=)` applies them as batches are taken.

Every draw is a function of (seed, epoch, number of the sample, position in the chain): the same pictures for any batch size and number
of threads, and after a resumed training. All of it is NumPy's work, in the thread that calls `fit`.
"""

import math

import numpy as np

from .. import _native
from ..core.checks import number
from ..init import check_seed
from ..reference.rng import philox, to_normal
from ..training.checks import count

__all__ = [
    "Augmentation",
    "ColorJitter",
    "Compose",
    "Cutout",
    "Noise",
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomShift",
    "RandomZoom",
]

_STREAM = 2  # of the generator: the shuffle has 1, layers begin at 16


class Draws:
    """What one member of a chain draws for each of some samples."""

    def __init__(self, seed, epoch, samples, position):
        self._key, self._epoch, self._position = (seed % 2**32, seed // 2**32), epoch, position
        self._samples = np.asarray(samples, np.uint64)

    def words(self, n):
        """uint32 [samples, n]: word i is philox((sample mod 2^32, position + 2^8 · (sample div 2^32), epoch, 2 + 2^8 · (i div 4)))[i mod 4]."""
        blocks = -(-n // 4)
        counter = np.empty((len(self._samples), blocks, 4), np.uint32)
        counter[..., 0] = (self._samples % np.uint64(2**32))[:, None]
        counter[..., 1] = (self._samples // np.uint64(2**32))[:, None] * np.uint64(256) + np.uint64(self._position)
        counter[..., 2] = self._epoch
        counter[..., 3] = _STREAM + 256 * np.arange(blocks)
        return philox(counter.reshape(-1, 4), self._key).reshape(len(self._samples), -1)[:, :n]

    def uniform(self, low, high, n=1):
        """float64 [samples, n], uniform on [low, high)."""
        return low + (high - low) * (self.words(n) * 2.0**-32)

    def integers(self, low, high, n=1):
        """int64 [samples, n], from low to high, both included."""
        return low + (self.words(n) * np.uint64(high - low + 1) >> np.uint64(32)).astype(np.int64)

    def normal(self, n):
        """float64 [samples, n], standard normal."""
        words = self.words(4 * -(-n // 2)).astype(np.uint64)
        pairs = words[:, 0::2] | words[:, 1::2] << np.uint64(32)
        return to_normal(pairs.ravel()).reshape(len(words), -1)[:, :n]


class Augmentation:
    """Base of the augmentations; one of one's own overrides `change`.

    Examples
    --------
    >>> class Negative(data.augment.Augmentation):
    ...     def change(self, images, draws):
    ...         return np.where(draws.uniform(0, 1)[:, :, None, None] < 0.5, 1 - images, images)
    >>> Negative()(np.zeros((8, 2, 2))).reshape(8, -1).mean(axis=1)
    array([0., 0., 0., 1., 1., 1., 0., 0.], dtype=float32)
    """

    def change(self, images, draws) -> np.ndarray:
        """What becomes of float32 images [n, height, width, channels], by what `draws` gives."""
        raise NotImplementedError

    def __call__(self, images, seed=0, epoch=0, samples=None) -> np.ndarray:
        """The images of an epoch.

        Parameters
        ----------
        images : array_like [n, height, width] or [n, height, width, channels]
            Of any real dtype; for `Compose` with a shape also [n, features].
        seed, epoch : int, default 0
        samples : array_like of int [n], optional
            The samples' numbers; by default 0, 1, 2 ...

        Returns
        -------
        numpy.ndarray
            float32, in the units of the images.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit.
        """
        images = np.asarray(_native.plain(images, "images"))
        if images.dtype.kind not in "biuf":
            raise TypeError(f"images: expected real numbers, got dtype {images.dtype}")
        seed, epoch = check_seed(seed), check_seed(epoch, "epoch")
        samples = np.arange(len(images)) if samples is None else np.asarray(samples)
        if samples.shape != images.shape[:1] or samples.dtype.kind not in "iu":
            raise ValueError(f"samples: expected a number for each of the {len(images)} images, got shape {samples.shape}, dtype {samples.dtype}")
        shaped = self._shaped(images)
        changed = np.ascontiguousarray(self._run(shaped.astype(np.float32), seed, epoch % 2**32, samples, 0)[0], np.float32)
        same = changed.shape == shaped.shape
        return changed.reshape(images.shape) if same else changed if images.ndim == 4 else changed[..., 0]

    def _shaped(self, images):
        """As [n, height, width, channels]."""
        if images.ndim not in (3, 4):
            raise ValueError(
                f"augment: expected images [n, height, width] or [n, height, width, channels], got shape {images.shape}; for flat rows "
                "write Compose([...], shape=(height, width, channels))"
            )
        return images if images.ndim == 4 else images[..., None]

    def _run(self, images, seed, epoch, samples, position):
        """(images, the next position in the chain)"""
        return self.change(images, Draws(seed, epoch, samples, position)), position + 1

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


def _window(images, top, left, height, width, fill):
    """Windows of images, each from a corner of its own; what lies outside is `fill`."""
    n, h, w, _ = images.shape
    y, x = top[:, None] + np.arange(height), left[:, None] + np.arange(width)
    found = images[np.arange(n)[:, None, None], y.clip(0, h - 1)[:, :, None], x.clip(0, w - 1)[:, None, :]]
    inside = ((y >= 0) & (y < h))[:, :, None] & ((x >= 0) & (x < w))[:, None, :]
    return np.where(inside[..., None], found, np.float32(fill))


def _affine(images, a, b, c, d, fill):
    """Each image as its centre stays and pixel (y, x) from there takes what lies at (a y + b x, c y + d x), between four pixels."""
    n, h, w, channels = images.shape
    y, x = np.arange(h)[:, None] - (h - 1) / 2, np.arange(w)[None, :] - (w - 1) / 2
    a, b, c, d = (np.asarray(v, np.float64).reshape(n, 1, 1) for v in (a, b, c, d))
    # within a ring of `fill`, beyond which there is nothing else
    ringed = np.full((n, h + 2, w + 2, channels), fill, np.float32)
    ringed[:, 1:-1, 1:-1] = images
    sy, sx = (a * y + b * x + (h + 1) / 2).clip(0, h + 1), (c * y + d * x + (w + 1) / 2).clip(0, w + 1)
    top, left = np.minimum(sy.astype(np.int64), h), np.minimum(sx.astype(np.int64), w)
    fy, fx = (sy - top).astype(np.float32)[..., None], (sx - left).astype(np.float32)[..., None]
    at = (np.arange(n)[:, None, None] * (h + 2) + top) * (w + 2) + left
    pixels = ringed.reshape(-1, channels)
    upper, lower = pixels[at], pixels[at + w + 2]
    upper += fx * (pixels[at + 1] - upper)
    lower += fx * (pixels[at + w + 3] - lower)
    return upper + fy * (lower - upper)


class RandomFlip(Augmentation):
    """Flips images with probability p.

    Parameters
    ----------
    direction : {"horizontal", "vertical"}, default "horizontal"
        Horizontal: left and right change places.
    p : float, default 0.5

    Examples
    --------
    >>> data.augment.RandomFlip(p=1)(np.array([[[1, 2, 3]]]))
    array([[[3., 2., 1.]]], dtype=float32)
    """

    def __init__(self, direction="horizontal", p=0.5) -> None:
        if direction not in ("horizontal", "vertical"):
            raise ValueError(f"direction: expected 'horizontal' or 'vertical', got {direction!r}")
        self.direction, self.p = direction, number(p, "p", 0.0, 1.0)

    def change(self, images, draws) -> np.ndarray:
        flipped = images[:, :, ::-1] if self.direction == "horizontal" else images[:, ::-1]
        return np.where((draws.uniform(0, 1) < self.p)[:, :, None, None], flipped, images)


class RandomShift(Augmentation):
    """Moves images by whole pixels, down and to the right by numbers from -pixels to pixels.

    Parameters
    ----------
    pixels : int
    fill : float, default 0
        What moves in.

    Examples
    --------
    >>> data.augment.RandomShift(1)(np.ones((5, 4, 4))).shape
    (5, 4, 4)
    """

    def __init__(self, pixels, fill=0.0) -> None:
        self.pixels, self.fill = count(pixels, "pixels", 0), number(fill, "fill")

    def change(self, images, draws) -> np.ndarray:
        shift = draws.integers(-self.pixels, self.pixels, 2)
        return _window(images, -shift[:, 0], -shift[:, 1], *images.shape[1:3], self.fill)


class RandomCrop(Augmentation):
    """Takes a window of each image, after padding it.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the window; in `fit` those of the images.
    padding : int, default 0
        On all four sides.
    fill : float, default 0
        What the padding is made of.

    Examples
    --------
    >>> data.augment.RandomCrop(28, padding=2)(np.ones((5, 28, 28))).shape
    (5, 28, 28)
    """

    def __init__(self, size, padding=0, fill=0.0) -> None:
        sizes = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
        if len(sizes) != 2:
            raise ValueError(f"size: expected a number or a pair, got {size!r}")
        self.size = tuple(count(s, "size", 1) for s in sizes)
        self.padding, self.fill = count(padding, "padding", 0), number(fill, "fill")

    def change(self, images, draws) -> np.ndarray:
        room = [s + 2 * self.padding - wanted for s, wanted in zip(images.shape[1:3], self.size)]
        if min(room) < 0:
            raise ValueError(f"size: expected a window within padded images, got {self.size} for images of {images.shape[1:3]}")
        words = draws.words(2).astype(np.uint64)
        top, left = ((words[:, i] * np.uint64(room[i] + 1) >> np.uint64(32)).astype(np.int64) - self.padding for i in range(2))
        return _window(images, top, left, *self.size, self.fill)


class RandomRotation(Augmentation):
    """Turns images about their centres, by angles from -degrees to degrees, between pixels linearly.

    Parameters
    ----------
    degrees : float
        From 0 to 180.
    fill : float, default 0
        What turns in.

    Examples
    --------
    >>> images, _ = data.load_digits()
    >>> data.augment.RandomRotation(15)(images[:2]).shape
    (2, 8, 8)
    """

    def __init__(self, degrees, fill=0.0) -> None:
        self.degrees, self.fill = number(degrees, "degrees", 0.0, 180.0), number(fill, "fill")

    def change(self, images, draws) -> np.ndarray:
        angle = draws.uniform(-1, 1)[:, 0] * math.radians(self.degrees)
        cos, sin = np.cos(angle), np.sin(angle)
        return _affine(images, cos, -sin, sin, cos, self.fill)


class RandomZoom(Augmentation):
    """Makes images larger or smaller about their centres, by factors from 1 - share to 1 + share, between pixels linearly.

    Parameters
    ----------
    share : float
        From 0, below 1.
    fill : float, default 0
        What comes in from outside.

    Examples
    --------
    >>> images, _ = data.load_digits()
    >>> data.augment.RandomZoom(0.1)(images[:2]).shape
    (2, 8, 8)
    """

    def __init__(self, share, fill=0.0) -> None:
        self.share, self.fill = number(share, "share", 0.0, below=1.0), number(fill, "fill")

    def change(self, images, draws) -> np.ndarray:
        scale = 1 / draws.uniform(1 - self.share, 1 + self.share)[:, 0]
        zero = np.zeros(len(images))
        return _affine(images, scale, zero, zero, scale, self.fill)


class ColorJitter(Augmentation):
    """Changes brightness, contrast and saturation, each by a factor from 1 - share to 1 + share: the image is mixed with black, with
    its mean, and with its grey values. Nothing is clipped.

    Parameters
    ----------
    brightness, contrast, saturation : float, default 0
        Shares, at least 0. Saturation needs three channels: red, green, blue.

    Examples
    --------
    >>> data.augment.ColorJitter(brightness=0.2)(np.ones((2, 4, 4, 3))).shape
    (2, 4, 4, 3)
    """

    def __init__(self, brightness=0.0, contrast=0.0, saturation=0.0) -> None:
        self.brightness, self.contrast = number(brightness, "brightness", 0.0), number(contrast, "contrast", 0.0)
        self.saturation = number(saturation, "saturation", 0.0)

    def change(self, images, draws) -> np.ndarray:
        shares = self.brightness, self.contrast, self.saturation
        if self.saturation and images.shape[3] != 3:
            raise ValueError(f"saturation: expected images of three channels, got {images.shape[3]}")
        drawn = draws.uniform(-1, 1, 3)
        brightness, contrast, saturation = (np.maximum(0, 1 + s * d).astype(np.float32).reshape(-1, 1, 1, 1) for s, d in zip(shares, drawn.T))
        images = images * brightness
        if self.contrast:
            mean = images.mean(axis=(1, 2, 3), keepdims=True)
            images = mean + contrast * (images - mean)
        if self.saturation:
            grey = images @ np.array([0.299, 0.587, 0.114], np.float32)  # of ITU-R BT.601
            images = grey[..., None] + saturation * (images - grey[..., None])
        return images


class Noise(Augmentation):
    """Adds normal numbers of mean 0.

    Parameters
    ----------
    std : float
        Their deviation, in the units of the images.

    Examples
    --------
    >>> data.augment.Noise(0.1)(np.zeros((2, 4, 4))).shape
    (2, 4, 4)
    """

    def __init__(self, std) -> None:
        self.std = number(std, "std", 0.0)

    def change(self, images, draws) -> np.ndarray:
        n = math.prod(images.shape[1:])
        return images + (self.std * draws.normal(n)).astype(np.float32).reshape(images.shape)


class Cutout(Augmentation):
    """Fills a square, whose centre is any pixel. (T. DeVries and G. Taylor, "Improved regularization of convolutional neural networks
    with cutout", 2017.)

    Parameters
    ----------
    pixels : int
        The side of the square.
    fill : float, default 0

    Examples
    --------
    >>> bool((data.augment.Cutout(3)(np.ones((1, 8, 8))) == 0).any())
    True
    """

    def __init__(self, pixels, fill=0.0) -> None:
        self.pixels, self.fill = count(pixels, "pixels", 1), number(fill, "fill")

    def change(self, images, draws) -> np.ndarray:
        h, w = images.shape[1:3]
        words = draws.words(2).astype(np.uint64)
        top, left = ((words[:, i] * np.uint64(s) >> np.uint64(32)).astype(np.int64) - self.pixels // 2 for i, s in enumerate((h, w)))
        y, x = np.arange(h) - top[:, None], np.arange(w) - left[:, None]
        inside = ((y >= 0) & (y < self.pixels))[:, :, None] & ((x >= 0) & (x < self.pixels))[:, None, :]
        return np.where(inside[..., None], np.float32(self.fill), images)


class Compose(Augmentation):
    """Augmentations one after the other.

    Parameters
    ----------
    steps : list of Augmentation
    shape : (int, int) or (int, int, int), optional
        Height, width and channels of images that stand as flat rows.

    Raises
    ------
    TypeError
        If a step is no Augmentation.

    Examples
    --------
    >>> images, _ = data.load_digits()
    >>> flat = images.reshape(-1, 64)
    >>> chain = data.augment.Compose([data.augment.RandomShift(1), data.augment.RandomRotation(10)], shape=(8, 8))
    >>> chain(flat).shape, bool((chain(flat) == chain(flat, epoch=1)).all())
    ((1797, 64), False)
    """

    def __init__(self, steps, shape=None) -> None:
        self.steps = list(steps)
        for i, step in enumerate(self.steps):
            if not isinstance(step, Augmentation):
                raise TypeError(f"steps[{i}]: expected a fastnn.data.augment.Augmentation, got {type(step).__name__}")
        if shape is not None:
            shape = tuple(count(s, "shape", 1) for s in shape)
            if len(shape) not in (2, 3):
                raise ValueError(f"shape: expected (height, width) or (height, width, channels), got {shape}")
        self.shape = shape

    def _shaped(self, images):
        if self.shape is None or images.ndim != 2:
            return super()._shaped(images)
        if images.shape[1] != math.prod(self.shape):
            raise ValueError(f"shape: expected one of {images.shape[1]} elements, as the rows have, got {self.shape}")
        return images.reshape(len(images), *self.shape, *[1] * (3 - len(self.shape)))

    def _run(self, images, seed, epoch, samples, position):
        for step in self.steps:
            images, position = step._run(images, seed, epoch, samples, position)
        return images, position

    def change(self, images, draws) -> np.ndarray:
        raise TypeError("change: expected a call of the whole chain")
