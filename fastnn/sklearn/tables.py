"""Raw tables as rows of numbers for a network: what kind each column is, and how it is encoded.

Numbers: less the median, divided by the interquartile range (by half the range where that is 0, by 1 where that is 0 too), then x /
√(1 + (x / 3)²), which keeps what lies far off within ±3. Categories: one column for each, 1 where it is that; of two, one column of
-1 and 1; 0 where it is missing, or none that training has seen. (D. Holzmüller, L. Grinsztajn and I. Steinwart, "Better by default:
strong pre-tuned MLPs and boosted trees on tabular data", 2024.) A missing number becomes the median, and where training has seen
such, a column more says with -1 and 1 whether it is missing. Categories of many can also become codes, for tables of embeddings.
"""

import datetime
import decimal
import math
import numbers

import numpy as np

from .._native import NumberColumns

_DAY = 86_400_000_000_000  # nanoseconds
_FAR = 1e100  # more than that many widths from the center is as far as that: the square does not overflow
_SIGN, _CODE, _ONES = -1, -2, -3  # how a category is encoded: as -1 or 1, as its code, as a 1 at its place
_DATES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
_REAL = (numbers.Real, decimal.Decimal)


def is_missing(value):
    """Whether it is None, NaN, NaT or pandas' NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (*_REAL, np.datetime64, np.timedelta64)) and bool(value != value)


def _key(value):
    """A category as a string; None for a missing one. 1 and 1.0 are one category."""
    if is_missing(value):
        return None
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, _REAL):
        return str(value)
    return str(int(value)) if value == int(value) else repr(float(value))


def _finite_key(value):
    try:
        return _key(value)
    except OverflowError:  # of infinity
        return str(value)


def _uniques(values):
    """(keys of the different values, number of each value's)."""
    if values.dtype.kind != "O":
        found, inverse = np.unique(values, return_inverse=True)
        return [_finite_key(v) for v in found.tolist()], inverse.ravel()
    seen, inverse = {}, np.empty(len(values), np.intp)
    for i, v in enumerate(values.tolist()):
        inverse[i] = seen.setdefault(_finite_key(v), len(seen))
    return list(seen), inverse


def _as_numbers(values, name):
    """A column as float64; dates and times are days."""
    if values.dtype.kind in "biuf":
        return values.astype(np.float64, copy=False)
    if values.dtype.kind in "Mm":
        days = values.astype(f"{values.dtype.kind}8[ns]").astype(np.int64) / _DAY
        return np.where(np.isnat(values), np.nan, days)
    given = [None if is_missing(v) else v for v in values.tolist()]
    try:
        if any(isinstance(v, _DATES) for v in given):
            spans = any(isinstance(v, (datetime.time, datetime.timedelta, np.timedelta64)) for v in given)
            days = np.array([_without_zone(v) for v in given], object).astype("m8[ns]" if spans else "M8[ns]")
            return _as_numbers(days, name)
        return np.array([np.nan if v is None else v for v in given], np.float64)
    except (TypeError, ValueError):
        odd = next((v for v in given if v is not None and not _is_number(v)), None)
        raise ValueError(f"X: column {name}: expected numbers, as in training, got {odd!r:.40}") from None


def _without_zone(value):
    """A time in UTC, as NumPy has it; a time of day as the span since midnight."""
    if isinstance(value, datetime.time):
        return datetime.timedelta(hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond)
    if getattr(value, "tzinfo", None) is None:
        return value
    return value.astimezone(datetime.timezone.utc).replace(tzinfo=None)


def _is_number(value):
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _tells_category(values):
    """Whether a column of this kind is one of categories: strings, booleans, and objects that are neither numbers nor dates."""
    if values.dtype.kind in "iufMm":
        return False
    if values.dtype.kind != "O":
        return True
    given = [v for v in values.tolist() if not is_missing(v)]
    real = all(isinstance(v, _REAL) and not isinstance(v, (bool, np.bool_)) for v in given)
    return bool(given) and not real and not all(isinstance(v, _DATES) for v in given)


def _series(s):
    """(values, whether its type says categories) of a column of a data frame."""
    kind = getattr(s.dtype, "kind", "O")
    if hasattr(s.dtype, "categories") or str(s.dtype) in ("Categorical", "Enum"):
        values = s.astype(object).to_numpy() if hasattr(s, "iloc") else s.to_numpy()
        return np.asarray(values, object), True
    if hasattr(s, "iloc") and not isinstance(s.dtype, np.dtype):  # a type of pandas' own, which may have NA
        if kind in "iuf":
            return s.to_numpy(dtype=np.float64, na_value=np.nan), False
        if type(s.dtype).__name__ == "PeriodDtype":
            return s.dt.to_timestamp().to_numpy(dtype="datetime64[ns]"), False
        if kind in "M":
            return s.to_numpy(dtype="datetime64[ns]"), False
        return np.asarray(s.astype(object).to_numpy(), object), kind == "b"
    values = np.asarray(s.to_numpy())
    return values, False


def is_frame(X):
    """Whether it is a data frame of pandas' or polars' kind."""
    return hasattr(X, "columns") and (hasattr(X, "iloc") or hasattr(X, "get_columns"))


def columns_of(X):
    """The columns of a data frame or a two-dimensional array, each as (values, whether its type says categories)."""
    if isinstance(X, np.ma.MaskedArray):
        X = np.where(np.ma.getmaskarray(X), np.nan if X.dtype.kind == "f" else None, X.data)
    if hasattr(X, "iloc"):
        return [_series(X.iloc[:, i]) for i in range(X.shape[1])]
    if hasattr(X, "get_columns"):
        return [_series(s) for s in X.get_columns()]
    return [(X[:, i], False) for i in range(X.shape[1])]


class TableEncoder:
    """Learns from a table how to make numbers of it.

    Parameters
    ----------
    categorical : set of int
        Columns that are categories whatever their type.
    max_categories : int
        Of a column, the most frequent get a column of their own.
    code_above : int or None, default None
        Columns of more categories become one column each of their codes, -1 where it is none. The encoded columns then stand in the
        order: numbers; whether they are missing, and categories; codes.

    Attributes
    ----------
    columns : list of dict
        What is done with each column, as JSON can hold it.
    width : int
        Numbers of an encoded row.
    places : list of array of int
        The encoded columns that each column became.
    numbers, codes : int
        How many columns are numbers, and codes.
    """

    def __init__(self, categorical=frozenset(), max_categories=1000, code_above=None):
        self.categorical, self.max_categories, self.code_above = categorical, max_categories, code_above

    def fit(self, columns, names):
        """Learn from columns, as `columns_of` gives them. names: for messages."""
        self.columns = [self._learn(i, values, told, name) for i, ((values, told), name) in enumerate(zip(columns, names))]
        return self._settle()

    def _settle(self):
        """What follows from `columns`."""
        widths = [c["indicator"] + 1 if c["kind"] == "number" else 1 if self.is_coded(c) else _width(c) for c in self.columns]
        is_number = np.array([c["kind"] == "number" for c in self.columns], bool)
        coded = np.array([self.is_coded(c) for c in self.columns], bool)
        self.numbers, self.codes, self.width = int(is_number.sum()), int(coded.sum()), sum(widths)
        columns = np.repeat(np.arange(len(widths)), widths)  # of each encoded one, as they follow from the table
        first = np.concatenate([[True], np.diff(columns) > 0]) if len(columns) else columns
        kind = np.where(coded[columns], 2, np.where(is_number[columns] & first, 0, 1)) if self.code_above is not None else 0 * columns
        self.order = np.argsort(kind, kind="stable")  # which of those stands at each place
        at = np.argsort(self.order)
        self.places = [at[columns == i] for i in range(len(widths))]
        self._known = [{key: n for n, key in enumerate(c.get("keys", ()))} for c in self.columns]
        self._steps = [self._step(*each) for each in zip(self.columns, self._known, self.places)]
        self.all_numbers = all(c["kind"] == "number" for c in self.columns)
        if self.all_numbers:
            centers, factors = (np.array([c[name] for c in self.columns], np.float64) for name in ("center", "factor"))
            firsts = np.array([place[0] for place in self.places], np.int64)
            seconds = np.array([place[1] if c["indicator"] else -1 for c, place in zip(self.columns, self.places)], np.int64)
            self._numbers = NumberColumns(centers, factors, firsts, seconds, self.width)
        return self

    def _step(self, column, known, place):
        """(codes, center, factor, first place, place of what says whether it is missing, or how a category is encoded)"""
        first = int(place[0])
        if column["kind"] == "number":
            return None, column["center"], column["factor"], first, int(place[1]) if column["indicator"] else -1
        kind = _CODE if self.is_coded(column) else _SIGN if len(known) == 2 else _ONES
        return known, 0.0, 0.0, first, kind

    def is_coded(self, column):
        """Whether a column of `columns` becomes codes."""
        return self.code_above is not None and column["kind"] == "category" and len(column["keys"]) > self.code_above

    def cardinalities(self):
        """How many categories each column of codes has."""
        return [len(c["keys"]) for c in self.columns if self.is_coded(c)]

    def _learn(self, i, values, told, name):
        if told or i in self.categorical or _tells_category(values):
            keys, inverse = _uniques(values)
            counts = np.bincount(inverse, minlength=len(keys))
            kept = sorted((k for k in range(len(keys)) if keys[k] is not None), key=lambda k: (-counts[k], keys[k]))
            return {"kind": "category", "keys": sorted(keys[k] for k in kept[: self.max_categories])}
        x = _as_numbers(values, name)
        given = x[~np.isnan(x)]
        _refuse_infinite(given, name)
        if not len(given):
            return {"kind": "number", "center": 0.0, "factor": 1.0, "indicator": False}
        low, first, center, third, high = np.quantile(given, [0, 0.25, 0.5, 0.75, 1])
        span = third - first or (high - low) / 2 or 1.0
        return {"kind": "number", "center": float(center), "factor": float(1 / span), "indicator": bool(len(given) < len(x))}

    def transform(self, columns, names):
        """The rows as numbers, float32 [rows, width]."""
        rows = len(columns[0][0]) if columns else 0
        out = np.zeros((rows, self.width), np.float32)
        for (values, _), c, known, place, name in zip(columns, self.columns, self._known, self.places, names):
            if c["kind"] == "number":
                x = _as_numbers(values, name)
                missing = np.isnan(x)
                with np.errstate(over="ignore", invalid="ignore"):
                    z = (x - c["center"]) * c["factor"]
                _refuse_infinite(z[~missing] if missing.any() else z, name)
                np.clip(z, -_FAR, _FAR, out=z)
                z /= np.sqrt(1 + (z / 3) ** 2)
                out[:, place[0]] = np.where(missing, 0, z)
                if c["indicator"]:
                    out[:, place[1]] = np.where(missing, 1, -1)
                continue
            keys, inverse = _uniques(values)
            codes = np.array([known.get(k, -1) for k in keys], np.intp)[inverse]
            there = codes >= 0
            if self.is_coded(c):
                out[:, place[0]] = codes
            elif len(known) == 2:
                out[there, place[0]] = 2 * codes[there] - 1
            elif known:
                out[np.flatnonzero(there), place[codes[there]]] = 1
        return out

    def transform_numbers(self, X):
        """As `transform`, for an array of floats where all columns are numbers: in one native call."""
        found = self._numbers.encode(X)
        if found is None:
            found = self._numbers.encode(np.ascontiguousarray(X, np.float64))
        if found is None:
            for i, c in enumerate(self.columns):
                with np.errstate(over="ignore", invalid="ignore"):
                    z = (X[:, i].astype(np.float64) - c["center"]) * c["factor"]
                _refuse_infinite(z[~np.isnan(X[:, i])], i)
        return found

    def transform_few(self, X):
        """As `transform`, for few rows of an array: value by value, which takes fewer calls. None where a value is none of the plain
        kinds, and needs a closer look."""
        rows = []
        for values in X.tolist():
            row = [0.0] * self.width
            for v, (known, center, factor, place, last) in zip(values, self._steps):
                kind = type(v)
                if kind is np.float64:
                    v, kind = float(v), float
                if known is None:
                    if v is None:
                        v = math.nan
                    elif kind is not float and not (kind is int and -_FAR < v < _FAR):
                        return None
                    missing = v != v
                    if not missing:
                        z = (v - center) * factor
                        if not -_FAR < z < _FAR:
                            return None
                        third = z / 3
                        row[place] = z / math.sqrt(1 + third * third)
                    if last >= 0:
                        row[last] = 1.0 if missing else -1.0
                    continue
                if kind is str:
                    code = known.get(v, -1)
                elif v is None or kind is float and v != v:
                    code = -1
                elif kind is int or kind is bool:
                    code = known.get(str(v), -1)
                elif kind is float and v - v == 0.0:
                    code = known.get(str(int(v)) if v == int(v) else repr(v), -1)
                else:
                    return None
                if last == _CODE:
                    row[place] = code
                elif code >= 0 and last == _SIGN:
                    row[place] = 2.0 * code - 1.0
                elif code >= 0:
                    row[place + code] = 1.0
            rows.append(row)
        return np.array(rows, np.float32)

    def state(self):
        """As JSON can hold it."""
        return self.columns

    @classmethod
    def from_state(cls, columns, code_above=None):
        """An encoder of what `state` gave; ValueError where it is nothing like it."""
        for c in columns if isinstance(columns, list) else [None]:
            number = isinstance(c, dict) and c.get("kind") == "number"
            good = number and all(isinstance(c.get(k), float) and np.isfinite(c[k]) for k in ("center", "factor"))
            good = good and isinstance(c.get("indicator"), bool)
            keys = c.get("keys") if isinstance(c, dict) and c.get("kind") == "category" else None
            if not good and not (isinstance(keys, list) and all(isinstance(k, str) for k in keys)):
                raise ValueError(f"a column that is neither number nor category, {c!r:.60}")
        made = cls(code_above=code_above)
        made.columns = columns
        return made._settle()


def _width(category):
    """Of two categories one column; at least one, which is 0 where there is none."""
    count = len(category["keys"])
    return 1 if count <= 2 else count


def _refuse_infinite(x, name):
    if not np.isfinite(x).all():
        raise ValueError(f"Input X contains infinity or a value too large for dtype('float64'), in column {name}")
