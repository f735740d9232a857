"""Standardisation: every feature by the mean and the deviation that it has in the training rows."""

import numpy as np

from .. import _native

_BLOCK = 1 << 22  # elements worked on at a time


class Standardizer:
    """z = (x - mean) / std for each feature, as float32; mean and std are those of the rows that it was fitted on. A feature that does
    not vary there becomes 0.

    Fit it on the training part only: what validation and test rows are like must not leak into it.

    Attributes
    ----------
    mean, std : numpy.ndarray, float64
        Of the shape of a sample.

    Examples
    --------
    >>> X_train, X_test = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[4.0, 6.0]])
    >>> scaler = data.Standardizer().fit(X_train)
    >>> scaler.transform(X_train)
    array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    >>> scaler.transform(X_test), scaler.inverse(scaler.transform(X_test))
    (array([[2., 1.]], dtype=float32), array([[4., 6.]]))
    """

    mean = std = None

    def fit(self, X) -> "Standardizer":
        """Take mean and deviation from these rows, block by block. Returns itself.

        Raises
        ------
        ValueError
            If there are no rows, or a value is not finite.
        TypeError
            If they are no real numbers.
        """
        X = np.asarray(_native.plain(X, "X"))
        if X.dtype.kind not in "biuf":
            raise TypeError(f"X: expected real numbers, got dtype {X.dtype}")
        if X.ndim < 2 or not X.size:
            raise ValueError(f"X: expected at least one row of at least one feature, got shape {X.shape}")
        step = max(1, _BLOCK // max(1, X[0].size))
        blocks = [slice(begin, begin + step) for begin in range(0, len(X), step)]
        with np.errstate(all="ignore"):
            mean = sum(X[b].sum(axis=0, dtype=np.float64) for b in blocks) / len(X)
            var = sum(((X[b] - mean) ** 2).sum(axis=0) for b in blocks) / len(X)
        if not (np.isfinite(mean).all() and np.isfinite(var).all()):
            raise ValueError("X: expected finite values whose variance is finite, got others")
        self.mean, self.std = mean, np.where(var > 1e-24 * mean**2, np.sqrt(var), 1.0)
        return self

    def _check(self, X):
        if self.mean is None:
            raise RuntimeError("expected a Standardizer that has been fitted, got one that has not; call fit(X_train) first")
        X = np.asarray(_native.plain(X, "X"))
        if X.shape[1:] != self.mean.shape:
            raise ValueError(f"X: expected samples of shape {self.mean.shape}, in rows, got shape {X.shape}")
        return X

    def transform(self, X) -> np.ndarray:
        """Rows, standardised: float32."""
        return ((self._check(X) - self.mean) / self.std).astype(np.float32)

    def inverse(self, Z) -> np.ndarray:
        """What was standardised, as it was: float64."""
        return self._check(Z) * self.std + self.mean

    def __repr__(self):
        return f"<Standardizer{'' if self.mean is None else f' of samples of shape {self.mean.shape}'}>"
