"""Whether a schema may follow a released one.

Pure: two JSON Schemas in, what breaks out.

A message of the old schema must still be accepted (nothing removed, narrowed or newly
required), and one of the new schema must still be readable by whoever knows only the
old one (nothing that was required may be left out now). Consumers are deployed before
producers, so a type or an enumeration may grow.
"""

from typing import Any

Schema = dict[str, Any]

_LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EXACT = ("pattern", "format", "multipleOf")
_PROSE = frozenset({"title", "description", "examples"})


def breaking_changes(old: Schema, new: Schema) -> list[str]:
    """Every change from `old` to `new` that breaks somebody, as `path: what`; empty if
    none does.
    """
    return sorted(set(_compare(old, new, _Definitions(old, new), "$", frozenset())))


def same_meaning(old: Schema, new: Schema) -> bool:
    """True if they differ in prose at most."""
    return bool(without_prose(old) == without_prose(new))


def without_prose(schema: Any) -> Any:
    """A schema without its titles and descriptions; properties of such names stay."""
    if isinstance(schema, list):
        return [without_prose(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    named = {
        key: {name: without_prose(one) for name, one in schema[key].items()}
        for key in ("properties", "$defs")
        if key in schema
    }
    return {
        key: without_prose(value) for key, value in schema.items() if key not in _PROSE and key not in named
    } | named


class _Definitions:
    def __init__(self, old: Schema, new: Schema) -> None:
        self._old: Schema = old.get("$defs", {})
        self._new: Schema = new.get("$defs", {})

    def resolve(self, old: Schema, new: Schema) -> tuple[Schema, Schema]:
        return _resolved(old, self._old), _resolved(new, self._new)


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    while "$ref" in schema:
        schema = {key: value for key, value in schema.items() if key != "$ref"} | definitions[
            schema["$ref"].removeprefix("#/$defs/")
        ]
    return schema


def _compare(
    old: Schema, new: Schema, definitions: _Definitions, path: str, seen: frozenset[tuple[str, str]]
) -> list[str]:
    names = (old.get("$ref", ""), new.get("$ref", ""))
    if names in seen:
        return []
    seen |= {names} if all(names) else set()
    old, new = definitions.resolve(old, new)
    if _alternatives(old) or _alternatives(new):
        return _compare_alternatives(old, new, definitions, path, seen)
    return [
        *_narrowed_type(old, new, path),
        *_narrowed_values(old, new, path),
        *_narrowed_bounds(old, new, path),
        *_compare_properties(old, new, definitions, path, seen),
        *_compare_items(old, new, definitions, path, seen),
    ]


def _alternatives(schema: Schema) -> list[Schema]:
    return list(schema.get("anyOf") or schema.get("oneOf") or [])


def _compare_alternatives(
    old: Schema, new: Schema, definitions: _Definitions, path: str, seen: frozenset[tuple[str, str]]
) -> list[str]:
    """Each old alternative must be accepted by some new one; the least broken names
    what is wrong.
    """
    found: list[str] = []
    for one in _alternatives(old) or [old]:
        attempts: list[list[str]] = [
            _compare(one, other, definitions, path, seen) for other in _alternatives(new) or [new]
        ]
        least = min(range(len(attempts)), key=lambda number: len(attempts[number]))
        found += attempts[least]
    return found


def _narrowed_type(old: Schema, new: Schema, path: str) -> list[str]:
    before, after = _types(old), _types(new)
    if after is None or (before is not None and before <= after):
        return []
    return [f"{path}: the type was {_said(before)} and is {_said(after)}"]


def _types(schema: Schema) -> set[str] | None:
    """The JSON types it accepts; None means any."""
    given = schema.get("type")
    if given is None:
        return None
    types = {given} if isinstance(given, str) else set(given)
    return types | {"integer"} if "number" in types else types


def _said(types: set[str] | None) -> str:
    return "any" if types is None else " or ".join(sorted(types))


def _narrowed_values(old: Schema, new: Schema, path: str) -> list[str]:
    before, after = _values(old), _values(new)
    if after is None:
        return []
    if before is None:
        return [f"{path}: any value was allowed, now only {after}"]
    return [f"{path}: the value {one!r} is no longer allowed" for one in before if one not in after]


def _values(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _narrowed_bounds(old: Schema, new: Schema, path: str) -> list[str]:
    found = [
        f"{path}: {name} was {old.get(name, 'none')} and is {new[name]}"
        for name in _LOWER_BOUNDS
        if name in new and new[name] > old.get(name, float("-inf"))
    ]
    found += [
        f"{path}: {name} was {old.get(name, 'none')} and is {new[name]}"
        for name in _UPPER_BOUNDS
        if name in new and new[name] < old.get(name, float("inf"))
    ]
    return found + [
        f"{path}: {name} was {old.get(name, 'none')} and is {new[name]}"
        for name in _EXACT
        if name in new and new[name] != old.get(name)
    ]


def _compare_properties(
    old: Schema, new: Schema, definitions: _Definitions, path: str, seen: frozenset[tuple[str, str]]
) -> list[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    needed_before, needed_after = set(old.get("required", ())), set(new.get("required", ()))
    found = [f"{path}.{name}: the field was removed" for name in before if name not in after]
    found += [f"{path}.{name}: the field is required now" for name in needed_after - needed_before]
    found += [
        f"{path}.{name}: the field is no longer required, but older consumers need it"
        for name in (needed_before - needed_after) & set(after)
    ]
    for name in before.keys() & after.keys():
        found += _compare(before[name], after[name], definitions, f"{path}.{name}", seen)
    return found


def _compare_items(
    old: Schema, new: Schema, definitions: _Definitions, path: str, seen: frozenset[tuple[str, str]]
) -> list[str]:
    """Of arrays (`items`, `prefixItems`) and of maps (`additionalProperties`)."""
    found: list[str] = []
    for name, mark in (("items", "[]"), ("additionalProperties", "{}")):
        before, after = old.get(name), new.get(name)
        if after is False and before is not False:
            found.append(f"{path}{mark}: nothing more is allowed")
        elif isinstance(after, dict):
            found += _compare(
                before if isinstance(before, dict) else {}, after, definitions, f"{path}{mark}", seen
            )
    for number, (one, other) in enumerate(
        zip(old.get("prefixItems", ()), new.get("prefixItems", ()), strict=False)
    ):
        found += _compare(one, other, definitions, f"{path}[{number}]", seen)
    return found
