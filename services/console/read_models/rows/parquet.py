"""A Parquet file that is written as its rows come: a row group a piece.

ClickHouse's own Parquet is held whole by the embedded store; here nothing is held but the
list of row groups.
"""

import io
from typing import Any


class ParquetFile:
    """Rows come as Arrow streams, the bytes of the file leave. Blocking: for a thread."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._writer: Any = None

    def add(self, stream: bytes) -> bytes:
        """The file's next bytes, with these rows in."""
        import pyarrow as pa  # noqa: PLC0415  50 MB that nobody needs before
        import pyarrow.parquet as pq  # noqa: PLC0415

        table = pa.ipc.open_stream(stream).read_all()
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                pa.PythonFile(_Sink(self._file), "w"), table.schema, compression="zstd"
            )
        if table.num_rows:
            self._writer.write_table(table)
        return self._taken()

    def end(self) -> bytes:
        """Its last bytes."""
        self._writer.close()
        return self._taken()

    def _taken(self) -> bytes:
        found = self._file.getvalue()
        self._file.seek(0)
        self._file.truncate()
        return found


class _Sink:
    """What is written goes to a buffer that is emptied; positions are the file's."""

    closed = False

    def __init__(self, buffer: io.BytesIO) -> None:
        self._buffer = buffer
        self._at = 0

    def write(self, data: Any) -> int:
        size = self._buffer.write(data)
        self._at += size
        return size

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """The buffer stays."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False
