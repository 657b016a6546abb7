"""What security analysis found, as the store has it, with what people said of it."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from services.common.clock import Clock
from services.common.control.thresholds import LEVELS
from services.common.errors import StoreUnavailableError
from services.common.identity import is_pseudonym, pseudonyms
from services.common.store import Store
from services.console.domain.cost_query import InvalidQueryError
from services.console.domain.cursors import cursor_after, read_cursor

FILTERS = ("tenant", "category", "level", "place", "action", "request_id", "key_id")
_HISTORY = timedelta(days=7)
_MOST_OF_TIMELINE = 500
_SHOWN = (
    *("finding_id", "found_at", "tenant", "user", "key_id", "request_id", "model", "place", "depth"),
    *("category", "level", "score", "probability", "action", "rules", "detector_version", "rules_version"),
    *("explanation", "masked_text", "neighbours"),
)
_FEEDBACK = ("verdict", "given_by", "given_at")
_FROM = (
    "v_findings AS found LEFT JOIN v_finding_feedback AS said "
    "ON found.tenant = said.tenant AND found.finding_id = said.finding_id"
)
_COLUMNS = ", ".join(
    [*[f"found.{name} AS {name}" for name in _SHOWN], *[f"said.{name} AS {name}" for name in _FEEDBACK]]
)
_UNSAID = {"none": ""}


@dataclass(frozen=True, slots=True)
class FindingQuery:
    """Which findings: `only` by the values of columns, of `user`, with this `feedback`
    (none, true_alarm, false_alarm), from `since` up to but without `until`; `cursor`
    goes on after a page.
    """

    only: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    feedback: str = ""
    since: datetime | None = None
    until: datetime | None = None
    cursor: str = ""
    limit: int = 50


@dataclass(frozen=True)
class Findings:
    """The read model. Users are named by a pseudonym, or by their name where the tenant
    is known: then both are meant, who calls and whom callers name so.
    """

    store: Store
    clock: Clock
    pseudonym_key: str = field(repr=False)

    async def page(self, query: FindingQuery) -> dict[str, Any]:
        """A page, the newest first, and the cursor of the next; None after the last.

        Raises:
            InvalidCursorError: the cursor is none.
            InvalidQueryError: a user is named, and not whose.
            StoreUnavailableError: not now.
        """
        where, parameters = self._conditions(query)
        rows = await self.store.query(
            f"SELECT {_COLUMNS} FROM {_FROM} WHERE {where} "  # noqa: S608  names of ours
            f"ORDER BY found.found_at DESC, found.finding_id DESC LIMIT {query.limit + 1}",
            parameters,
        )
        shown = rows[: query.limit]
        last = (shown[-1]["found_at"], shown[-1]["finding_id"]) if len(rows) > len(shown) else None
        return {
            "data": [_finding(row) for row in shown],
            "next_cursor": None if last is None else cursor_after(*last),
        }

    async def one(self, tenant: str, finding_id: str) -> dict[str, Any] | None:
        """The finding of this id, of a tenant where it is named; None where there is none.

        Raises:
            StoreUnavailableError: not now.
        """
        where, parameters = ["finding_id = {finding_id:String}"], {"finding_id": finding_id}
        if tenant:
            where.append("tenant = {tenant:String}")
            parameters["tenant"] = tenant
        rows = await self.store.query(
            "SELECT tenant, finding_id, category, level, place, score, detector_version, rules_version "  # noqa: S608  names of ours
            f"FROM v_findings WHERE {' AND '.join(where)} LIMIT 1",
            parameters,
        )
        return rows[0] if rows else None

    async def history(self, tenant: str, user: str) -> dict[str, Any] | None:
        """How much was found of a user in seven days; None where the store is away.

        Raises:
            InvalidQueryError: a user is named, and not whose.
        """
        names = self._names(tenant, user)
        try:
            rows = await self.store.query(
                "SELECT level, count() AS findings FROM v_findings WHERE tenant = {tenant:String} "
                "AND user IN {users:Array(String)} AND found_at >= {since:DateTime64(3, 'UTC')} "
                "GROUP BY level",
                {"tenant": tenant, "users": names, "since": (self.clock() - _HISTORY).astimezone(UTC)},
            )
        except StoreUnavailableError:
            return None
        return {
            "user": names[0],
            "findings": sum(int(one["findings"]) for one in rows),
            "highest_level": _highest([str(one["level"]) for one in rows]),
        }

    async def summary(self, tenant: str, window_hours: int) -> dict[str, Any]:
        """Counts of the last hours, of a tenant or, empty, of all.

        Raises:
            StoreUnavailableError: not now.
        """
        now = self.clock()
        since = now - timedelta(hours=window_hours)
        where, parameters = _window(tenant, since, now)
        rows = await self.store.query(
            "SELECT toStartOfHour(found.found_at) AS hour, found.category AS category, "  # noqa: S608  names of ours
            "found.level AS level, found.action AS action, said.verdict AS verdict, count() AS findings "
            f"FROM {_FROM} WHERE {where.format(column='found.found_at', tenant='found.tenant')} "
            "GROUP BY hour, category, level, action, verdict",
            parameters,
        )
        (of_users, of_requests) = (
            await self.store.query(
                "SELECT uniqExactIf(user, user != '') AS users, uniqExactIf(key_id, user = '') AS keys "  # noqa: S608  names of ours
                f"FROM v_findings WHERE {where.format(column='found_at', tenant='tenant')}",
                parameters,
            ),
            await self.store.query(
                "SELECT count() AS requests, countIf(outcome = 'blocked') AS blocked, "  # noqa: S608  names of ours
                "countIf(risk_level != '') AS inspected FROM inference_events "
                f"WHERE {where.format(column='completed_at', tenant='tenant')}",
                parameters,
            ),
        )
        return summarised(rows, of_users, of_requests) | {
            "since": since.isoformat(),
            "until": now.isoformat(),
        }

    async def timeline(self, tenant: str, user: str, days: int) -> dict[str, Any]:
        """What a user asked and what was found, by the hour, and the newest findings.

        Raises:
            InvalidQueryError: a user is named, and not whose.
            StoreUnavailableError: not now.
        """
        now = self.clock()
        since = now - timedelta(days=days)
        where, parameters = _window(tenant, since, now)
        users = self._names(tenant, user)
        asked = await self.store.query(
            "SELECT toStartOfHour(completed_at) AS hour, count() AS requests, "  # noqa: S608  names of ours
            "countIf(outcome = 'blocked') AS blocked, max(risk_score) AS highest_score "
            f"FROM inference_events WHERE {where.format(column='completed_at', tenant='tenant')} "
            "AND user IN {users:Array(String)} GROUP BY hour",
            parameters | {"users": users},
        )
        query = FindingQuery(
            {"tenant": tenant} if tenant else {}, user, since=since, until=now, limit=_MOST_OF_TIMELINE
        )
        found = await self.page(query)
        return {
            "user": users[0],
            "since": since.isoformat(),
            "until": now.isoformat(),
            "hours": hours_of(asked, found["data"]),
            "findings": found["data"],
            "has_more_findings": found["next_cursor"] is not None,
        }

    def _conditions(self, query: FindingQuery) -> tuple[str, dict[str, Any]]:
        where, parameters = ["1"], dict[str, Any]()
        for name in FILTERS:
            if name in query.only:
                where.append(f"found.{name} = {{{name}:String}}")
                parameters[name] = query.only[name]
        if query.user:
            where.append("found.user IN {users:Array(String)}")
            parameters["users"] = self._names(query.only.get("tenant", ""), query.user)
        if query.feedback:
            where.append("said.verdict = {verdict:String}")
            parameters["verdict"] = _UNSAID.get(query.feedback, query.feedback)
        for name, sign, moment in (("since", ">=", query.since), ("until", "<", query.until)):
            if moment is not None:
                where.append(f"found.found_at {sign} {{{name}:DateTime64(3, 'UTC')}}")
                parameters[name] = moment.astimezone(UTC)
        if query.cursor:
            parameters["after_ms"], parameters["after_id"] = read_cursor(query.cursor)
            where.append(
                "(toUnixTimestamp64Milli(found.found_at), found.finding_id) "
                "< ({after_ms:Int64}, {after_id:String})"
            )
        return " AND ".join(where), parameters

    def _names(self, tenant: str, user: str) -> list[str]:
        if is_pseudonym(user):
            return [user]
        if not tenant:
            raise InvalidQueryError(
                "user",
                f"{user!r} is a name: say of which tenant, or use a pseudonym (u_ or n_, and 32 digits)",
            )
        if not self.pseudonym_key:
            raise InvalidQueryError(
                "user", f"{user!r} is a name, and TOCSIN_PSEUDONYM_KEY is not set: use the pseudonym"
            )
        return list(pseudonyms(self.pseudonym_key, tenant=tenant, user=user))


def summarised(
    rows: Sequence[Mapping[str, Any]],
    of_users: Sequence[Mapping[str, Any]],
    of_requests: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The body of the API, from counts by hour, category, level, action and verdict."""
    by: dict[str, Counter[str]] = {name: Counter() for name in ("category", "level", "action", "verdict")}
    hours: dict[datetime, Counter[str]] = defaultdict(Counter)
    for row in rows:
        count = int(row["findings"])
        for name, counter in by.items():
            counter[str(row[name])] += count
        hours[row["hour"]][str(row["level"])] += count
    users, requests = next(iter(of_users), {}), next(iter(of_requests), {})
    return {
        "findings": by["level"].total(),
        "by_level": {level: by["level"][level] for level in LEVELS[1:]},
        "by_category": dict(by["category"].most_common()),
        "by_action": dict(by["action"].most_common()),
        "true_alarms": by["verdict"]["true_alarm"],
        "false_alarms": by["verdict"]["false_alarm"],
        "users": int(users.get("users", 0)),
        "keys": int(users.get("keys", 0)),
        "requests": int(requests.get("requests", 0)),
        "inspected": int(requests.get("inspected", 0)),
        "blocked": int(requests.get("blocked", 0)),
        "by_hour": [
            {"hour": hour.isoformat(), **{level: counts[level] for level in LEVELS[1:]}}
            for hour, counts in sorted(hours.items())
        ],
    }


