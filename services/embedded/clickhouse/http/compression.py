"""Compression of bodies, both ways: HTTP's Content-Encoding, and ClickHouse's own
blocks (`compress=1`, `decompress=1`).

Everything is incremental and bounded: a decoder never gives more than a piece at a
time, so a bomb costs time, not memory.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any, Protocol

import lz4.block
import lz4.frame
import zstandard
from clickhouse_cityhash.cityhash import CityHash128

from services.embedded.clickhouse.errors import StoreError

_PIECE = 1 << 20
_ZSTD_INPUT = 1 << 10
_BLOCK = 1 << 20
_MAX_BLOCK = 256 << 20
_METHOD_NONE, _METHOD_LZ4, _METHOD_ZSTD = 0x02, 0x82, 0x90
_HEADER = struct.Struct("<16sBII")


class Decoder(Protocol):
    """Turns compressed bytes, cut anywhere, into plain ones."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes give."""
        ...

    def end(self) -> None:
        """Raises when the data stopped in the middle."""
        ...


class Encoder(Protocol):
    """Compresses a body as it is sent."""

    def feed(self, data: bytes) -> bytes:
        """Compressed bytes, maybe none yet."""
        ...

    def end(self) -> bytes:
        """The rest."""
        ...


def _corrupt(method: str, why: object) -> StoreError:
    return StoreError(
        354,
        "ZLIB_INFLATE_FAILED" if method in ("gzip", "deflate") else "CANNOT_DECOMPRESS",
        f"Cannot decompress the body as {method}: {why}",
    )


class _ZlibDecoder(Decoder):
    """gzip (several members, too) and deflate (with or without zlib's header)."""

    def __init__(self, method: str) -> None:
        self._method = method
        self._inflate: Any = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._inflate is None:
                self._inflate = zlib.decompressobj(self._window(data[0]))
            try:
                piece = self._inflate.decompress(data, _PIECE)
            except zlib.error as error:
                raise _corrupt(self._method, error) from error
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:
                data = self._inflate.unused_data
                self._inflate = None

    def _window(self, first: int) -> int:
        if self._method == "gzip":
            return 31
        return 15 if first & 0x0F == 8 else -15

    def end(self) -> None:
        if self._inflate is not None:
            raise _corrupt(self._method, "it ends too early")


class _Lz4Decoder(Decoder):
    """LZ4 frames, one after the other (clickhouse-connect makes one per block)."""

    def __init__(self) -> None:
        self._frame: Any = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data or (self._frame is not None and not self._frame.needs_input and not self._frame.eof):
            if self._frame is None:
                self._frame = lz4.frame.LZ4FrameDecompressor()
            try:
                piece = self._frame.decompress(data, _PIECE)
            except RuntimeError as error:
                raise _corrupt("lz4", error) from error
            if piece:
                yield piece
            data = b""
            if self._frame.eof:
                data = self._frame.unused_data or b""
                self._frame = None

    def end(self) -> None:
        if self._frame is not None:
            raise _corrupt("lz4", "it ends too early")


class _ZstdDecoder(Decoder):
    """Zstandard frames.

    The library has no bound on what one call gives, so it gets little at a time.
    """

    def __init__(self) -> None:
        self._frame: Any = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        view = memoryview(data)
        at = 0
        while at < len(view):
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
            taken = view[at : at + _ZSTD_INPUT]
            at += len(taken)
            try:
                piece = self._frame.decompress(bytes(taken))
            except zstandard.ZstdError as error:
                raise _corrupt("zstd", error) from error
            if piece:
                yield piece
            if self._frame.eof:
                at -= len(self._frame.unused_data)
                self._frame = None

    def end(self) -> None:
        if self._frame is not None:
            raise _corrupt("zstd", "it ends too early")


