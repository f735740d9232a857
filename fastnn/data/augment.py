"""Images made anew for every epoch: flipped, shifted, turned. `Trainer.fit(..., augment=)` applies them as batches are taken.

Every draw is a function of (seed, epoch, number of the sample, position in the chain): the same pictures for any batch size and number
of threads, and after a resumed training. What is here is done by the compiled code, in `fit` within native calls, by every thread to
the rows that it takes; augmentations of one's own are called from the thread that calls `fit`. csrc/defs/augment.def is the register of
what there is; fastnn/reference/augment.py does the same in NumPy.

Flips, shifts, crops, rotations and zooms that follow one another with one fill are one affine map of places, by which an image is read
once: it is interpolated once, and what one of them moves out of the frame another may bring back. For each alone, and for chains of
flips, that is the same as one after the other.
"""

import math

import numpy as np

from .. import _native
from ..core.checks import number
from ..init import check_seed
from ..reference.augment import augment_words, beta_quantiles
from ..reference.rng import to_normal
from ..training.checks import count

__all__ = [
    "Augmentation",
    "ColorJitter",
    "Compose",
    "Cutout",
    "Mixup",
    "Noise",
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomShift",
    "RandomZoom",
]

_LONGEST = 65536  # pixels of a side, a shift or a padding


def _pixels(value, name, least):
    """A number of pixels."""
    if count(value, name, least) > _LONGEST:
        raise ValueError(f"{name}: expected at most {_LONGEST} pixels, got {value}")
    return int(value)


