"""One name for one failure."""

import ast
from pathlib import Path

import pytest

from schemas.errors import ErrorCode, RetryReason

_SERVICES = Path(__file__).parents[3] / "services"
_MAKERS = {"ErrorDetail", "Problem", "malformed", "unavailable"}


def _literal_codes(path: Path) -> list[str]:
    """The codes that a file spells out where it makes an error."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    made = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in _MAKERS]
    return [
        f"{path.name}:{call.lineno}"
        for call in made
        for keyword in call.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    ]


def test_error_codes_come_from_the_one_list() -> None:
    """No service spells a code out: the same event would soon have two."""
    found = [
        place
        for service in ("gateway", "inference")
        for path in sorted((_SERVICES / service).rglob("*.py"))
        for place in _literal_codes(path)
    ]
    assert found == []


def test_codes_differ_from_each_other() -> None:
    """StrEnum would take a second name for the same text as an alias, silently."""
    assert len(ErrorCode) == len(ErrorCode.__members__)
    assert len(RetryReason) == len(RetryReason.__members__)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("silence", RetryReason.SILENCE), ("moon_phase", RetryReason.OTHER), ("", RetryReason.OTHER)],
)
def test_retry_reason_of_a_newer_version_is_other(text: str, reason: RetryReason) -> None:
    """A metric's labels stay few whatever another version says."""
    assert RetryReason.of(text) is reason
