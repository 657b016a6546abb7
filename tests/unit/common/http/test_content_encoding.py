"""Compressed bodies: every common form, no bombs."""

import gzip
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from services.common.http.content_encoding import decode
from services.common.http.problems import ProblemError

TEXT = b'{"model":"m","prompt":"' + b"hello " * 50 + b'"}'


def raw_deflate(data: bytes) -> bytes:
    """Deflate without zlib's header, as some clients send it."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def streamed_zstd(data: bytes) -> bytes:
    """A frame that does not tell its size."""
    packer = zstandard.ZstdCompressor().compressobj()
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT),
    " GZIP ": gzip.compress(TEXT),
    "identity, gzip": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "zstd": zstandard.compress(TEXT),
    "identity": TEXT,
    "": TEXT,
}


def status_of(body: bytes, encoding: str, limit: int = 10_000) -> tuple[int, str]:
    """How a body is refused."""
    with pytest.raises(ProblemError) as refused:
        decode(body, encoding, limit)
    return refused.value.problem.status, refused.value.problem.code


@pytest.mark.parametrize("encoding", PACKED)
def test_known_encodings_are_decoded(encoding: str) -> None:
    """As the header names them, in any case and with blanks."""
    assert decode(PACKED[encoding], encoding, len(TEXT)) == TEXT


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("deflate", raw_deflate(TEXT)),
        ("zstd", streamed_zstd(TEXT)),
        ("gzip", gzip.compress(TEXT[:7]) + gzip.compress(TEXT[7:])),
        ("zstd", zstandard.compress(TEXT[:7]) + zstandard.compress(TEXT[7:])),
    ],
    ids=["raw deflate", "zstd without a size", "two gzip members", "two zstd frames"],
)
def test_less_common_forms_are_decoded(encoding: str, body: bytes) -> None:
    """No header, no size, several members."""
    assert decode(body, encoding, len(TEXT)) == TEXT


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_limit_counts_what_is_decoded(encoding: str) -> None:
    """One byte more than the limit is 413."""
    assert status_of(PACKED[encoding], encoding, len(TEXT) - 1) == (413, "body_too_large")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_bomb_is_not_inflated(encoding: str) -> None:
    """128 MiB of zeros in a small body is 413 long before it is that large."""
    zeros = bytes(16 << 20)
    if encoding == "zstd":
        packer = zstandard.ZstdCompressor(level=3).compressobj()
        bomb = b"".join(packer.compress(zeros) for _ in range(8)) + packer.flush()
    else:
        deflater = zlib.compressobj(1, wbits=31 if encoding == "gzip" else 15)
        bomb = b"".join(deflater.compress(zeros) for _ in range(8)) + deflater.flush()
    assert len(bomb) < 2 << 20
    tracemalloc.start()
    assert status_of(bomb, encoding, 1 << 20) == (413, "body_too_large")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20


def test_frame_that_asks_for_much_memory_is_refused() -> None:
    """A zstd window beyond 8 MiB is memory that the client would choose."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    assert status_of(packer.compress(TEXT) + packer.flush(), "zstd")[0] == 400


@pytest.mark.parametrize("encoding", ["br", "compress", "gzip, gzip", "gzip, zstd", "x" * 500, "gz\x00ip"])
def test_unknown_encoding_is_415_that_names_the_known(encoding: str) -> None:
    """Two at once are as unknown as one that nobody has."""
    with pytest.raises(ProblemError) as refused:
        decode(TEXT, encoding, 10_000)
    assert refused.value.problem.status == 415
    assert "gzip, deflate, zstd" in refused.value.problem.message
    assert len(refused.value.problem.message) < 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_cut_or_followed_by_junk_is_400(encoding: str) -> None:
    """What ends too early or goes on after its end is not what it claims."""
    for at in (1, 5, len(PACKED[encoding]) - 1):
        assert status_of(PACKED[encoding][:at], encoding) == (400, "invalid_encoding")
    assert status_of(PACKED[encoding] + b"junk", encoding) == (400, "invalid_encoding")


def test_thousands_of_empty_members_are_refused() -> None:
    """They cost time and give nothing."""
    assert status_of(gzip.compress(b"") * 10_000, "gzip")[0] == 400
    assert status_of(zstandard.compress(b"") * 10_000, "zstd")[0] == 400


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "zstd"]))
def test_any_bytes_are_decoded_or_refused(body: bytes, encoding: str) -> None:
    """Nothing but a ProblemError comes out of hostile bytes."""
    status = 200
    try:
        assert len(decode(body, encoding, 100)) <= 100
    except ProblemError as error:
        status = error.problem.status
    assert status in (200, 400, 413)


@given(st.binary(max_size=3000), st.sampled_from(["gzip", "deflate", "zstd"]))
def test_what_was_packed_comes_back(data: bytes, encoding: str) -> None:
    """Packing and decoding is the identity."""
    packed = {"gzip": gzip.compress, "deflate": raw_deflate, "zstd": streamed_zstd}[encoding](data)
    assert decode(packed, encoding, 3000) == data
