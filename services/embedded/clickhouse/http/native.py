"""The Native format as a client of a newer protocol wants it (`client_protocol_version`).

chDB writes blocks of revision 0: counts, then each column's name, type and data. From
revision 1 on a block begins with its `BlockInfo`, and from 54454 on a byte between a
column's type and data says whether its serialization is a custom one. Setting that byte
needs the place where each column ends, so the data is walked by its type.
"""

import re
from collections.abc import Callable

from services.embedded.clickhouse.errors import StoreError

_WITH_CUSTOM_SERIALIZATION = 54454
# Field 1: is_overflows (no). Field 2: bucket_num (-1). Then the end.
_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
_NOT_CUSTOM = b"\x00"
_WIDTHS = {
    **dict.fromkeys(("UInt8", "Int8", "Bool", "Enum8", "Nothing"), 1),
    **dict.fromkeys(("UInt16", "Int16", "Enum16", "Date", "BFloat16"), 2),
    **dict.fromkeys(("UInt32", "Int32", "Float32", "Date32", "DateTime", "Time", "IPv4", "Decimal32"), 4),
    **dict.fromkeys(("UInt64", "Int64", "Float64", "DateTime64", "Time64", "Decimal64"), 8),
    **dict.fromkeys(("UInt128", "Int128", "UUID", "IPv6", "Decimal128"), 16),
    **dict.fromkeys(("UInt256", "Int256", "Decimal256"), 32),
}
_ALIASES = {
    "Point": "Tuple(Float64, Float64)",
    "Ring": "Array(Point)",
    "LineString": "Array(Point)",
    "Polygon": "Array(Ring)",
    "MultiLineString": "Array(LineString)",
    "MultiPolygon": "Array(Polygon)",
}
_KEY_WIDTHS = {0: 1, 1: 2, 2: 4, 3: 8}
_NAMED = re.compile(r"^(?:`(?:[^`\\]|\\.)*`|[A-Za-z_]\w*) +(?=[A-Z])")


def for_protocol(version: int) -> Callable[[bytes], bytes]:
    """What makes blocks of revision 0 into those of a client's revision."""
    if version <= 0:
        return bytes
    return lambda data: _reframed(data, custom=version >= _WITH_CUSTOM_SERIALIZATION)


def _reframed(data: bytes, *, custom: bool) -> bytes:
    out: list[bytes] = []
    at = 0
    while at < len(data):
        start = at
        columns, at = _varint(data, at)
        rows, at = _varint(data, at)
        out += [_BLOCK_INFO, data[start:at]]
        for _ in range(columns):
            start = at
            _, at = _string(data, at)
            kind, at = _string(data, at)
            out += [data[start:at], _NOT_CUSTOM if custom else b""]
            start, at = at, _skip(data, at, kind, rows) if rows else at
            out.append(data[start:at])
    return b"".join(out)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _string(data: bytes, at: int) -> tuple[str, int]:
    size, at = _varint(data, at)
    return data[at : at + size].decode("utf-8", "replace"), at + size


def _skip(data: bytes, at: int, kind: str, rows: int) -> int:
    """Where a column's data ends, its prefix included."""
    return _data(data, _prefix(data, at, kind), kind, rows)


def _prefix(data: bytes, at: int, kind: str) -> int:
    """Each LowCardinality begins its column with eight bytes, the version of its keys."""
    name, inner = _split(kind)
    if name == "LowCardinality":
        return at + 8
    for one in inner:
        at = _prefix(data, at, one)
    return at


def _data(data: bytes, at: int, kind: str, rows: int) -> int:
    """Where the values of a column end."""
    name, inner = _split(kind)
    if name in _WIDTHS:
        return at + _WIDTHS[name] * rows
    walk = _WALKS.get(name)
    if walk is None:
        raise StoreError(
            48,
            "NOT_IMPLEMENTED",
            f"the embedded store cannot send the type {kind} in Native with client_protocol_version: "
            "convert it (toString, finalizeAggregation) or leave the parameter out",
        )
    return walk(data, at, inner, rows)


def _strings(data: bytes, at: int, _inner: list[str], rows: int) -> int:
    for _ in range(rows):
        size, at = _varint(data, at)
        at += size
    return at


def _fixed_strings(_data: bytes, at: int, inner: list[str], rows: int) -> int:
    return at + int(inner[0]) * rows


def _nullable(data: bytes, at: int, inner: list[str], rows: int) -> int:
    return _data(data, at + rows, inner[0], rows)


def _arrays(data: bytes, at: int, inner: list[str], rows: int) -> int:
    size = int.from_bytes(data[at + 8 * (rows - 1) : at + 8 * rows], "little") if rows else 0
    return _data(data, at + 8 * rows, inner[0], size)


def _tuples(data: bytes, at: int, inner: list[str], rows: int) -> int:
    for one in inner:
        at = _data(data, at, one, rows)
    return at if inner else at + rows


def _low_cardinality(data: bytes, at: int, inner: list[str], rows: int) -> int:
    if not rows:
        return at
    flags = int.from_bytes(data[at : at + 8], "little")
    keys = int.from_bytes(data[at + 8 : at + 16], "little")
    name, made_of = _split(inner[0])
    at = _data(data, at + 16, made_of[0] if name == "Nullable" else inner[0], keys)
    return at + 8 + _KEY_WIDTHS[flags & 0xFF] * rows


_WALKS: dict[str, Callable[[bytes, int, list[str], int], int]] = {
    "String": _strings,
    "FixedString": _fixed_strings,
    "Nullable": _nullable,
    "Array": _arrays,
    "Tuple": _tuples,
    "LowCardinality": _low_cardinality,
}


def _split(kind: str) -> tuple[str, list[str]]:
    """A type's own name and the types that it is made of; names that only rename are
    looked through.
    """
    name, _, rest = kind.partition("(")
    inner = _arguments(rest[:-1])
    if name == "SimpleAggregateFunction" or name in _ALIASES:
        return _split(_ALIASES.get(name) or inner[-1])
    match name:
        case "Decimal":
            name = next(f"Decimal{bits}" for bits, most in _DECIMALS if int(inner[0]) <= most)
        case "Map" | "Nested":
            name, inner = "Array", [f"Tuple({', '.join(inner)})"]
        case "Tuple":
            inner = [_NAMED.sub("", one, count=1) for one in inner]
    return ("Int64" if name.startswith("Interval") else name), inner


_DECIMALS = ((32, 9), (64, 18), (128, 38), (256, 76))


def _arguments(text: str) -> list[str]:
    """What stands between the outermost commas."""
    parts, depth, start, quoted = [], 0, 0, ""
    at = 0
    while at < len(text):
        sign = text[at]
        if quoted:
            at += sign == "\\"
            quoted = "" if sign == quoted else quoted
        elif sign in "'`":
            quoted = sign
        elif sign in "()":
            depth += 1 if sign == "(" else -1
        elif sign == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
        at += 1
    return [*parts, text[start:].strip()] if text.strip() else []
