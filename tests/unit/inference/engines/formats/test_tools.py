"""Tools that a plain text model may call: which, by what grammar, and read back how."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from services.inference.engines.base import InvalidRequestError, Sampling, ToolCall
from services.inference.engines.formats.call_parser import CallParser
from services.inference.engines.formats.call_text import CallText
from services.inference.engines.formats.chat_messages import text_messages
from services.inference.engines.formats.json_grammar import GrammarCheck, wanted_constraint
from services.inference.engines.formats.tools import wanted_tools
from tests.unit.inference.engines.formats import held

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "maximum": 9}},
    "required": ["city"],
}
TOOLS = (
    {"type": "function", "function": {"name": "weather", "description": "d", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "now"}},
)
FORCED = {"type": "function", "function": {"name": "now"}}


def call(name: str, arguments: str) -> str:
    """A call as a model writes it."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def takes(text: str, **sampling: Any) -> bool:
    """Whether the grammar lets a text through."""
    constraint = held(Sampling(**{"tools": TOOLS, **sampling}))
    assert constraint is not None
    try:
        GrammarCheck(constraint).follow(text)
    except InvalidRequestError:
        return False
    return True


CITY = call("weather", '{"city": "Paris"}')


@pytest.mark.parametrize(
    ("text", "sampling", "taken"),
    [
        (CITY, {}, True),
        ("The <b>weather</b> is 2 < 3", {}, True),
        (f"Let me look.\n{CITY}", {}, True),
        (f"{CITY}\n{call('now', '{}')}", {}, True),
        (f"{CITY}\n{CITY}", {"parallel_tool_calls": False}, False),
        (call("weather", '{"days": 3}'), {}, False),
        (call("weather", '{"city": "P", "days": 10}'), {}, False),
        (call("weather", '{"city": "P", "invented": 1}'), {}, False),
        (call("nothing", "{}"), {}, False),
        (call("now", '{"x": 1}'), {}, False),
        ("Hello", {"tool_choice": "required"}, False),
        (CITY, {"tool_choice": "required"}, True),
        (CITY, {"tool_choice": FORCED}, False),
        (call("now", "{}"), {"tool_choice": FORCED}, True),
        ('{"a": 1}', {"response_format": {"type": "json_object"}}, True),
        ("Hello", {"response_format": {"type": "json_object"}}, False),
        (CITY, {"response_format": {"type": "json_object"}}, True),
    ],
)
def test_tools_grammar_lets_through_what_the_choice_allows(
    text: str,
    sampling: dict[str, Any],
    taken: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    """Text, calls, JSON: each where it may be, and arguments by their schema."""
    assert takes(text, **sampling) is taken


def test_none_constrains_nothing_and_shows_nothing() -> None:
    """`none` is taken, and no tool is callable."""
    assert wanted_constraint(Sampling(tools=TOOLS, tool_choice="none")) is None
    assert wanted_tools(Sampling(tools=TOOLS, tool_choice="none"), several=True) is None


def test_allowed_tools_narrow_what_may_be_called() -> None:
    """All are shown, those named are callable."""
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [FORCED]}}
    tools = wanted_tools(Sampling(tools=TOOLS, tool_choice=choice), several=True)
    assert tools is not None
    assert (len(tools.shown), [one.name for one in tools.callable], tools.must) == (2, ["now"], True)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"tools": ({"type": "custom", "custom": {"name": "x"}},)}, "tools"),
        ({"tools": ({"type": "function", "function": {"name": "a b"}},)}, "tools"),
        ({"tools": ({"type": "function", "function": {"name": 'a"'}},)}, "tools"),
        ({"tools": (*TOOLS, TOOLS[1])}, "tools"),
        ({"tools": ({"type": "function", "function": {"name": "x", "parameters": []}},)}, "tools"),
        ({"tools": ({"type": "function", "function": {"name": "x", "description": ["d"]}},)}, "tools"),
        (
            {"tools": ({"type": "function", "function": {"name": "x", "parameters": {"type": "zork"}}},)},
            "tools",
        ),
        ({"tool_choice": {"type": "function", "function": {"name": "zork"}}}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": []}}}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
    ],
)
def test_tools_that_cannot_be_held_are_refused_by_name(changes: dict[str, Any], param: str) -> None:
    """Before anything is generated."""
    with pytest.raises(InvalidRequestError) as raised:
        held(Sampling(**{"tools": TOOLS, **changes}))
    assert raised.value.param == param
    assert "| " not in str(raised.value), "the grammar is not the client's"


