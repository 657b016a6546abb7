"""The search finds words however they are written."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.erasure.traces import forms_of, found_in, found_in_files

WORD = "a7c91e52f03b"


@pytest.mark.parametrize("before", ["", "x", "xy", "xyz", "Zo\u00eb "])
def test_word_is_found_in_json_in_urls_and_in_base64_wherever_it_begins(before: str) -> None:
    """Escapes and what stands beside it change nothing."""
    words = {"it": forms_of(WORD)}
    text = f"{before}{WORD}{before}"
    for content in (
        text.encode(),
        json.dumps({"text": text}).encode(),
        quote(text).encode(),
        base64.b64encode(text.encode()),
        base64.urlsafe_b64encode(json.dumps({"a": text}).encode()),
    ):
        assert found_in(content, words) == {"it"}, content
    assert found_in(WORD[:-1].encode(), words) == set()


def test_word_is_found_in_folders_of_folders(tmp_path: Path) -> None:
    """By the file's path, also where it is no text."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.log").write_bytes(b"\xff\x00" + WORD.encode())
    (tmp_path / "a" / "c.log").write_bytes(b"nothing")
    assert found_in_files([tmp_path], {"it": forms_of(WORD)}) == {"a/b.log": {"it"}}
