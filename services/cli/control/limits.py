"""The options that set limits."""

from typing import Annotated, Any

import typer

_MOST_DIGITS = 18
_SAID = {
    "requests_per_minute": "requests/min",
    "tokens_per_minute": "tokens/min",
    "concurrent_streams": "at a time",
}


def _parse(given: str | None) -> str | None:
    is_number = given is not None and given.isdecimal() and len(given) <= _MOST_DIGITS
    if given is not None and given != "none" and not is_number:
        raise typer.BadParameter(f"{given[:40]!r} is no limit; give a number, or none to take it away")
    return given


RequestsPerMinute = Annotated[
    str | None, typer.Option(callback=_parse, help="Requests a minute; none takes the limit away.")
]
TokensPerMinute = Annotated[
    str | None, typer.Option(callback=_parse, help="Tokens a minute; none takes the limit away.")
]
ConcurrentStreams = Annotated[
    str | None, typer.Option(callback=_parse, help="Requests at a time; none takes the limit away.")
]


def limits_text(entry: dict[str, Any]) -> str:
    """An entry's limits in a list."""
    limits = entry.get("limits") or {}
    return ", ".join(f"{limits[name]} {what}" for name, what in _SAID.items() if limits.get(name) is not None)


def limits_of(
    requests_per_minute: str | None, tokens_per_minute: str | None, concurrent_streams: str | None
) -> dict[str, Any]:
    """The field `limits` with what was named; no field where nothing was."""
    given = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "concurrent_streams": concurrent_streams,
    }
    limits = {
        name: None if value == "none" else int(value) for name, value in given.items() if value is not None
    }
    return {"limits": limits} if limits else {}
