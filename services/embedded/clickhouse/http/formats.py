"""What the store needs to know of ClickHouse's output formats."""

_JSON = "application/json; charset=UTF-8"
_NDJSON = "application/x-ndjson; charset=UTF-8"
_CSV = "text/csv; charset=UTF-8"
_TSV = "text/tab-separated-values; charset=UTF-8"
_BINARY = "application/octet-stream"
PLAIN = "text/plain; charset=UTF-8"

# chDB gives a stream block by block, each with the format's prefix and suffix: only
# formats without either can be joined again.
STREAMED = {
    "csv": _CSV,
    "jsoneachrow": _NDJSON,
    "jsonlines": _NDJSON,
    "jsonl": _NDJSON,
    "ndjson": _NDJSON,
    "jsoncompacteachrow": _NDJSON,
    "jsonstringseachrow": _NDJSON,
    "jsoncompactstringseachrow": _NDJSON,
    "lineasstring": PLAIN,
    "msgpack": _BINARY,
    "native": _BINARY,
    "rowbinary": _BINARY,
    "tabseparated": _TSV,
    "tabseparatedraw": _TSV,
    "tskv": _TSV,
    "tsv": _TSV,
    "tsvraw": _TSV,
}
_WHOLE = {
    "arrow": "application/vnd.apache.arrow.file",
    "arrowstream": "application/vnd.apache.arrow.stream",
    "avro": _BINARY,
    "bsoneachrow": _BINARY,
    "markdown": "text/markdown; charset=UTF-8",
    "orc": _BINARY,
    "parquet": "application/vnd.apache.parquet",
    "xml": "application/xml; charset=UTF-8",
}


def content_type(name: str) -> str:
    """The Content-Type that a server sends for a format."""
    key = name.lower()
    if key in STREAMED or key in _WHOLE:
        return STREAMED.get(key) or _WHOLE[key]
    for start, kind in (
        ("json", _JSON),
        ("csv", _CSV),
        ("tsv", _TSV),
        ("tabseparated", _TSV),
        ("rowbinary", _BINARY),
    ):
        if key.startswith(start):
            return kind
    return PLAIN


def is_streamed(name: str) -> bool:
    """Whether a result in this format leaves as it is computed; any other is held whole
    in memory, up to a limit.
    """
    return name.lower() in STREAMED
