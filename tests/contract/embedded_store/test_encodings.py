"""Bodies and results that are compressed, as curl and other languages' clients send and
read them.
"""

import gzip
import zlib

import lz4.frame
import pytest
import zstandard

from services.embedded.clickhouse.http.compression import BlockDecoder, BlockEncoder
from tests.support.store import RunningStore


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("lz4", lz4.frame.compress),
        ("zstd", zstandard.compress),
    ],
)
def test_body_in_each_encoding_is_stored(
    store: RunningStore, table: str, encoding: str, pack: object
) -> None:
    """Content-Encoding of data and of statements."""
    rows = b"".join(b"%d,%s\n" % (number, b"x" * 50) for number in range(10_000))
    assert (
        store.ask(
            pack(rows), query=f"INSERT INTO {table} FORMAT CSV", headers={"Content-Encoding": encoding}
        ).status
        == 200
    )  # type: ignore[operator]
    assert (
        store.ask(pack(f"SELECT count() FROM {table}".encode()), headers={"Content-Encoding": encoding}).text
        == "10000"
    )  # type: ignore[operator]


@pytest.mark.parametrize(
    ("encoding", "unpack"),
    [
        ("gzip", gzip.decompress),
        ("deflate", zlib.decompress),
        ("lz4", lz4.frame.decompress),
        ("zstd", lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
    ],
)
def test_result_in_each_encoding_is_the_result(store: RunningStore, encoding: str, unpack: object) -> None:
    """Accept-Encoding, also when switched off."""
    sql = "SELECT number FROM numbers(100000) FORMAT CSV"
    plain = store.ask(sql, headers={"Accept-Encoding": encoding}, enable_http_compression=0)
    packed = store.ask(sql, headers={"Accept-Encoding": f"br;q=1.0, {encoding}"}, enable_http_compression=1)
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == encoding
    assert unpack(packed.body) == plain.body  # type: ignore[operator]


def test_clickhouses_own_blocks_go_both_ways(store: RunningStore, table: str) -> None:
    """compress=1 and decompress=1, as clickhouse-driver, the JDBC driver and
    clickhouse-go send them.
    """
    rows = b"".join(b"%d\n" % number for number in range(300_000))
    assert (
        store.ask(BlockEncoder().feed(rows), query=f"INSERT INTO {table} (a) FORMAT CSV", decompress=1).status
        == 200
    )
    packed = store.ask(f"SELECT a FROM {table} ORDER BY a FORMAT CSV", compress=1).body
    assert b"".join(BlockDecoder().feed(packed)) == rows
    assert store.ask(
        b"noise that is no block at all, none", query=f"INSERT INTO {table} FORMAT CSV", decompress=1
    ).code in (12, 40)