class BlockDecoder(Decoder):
    """ClickHouse's compressed blocks: checksum, method, sizes, data."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The data of each block that is complete; its checksum has been compared."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            checksum, method, compressed, plain = _HEADER.unpack_from(self._buffer)
            if not 9 <= compressed <= _MAX_BLOCK or plain > _MAX_BLOCK:
                raise StoreError(
                    12,
                    "TOO_LARGE_SIZE_COMPRESSED",
                    f"Too large or impossible size of a compressed block: {compressed} bytes, {plain} of "
                    "data",
                )
            if len(self._buffer) < 16 + compressed:
                return
            block = bytes(self._buffer[16 : 16 + compressed])
            del self._buffer[: 16 + compressed]
            if _checksum(block) != checksum:
                raise StoreError(
                    40,
                    "CHECKSUM_DOESNT_MATCH",
                    "Checksum of a compressed block doesn't match: the data is corrupt or not in "
                    "ClickHouse's block format",
                )
            yield _open_block(method, block[9:], plain)

    def end(self) -> None:
        """Raises when a block is cut."""
        if self._buffer:
            raise _corrupt("blocks", "it ends too early")


def _open_block(method: int, data: bytes, size: int) -> bytes:
    try:
        if method == _METHOD_LZ4:
            opened = lz4.block.decompress(data, uncompressed_size=size)
        elif method == _METHOD_ZSTD:
            opened = zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
        elif method == _METHOD_NONE:
            opened = data
        else:
            raise StoreError(
                89,
                "UNKNOWN_COMPRESSION_METHOD",
                f"Unknown compression method: {method:#x}; LZ4, ZSTD and NONE are known",
            )
    except (lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
        raise _corrupt("a block", error) from error
    if len(opened) != size:
        raise _corrupt("a block", f"{len(opened)} bytes instead of {size}")
    return bytes(opened)


def _checksum(block: bytes) -> bytes:
    value = CityHash128(block)
    return struct.pack("<QQ", value >> 64, value & 0xFFFF_FFFF_FFFF_FFFF)


class BlockEncoder(Encoder):
    """Makes ClickHouse's compressed blocks, LZ4, of 1 MiB of data at most."""

    def feed(self, data: bytes) -> bytes:
        """The blocks of this piece."""
        return b"".join(_make_block(data[at : at + _BLOCK]) for at in range(0, len(data), _BLOCK))

    def end(self) -> bytes:
        """Nothing: each block stands for itself."""
        return b""


def _make_block(data: bytes) -> bytes:
    packed: bytes = lz4.block.compress(data, store_size=False)
    block = struct.pack("<BII", _METHOD_LZ4, len(packed) + 9, len(data)) + packed
    return _checksum(block) + block


class _ZlibEncoder(Encoder):
    def __init__(self, window: int) -> None:
        self._deflate = zlib.compressobj(3, zlib.DEFLATED, window)

    def feed(self, data: bytes) -> bytes:
        return bytes(self._deflate.compress(data))

    def end(self) -> bytes:
        return bytes(self._deflate.flush())


class _Lz4Encoder(Encoder):
    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        start = b"" if self._begun else self._frame.begin()
        self._begun = True
        return bytes(start + self._frame.compress(data))

    def end(self) -> bytes:
        return self.feed(b"") + bytes(self._frame.flush())


class _ZstdEncoder(Encoder):
    def __init__(self) -> None:
        self._frame = zstandard.ZstdCompressor(level=1).compressobj()

    def feed(self, data: bytes) -> bytes:
        return bytes(self._frame.compress(data))

    def end(self) -> bytes:
        return bytes(self._frame.flush())


# In the order in which a server chooses among what a client accepts.
ENCODINGS = ("lz4", "zstd", "gzip", "deflate")


def decoder(encoding: str) -> Decoder:
    """For a Content-Encoding.

    Raises:
        StoreError: The encoding is unknown.
    """
    match encoding:
        case "gzip" | "x-gzip":
            return _ZlibDecoder("gzip")
        case "deflate":
            return _ZlibDecoder("deflate")
        case "lz4":
            return _Lz4Decoder()
        case "zstd":
            return _ZstdDecoder()
    raise StoreError(
        89,
        "UNKNOWN_COMPRESSION_METHOD",
        f"Unknown compression method {encoding!r}; {', '.join(ENCODINGS)} are known",
    )


def encoder(encoding: str) -> Encoder:
    """For one of ENCODINGS."""
    match encoding:
        case "lz4":
            return _Lz4Encoder()
        case "zstd":
            return _ZstdEncoder()
        case "gzip":
            return _ZlibEncoder(31)
        case _:
            return _ZlibEncoder(15)


def choose_encoding(accepted: str) -> str | None:
    """The first of ENCODINGS that an Accept-Encoding header allows."""
    offers = {}
    for part in accepted.lower().split(","):
        name, _, weight = part.partition(";")
        offers[name.strip()] = weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return next((name for name in ENCODINGS if offers.get(name)), None)