class Draws:
    """What one member of a chain draws for each of some samples."""

    def __init__(self, seed, epoch, samples, position) -> None:
        self.seed, self.epoch, self.position = seed, epoch, position
        self.samples = np.asarray(samples)

    def words(self, n):
        """uint32 [samples, n]: word i is philox((sample mod 2^32, position + 2^8 · (sample div 2^32), epoch, 2 + 2^8 · (i div 4)))[i mod 4]."""
        return augment_words(n, self.seed, self.epoch, self.samples, self.position)

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

    _name = None  # in the register

    def change(self, images, draws) -> np.ndarray:
        """What becomes of images [n, height, width, channels], of the dtype that is computed in, by what `draws` gives."""
        if self._name is None:
            raise NotImplementedError(f"{type(self).__name__}: expected a method change(images, draws), got none")
        return _native_images([self], images, draws.seed, draws.epoch, draws.samples, draws.position, images.dtype)

    def __call__(self, images, seed=0, epoch=0, samples=None, *, dtype="float32") -> np.ndarray:
        """The images of an epoch.

        Parameters
        ----------
        images : array_like [n, height, width] or [n, height, width, channels]
            Of any real dtype; for `Compose` with a shape also [n, features].
        seed, epoch : int, default 0
        samples : array_like of int [n], optional
            The samples' numbers; by default 0, 1, 2 ...
        dtype : {"float32", "float64"}, default "float32"
            What is computed in: in `fit` the model's dtype.

        Returns
        -------
        numpy.ndarray
            Of that dtype, in the units of the images.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit.
        """
        images = np.asarray(_native.plain(images, "images"))
        if images.dtype.kind not in "biuf":
            raise TypeError(f"images: expected real numbers, got dtype {images.dtype}")
        if str(dtype) not in ("float32", "float64"):
            raise ValueError(f"dtype: expected 'float32' or 'float64', got {dtype!r}")
        seed, epoch = check_seed(seed), check_seed(epoch, "epoch")
        samples = np.arange(len(images)) if samples is None else np.asarray(samples)
        if samples.shape != images.shape[:1] or samples.dtype.kind not in "iu":
            raise ValueError(f"samples: expected a number for each of the {len(images)} images, got shape {samples.shape}, dtype {samples.dtype}")
        if samples.size and not 0 <= samples.min() <= samples.max() < 2**63:
            raise ValueError(f"samples: expected numbers from 0 to 2**63 - 1, got {samples.min()} to {samples.max()}")
        shape = self._shape_of(images.shape[1:])
        self._check(shape)
        found = self._run(images.reshape(len(images), *shape), seed, epoch % 2**32, samples.astype(np.int64), np.dtype(dtype))
        if found.shape[1:] == shape:
            return found.reshape(images.shape)
        return found if images.ndim == 4 else found[..., 0] if images.ndim == 3 else found.reshape(len(found), -1)

    def compiled(self, shape) -> "_native.AugmentChain | None":
        """The chain for images, or rows, of this shape as native calls take it; None where a member is none of fastnn's own.

        Parameters
        ----------
        shape : tuple of int
            Of a sample.

        Returns
        -------
        _native.AugmentChain or None

        Raises
        ------
        ValueError
            If images of that shape cannot go through it.
        """
        shape = self._shape_of(tuple(shape))
        after = self._check(shape)
        if after != shape:
            raise ValueError(f"augment: expected images of {shape} to stay so, as the model takes them, got {after}")
        members = self._members()
        return _chain(members, shape) if all(m._is_known() for m in members) else None

    def _shape_of(self, shape):
        """A sample's shape as (height, width, channels)."""
        if len(shape) not in (2, 3):
            raise ValueError(
                f"augment: expected images [n, height, width] or [n, height, width, channels], got samples of shape {shape}; for flat rows "
                "write Compose([...], shape=(height, width, channels))"
            )
        return shape if len(shape) == 3 else (*shape, 1)

    def _members(self):
        """The chain that it is, in order."""
        return [self]

    def _is_known(self):
        """Whether it is in the register, and does what that says."""
        return self._name is not None and type(self).change is Augmentation.change

    def _check(self, shape):
        """The shape of the images after it; ValueError where these cannot go through. Of one's own it is not known: None."""
        members = self._members()
        if len(members) > 256:
            raise ValueError(f"steps: expected at most 256, got {len(members)}")
        mixups = [m for m in members if isinstance(m, Mixup)]
        if len(mixups) > 1:
            raise ValueError(f"steps: expected one Mixup at most, got {len(mixups)}")
        own = next((type(m).__name__ for m in members if not m._is_known()), None)
        if mixups and own is not None:
            raise ValueError(f"steps: expected augmentations of fastnn's own beside a Mixup, got {own}")
        for m in members:
            if not m._is_known():
                return shape
            shape = m._after(shape)
        return shape

    def _after(self, shape):
        return shape

    def _parameters(self):
        """As the register has them."""
        return {p[1:]: getattr(self, p[1:]) for p in _native.AUGMENTATIONS[self._name]}

    def _run(self, images, seed, epoch, samples, dtype):
        """Of images [n, height, width, channels]: members that follow one another and are known, in one native call."""
        known = []
        for position, m in enumerate([*self._members(), None]):
            if m is not None and m._is_known():
                known.append(m)
                continue
            if known:
                images, known = _native_images(known, images, seed, epoch, samples, position - len(known), dtype), []
            if m is not None:
                images = np.asarray(m.change(images.astype(dtype, copy=False), Draws(seed, epoch, samples, position)), dtype)
        return np.ascontiguousarray(images, dtype)

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


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

    _name = "flip"

    def __init__(self, direction="horizontal", p=0.5) -> None:
        if direction not in ("horizontal", "vertical"):
            raise ValueError(f"direction: expected 'horizontal' or 'vertical', got {direction!r}")
        self.direction, self.p = direction, number(p, "p", 0.0, 1.0)

    def _parameters(self):
        return {"vertical": int(self.direction == "vertical"), "p": self.p}


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

    _name = "shift"

    def __init__(self, pixels, fill=0.0) -> None:
        self.pixels, self.fill = _pixels(pixels, "pixels", 0), number(fill, "fill")


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

    _name = "crop"

    def __init__(self, size, padding=0, fill=0.0) -> None:
        sizes = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
        if len(sizes) != 2:
            raise ValueError(f"size: expected a number or a pair, got {size!r}")
        self.size = tuple(_pixels(s, "size", 1) for s in sizes)
        self.padding, self.fill = _pixels(padding, "padding", 0), number(fill, "fill")

    def _parameters(self):
        return {"height": self.size[0], "width": self.size[1], "padding": self.padding, "fill": self.fill}

    def _after(self, shape):
        if any(wanted > s + 2 * self.padding for s, wanted in zip(shape, self.size)):
            raise ValueError(f"size: expected a window within padded images, got {self.size} for images of {shape[:2]}")
        return (*self.size, shape[2])


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

    _name = "rotation"

    def __init__(self, degrees, fill=0.0) -> None:
        self.degrees, self.fill = number(degrees, "degrees", 0.0, 180.0), number(fill, "fill")


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

    _name = "zoom"

    def __init__(self, share, fill=0.0) -> None:
        self.share, self.fill = number(share, "share", 0.0, below=1.0), number(fill, "fill")


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

    _name = "color_jitter"

    def __init__(self, brightness=0.0, contrast=0.0, saturation=0.0) -> None:
        self.brightness, self.contrast = number(brightness, "brightness", 0.0), number(contrast, "contrast", 0.0)
        self.saturation = number(saturation, "saturation", 0.0)

    def _after(self, shape):
        if self.saturation and shape[2] != 3:
            raise ValueError(f"saturation: expected images of three channels, got {shape[2]}")
        return shape


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

    _name = "noise"

    def __init__(self, std) -> None:
        self.std = number(std, "std", 0.0)


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

    _name = "cutout"

    def __init__(self, pixels, fill=0.0) -> None:
        self.pixels, self.fill = _pixels(pixels, "pixels", 1), number(fill, "fill")


