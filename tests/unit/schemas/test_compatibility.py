"""Which changes of a schema break somebody."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, create_model

from schemas.export import HOME, BreakingChangeError, all_topics, plan, release
from schemas.export.compatibility import breaking_changes, same_meaning
from schemas.topics import Topic


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


_TEXT = {"type": "string"}
_COUNT = {"type": "integer"}
_MAYBE = {"anyOf": [{"type": "string"}, {"type": "null"}]}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (_object(a=_TEXT, b=_TEXT), _object(a=_TEXT), "$.b: the field was removed"),
        (_object(a=_TEXT), _object(("b",), a=_TEXT, b=_TEXT), "$.b: the field is required now"),
        (_object(a=_TEXT), _object(("a",), a=_TEXT), "$.a: the field is required now"),
        (_object(("a",), a=_TEXT), _object(a=_TEXT), "$.a: the field is no longer required"),
        (
            _object(a={"type": "number"}),
            _object(a=_COUNT),
            "$.a: the type was integer or number and is integer",
        ),
        (_object(a=_MAYBE), _object(a=_TEXT), "$.a: the type was null and is string"),
        (
            _object(a={"enum": ["x", "y"]}),
            _object(a={"enum": ["x"]}),
            "$.a: the value 'y' is no longer allowed",
        ),
        (_object(a=_TEXT), _object(a={"type": "string", "maxLength": 5}), "$.a: maxLength was none and is 5"),
        (_object(a=_TEXT), _object(a={"type": "string", "pattern": "^a"}), "$.a: pattern was none and is ^a"),
        (
            _object(a={"type": "array", "items": _TEXT}),
            _object(a={"type": "array", "items": _COUNT}),
            "$.a[]: the type was string and is integer",
        ),
        (
            _object(a={"additionalProperties": _MAYBE}),
            _object(a={"additionalProperties": _TEXT}),
            "$.a{}: the type was null and is string",
        ),
        (
            {"$defs": {"M": _object(a=_TEXT)}, "$ref": "#/$defs/M"},
            {"$defs": {"N": _object()}, "$ref": "#/$defs/N"},
            "$.a: the field was removed",
        ),
        (
            {"oneOf": [_object(kind={"const": "a"}), _object(kind={"const": "b"})]},
            {"oneOf": [_object(kind={"const": "a"})]},
            "$.kind: the value 'b' is no longer",
        ),
    ],
)
def test_breaking_changes_of_a_narrowing_names_it(
    old: dict[str, Any], new: dict[str, Any], problem: str
) -> None:
    """Removed, narrowed, newly required, or no longer given to those who need it."""
    assert any(one.startswith(problem) for one in breaking_changes(old, new)), breaking_changes(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (_object(a=_TEXT), _object(a=_TEXT, b=_COUNT)),
        (_object(a=_COUNT), _object(a={"type": "number"})),
        (_object(a=_TEXT), _object(a=_MAYBE)),
        (_object(a={"enum": ["x"]}), _object(a={"enum": ["x", "y"]})),
        (_object(a={"type": "string", "maxLength": 5}), _object(a={"type": "string", "maxLength": 9})),
        (
            {"oneOf": [_object(kind={"const": "a"})]},
            {"oneOf": [_object(kind={"const": "b"}), _object(kind={"const": "a"})]},
        ),
        (_object(a=_TEXT), _object(a={"type": "string", "description": "said better"})),
    ],
)
def test_breaking_changes_of_a_widening_finds_none(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Schemas may grow."""
    assert breaking_changes(old, new) == []


def test_breaking_changes_of_a_recursive_schema_ends() -> None:
    """A definition that refers to itself is compared once."""
    tree = {"$defs": {"T": _object(child={"$ref": "#/$defs/T"}, a=_TEXT)}, "$ref": "#/$defs/T"}
    assert breaking_changes(tree, tree) == []


def test_same_meaning_of_schemas_that_differ_in_prose_holds() -> None:
    """Even where a property is called title."""
    assert same_meaning(
        _object(title=_TEXT) | {"description": "a"}, _object(title=_TEXT) | {"description": "b"}
    )
    assert not same_meaning(_object(title=_TEXT), _object())


def test_exported_schemas_are_current_and_break_nothing_released() -> None:
    """The same check as `python -m schemas.export --check`."""
    assert [one.path.relative_to(HOME) for one in plan()] == []


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An export of its own, released."""
    for one in plan(tmp_path):
        one.path.parent.mkdir(parents=True, exist_ok=True)
        one.path.write_text(one.text)
    assert release(tmp_path)
    assert release(tmp_path) == []
    return tmp_path


def test_plan_with_a_changed_released_file_refuses(home: Path) -> None:
    """What was released stays as it was."""
    path = home / "jsonschema" / "inference.completed.v1" / "1.json"
    path.write_text(path.read_text().replace("tenant", "client"))
    with pytest.raises(BreakingChangeError, match="must stay as it was"):
        plan(home)


def test_plan_with_a_model_that_breaks_a_released_schema_refuses(home: Path) -> None:
    """The reason names the field."""
    path = home / "jsonschema" / "inference.commands.v1" / "1.json"
    schema = json.loads(path.read_text())
    schema["properties"]["priority"] = _COUNT
    path.write_text(json.dumps(schema))
    (home / "jsonschema" / "released.json").unlink()
    release(home)
    with pytest.raises(BreakingChangeError, match=r"\$\.priority: the field was removed"):
        plan(home)


def test_plan_with_a_model_that_has_grown_since_its_release_makes_the_next_revision(home: Path) -> None:
    """The released revision stays beside it."""
    path = home / "jsonschema" / "inference.commands.v1" / "1.json"
    schema = json.loads(path.read_text())
    del schema["properties"]["reason"]
    schema["required"].remove("reason")
    path.write_text(json.dumps(schema))
    (home / "jsonschema" / "released.json").unlink()
    release(home)
    with pytest.raises(BreakingChangeError, match=r"\$\.reason: the field is required now"):
        plan(home)
    schema["properties"]["reason"] = _TEXT
    schema["required"].append("reason")
    del schema["properties"]["kind"]
    path.write_text(json.dumps(schema))
    (home / "jsonschema" / "released.json").unlink()
    release(home)
    assert {one.path.name for one in plan(home)} == {"2.json", "asyncapi.yaml"}


def test_breaking_changes_between_real_models_are_found() -> None:
    """As pydantic writes them."""
    old = TypeAdapter(create_model("M", a=(int, ...), b=(str | None, None))).json_schema()
    new = TypeAdapter(create_model("M", a=(int, ...), b=(str, ...))).json_schema()
    assert breaking_changes(old, new) == [
        "$.b: the field is required now",
        "$.b: the type was null and is string",
    ]


def test_topics_have_folders_of_their_own() -> None:
    """No two topics share their schemas."""
    names = [topic.name for topic in all_topics()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("topic", all_topics(), ids=lambda topic: topic.name)
def test_field_that_may_be_none_is_never_required(topic: Topic) -> None:
    """Messages are encoded without their Nones, so a reader must be able to do without
    them.
    """
    schema = topic.model.json_schema()
    for model in [schema, *schema.get("$defs", {}).values()]:
        nullable = {
            name
            for name, one in model.get("properties", {}).items()
            if {"type": "null"} in one.get("anyOf", ())
        }
        assert not nullable & set(model.get("required", ()))
