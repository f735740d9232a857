"""CSV files as columns, whose types are found."""

import os
from collections.abc import Iterator

import numpy as np

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?")
_SEPARATORS = (",", ";", "\t", "|")
_GZIP_MAGIC = b"\x1f\x8b"


class Frame:
    """Named columns of equal length, as `read_csv` gives them.

    ``frame["price"]`` is a column: float64 where it holds numbers, NaN where one is missing; else an object array of str, None
    where one is missing. ``len(frame)`` is the number of rows.

    Parameters
    ----------
    columns : dict
        From names to columns.

    Examples
    --------
    >>> frame = data.Frame({"size": [1.0, 2.5], "city": ["Oslo", None]})
    >>> frame
    <Frame of 2 rows: size (number), city (category, 1 missing)>
    >>> float(frame["size"].mean()), frame.take([1])["city"]
    (1.75, array([None], dtype=object))
    """

    def __init__(self, columns) -> None:
        self._columns = {str(name): _column(values) for name, values in dict(columns).items()}
        rows = {name: len(values) for name, values in self._columns.items()}
        if not rows:
            raise ValueError("columns: expected at least one column, got none")
        if len(set(rows.values())) > 1:
            raise ValueError(f"columns: expected columns of equal length, got {rows}")
        self._rows = next(iter(rows.values()))

    @property
    def columns(self):
        """The columns' names."""
        return list(self._columns)

    def __getitem__(self, name) -> np.ndarray:
        if name not in self._columns:
            raise KeyError(f"{name!r}: expected one of the columns {', '.join(self._columns)}")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return self._rows

    def __repr__(self):
        parts = []
        for name, values in self._columns.items():
            number = values.dtype != object
            missing = int(np.isnan(values).sum() if number else sum(v is None for v in values))
            parts.append(f"{name} ({'number' if number else 'category'}{f', {missing:,} missing' if missing else ''})")
        return f"<Frame of {self._rows:,} row{'' if self._rows == 1 else 's'}: {', '.join(parts)}>"

    def take(self, rows) -> "Frame":
        """A Frame of some rows, by their numbers or a slice."""
        new = Frame.__new__(Frame)  # whose columns are what they are here, also where all are missing
        new._columns = {name: values[rows] for name, values in self._columns.items()}
        new._rows = len(next(iter(new._columns.values())))
        return new


def _column(values):
    """float64, or objects of str and None."""
    a = values if isinstance(values, np.ndarray) else np.asarray(values)
    if a.ndim != 1:
        raise ValueError(f"columns: expected columns of 1 dimension, got shape {a.shape}")
    if a.dtype.kind in "biuf":
        return a.astype(np.float64, copy=False)
    if a.dtype.kind == "M":  # dates, as seconds
        seconds = a.astype("datetime64[us]").astype(np.int64) / 1e6
        return np.where(np.isnat(a), np.nan, seconds)
    found, numbers = np.empty(len(a), object), True
    for i, v in enumerate(a.tolist()):
        if v is None or v != v or type(v).__name__ in ("NAType", "NaTType"):
            found[i] = None
        else:
            numbers &= isinstance(v, (int, float))
            found[i] = v
    if numbers and any(v is not None for v in found):
        return np.array([np.nan if v is None else v for v in found], np.float64)
    for i, v in enumerate(found):
        found[i] = None if v is None else str(v)
    return found


def as_frame(obj, name="frame"):
    """A Frame of one, a dict of columns, or a data frame of pandas or polars."""
    if isinstance(obj, Frame):
        return obj
    if isinstance(obj, dict):
        return Frame(obj)
    if hasattr(obj, "columns") and hasattr(obj, "__getitem__"):
        return Frame({str(column): np.asarray(obj[column]) for column in obj.columns})
    raise TypeError(f"{name}: expected a Frame, a dict of columns, or a data frame of pandas or polars, got {type(obj).__name__}")


