"""Parts of tool calls become calls, and a whole gives the parts that are lacking."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.requests.tool_calls import arguments_json, join_tool_calls, rest_of_tool_calls


def parts_of(calls: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """A call's first part, then its arguments letter by letter."""
    parts: list[dict[str, Any]] = []
    for index, (name, arguments) in enumerate(calls):
        parts.append({"index": index, "id": f"c{index}", "type": "function", "function": {"name": name}})
        parts += [{"index": index, "function": {"arguments": letter}} for letter in arguments]
    return parts


CALLS = st.lists(st.tuples(st.sampled_from(["f", "g"]), st.text(max_size=6)), max_size=3)


@given(calls=CALLS, cut=st.integers(0, 30))
def test_rest_of_tool_calls_completes_any_beginning(calls: list[tuple[str, str]], cut: int) -> None:
    """Whatever was had, the rest joins it to the whole, and nothing comes twice."""
    parts = parts_of(calls)
    whole = join_tool_calls((), parts)
    have = join_tool_calls((), parts[:cut])
    rest = rest_of_tool_calls(have, whole)
    assert rest is not None
    assert join_tool_calls(have, rest) == whole
    assert [(call["function"]["name"], call["function"]["arguments"]) for call in whole] == calls


def test_rest_of_tool_calls_of_another_answer_is_none() -> None:
    """Another name, id, arguments or no call at all: it cannot be completed."""
    have = join_tool_calls((), parts_of([("f", "ab")]))
    for other in ([("g", "abc")], [("f", "ax")], []):
        assert rest_of_tool_calls(have, join_tool_calls((), parts_of(other))) is None
    changed = ({**have[0], "id": "other"},)
    assert rest_of_tool_calls(have, changed) is None


@pytest.mark.parametrize(
    ("given_arguments", "shown"),
    [
        ('{"a":[1,2]}', '{"a": [1, 2]}'),
        ("", "{}"),
        (None, "{}"),
        ({"a": "é"}, '{"a": "é"}'),
        ('{"a": 1', '"{\\"a\\": 1"'),
        ("[" * 199 + "]" * 199, "[" * 199 + "]" * 199),
        ("[" * 5000 + "]" * 5000, '"' + "[" * 5000 + "]" * 5000 + '"'),
        ("[" * 900_000, '"' + "[" * 900_000 + '"'),
        ("7" * 100_000, '"' + "7" * 100_000 + '"'),
    ],
)
def test_arguments_of_a_call_are_shown_as_json_or_as_the_text_they_are(
    given_arguments: object, shown: str
) -> None:
    """Nothing that a client puts into its history fails: neither depth nor length."""
    assert arguments_json(given_arguments) == shown
