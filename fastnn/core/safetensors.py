"""Files in the format of safetensors: the header's length, the header (JSON: the tensors by name, their dtypes, shapes and places, and
a table of strings), the tensors. It is read without trust: of a header that lies nothing is allocated, and no code is run.
"""

import math
import os
import sys

import numpy as np

from .atomic_files import replacing

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4",
    "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_NAMES = {np.dtype(code).newbyteorder("="): name for name, code in _DTYPES.items()}


def write(path, tensors, metadata, durable=True):
    """Write the file whole or not at all.

    Parameters
    ----------
    path : str or os.PathLike
    tensors : dict
        From names to arrays, which go into the file from where they are, in the order of their names. Equal ones, with equal
        metadata, give equal files.
    metadata : dict
        From strings to strings.
    durable : bool
        See `replacing`.
    """
    import json

    entries, end = {"__metadata__": metadata}, 0
    arrays = [(name, np.ascontiguousarray(tensors[name]).reshape(tensors[name].shape)) for name in sorted(tensors)]
    for name, a in arrays:
        begin, end = end, end + a.nbytes
        entries[name] = {"dtype": _NAMES[a.dtype], "shape": list(a.shape), "data_offsets": [begin, end]}
    header = json.dumps(entries, sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    with replacing(os.fsdecode(path), durable) as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for _, a in arrays:
            file.write(a if sys.byteorder == "little" else a.astype(a.dtype.newbyteorder("<")))


def parse(data):
    """({name: array}, metadata) of a file in safetensors' format; ValueError where it is none. The arrays look into `data`: of a
    header that lies nothing is allocated."""
    import json

    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ValueError(f"{len(data)} bytes, which is less than a header")
    header = json.loads(data[8 : 8 + length].decode())
    if not isinstance(header, dict):
        raise ValueError("a header that is no table")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("metadata that are no table of strings")
    found, places = {}, []
    for name, entry in header.items():
        places.append((*_place(name, entry), name))
    end, whole = 0, len(data) - 8 - length
    for begin, until, dtype, shape, name in sorted(places, key=lambda place: place[:2]):
        if begin != end or until > whole:
            raise ValueError(f"tensor {name!r:.60} at bytes {begin} to {until} of {whole}, where {end} are taken")
        found[name] = np.frombuffer(data, dtype, math.prod(shape), 8 + length + begin).reshape(shape)
        end = until
    if end != whole:
        raise ValueError(f"tensors of {end} bytes in {whole}")
    return found, metadata


def _place(name, entry):
    """(first byte, the one behind the last, dtype, shape) of a tensor, whose size is as its shape says."""
    entry = entry if isinstance(entry, dict) else {}
    dtype = _DTYPES.get(entry.get("dtype")) if isinstance(entry.get("dtype"), str) else None
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [None]
    if dtype is None or len(shape if isinstance(shape, list) else ()) > 32 or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"tensor {name!r:.60} with an entry of another kind, {entry!r:.80}")
    if len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * np.dtype(dtype).itemsize:
        raise ValueError(f"tensor {name!r:.60} of shape {shape!r:.60} at bytes {offsets!r:.60}")
    if max(shape, default=0) >= 2**31:
        raise ValueError(f"tensor {name!r:.60} of shape {shape!r:.60}")
    return offsets[0], offsets[1], dtype, tuple(shape)
