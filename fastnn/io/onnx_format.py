"""ONNX files as bytes: the messages of onnx.proto that models of the package need, written and read.

A file is one ModelProto in the wire format of Protocol Buffers: fields one after the other, each a number and a kind, then a
variable-length integer, four or eight bytes, or a length and as many bytes. Messages are dicts here, repeated fields lists. What
is read is held against the bytes that are there before anything is allocated; fields that are not in the tables are skipped.
"""

import math
import struct

import numpy as np

# {number: (name, kind)}; a list of a kind is a repeated field, a dict a message
_TENSOR = {
    1: ("dims", ["int"]), 2: ("data_type", "int"), 4: ("float_data", ["float"]), 5: ("int32_data", ["int"]),
    7: ("int64_data", ["int"]), 8: ("name", "text"), 9: ("raw_data", "bytes"), 10: ("double_data", ["double"]),
    13: ("external_data", [{}]), 14: ("data_location", "int"),
}  # fmt: skip
_ATTRIBUTE = {
    1: ("name", "text"), 2: ("f", "float"), 3: ("i", "int"), 4: ("s", "bytes"), 5: ("t", _TENSOR), 7: ("floats", ["float"]),
    8: ("ints", ["int"]), 9: ("strings", ["bytes"]), 20: ("type", "int"),
}  # fmt: skip
_NODE = {
    1: ("input", ["text"]), 2: ("output", ["text"]), 3: ("name", "text"), 4: ("op_type", "text"), 5: ("attribute", [_ATTRIBUTE]),
    7: ("domain", "text"),
}  # fmt: skip
_DIMENSION = {1: ("dim_value", "int"), 2: ("dim_param", "text")}
_TYPE = {1: ("tensor_type", {1: ("elem_type", "int"), 2: ("shape", {1: ("dim", [_DIMENSION])})})}
_VALUE = {1: ("name", "text"), 2: ("type", _TYPE)}
_GRAPH = {
    1: ("node", [_NODE]), 2: ("name", "text"), 5: ("initializer", [_TENSOR]), 11: ("input", [_VALUE]), 12: ("output", [_VALUE]),
    15: ("sparse_initializer", [{}]),
}  # fmt: skip
_ENTRY = {1: ("key", "text"), 2: ("value", "text")}
MODEL = {
    1: ("ir_version", "int"), 2: ("producer_name", "text"), 3: ("producer_version", "text"), 7: ("graph", _GRAPH),
    8: ("opset_import", [{1: ("domain", "text"), 2: ("version", "int")}]), 14: ("metadata_props", [_ENTRY]),
}  # fmt: skip

_WIRE = {"int": 0, "double": 1, "text": 2, "bytes": 2, "float": 5}  # how a kind stands in a file
_PACK = {"float": "<f", "double": "<d"}
DTYPES = {1: "<f4", 2: "u1", 3: "i1", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}  # TensorProto.DataType
_CODES = {np.dtype(text).newbyteorder("="): code for code, text in DTYPES.items()}
_HELD = {1: "float_data", 6: "int32_data", 7: "int64_data", 11: "double_data"}  # where numbers stand that are not raw
_ATTRIBUTE_TYPES = {"f": 1, "i": 2, "s": 3, "t": 4, "floats": 6, "ints": 7, "strings": 8}


# ---- writing ----


def _varint(n):
    n &= (1 << 64) - 1
    found = bytearray()
    while n > 127:
        found.append(n & 127 | 128)
        n >>= 7
    found.append(n)
    return bytes(found)


def _encoded(kind, value):
    if kind == "int":
        return _varint(value)
    if kind in ("float", "double"):
        return struct.pack(_PACK[kind], value)
    body = value.encode() if kind == "text" else value if kind == "bytes" else encode(value, kind)
    return _varint(len(body)) + body


def encode(message, fields):
    """The bytes of a message."""
    parts = []
    for number, (name, kind) in fields.items():
        value = message.get(name)
        if value is None:
            continue
        each = kind[0] if isinstance(kind, list) else kind
        tag = _varint(number << 3 | (_WIRE[each] if isinstance(each, str) else 2))
        for item in value if isinstance(kind, list) else [value]:
            parts += [tag, _encoded(each, item)]
    return b"".join(parts)


def tensor(name, array):
    """The TensorProto of an array."""
    array = np.asarray(array, order="C")
    code = _CODES[array.dtype]
    raw = array.astype(DTYPES[code], copy=False).tobytes()
    return {"dims": list(np.shape(array)), "data_type": code, "name": name, "raw_data": raw}