def read_csv(path, sep=None, header=None, missing=MISSING, kinds=None, encoding="utf-8") -> Frame:
    """Read a CSV file, plain or gzip. A column whose every field is a number, or missing, is one of numbers; others are categories.

    Parameters
    ----------
    path : str or os.PathLike
    sep : str, optional
        What separates fields; by default the one of comma, semicolon, tab and bar that the first line has most of.
    header : bool, optional
        Whether the first line has the columns' names. By default it has, if none of its fields is a number; else the names are
        "1", "2" and so on.
    missing : sequence of str
        Fields that mean that there is nothing. Blanks around fields are left out.
    kinds : dict, optional
        From names of columns to "number" or "category", in place of what is found.
    encoding : str, default "utf-8"

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If there are no rows, a row has more or fewer fields than the header (the line is named), names occur twice, the text is
        in another encoding, or a column is not of the kind that it was said to be.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "flats.csv")
    ...     n = path.write_text("size,city,price\\n50,Oslo,210\\n72,Bergen,\\n")
    ...     data.read_csv(path)
    <Frame of 2 rows: size (number), city (category), price (number, 1 missing)>
    """
    name = os.fsdecode(path)
    names, rows, first = _rows(name, sep, header, encoding)
    columns, missing, kinds = {}, frozenset(missing), dict(kinds or {})
    unknown = [k for k in kinds if k not in names]
    if unknown:
        raise ValueError(f"kinds: expected names of columns of {name!r}, which are {', '.join(names)}, got {unknown[0]!r}")
    for column, texts in zip(names, zip(*rows)):
        kind = kinds.get(column)
        if kind not in (None, "number", "category"):
            raise ValueError(f"kinds: expected 'number' or 'category' for {column!r}, got {kind!r}")
        texts = [t.strip() for t in texts]
        values = None if kind == "category" else _numbers(texts, missing)
        if values is None and kind == "number":
            at = next(i for i, t in enumerate(texts) if t not in missing and _numbers([t], missing) is None)
            raise ValueError(f"{name!r}: column {column!r}: expected numbers, got {texts[at]!r} in line {first + at}")
        if values is None:
            values = np.empty(len(texts), object)
            values[:] = [None if t in missing else t for t in texts]
        columns[column] = values
    return Frame(columns)


def _numbers(texts, missing):
    """The texts as float64, or None where one of them is no number."""
    try:
        values = np.array(texts, np.float64)
    except ValueError:
        try:
            values = np.array([np.nan if t in missing else t for t in texts], np.float64)
        except ValueError:
            return None
    return None if any("_" in t for t in texts) else values  # which Python's numbers may have inside


def _rows(name, sep, header, encoding):
    """(names of the columns, rows of fields, number of the first row's line) of a file."""
    import csv
    import gzip
    import io
    import zlib

    with open(name, "rb") as file:
        content = file.read()
    if content.startswith(_GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{name!r}: expected an intact gzip stream, got a broken one: {error}") from None
    try:
        text = content.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"{name!r}: line {line}: expected text in {encoding}, got byte {content[error.start]:#04x}") from None
    if sep is None:
        line = text[: text.find("\n")] if "\n" in text else text
        sep = max(_SEPARATORS, key=line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=sep, strict=True)
    rows, lines, width = [], [], None
    try:
        for row in reader:
            if not row or len(row) == 1 and not row[0].strip() and width != 1:
                continue
            if width is None:
                width = len(row)
            elif len(row) != width:
                more = "" if len(row) > 1 else f"; are fields separated by something else than {sep!r}?"
                raise ValueError(f"{name!r}: line {reader.line_num}: expected {width} fields, as the first line has, got {len(row)}{more}")
            rows.append(row)
            if len(lines) < 2:
                lines.append(reader.line_num)
    except csv.Error as error:
        raise ValueError(f"{name!r}: line {reader.line_num}: expected fields of a CSV file, got others ({error})") from None
    if header is None:
        header = bool(rows) and not any(_is_number(field) for field in rows[0])
    names = [field.strip() or f"column {i}" for i, field in enumerate(rows.pop(0), 1)] if header and rows else [str(i + 1) for i in range(width or 0)]
    if not rows:
        raise ValueError(f"{name!r}: expected at least one row, got {'a header alone' if names and header else 'an empty file'}")
    twice = next((n for i, n in enumerate(names) if n in names[:i]), None)
    if twice is not None:
        raise ValueError(f"{name!r}: expected columns of different names, got {twice!r} twice")
    return names, rows, lines[-1] if header else lines[0]


def _is_number(text):
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
