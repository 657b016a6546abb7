"""Compressed request bodies: decoded up to the limit, never beyond it."""

import zlib
from collections.abc import Iterator
from typing import Any

import zstandard

from schemas.errors import ErrorCode
from services.common.http.problems import Problem, ProblemError, malformed, too_large

ACCEPTED = "gzip, deflate, zstd, identity"

_MAX_MEMBERS = 64
"""gzip files and zstd frames that may follow each other in one body."""
_ZSTD_WINDOW_BYTES = 8 * 1024 * 1024
"""What every decoder of RFC 8878 should support; a frame may ask for more memory."""
_ZSTD_STEP_BYTES = 128
"""The library has no bound on what one call gives: these few bytes are 4 MiB at most."""


def decode(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """A body without its Content-Encoding.

    Raises:
        ProblemError: 413, it is larger than the limit when decoded, which is not done
            to its end; 415, the encoding is not served; 400, it is not what it claims.
    """
    names = [name.strip().lower() for name in encoding.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if not names:
        return body
    if len(names) > 1 or names[0] not in _DECODERS:
        raise _unsupported(encoding)
    parts, size = [], 0
    try:
        for part in _DECODERS[names[0]](body, limit_bytes):
            size += len(part)
            if size > limit_bytes:
                raise too_large(limit_bytes, hang_up=False)
            parts.append(part)
    except (zlib.error, zstandard.ZstdError) as error:
        raise _broken(names[0]) from error
    return b"".join(parts)


def _gzip(body: bytes, limit_bytes: int) -> Iterator[bytes]:
    yield from _members("gzip", body, limit_bytes, lambda _: zlib.decompressobj(31))


def _deflate(body: bytes, limit_bytes: int) -> Iterator[bytes]:
    """With zlib's header or, as some clients send it, without."""
    yield from _members(
        "deflate",
        body,
        limit_bytes,
        lambda data: zlib.decompressobj(15 if data[0] & 0x0F == zlib.DEFLATED else -15),
    )


def _members(name: str, body: bytes, limit_bytes: int, new: Any) -> Iterator[bytes]:
    for _ in range(_MAX_MEMBERS):
        if not body:
            return
        member = new(body)
        yield member.decompress(body, limit_bytes + 1)
        if not member.eof:
            # Either there is more of it than the limit, or it ends too early.
            yield member.decompress(member.unconsumed_tail, limit_bytes + 1)
        if not member.eof:
            raise _broken(name)
        body = member.unused_data
    raise _broken(name)


def _zstd(body: bytes, _limit_bytes: int) -> Iterator[bytes]:
    at = 0
    for _ in range(_MAX_MEMBERS):
        if at >= len(body):
            return
        frame = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj()
        while not frame.eof and at < len(body):
            taken = body[at : at + _ZSTD_STEP_BYTES]
            at += len(taken)
            yield frame.decompress(taken)
        if not frame.eof:
            raise _broken("zstd")
        at -= len(frame.unused_data)
    raise _broken("zstd")


_DECODERS = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "zstd": _zstd}


def _broken(name: str) -> ProblemError:
    return malformed(
        f"The body is not {name} as its Content-Encoding says, or ends too early.",
        code=ErrorCode.INVALID_ENCODING,
    )


def _unsupported(encoding: str) -> ProblemError:
    return ProblemError(
        Problem(
            415,
            ErrorCode.UNSUPPORTED_ENCODING,
            f"Content-Encoding is {encoding[:60]!r}; one of {ACCEPTED} is served.",
            headers=(("accept-encoding", ACCEPTED),),
        )
    )
