"""Rows under heads, as `tocsin … list` and `costs` show them."""

from typing import Any

import pytest

from services.cli.control.control import account_name
from services.cli.control.keys import KIND
from services.cli.figures.tables import minute, table, words

KEY: dict[str, Any] = {
    "key_id": "9u7gk1u4",
    "tenant": "clinic",
    "user": "françois.lefèvre@société.fr",
    "name": "téléphone de l'accueil",
    "scopes": ["infer", "read"],
    "models": [],
    "limits": {"requests_per_minute": 60, "tokens_per_minute": None, "concurrent_streams": 2},
    "deleted_at": None,
    "revoked_at": None,
    "expires_at": None,
    "previous_secret_until": None,
    "last_used_at": "2026-11-27T08:00:59+00:00",
}


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    """Whatever names are in them; an empty cell is a dash, so that columns can be counted."""
    rows = [{"user": "é" * 40, "state": ""}, {"user": "jo", "state": "open"}]
    assert table(rows) == [
        f"USER{' ' * 36}  STATE",
        f"{'é' * 40}  -",
        f"jo{' ' * 38}  open",
    ]
    assert table([]) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "open"),
        ({"expires_at": "2027-01-01T00:00:00Z"}, "expires 2027-01-01 00:00Z"),
        ({"previous_secret_until": "9999-01-01T00:00:00Z"}, "open, former secret until 9999-01-01 00:00Z"),
        ({"previous_secret_until": "2026-01-01T00:00:00Z"}, "open"),
        (
            {"revoked_at": "2026-11-27T08:00:00Z", "previous_secret_until": "9999-01-01T00:00:00Z"},
            "revoked 2026-11-27 08:00Z",
        ),
    ],
)
def test_key_in_a_list_tells_limits_models_and_a_rotation(more: dict[str, Any], said: str) -> None:
    """A former secret is told as long as it is good."""
    cells = KIND.cells(KEY | more)
    assert cells["whose"] == "clinic/françois.lefèvre@société.fr"
    assert (cells["models"], cells["limits"]) == ("all", "60 requests/min, 2 at a time")
    assert (cells["state"], cells["last used"]) == (said, "2026-11-27 08:00Z")
    assert KIND.cells(KEY | {"last_used_at": None})["last used"] == "never"


def test_values_are_written_as_people_do() -> None:
    """No brackets, no None."""
    assert words({"a": None, "b": True, "c": ["x", "y"]}) == "b=yes c=x,y"
    assert words([{"model": "m", "weight": 1}, {"model": "n", "weight": 2}]) == (
        "model=m weight=1; model=n weight=2"
    )
    assert (words(None), words(False), words(0)) == ("", "no", "0")


def test_minute_is_utc_whatever_the_offset() -> None:
    """And nothing where there is no time."""
    assert minute("2026-11-27T09:30:59.5+01:00") == "2026-11-27 08:30Z"
    assert (minute(None), minute("")) == ("", "")


def test_operator_who_came_by_sudo_is_named() -> None:
    """Two people with sudo are told apart."""
    assert account_name("root", "hélène") == "root (sudo: hélène)"
    assert [account_name("ann", ""), account_name("ann", "ann")] == ["ann", "ann"]