def hours_of(asked: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Hours with requests or findings, in order."""
    hours: dict[str, dict[str, Any]] = {}
    for row in asked:
        hours[_hour(row["hour"])] = {
            "requests": int(row["requests"]),
            "blocked": int(row["blocked"]),
            "highest_score": float(row["highest_score"]),
        }
    levels: dict[str, list[str]] = defaultdict(list)
    for one in found:
        levels[_hour(datetime.fromisoformat(one["found_at"]))].append(one["level"])
    return [
        {
            "hour": hour,
            **hours.get(hour, {"requests": 0, "blocked": 0, "highest_score": 0.0}),
            "findings": len(levels[hour]),
            "highest_level": _highest(levels[hour]),
        }
        for hour in sorted(hours.keys() | levels.keys())
    ]


def _hour(at: datetime) -> str:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0).isoformat()


def _highest(levels: Sequence[str]) -> str:
    return max(levels, key=LEVELS.index, default="none")


def _window(tenant: str, since: datetime, until: datetime) -> tuple[str, dict[str, Any]]:
    """A condition with places for the columns of time and tenant, and its parameters."""
    where = "{column} >= {{since:DateTime64(3, 'UTC')}} AND {column} < {{until:DateTime64(3, 'UTC')}}"
    parameters: dict[str, Any] = {"since": since.astimezone(UTC), "until": until.astimezone(UTC)}
    if tenant:
        return where + " AND {tenant} = {{tenant:String}}", parameters | {"tenant": tenant}
    return where, parameters


def _finding(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the API tells it."""
    told = {name: row[name] for name in _SHOWN}
    for name in ("rules", "neighbours"):
        told[name] = json.loads(row[name]) if str(row[name]).startswith("[") else []
    said = {name: row[name] for name in _FEEDBACK} | {"given_at": row["given_at"].isoformat()}
    return told | {
        "found_at": row["found_at"].isoformat(),
        "feedback": said if row["verdict"] else None,
    }
