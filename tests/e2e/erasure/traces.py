"""Looks for words in all that an installation has: files, topics, tables, answers."""

import base64
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import lz4.block
from backports import zstd

_LZ4, _ZSTD = 0x82, 0x90
_HEAD = 16 + 1 + 4 + 4
"""Of a compressed block of ClickHouse's: checksum, method, sizes with and without."""
_MOST_BLOCK = 1 << 27


def forms_of(word: str) -> tuple[bytes, ...]:
    """A word of plain letters and digits (which JSON and URLs leave as they are) as it is,
    and in base64 wherever it begins in what was encoded.
    """
    forms = [word.encode()]
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + word.encode())
        forms.append(encoded[(before * 8 + 5) // 6 : (before + len(word)) * 8 // 6])
    return tuple(forms)


def found_in(content: bytes, words: Mapping[str, tuple[bytes, ...]]) -> set[str]:
    """The names of the words that something holds in any form."""
    return {name for name, forms in words.items() if any(form in content for form in forms)}


def found_in_files(folders: list[Path], words: Mapping[str, tuple[bytes, ...]]) -> dict[str, set[str]]:
    """Each file that holds some, with which; what ClickHouse compressed is read too."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for at, _, names in os.walk(folder):  # passes over folders that are removed meanwhile
            for path in (Path(at, name) for name in names):
                for content in _contents(path):
                    if held := found_in(content, words):
                        found.setdefault(str(path.relative_to(folder)), set()).update(held)
    return found


def _contents(path: Path) -> Iterator[bytes]:
    with suppress(OSError):  # merged, rotated or deleted meanwhile
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            yield content
            if path.suffix in (".bin", ".cidx"):
                yield b"".join(decompressed(content))


def decompressed(content: bytes) -> Iterator[bytes]:
    """What the blocks of a file of ClickHouse's hold."""
    at = 0
    while at + _HEAD <= len(content):
        method, packed, plain = struct.unpack_from("<BII", content, at + 16)
        if packed < 9 or at + 16 + packed > len(content) or plain > _MOST_BLOCK:
            return
        block = content[at + _HEAD : at + 16 + packed]
        with suppress(lz4.block.LZ4BlockError, zstd.ZstdError):
            if method == _LZ4:
                yield lz4.block.decompress(block, uncompressed_size=plain)
            elif method == _ZSTD:
                yield zstd.decompress(block)
        at += 16 + packed
