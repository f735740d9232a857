"""Images made anew: what csrc/ops/augment.c does to rows as they are gathered, member by member of a chain, with the same bits but for
noise, whose logarithms and cosines are NumPy's here.

A chain is a list of (name, {parameter: value}) as csrc/defs/augment.def has them. What member number `position` of it draws for a sample
are words of the generator, see `augment_words`, and u_i = word_i / 2^32. Pixels are computed with in the dtype, places of pixels too, maps
of places in float64.
"""

import math

import numpy as np

from .noise import standard_normal
from .rng import philox

AUGMENT_STREAM, NOISE_STREAM = 2, 3  # the shuffle has 1, layers begin at 16
_32 = np.uint64(32)


def augment_words(n, seed, epoch, samples, position):
    """uint32 [samples, n]: word i is philox((sample mod 2^32, position + 2^8 · (sample div 2^32), epoch, 2 + 2^8 · (i div 4)))[i mod 4]."""
    samples, blocks = np.asarray(samples).astype(np.uint64), -(-n // 4)
    counter = np.empty((len(samples), blocks, 4), np.uint32)
    counter[..., 0] = (samples % np.uint64(2**32))[:, None]
    counter[..., 1] = ((samples // np.uint64(2**32) % np.uint64(2**24)) * np.uint64(256) + np.uint64(position))[:, None]
    counter[..., 2] = epoch
    counter[..., 3] = AUGMENT_STREAM + 256 * np.arange(blocks)
    return philox(counter.reshape(-1, 4), (seed % 2**32, seed // 2**32)).reshape(len(samples), -1)[:, :n]


def _uniform(words, low, high):
    return low + (high - low) * (words * 2.0**-32)


def _below(words, n):
    """Integers from 0 to n - 1, as float64."""
    return (words.astype(np.uint64) * np.uint64(n) >> _32).astype(np.float64)


def sine_and_cosine(angles):
    """By quarters of a turn and Taylor's series, of basic operations only."""
    quarters = np.floor(angles * 0.6366197723675814 + 0.5)
    r = (angles - quarters * 1.5707963267948966) - quarters * 6.123233995736766e-17
    z = r * r
    s, c = np.full_like(z, -1 / math.factorial(15)), np.full_like(z, 1 / math.factorial(16))
    for i in range(6, -1, -1):
        s = s * z + (-1) ** i / math.factorial(2 * i + 1)
    for i in range(7, -1, -1):
        c = c * z + (-1) ** i / math.factorial(2 * i)
    s, which = r * s, quarters.astype(int) % 4
    return np.choose(which, [s, c, -s, -c]), np.choose(which, [c, -s, -c, s])


def augment_images(images, steps, seed, epoch, samples, first=0):
    """The images after these members of a chain, of which the first is number `first` in it; all but a Mixup.

    Parameters
    ----------
    images : float32 or float64 array [n, height, width, channels]
    steps : list of (str, dict)
    seed, epoch : int
    samples : integer array [n]
        What the draws of each image hang on.

    Returns
    -------
    images : array [n, height, width, channels], of the same dtype

    Examples
    --------
    >>> image = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    >>> augment_images(image, [("flip", {"vertical": 0, "p": 1.0})], 0, 0, [0]).ravel()
    array([3., 2., 1.])
    """
    samples, waiting = np.asarray(samples), None
    for position, (name, p) in enumerate(steps, first):
        words = augment_words(4, seed, epoch, samples, position)
        if name in _MOVES:
            fill = p.get("fill")
            if waiting is not None and None not in (fill, waiting.fill) and fill != waiting.fill:
                images, waiting = waiting.result(images), None
            waiting = waiting or _Map(images.shape)
            waiting.fill = waiting.fill if fill is None else fill
            _MOVES[name](waiting, words, **{k: v for k, v in p.items() if k != "fill"})
            continue
        if waiting is not None:
            images, waiting = waiting.result(images), None
        if name == "noise":
            images = _noise(images, p["std"], seed, epoch, samples, position)
        else:
            images = _PIXELS[name](images, words, **p)
    return images if waiting is None else waiting.result(images)


class _Map:
    """The affine map of places of each image, [n, 2, 3] in float64: pixel (y, x) takes what lies at m (y, x, 1)."""

    def __init__(self, shape):
        self.height, self.width, self.fill = shape[1], shape[2], None
        self.m = np.zeros((shape[0], 2, 3))
        self.m[:, 0, 0] = self.m[:, 1, 1] = 1.0

    def follow(self, s):
        """Places in what `s` makes of the image, instead."""
        m = self.m.copy()
        for i in range(3):
            self.m[:, :, i] = m[:, :, 0] * s[:, None, 0, i] + m[:, :, 1] * s[:, None, 1, i]
        self.m[:, :, 2] += m[:, :, 2]

    def about_centre(self, a, b, c, d):
        cy, cx = (self.height - 1) / 2, (self.width - 1) / 2
        s = np.empty_like(self.m)
        s[:, 0, 0], s[:, 0, 1], s[:, 0, 2] = a, b, cy - (a * cy + b * cx)
        s[:, 1, 0], s[:, 1, 1], s[:, 1, 2] = c, d, cx - (c * cy + d * cx)
        self.follow(s)

    def whole(self):
        """Which maps take whole pixels to whole pixels, along the axes."""
        straight = (self.m[:, 0, 1] == 0) & (self.m[:, 1, 0] == 0) & (np.abs(self.m[:, 0, 0]) == 1) & (np.abs(self.m[:, 1, 1]) == 1)
        return straight & (np.floor(self.m[:, :, 2]) == self.m[:, :, 2]).all(axis=1)

    def result(self, images):
        whole, fill = self.whole(), images.dtype.type(self.fill or 0.0)
        found = np.empty((len(images), self.height, self.width, images.shape[3]), images.dtype)
        with np.errstate(invalid="ignore"):
            found[whole] = self._pixels(images[whole], self.m[whole], fill)
            found[~whole] = self._between(images[~whole], self.m[~whole], fill)
        return found

    def _pixels(self, images, m, fill):
        n, h, w, _ = images.shape
        y = m[:, 0, 0, None] * np.arange(self.height) + m[:, 0, 2, None]
        x = m[:, 1, 1, None] * np.arange(self.width) + m[:, 1, 2, None]
        found = images[np.arange(n)[:, None, None], y.clip(0, h - 1).astype(int)[:, :, None], x.clip(0, w - 1).astype(int)[:, None, :]]
        inside = ((y >= 0) & (y < h))[:, :, None] & ((x >= 0) & (x < w))[:, None, :]
        return np.where(inside[..., None], found, fill)

    def _between(self, images, m, fill):
        """Between four pixels linearly, within a ring of the fill, beyond which there is nothing else."""
        n, h, w, channels = images.shape
        ringed = np.full((n, h + 2, w + 2, channels), fill, images.dtype)
        ringed[:, 1:-1, 1:-1] = images
        places, limits = [], (h, w)
        for i in range(2):
            base = (m[:, i, 0, None] * np.arange(self.height) + (m[:, i, 2, None] + 1.0)).astype(images.dtype)[:, :, None]
            step = m[:, i, 1].astype(images.dtype)[:, None, None] * np.arange(self.width, dtype=images.dtype)
            places.append(np.where(base + step > 0, base + step, 0).clip(None, limits[i] + 1).astype(images.dtype))
        top, left = (np.minimum(p.astype(np.int64), limit) for p, limit in zip(places, limits))
        fy, fx = ((p - corner.astype(images.dtype))[..., None] for p, corner in zip(places, (top, left)))
        at = (np.arange(n)[:, None, None] * (h + 2) + top) * (w + 2) + left
        pixels = ringed.reshape(-1, channels)
        upper, lower = pixels[at], pixels[at + w + 2]
        upper = upper + fx * (pixels[at + 1] - upper)
        lower = lower + fx * (pixels[at + w + 3] - lower)
        return upper + fy * (lower - upper)


def _flip(g, words, vertical, p):
    flipped = _uniform(words[:, 0], 0.0, 1.0) < p
    sign, s = np.where(flipped, -1.0, 1.0), np.zeros_like(g.m)
    s[:, 0, 0] = s[:, 1, 1] = 1.0
    axis = 0 if vertical else 1
    s[:, axis, axis], s[:, axis, 2] = sign, np.where(flipped, (g.height if vertical else g.width) - 1.0, 0.0)
    g.follow(s)


def _moved(g, down, right):
    s = np.zeros_like(g.m)
    s[:, 0, 0] = s[:, 1, 1] = 1.0
    s[:, 0, 2], s[:, 1, 2] = down, right
    g.follow(s)


def _shift(g, words, pixels):
    _moved(g, *(pixels - _below(words[:, i], 2 * pixels + 1) for i in range(2)))


def _crop(g, words, height, width, padding):
    room = g.height + 2 * padding - height, g.width + 2 * padding - width
    _moved(g, *(_below(words[:, i], room[i] + 1) - padding for i in range(2)))
    g.height, g.width = height, width


def _rotation(g, words, degrees):
    sine, cosine = sine_and_cosine(_uniform(words[:, 0], -1.0, 1.0) * (degrees * 0.017453292519943295))
    g.about_centre(cosine, -sine, sine, cosine)


def _zoom(g, words, share):
    scale = 1.0 / _uniform(words[:, 0], 1.0 - share, 1.0 + share)
    g.about_centre(scale, 0.0, 0.0, scale)


_MOVES = {"flip": _flip, "shift": _shift, "crop": _crop, "rotation": _rotation, "zoom": _zoom}


def _color_jitter(images, words, brightness, contrast, saturation):
    drawn = _uniform(words[:, :3], -1.0, 1.0)
    factors = [np.maximum(0.0, 1.0 + s * d).astype(images.dtype).reshape(-1, 1, 1, 1) for s, d in zip((brightness, contrast, saturation), drawn.T)]
    with np.errstate(all="ignore"):
        if brightness:
            images = images * factors[0]
        if contrast:
            mean = _means(images).astype(images.dtype).reshape(-1, 1, 1, 1)
            images = mean + factors[1] * (images - mean)
        if saturation:
            red, green, blue = (images.dtype.type(c) for c in (0.299, 0.587, 0.114))  # ITU-R BT.601
            grey = ((red * images[..., 0] + green * images[..., 1]) + blue * images[..., 2])[..., None]
            images = grey + factors[2] * (images - grey)
    return images


def _means(images):
    """Of each image, in float64: in 16 lanes that are added in order."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    n = flat.shape[1]
    lanes = np.pad(flat, ((0, 0), (0, -n % 16))).reshape(len(flat), -1, 16).cumsum(axis=1)[:, -1]
    return lanes.cumsum(axis=1)[:, -1] / n


def _noise(images, std, seed, epoch, samples, position):
    """As a layer's noise on rows of which each is a sample."""
    found, size = np.empty_like(images), math.prod(images.shape[1:])
    stream = NOISE_STREAM + (position << 24)
    for i, sample in enumerate(samples.tolist()):
        found[i] = images[i] + std * standard_normal((1, size), seed, epoch, stream, sample).reshape(images.shape[1:])
    return found


def _cutout(images, words, pixels, fill):
    h, w = images.shape[1:3]
    top, left = (_below(words[:, i], s).astype(int) - pixels // 2 for i, s in enumerate((h, w)))
    y, x = np.arange(h) - top[:, None], np.arange(w) - left[:, None]
    inside = ((y >= 0) & (y < pixels))[:, :, None] & ((x >= 0) & (x < pixels))[:, None, :]
    return np.where(inside[..., None], images.dtype.type(fill), images)


_PIXELS = {"color_jitter": _color_jitter, "cutout": _cutout}


# ---- Mixup ----


def beta_quantiles(alpha, n):
    """n quantiles of the beta distribution Beta(alpha, alpha), at 0, 1 / (n - 1) … 1; but the outermost at an eighth of a stretch from the
    ends, since a line from there on is closer to the tails.

    The lower half by the trapezium rule, over x^alpha where alpha is below 1, so that the integrand is bounded; the upper half is its
    mirror image. Rounded to multiples of 2^-24, so that a machine's own powers have no say in them.
    """
    if alpha < 1:
        s = np.linspace(0.0, 0.5**alpha, 1 << 14)
        x = s ** (1 / alpha)
        density = (1 - x) ** (alpha - 1)
    else:
        s = x = np.linspace(0.0, 0.5, 1 << 14)
        density = (4 * x * (1 - x)) ** (alpha - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(s))])
    at = np.linspace(0.0, 0.5, n // 2 + 1)
    at[0] = at[1] / 8
    half = np.interp(at, mass / (2 * mass[-1]), s)
    half = np.rint((half ** (1 / alpha) if alpha < 1 else half) * 2.0**24) / 2.0**24
    return np.concatenate([half, 1 - half[-2::-1]])


def mixtures(quantiles, rows, seed, epoch, samples, position):
    """(row that is mixed in, share of the sample itself) of each sample; the other is any of so many rows."""
    words = augment_words(2, seed, epoch, samples, position).astype(np.uint64)
    i = (words[:, 1] >> np.uint64(22)).astype(int)
    part = (words[:, 1] & np.uint64(0x3FFFFF)) * 2.0**-22
    return (words[:, 0] * np.uint64(rows) >> _32).astype(np.int64), quantiles[i] + part * (quantiles[i + 1] - quantiles[i])


def augment_rows(images, rows, steps, quantiles, seed, epoch, samples, weightless=None):
    """These rows of all the images, as a whole chain has them.

    Parameters
    ----------
    images : function
        Gives images [n, height, width, channels] for numbers of rows.
    rows : integer array [n]
    steps : list of (str, dict)
    quantiles : float64 array
        Of a Mixup.
    seed, epoch : int
    samples : integer array
        Of all rows: what their draws hang on.
    weightless : bool array, optional
        Of all rows: those that a Mixup leaves alone.

    Returns
    -------
    images : array [n, height, width, channels]
    mixture : (rows that are mixed in, shares of the rows themselves), or None
    """
    at = next((i for i, (name, _) in enumerate(steps) if name == "mixup"), None)
    if at is None:
        return augment_images(images(rows), steps, seed, epoch, samples[rows]), None
    others, shares = mixtures(quantiles, len(samples), seed, epoch, samples[rows], at)
    if weightless is not None:
        shares = np.where(weightless[rows] | weightless[others], 1.0, shares)
    mine, more = (augment_images(images(r), steps[:at], seed, epoch, samples[r]) for r in (rows, others))
    with np.errstate(all="ignore"):
        mine = np.where((shares < 1).reshape(-1, 1, 1, 1), more + shares.astype(mine.dtype).reshape(-1, 1, 1, 1) * (mine - more), mine)
    return augment_images(mine, steps[at + 1 :], seed, epoch, samples[rows], at + 1), (others, shares)
