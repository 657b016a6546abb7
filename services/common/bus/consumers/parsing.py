"""Reading what a record says, where its producer may be of another version.

During a rolling upgrade a newer producer writes kinds that this version does not know.
Such a record is no error: it is counted and passed over, as is one that cannot be read.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog
from pydantic import TypeAdapter, ValidationError

from services.common.bus.coordinates import Record
from services.common.process import metrics

log = structlog.get_logger(__name__)

Parsed = TypeVar("Parsed")

_NAME_CHARS = 40
_LOGGED = 64


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message of a kind that this version does not know: a newer producer's."""

    kind: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that is malformed; `problems` counts what is wrong with it, 0 where
    there is nothing to read.
    """

    problems: int


def parse_known(adapter: TypeAdapter[Parsed], value: bytes | None) -> Parsed | Unknown | Unreadable:
    """What a record's value says, by its `kind`."""
    if value is None:
        return Unreadable(0)
    try:
        return adapter.validate_json(value)
    except ValidationError as error:
        kind = _unknown_kind(error)
        return Unreadable(error.error_count()) if kind is None else Unknown(kind[:_NAME_CHARS])


@dataclass
class MessageReader(Generic[Parsed]):
    """Reads the messages of one topic and passes over, counted, what this version
    cannot use.

    A kind or a fault is logged when it is first met, not for each of its records.
    """

    adapter: TypeAdapter[Parsed]
    topic: str
    _logged: "OrderedDict[str, None]" = field(default_factory=OrderedDict, init=False)

    def read(self, record: Record) -> Parsed | None:
        """What a record says; None where it is passed over."""
        parsed = parse_known(self.adapter, record.value)
        if isinstance(parsed, Unknown):
            metrics.BUS_SKIPPED.labels(self.topic, "unknown_kind").inc()
            self._log_once(record, kind=parsed.kind)
            return None
        if isinstance(parsed, Unreadable):
            metrics.BUS_SKIPPED.labels(self.topic, "unreadable").inc()
            self._log_once(record, kind="", problems=parsed.problems)
            return None
        return parsed

    def _log_once(self, record: Record, *, kind: str, problems: int = 0) -> None:
        if kind in self._logged:
            return
        self._logged[kind] = None
        if len(self._logged) > _LOGGED:
            self._logged.popitem(last=False)
        log.warning(
            "record_skipped",
            topic=self.topic,
            partition=record.partition,
            offset=record.offset,
            unknown_kind=kind,
            problems=problems,
        )


def _unknown_kind(error: ValidationError) -> str | None:
    """The kind that no model has; None where something else is wrong."""
    for problem in error.errors(include_url=False):
        if problem["type"] == "union_tag_invalid" and not problem["loc"]:
            kind = problem["input"].get("kind")
        elif problem["type"] == "literal_error" and problem["loc"] == ("kind",):
            kind = problem["input"]
        else:
            continue
        return kind if isinstance(kind, str) else None
    return None
