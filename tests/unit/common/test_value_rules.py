"""What is said of a value that is not as it must be."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from services.common.control.errors import InvalidChangeError
from services.common.errors.value_rules import rule_of, shown

PYDANTICS = ("Input should", "Extra inputs", "Field required", "parse string", "timezone info")


class Line(BaseModel):
    """A part of a bill."""

    model_config = ConfigDict(extra="forbid")

    amount_usd: Decimal
    day: date | None = None


class Bill(BaseModel):
    """One field of each sort that people write."""

    model_config = ConfigDict(extra="forbid")

    lines: tuple[Line, ...] = ()
    total_usd: Decimal = Decimal(0)
    share: float = 1.0
    count: int = Field(1, ge=1, le=10)
    paid: bool = False
    sent_at: AwareDatetime | None = None
    period: Literal["day", "month"] = "day"
    name: str = ""
    from_: str = Field("", alias="from")
    limits: Line | None = None
    days: dict[Annotated[str, Field(pattern="^(requests|dead_letters)$")], int] = Field(default_factory=dict)
    code: Annotated[str, Field(pattern="^[a-z]{2}$")] = "fr"


def told(fields: dict[str, Any]) -> dict[str, str]:
    """What is said of each wrong field, by its path."""
    with pytest.raises(ValidationError) as refused:
        Bill.model_validate(fields)
    found = refused.value.errors(include_url=False, include_context=False)  # as answers over HTTP do
    return {".".join(map(str, one["loc"])): rule_of(one, Bill) for one in found}


@pytest.mark.parametrize(
    ("given", "better"),
    [
        ("20,50", "20.50"),
        ("0,8", "0.8"),
        ("-1,5", "-1.5"),
        ("1 000,50", "1000.50"),
        ("1\u202f000,50 €", "1000.50"),
        ("0,0001", "0.0001"),
    ],
)
def test_number_with_a_decimal_comma_is_shown_as_it_is_written_here(given: str, better: str) -> None:
    """The person can copy it, whatever field it is for."""
    assert told({"total_usd": given, "share": given}) == dict.fromkeys(
        ("total_usd", "share"), f"use a point before the decimals, {better}"
    )


@pytest.mark.parametrize("given", ["20 euros", "vingt", "1,000", "1.000,50", "", "1,5,2"])
def test_number_that_may_mean_two_things_is_not_guessed(given: str) -> None:
    """A comma before three digits may stand for thousands."""
    assert told({"total_usd": given})["total_usd"].startswith("use a number such as 20.50")


@pytest.mark.parametrize("given", ["demain", "01/12/2026", "1er décembre 2026", "2026-13-01", True])
def test_day_that_is_none_is_told_the_form_of_a_day(given: object) -> None:
    """Whatever way pydantic fails to read it."""
    assert told({"lines": [{"amount_usd": 1, "day": given}]}) == {"lines.0.day": "use a day like 2026-12-01"}


@pytest.mark.parametrize("given", ["hier", "2026-12-01", "2026-12-01T08:00:00", "08h00"])
def test_time_without_an_offset_is_told_the_form_of_a_time(given: str) -> None:
    """A day is no time either: nobody knows in which zone it begins."""
    assert told({"sent_at": given})["sent_at"].startswith("use a time with its offset, like 2026-12-01T08")


def test_other_sorts_of_values_are_told_what_to_write() -> None:
    """One of each."""
    given = {"count": "dix", "paid": "oui", "period": "mois", "name": 3, "lines": 3, "limits": "x"}
    assert told(given) == {
        "count": "use a whole number such as 20, and nothing else",
        "paid": "use true or false",
        "period": "use 'day' or 'month'",
        "name": "use a string",
        "lines": "use an array",
        "limits": "use an object",
    }
    assert told({"days": {"audit": 1}}) == {"days.audit.[key]": "use one of requests, dead_letters"}
    assert "pattern" in told({"code": "x|y"})["code"]
    assert told({"count": 11}) == {"count": "use a value less than or equal to 10"}


@pytest.mark.parametrize(
    ("given", "path", "rule"),
    [
        (
            {"limits": {"amount_usd": 1, "amount": 2}},
            "limits.amount",
            "there is no such field, amount_usd perhaps; there are amount_usd, day",
        ),
        ({"lines": [{"amount_usd": 1, "jour": 2}]}, "lines.0.jour", "there are amount_usd, day"),
        ({"e-mail": "x"}, "e-mail", "there is no such field; there are lines, total_usd, share, count, paid"),
        ({"from_": "x"}, "from_", "there is no such field, from perhaps; there are lines"),
    ],
)
def test_unknown_field_is_told_which_there_are(given: dict[str, Any], path: str, rule: str) -> None:
    """At the very place, by the names that callers use; the one that may be meant first."""
    assert rule in told(given)[path]


def test_long_unknown_field_is_compared_with_nothing() -> None:
    """A megabyte of a name costs a moment."""
    name = "total_usd" * 100_000
    assert told({name: 1})[name].startswith("there is no such field; there are lines")


def test_change_that_is_refused_has_no_words_of_pydantics() -> None:
    """The way of commands: each field, what to write, and what was written."""
    wrong = {"total_usd": "20,5", "sent_at": "hier", "lines": [{"jour": 1}], "paid": "oui"}
    with pytest.raises(ValidationError) as refused:
        Bill.model_validate(wrong)
    text = str(InvalidChangeError.of(refused.value, Bill))
    assert not any(words in text for words in PYDANTICS), text
    assert 'total_usd: use a point before the decimals, 20.5; it is "20,5"' in text
    assert "lines.0.amount_usd: it is required" in text


def test_long_values_are_not_shown() -> None:
    """An error is no place for a prompt."""
    with pytest.raises(ValidationError) as refused:
        Bill.model_validate({"total_usd": "secret " * 20})
    assert shown(refused.value.errors(include_url=False)[0]) == ""