def node(kind, inputs, outputs, name, attributes):
    """A NodeProto; attributes are ints, floats, str, lists of ints, or arrays."""
    found = []
    for key, value in attributes.items():
        if isinstance(value, np.ndarray):
            field, value = "t", tensor("", value)
        elif isinstance(value, str):
            field, value = "s", value.encode()
        else:
            field = "ints" if isinstance(value, (list, tuple)) else "f" if isinstance(value, float) else "i"
        found.append({"name": key, field: value, "type": _ATTRIBUTE_TYPES[field]})
    return {"input": list(inputs), "output": list(outputs), "name": name, "op_type": kind, "attribute": found}


def value(name, dtype, shape):
    """The ValueInfoProto of a batch of rows of that shape; the number of rows is free."""
    dims = [{"dim_param": "batch"}, *({"dim_value": n} for n in shape)]
    return {"name": name, "type": {"tensor_type": {"elem_type": _CODES[np.dtype(dtype)], "shape": {"dim": dims}}}}


# ---- reading ----


def _read_varint(data, at):
    n = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it ends within a number")
        byte = data[at]
        at += 1
        n |= (byte & 127) << shift
        if byte < 128:
            return n & ((1 << 64) - 1), at
    raise ValueError(f"a number of more than ten bytes before byte {at}")


def _fields(data):
    """(number, wire kind, value) of the fields of a message; values are integers or views of the bytes."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        wire = key & 7
        if wire == 0:
            found, at = _read_varint(data, at)
        else:
            if wire == 2:
                length, at = _read_varint(data, at)
            elif wire in (1, 5):
                length = 8 if wire == 1 else 4
            else:
                raise ValueError(f"a field of a kind that no ONNX file has, {wire}")
            if length > len(data) - at:
                raise ValueError(f"a field of {length} bytes where {len(data) - at} are left")
            found, at = data[at : at + length], at + length
        yield key >> 3, wire, found


def _decoded(kind, wire, found):
    """The values of a field: several where it is packed."""
    if kind == "int":
        if wire == 2:
            values, at = [], 0
            while at < len(found):
                n, at = _read_varint(found, at)
                values.append(n)
        else:
            values = [found]
        return [n - (1 << 64) if n >> 63 else n for n in values]
    if kind in ("float", "double"):
        if len(found) % struct.calcsize(_PACK[kind]):
            raise ValueError(f"packed numbers in {len(found)} bytes")
        return np.frombuffer(found, _PACK[kind]).tolist()
    if kind == "text":
        return [bytes(found).decode()]
    return [found] if kind == "bytes" else [decode(found, kind)]


def decode(data, fields):
    """The message in the bytes; ValueError where they hold none. Repeated fields that are absent are empty lists."""
    message = {name: [] for name, kind in fields.values() if isinstance(kind, list)}
    for number, wire, found in _fields(data):
        if number not in fields:
            continue
        name, kind = fields[number]
        each = kind[0] if isinstance(kind, list) else kind
        expected = _WIRE[each] if isinstance(each, str) else 2
        if wire != expected and not (wire == 2 and isinstance(kind, list) and each in ("int", "float", "double")):
            raise ValueError(f"a field {name} of another kind")
        values = _decoded(each, wire, found)
        if isinstance(kind, list):
            message[name] += values
        elif values:
            message[name] = values[-1]
    return message


def array(message):
    """The array of a TensorProto, once its size is held against its bytes."""
    name, code, dims = message.get("name", ""), message.get("data_type", 0), message["dims"]
    if code not in DTYPES:
        raise ValueError(f"tensor {name!r:.60}: expected numbers, got type {code} of ONNX's")
    if message.get("data_location", 0) or message["external_data"]:
        raise ValueError(f"tensor {name!r:.60}: expected its numbers in the file, got another file's; save the model as one file")
    dtype = np.dtype(DTYPES[code])
    if len(dims) > 32 or not all(0 <= n < 2**31 for n in dims):
        raise ValueError(f"tensor {name!r:.60} of shape {dims!r:.60}")
    if "raw_data" in message:
        raw = message["raw_data"]
        if len(raw) != math.prod(dims) * dtype.itemsize:
            raise ValueError(f"tensor {name!r:.60} of shape {dims!r:.60} and {dtype} in {len(raw)} bytes")
        found = np.frombuffer(raw, dtype)
    else:
        held = message[_HELD.get(code, "int32_data")]
        if len(held) != math.prod(dims):
            raise ValueError(f"tensor {name!r:.60} of shape {dims!r:.60} in {len(held)} numbers")
        found = np.array(held, np.uint16).view(np.float16) if code == 10 else np.array(held, dtype.newbyteorder("="))
    return found.reshape(dims).astype(dtype.newbyteorder("="), copy=False)
