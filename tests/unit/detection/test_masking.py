"""Masking and the way back."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detection.masking import (
    PLACEHOLDER_LENGTH,
    RestoreState,
    Vault,
    mask,
    mask_all,
    restore,
    restore_chunk,
    restore_end,
)
from services.detection.sensitive import find_sensitive
from tests.unit.detection.sensitive_texts import cuts, texts


def restore_in_chunks(chunks: list[str], vault: Vault) -> str:
    """A stream restored chunk by chunk, with the bound on what is held asserted."""
    state, parts = RestoreState(), []
    for chunk in chunks:
        state, text = restore_chunk(state, chunk, vault)
        assert len(state.held) <= PLACEHOLDER_LENGTH
        parts.append(text)
    return "".join([*parts, restore_end(state, vault)])


def test_mask_typed_placeholders_names_each_kind() -> None:
    """Each kind of value gets a placeholder of its own kind, numbered from one."""
    masked = mask("Write to a.b@corp.fr or c.d@corp.fr, card 4111 1111 1111 1111.")
    assert masked.text == "Write to [EMAIL_1] or [EMAIL_2], card [CARD_1]."


def test_mask_same_value_otherwise_written_gets_same_placeholder() -> None:
    """Separators of a card and the case of an address make no second value."""
    masked = mask("4111 1111 1111 1111, 4111-1111-1111-1111, A.B@corp.fr, a.b@CORP.fr")
    assert masked.text == "[CARD_1], [CARD_1], [EMAIL_1], [EMAIL_1]"
    assert masked.original == "4111 1111 1111 1111, 4111-1111-1111-1111, A.B@corp.fr, a.b@CORP.fr"


def test_mask_second_message_of_a_conversation_keeps_placeholders() -> None:
    """A value met again in the conversation has its placeholder of before, a new one
    the next number.
    """
    first = mask("I am a.b@corp.fr")
    second = mask("a.b@corp.fr wrote to c.d@corp.fr", first.vault)
    assert second.text == "[EMAIL_1] wrote to [EMAIL_2]"
    assert restore("Dear [EMAIL_2], from [EMAIL_1]", second.vault) == "Dear c.d@corp.fr, from a.b@corp.fr"


def test_mask_value_known_by_context_is_masked_everywhere() -> None:
    """A password told once is masked also where nothing says what it is."""
    masked = mask("My password is hT7!kq2pLm. Is hT7!kq2pLm strong?")
    assert masked.text == "My password is [SECRET_1]. Is [SECRET_1] strong?"


def test_mask_text_with_placeholder_of_its_own_leaves_it_alone() -> None:
    """A placeholder that the user wrote survives, and its number is given to no value."""
    masked = mask("Use [EMAIL_1] literally, write to a.b@corp.fr")
    assert masked.text == "Use [EMAIL_1] literally, write to [EMAIL_2]"
    assert (
        restore(masked.text, masked.vault)
        == masked.original
        == "Use [EMAIL_1] literally, write to a.b@corp.fr"
    )


def test_vault_and_masked_in_logs_show_no_value() -> None:
    """The representation of a masked text and of its vault holds no value."""
    masked = mask("write to a.b@corp.fr")
    assert "corp.fr" not in repr(masked)


@pytest.mark.parametrize(
    "text", ["", "[", "[EMAIL_1", "[EMAIL_1]]", "[[EMAIL_1]", "\0", "[EMAIL_9999999]", "\ud800"]
)
def test_restore_unknown_or_broken_placeholder_changes_nothing(text: str) -> None:
    """What is no placeholder of the vault stays as it is, also in a stream."""
    assert restore(text, Vault()) == text == restore_in_chunks(list(text), Vault())


@given(texts())
@settings(max_examples=150, deadline=None)
def test_mask_then_original_is_the_identity(text: str) -> None:
    """The masked text and its replacements give back the very text."""
    assert mask(text).original == text


@given(texts())
@settings(max_examples=100, deadline=None)
def test_restore_of_masked_text_differs_in_writing_only(text: str) -> None:
    """The vault gives back a text that is masked to the same one; where no value is
    written in two ways, the very text.
    """
    masked = mask(text)
    restored = restore(masked.text, masked.vault)
    written = {r.value for r in masked.replacements}
    if len(written) == len(masked.vault.values):
        assert restored == text
    assert len(restored) >= len(masked.text) - sum(len(p) for p in masked.vault.values) * len(
        masked.replacements
    )


@given(texts())
@settings(max_examples=100, deadline=None)
def test_mask_masked_text_again_changes_nothing(text: str) -> None:
    """Masking is idempotent, with the conversation's vault and with a new one."""
    masked = mask(text)
    assert mask(masked.text, masked.vault).text == masked.text
    assert mask(masked.text).text == masked.text


@given(texts())
@settings(max_examples=100, deadline=None)
def test_masked_text_holds_no_recognised_value(text: str) -> None:
    """No value stands in the masked text any more, and nothing outside the placeholders
    is recognised.
    """
    masked = mask(text)
    outside = masked.text
    for replacement in reversed(masked.replacements):
        outside = outside[: replacement.start] + "\0" + outside[replacement.end :]
    for finding in masked.findings:
        value = text[finding.start : finding.end]
        if "[" not in value:
            assert f" {value} " not in f" {outside} "
    placeholders = [(r.start, r.end) for r in masked.replacements]
    for finding in find_sensitive(masked.text):
        touched = any(start < finding.end and finding.start < end for start, end in placeholders)
        assert touched or "[" in masked.text[finding.start : finding.end]


@given(texts(), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_restore_in_any_chunks_equals_restore_of_the_whole(text: str, seed: int) -> None:
    """However a stream is cut, also inside a placeholder, it is restored as the whole
    is.
    """
    masked = mask(text)
    answer = masked.text + " [CARD_1 [EMAIL_1] [SECRET_1]x[EMAIL_2"
    assert restore_in_chunks(cuts(answer, seed), masked.vault) == restore(answer, masked.vault)


@given(st.lists(texts(), max_size=4))
@settings(max_examples=60)
def test_masking_texts_together_leaves_no_value_in_any(said: list[str]) -> None:
    """Not even where nothing there tells that it is one; and doing it twice changes
    nothing.
    """
    masked, vault = mask_all(said)
    assert len(masked) == len(said)
    for text in masked:
        for value in vault.values.values():
            if "[" not in value:
                assert not re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text)
    again, more = mask_all(masked)
    assert (again, dict(more.values)) == (masked, {})
