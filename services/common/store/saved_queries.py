"""Saved queries: files under infra/clickhouse/queries, a sentence and a statement each."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from services.common.errors import ConfigError

QUERIES = Path(__file__).resolve().parents[3] / "infra" / "clickhouse" / "queries"
_PARAMETER = re.compile(r"\{(\w+):([^{}]+)\}")
_LIMITS = (
    "max_execution_time = 30, max_result_rows = 10000, result_overflow_mode = 'break', "
    "max_memory_usage = 268435456"
)


@dataclass(frozen=True, slots=True)
class SavedQuery:
    """What it tells, in a sentence, and the statement."""

    sentence: str
    sql: str

    @property
    def parameters(self) -> dict[str, str]:
        """Names of its parameters, with their types."""
        return dict(_PARAMETER.findall(self.sql))

    @property
    def limited(self) -> str:
        """The statement with its limits of time, rows and memory."""
        return f"{self.sql} SETTINGS {_LIMITS}"

    def values(self, given: Mapping[str, str], now: datetime) -> dict[str, Any]:
        """Values of its parameters: those given, else the last seven days, every tenant,
        twenty rows.

        Raises:
            ConfigError: one is unknown, missing or of another type.
        """
        known = self.parameters
        if unknown := sorted(set(given) - set(known)):
            raise ConfigError(f"the query has no parameter {unknown[0]!r}; it has {', '.join(sorted(known))}")
        week = {"from": (now - timedelta(days=7)).isoformat(), "to": now.isoformat()}
        all_values = {**week, "tenant": "", "limit": "20", **given}
        if missing := sorted(set(known) - set(all_values)):
            raise ConfigError(f"give --param {missing[0]}=...")
        return {name: _value(name, all_values[name], kind) for name, kind in known.items()}


def saved_queries(folder: Path = QUERIES) -> dict[str, SavedQuery]:
    """All of them, by theme and name (`usage/by_day`)."""
    return {
        path.relative_to(folder).with_suffix("").as_posix(): _read(path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.sql"))
    }


def _read(text: str) -> SavedQuery:
    sentence, _, sql = text.partition("\n")
    return SavedQuery(sentence.removeprefix("-- "), sql.strip())


def _value(name: str, text: str, kind: str) -> Any:
    try:
        if kind.startswith("DateTime"):
            return datetime.fromisoformat(text)
        return int(text) if kind.startswith("UInt") else text
    except ValueError as error:
        raise ConfigError(f"--param {name}={text} is no {kind}") from error
