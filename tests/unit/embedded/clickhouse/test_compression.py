"""Bodies compressed and decompressed, cut anywhere, corrupt, hostile."""

import gzip
import zlib

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.http.compression import (
    ENCODINGS,
    BlockDecoder,
    BlockEncoder,
    choose_encoding,
    decoder,
    encoder,
)

_BOMB = 64 << 20
GOLDEN_BLOCK = "f9cfd80723ea6b6e90359d81e7f16ca2821200000008000000806162636465666768"


def _decode(steps: object, data: bytes, cut: int) -> bytes:
    out = b"".join(piece for at in range(0, len(data), cut) for piece in steps.feed(data[at : at + cut]))  # type: ignore[attr-defined]
    steps.end()  # type: ignore[attr-defined]
    return out


@given(st.lists(st.binary(max_size=300), max_size=6), st.sampled_from(ENCODINGS), st.integers(1, 200))
def test_encoder_and_decoder_give_the_data_back_however_it_is_cut(
    pieces: list[bytes], encoding: str, cut: int
) -> None:
    """Compressing piece by piece and decompressing other pieces is the identity."""
    making = encoder(encoding)
    packed = b"".join(making.feed(piece) for piece in pieces) + making.end()
    assert _decode(decoder(encoding), packed, cut) == b"".join(pieces)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.integers(1, 200))
def test_blocks_give_the_data_back_however_they_are_cut(pieces: list[bytes], cut: int) -> None:
    """ClickHouse's blocks: the same."""
    making = BlockEncoder()
    packed = b"".join(making.feed(piece) for piece in pieces) + making.end()
    assert _decode(BlockDecoder(), packed, cut) == b"".join(pieces)


def test_block_encoder_makes_the_bytes_that_clickhouse_makes() -> None:
    """Golden value: a block with its CityHash128 (version 1.0.2, not the later one), as
    chDB 26.9 wrote it to a part's column file.
    """
    block = bytes.fromhex(GOLDEN_BLOCK)
    assert b"".join(BlockDecoder().feed(block)) == b"abcdefgh"
    with pytest.raises(StoreError) as refusal:
        list(BlockDecoder().feed(bytes([block[0] ^ 1]) + block[1:]))
    assert refusal.value.code == 40


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("lz4", lz4.frame.compress),
        ("zstd", zstandard.compress),
        ("deflate", lambda data: zlib.compress(data, wbits=-15)),
    ],
)
def test_decoder_of_a_bomb_gives_it_in_pieces(encoding: str, pack: object) -> None:
    """What expands a thousandfold comes in pieces of bounded size."""
    bomb = pack(b"\0" * _BOMB)  # type: ignore[operator]
    sizes = [len(piece) for piece in decoder(encoding).feed(bomb)]
    assert sum(sizes) == _BOMB
    assert max(sizes) <= 40 << 20


@pytest.mark.parametrize("encoding", ["gzip", "lz4", "zstd"])
def test_decoder_takes_several_frames(encoding: str) -> None:
    """Clients compress block by block and send the frames one after the other."""
    frames = b""
    for data in (b"a" * 1000, b"", b"b" * 1000):
        making = encoder(encoding)
        frames += making.feed(data) + making.end()
    assert _decode(decoder(encoding), frames, len(frames)) == b"a" * 1000 + b"b" * 1000


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_decoder_of_cut_or_corrupt_data_refuses_it(encoding: str) -> None:
    """Neither half a body nor noise is taken for data."""
    making = encoder(encoding)
    packed = making.feed(b"0123456789" * 100) + making.end()
    with pytest.raises(StoreError, match="too early"):
        _decode(decoder(encoding), packed[:-3], 50)
    with pytest.raises(StoreError):
        _decode(decoder(encoding), b"\x01\x02\x03\x04nonsense that is no frame of any kind", 50)


@pytest.mark.parametrize(("size", "plain"), [(0xFFFF_FFFF, 10), (9, 0xFFFF_FFFF), (3, 10)])
def test_block_decoder_of_impossible_sizes_refuses_them_at_once(size: int, plain: int) -> None:
    """A header cannot make the store wait for, or allocate, gigabytes."""
    header = b"\0" * 16 + b"\x82" + size.to_bytes(4, "little") + plain.to_bytes(4, "little")
    with pytest.raises(StoreError) as refusal:
        list(BlockDecoder().feed(header))
    assert refusal.value.code == 12


@given(st.binary(max_size=200), st.sampled_from([*ENCODINGS, "blocks"]))
def test_decoders_of_any_bytes_raise_nothing_but_refusals(data: bytes, encoding: str) -> None:
    """Noise is refused, whatever it is."""
    steps = BlockDecoder() if encoding == "blocks" else decoder(encoding)
    try:
        _decode(steps, data, 50)
    except StoreError:
        return


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("", None),
        ("br", None),
        ("gzip, deflate, br", "gzip"),
        ("lz4,zstd,gzip", "lz4"),
        ("lz4;q=0, GZIP;q=0.5", "gzip"),
        ("identity", None),
        ("zstd", "zstd"),
    ],
)
def test_choose_encoding_takes_the_first_that_the_client_accepts(accepted: str, expected: str | None) -> None:
    """In a server's order, leaving out what the client refuses."""
    assert choose_encoding(accepted) == expected


def test_decoder_of_an_unknown_encoding_is_refused() -> None:
    """With ClickHouse's code, and the ones that are known."""
    with pytest.raises(StoreError, match="lz4, zstd, gzip, deflate") as refusal:
        decoder("br")
    assert refusal.value.code == 89
