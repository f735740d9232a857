"""Folders of images, a folder for each class, as bytes."""

import os
from typing import NamedTuple

import numpy as np

from ..core.runtime import cache_folder

_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class Images(NamedTuple):
    """What `load_images` returns."""

    X: np.ndarray
    y: np.ndarray
    classes: list


def load_images(folder, size=(64, 64), color=True, cache=True, skip_unreadable=False) -> Images:
    """Read the images in the folders of a folder, each of which is a class, with Pillow.

    Parameters
    ----------
    folder : str or os.PathLike
        With a folder for each class; what they hold is taken in the order of its names, folders inside them included.
    size : int or (int, int), default (64, 64)
        Height and width that all images are resized to (bilinear, with antialiasing), whatever their proportions.
    color : bool, default True
        3 channels (RGB), else 1.
    cache : bool, default True
        Keep the result in a file, ``~/.cache/fastnn`` or what the variable FASTNN_CACHE says, and take it from there as long as no
        file's name, size or time has changed.
    skip_unreadable : bool, default False
        Leave out images that cannot be read, with a warning; else they are an error.

    Returns
    -------
    X : numpy.ndarray, uint8 [n, height, width, channels]
    y : numpy.ndarray, int64 [n]
    classes : list of str
        The folders' names, in order: what the labels stand for.

    Raises
    ------
    ValueError
        If there are fewer than two classes, no images, or one that cannot be read: it is named.
    OSError
        If the folder cannot be read.
    ImportError
        If Pillow is not installed: ``pip install fastnn[images]``.
    """
    name = os.fsdecode(folder)
    height, width = _size(size)
    classes, files = _listed(name)
    kept = os.path.join(cache_folder(), f"images-{_key(name, files, height, width, color)}.npz") if cache else None
    if kept and os.path.exists(kept):
        try:
            with np.load(kept, allow_pickle=False) as found:
                return Images(found["X"], found["y"], classes)
        except (OSError, ValueError, KeyError):
            pass  # it is made again
    X, y = _read(files, height, width, color, skip_unreadable)
    if kept:
        _keep(kept, X, y)
    return Images(X, y, classes)


def _size(size):
    pair = (size, size) if isinstance(size, (int, np.integer)) and not isinstance(size, bool) else size
    try:
        height, width = pair
        good = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and 1 <= n <= 65535 for n in (height, width))
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(f"size: expected height and width from 1 to 65535, got {size!r}")
    return int(height), int(width)


def _listed(name):
    """(classes, [(path, class)]) of what is in a folder."""
    classes = sorted(entry.name for entry in os.scandir(name) if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise ValueError(f"{name!r}: expected a folder for each of at least 2 classes, got {len(classes)} in it")
    files = []
    for number, kind in enumerate(classes):
        found = [os.path.join(place, f) for place, _, names in os.walk(os.path.join(name, kind)) for f in names]
        files += [(path, number) for path in sorted(found) if path.lower().endswith(_ENDINGS)]
    if not files:
        raise ValueError(f"{name!r}: expected images ({', '.join(_ENDINGS)}) in its folders, got none")
    return classes, files


def _key(name, files, height, width, color):
    """What the result depends on."""
    import hashlib

    digest = hashlib.sha256(repr((os.path.realpath(name), height, width, color)).encode(errors="surrogateescape"))
    for path, number in files:
        found = os.stat(path)
        digest.update(repr((path, number, found.st_size, found.st_mtime_ns)).encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _read(files, height, width, color, skip):
    import warnings

    try:
        from PIL import Image
    except ImportError:
        raise ImportError("load_images needs Pillow: pip install fastnn[images]") from None
    X, y, left_out = np.empty((len(files), height, width, 3 if color else 1), np.uint8), [], []
    for path, number in files:
        try:
            with warnings.catch_warnings(), Image.open(path) as image:
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                pixels = image.convert("RGB" if color else "L").resize((width, height), Image.Resampling.BILINEAR)
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            if not skip:
                why = " ".join(str(error).split())
                raise ValueError(f"{path!r}: expected an image, got a file that cannot be read ({why}); skip_unreadable=True leaves it out") from None
            left_out.append(path)
            continue
        X[len(y)] = np.asarray(pixels, np.uint8).reshape(height, width, -1)
        y.append(number)
    if left_out:
        if not y:
            raise ValueError(f"{left_out[0]!r}: expected an image, got a file that cannot be read, as all others")
        warnings.warn(f"{len(left_out)} images cannot be read and are left out: {', '.join(left_out[:5])}{', ...' * (len(left_out) > 5)}", stacklevel=3)
    return X[: len(y)], np.array(y, np.int64)


def _keep(path, X, y):
    """Into the cache, if there is room."""
    from ..core.atomic_files import replacing

    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with replacing(path, durable=False) as file:
            np.savez(file, X=X, y=y)
    except OSError:
        pass
