"""Tool calls as upstreams stream them, brought into OpenAI's form.

Upstreams differ: some leave the index out, give every call of an answer the index 0,
send a call whole in one delta, repeat id and name with each part, send arguments as an
object, or give no id.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.inference.engines.base import ToolCall


@dataclass(slots=True)
class _Known:
    index: int
    id: str | None
    name: str | None


class UpstreamCalls:
    """The calls of one choice; each gets an index of its own, and an id made from
    `ids_from` where the upstream gives none.
    """

    def __init__(self, ids_from: str) -> None:
        self._ids_from = ids_from
        self._calls: list[_Known] = []
        self._by_given: dict[object, _Known] = {}

    @property
    def begun(self) -> bool:
        """Whether there is a call."""
        return bool(self._calls)

    def read(self, deltas: Iterable[Mapping[str, Any]]) -> tuple[ToolCall, ...]:
        """The parts in one chunk's `tool_calls`."""
        return tuple(self._part(delta) for delta in deltas)

    def _part(self, delta: Mapping[str, Any]) -> ToolCall:
        function = delta.get("function") or {}
        name, given_id = function.get("name") or None, delta.get("id") or None
        arguments = _text(function.get("arguments"))
        known = self._continued(delta.get("index"), given_id, name)
        if known is not None:
            first_name = name if known.name is None else None
            known.name = known.name or name
            return ToolCall(index=known.index, name=first_name, arguments=arguments)
        begun = _Known(len(self._calls), given_id or f"call_{self._ids_from}_{len(self._calls)}", name)
        self._calls.append(begun)
        self._by_given[delta.get("index")] = begun
        return ToolCall(index=begun.index, id=begun.id, name=name, arguments=arguments)

    def _continued(self, index: object, given_id: str | None, name: str | None) -> _Known | None:
        """The call that a part belongs to; None for a new one's first part."""
        known = self._by_given.get(index)
        if known is None and index is None and given_id is None and name is None and self._calls:
            return self._calls[-1]
        if known is None:
            return None
        if given_id is not None and given_id != known.id:
            return None
        if index is None and given_id is None and name is not None:
            return None
        return known


def _text(arguments: object) -> str:
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return json.dumps(arguments)