class Mixup(Augmentation):
    """Mixes each image with another of the data, x = λ x1 + (1 - λ) x2, with λ drawn from Beta(alpha, alpha), and its loss likewise:
    λ l(z, y1) + (1 - λ) l(z, y2), for labels and for targets of numbers. (H. Zhang et al., "mixup: beyond empirical risk minimization",
    2018.)

    The other is any row of the data, as the members before this one have made it, by its own draws; those behind it change the mixture.
    λ lies between the nearest of 1,025 quantiles of the distribution, linearly. An answer counts as right in the accuracy of an epoch
    if it is that of the larger share; metrics compare with the image's own target. With weights each term has that of the row that its
    target belongs to, and a row of weight 0 is neither mixed nor mixed in.

    Called by hand, the chain mixes the images that it is given, and says nothing of labels.

    Parameters
    ----------
    alpha : float
        Above 0: 0.2 mixes most images but a little, 1 in any proportion.

    Examples
    --------
    >>> mixed = data.augment.Mixup(1.0)(np.array([[[0.0]], [[1.0]], [[1.0]]]))
    >>> bool((mixed >= 0).all() and (mixed <= 1).all()), mixed.shape
    (True, (3, 1, 1))
    """

    _name = "mixup"

    def __init__(self, alpha) -> None:
        self.alpha = number(alpha, "alpha", 0.0)
        if not self.alpha:
            raise ValueError("alpha: expected a number above 0, got 0")


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
        if not hasattr(steps, "__iter__"):
            raise TypeError(f"steps: expected a list of augmentations, got {type(steps).__name__}")
        self.steps = list(steps)
        for i, step in enumerate(self.steps):
            if not isinstance(step, Augmentation):
                hint = ""
                if isinstance(step, type) and issubclass(step, Augmentation):
                    hint = "; write it with its arguments"
                elif callable(step):
                    hint = "; in a chain a function is the method `change` of a class of its own"
                raise TypeError(f"steps[{i}]: expected a fastnn.data.augment.Augmentation, got {type(step).__name__}{hint}")
        if shape is not None:
            if isinstance(shape, str) or not hasattr(shape, "__iter__"):
                raise TypeError(f"shape: expected (height, width) or (height, width, channels), got {shape!r}")
            shape = tuple(count(s, "shape", 1) for s in shape)
            if len(shape) not in (2, 3):
                raise ValueError(f"shape: expected (height, width) or (height, width, channels), got {shape}")
        self.shape = shape

    def _shape_of(self, shape):
        if self.shape is None or len(shape) != 1:
            return super()._shape_of(shape)
        if shape[0] != math.prod(self.shape):
            raise ValueError(f"shape: expected one of {shape[0]} elements, as the rows have, got {self.shape}")
        return super()._shape_of(self.shape)

    def _members(self):
        return [m for step in self.steps for m in step._members()]


def _chain(members, shape, first=0):
    """Members, of which the first is number `first` of a chain, as native calls take them for images of that shape."""
    alpha = next((m.alpha for m in members if isinstance(m, Mixup)), None)
    quantiles = None if alpha is None else beta_quantiles(alpha, _native.MIXUP_QUANTILES)
    return _native.AugmentChain([(m._name, m._parameters()) for m in members], shape, quantiles, first)


def _native_images(members, images, seed, epoch, samples, first, dtype):
    """Images [n, height, width, channels] after them, in one native call."""
    shape = after = images.shape[1:]
    for m in members:
        after = m._after(after)
    if not len(images):
        return np.empty((0, *after), dtype)
    if images.dtype.itemsize > 8 or not images.dtype.isnative:
        images = images.astype(dtype)
    found = _native.augmented(np.require(images, requirements="CA"), _chain(members, shape, first), seed, epoch, samples, dtype == np.float64)
    return found.reshape(len(images), *after)