def test_closed_schemas_let_through_valid_arguments_only() -> None:
    """A schema with a reference keeps its meaning."""
    schema = {
        "type": "object",
        "properties": {"p": {"$ref": "#/$defs/point"}, "tags": {"type": "array", "items": {"enum": ["a"]}}},
        "required": ["p", "tags"],
        "$defs": {"point": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
    }
    good = {"p": {"x": 1.5}, "tags": ["a", "a"]}
    Draft202012Validator(schema).validate(good)
    tools = ({"type": "function", "function": {"name": "f", "parameters": schema}},)
    assert takes(call("f", json.dumps(good)), tools=tools)
    assert not takes(call("f", json.dumps({**good, "tags": ["b"]})), tools=tools)


@given(
    arguments=st.dictionaries(st.text(max_size=8), st.recursive(st.text(max_size=8), st.lists, max_leaves=4)),
    before=st.sampled_from(["", "Let me see <tool> </tool_call> ", "a\n"]),
    count=st.integers(0, 3),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_call_parser_reads_the_same_however_the_text_is_cut(
    arguments: dict[str, Any], before: str, count: int, cuts: list[int]
) -> None:
    """Text and calls, with any characters in their arguments, in any pieces."""
    encoded = json.dumps(arguments, ensure_ascii=False)
    whole = before + "\n".join([call("weather", encoded)] * count)
    parser = CallParser("r")
    text, calls = "", dict[int, tuple[str | None, str]]()
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    for start, stop in pairwise(edges):
        outside, parts = parser.feed(whole[start:stop])
        text += outside
        for part in parts:
            name, so_far = calls.get(part.index, (None, ""))
            calls[part.index] = (name or part.name, so_far + part.arguments)
    text += parser.flush()
    assert text == before
    assert calls == dict.fromkeys(range(count), ("weather", encoded))


def test_call_text_counts_tokens_and_ends_with_tool_calls() -> None:
    """The ids of a request's calls are the same at every attempt; a cut call stays cut."""

    def play(end: Any) -> list[Any]:
        text = CallText(0, ("zork",), ids_from="r/0")
        tokens = ["Hm ", "<tool", "_call>", '\n{"name": "now", "argu', 'ments": {', "}", "}\n</tool_call>"]
        pieces = [text.write([token]) for token in tokens]
        pieces.append(text.write([], end=end))
        assert text.finished
        assert text.tokens == len(tokens)
        assert sum(piece.tokens for piece in pieces if piece) == len(tokens)
        return [piece for piece in pieces if piece]

    first, again = play("stop"), play("length")
    calls = [part for piece in first for part in piece.tool_calls]
    assert "".join(piece.text for piece in first) == "Hm "
    assert (calls[0].name, "".join(part.arguments for part in calls)) == ("now", "{}")
    assert first[-1].finish_reason == "tool_calls"
    assert again[-1].finish_reason == "length"
    assert [part for piece in again for part in piece.tool_calls] == calls


def test_call_text_without_a_call_keeps_stop_strings_and_what_only_looks_like_one() -> None:
    """`<tool` at the end is text; a stop string ends it."""
    text = CallText(0, ("END",), ids_from="r/0")
    pieces = [text.write([token]) for token in ("a ", "<tool", " b ", "EN", "D c")]
    assert "".join(piece.text for piece in pieces if piece) == "a <tool b "
    assert text.finished
    ended = CallText(0, (), ids_from="r/0")
    last = [ended.write(["x <too"]), ended.write([], end="stop")]
    assert "".join(piece.text for piece in last if piece) == "x <too"


def test_text_messages_render_tools_calls_and_results() -> None:
    """The system message introduces them, a call stands in its text, results in a row
    are one message of the user's.
    """
    used = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ä"}'}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [used, used]},
        {"role": "tool", "tool_call_id": "c", "content": "sunny"},
        {"role": "tool", "tool_call_id": "d", "content": [{"type": "text", "text": "rain"}]},
    ]
    rendered = text_messages(messages, wanted_tools(Sampling(tools=TOOLS), several=True))
    assert [one["role"] for one in rendered] == ["system", "user", "assistant", "user"]
    assert rendered[0]["content"].startswith("Be brief.\n\n# Tools")
    assert '"name": "weather"' in rendered[0]["content"]
    written = '<tool_call>\n{"name": "weather", "arguments": {"city": "Ä"}}\n</tool_call>'
    assert rendered[2]["content"] == f"{written}\n{written}"
    results = [f"<tool_response>\n{one}\n</tool_response>" for one in ("sunny", "rain")]
    assert rendered[3]["content"] == "\n".join(results)
    assert CallParser("r").feed(written)[1][0] == ToolCall(
        0, CallParser("r").feed(written)[1][0].id, "weather"
    )


def test_text_messages_refuse_a_call_without_a_name() -> None:
    """What is no call cannot be rendered; arguments cut short are shown as they are."""
    with pytest.raises(InvalidRequestError):
        text_messages([{"role": "assistant", "tool_calls": [{"id": "c"}]}], None)
    cut = {"function": {"name": "f", "arguments": '{"a": '}}
    assert '"{\\"a\\": "' in text_messages([{"role": "assistant", "tool_calls": [cut]}], None)[0]["content"]


def test_bounds_hold_strings_and_arrays_that_have_none() -> None:
    """Wherever they stand; a bound of the schema's own stays."""
    text = {"type": "string"}
    schema = {
        "type": "object",
        "properties": {
            "a": {"anyOf": [text, {"type": "null"}]},
            "b": {"type": "array", "items": {"$ref": "#/$defs/t"}},
            "c": {"type": "string", "maxLength": 50},
            "d": {"type": ["integer", "null"]},
            "e": {"type": "integer", "maximum": 5},
        },
        "$defs": {"t": text},
    }
    tools = ({"type": "function", "function": {"name": "f", "parameters": schema}},)
    constraint = held(Sampling(tools=tools, tool_choice="required"), longest=4)
    assert constraint is not None
    GrammarCheck(constraint).follow(
        call("f", '{"a": "abcd", "b": ["abcd"], "c": "abcdefgh", "d": -7, "e": 5}')
    )
    for beyond in (
        '{"d": 12345678901234567}',
        '{"e": 6}',
        '{"a": "abcde"}',
        '{"b": ["abcde"]}',
        '{"b": ["a", "a", "a", "a", "a"]}',
    ):
        with pytest.raises(InvalidRequestError):
            GrammarCheck(constraint).follow(call("f", beyond))
