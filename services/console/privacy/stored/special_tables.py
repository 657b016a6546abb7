"""Tables that tell of persons in their own way: dead letters, rollups, the audit."""

from services.console.privacy.stored.rows import Counted, Rows, Step, Work, summed
from services.console.privacy.stored.tables import DELETED, blank

_TEXT = "tryBase64Decode(value)"
_NAMED = "(SELECT groupArray(value) FROM erasing WHERE work = {work:String} AND kind IN ('user', 'key'))"
_LETTERS = (
    "tenant IN ({tenant:String}, '') AND failed_at < {cut:DateTime64(3, 'UTC')} AND value != '' AND ("
    f"arrayExists(one -> position({_TEXT}, one) > 0, {_NAMED}) OR "
    f"arrayExists(one -> position(ifNull(key, ''), one) > 0, {_NAMED}))"
)
LETTER_VALUES = {
    "value": "''",
    "key": blank("key"),
    "headers": "CAST([], 'Array(Tuple(String, String))')",
    "error": f"'{DELETED}'",
}
_BEFORE_CUT = "occurred_at < {cut:DateTime64(3, 'UTC')}"


def _named_as(*kinds: str) -> str:
    """The values of some kinds, of which `key` has ids, `user` pseudonyms, `name` the
    plain name and `entry` the id of the entry.
    """
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    mine = "work = {work:String}"
    return f"(SELECT value FROM erasing WHERE {mine} AND kind IN ({listed}))"  # noqa: S608  names of ours


_ACTOR = (
    f"{_BEFORE_CUT} AND actor_salt != '' AND (actor_kind = 'key' AND actor_id IN {_named_as('key')} "
    f"OR actor_kind = 'user' AND actor_id IN {_named_as('user')})"
)
_NO_ACTOR = {"actor_id": f"'{DELETED}'", "address": "''", "actor_salt": "''"}


def _said(side: str) -> str:
    """Whether `before` or `after` names the subject where an entry, a budget's subject, a
    question or a claimed key has its name. A name somewhere else is no reason: whoever is
    called like a word must not erase what others did.
    """
    asked = f"JSONExtractString({side}, 'asked', '{{}}')"
    return (
        f"(tenant = {{tenant:String}} AND object_kind IN ('user', 'key') AND "
        f"JSONExtractString({side}, 'user') IN {_named_as('name')}) "
        f"OR JSONExtractString({side}, 'subject', 'id') IN {_named_as('entry', 'key')} "
        f"OR JSONExtractString({side}, 'key') IN {_named_as('key')} "
        f"OR {asked.format('user')} IN {_named_as('entry', 'user')} "
        f"OR (tenant IN ({{tenant:String}}, '') AND {asked.format('user')} IN {_named_as('name')}) "
        f"OR {asked.format('key')} IN {_named_as('key')} "
        f"OR {asked.format('actor_id')} IN {_named_as('user', 'key')} "
        f"OR {asked.format('object_id')} IN {_named_as('entry', 'user', 'key')}"
    )


_CONTENT = (
    f"{_BEFORE_CUT} AND content_salt != '' AND (object_id IN {_named_as('key', 'user')} OR "
    f"(object_kind = 'user' AND object_id IN {_named_as('entry')}) OR {_said('before')} OR {_said('after')})"
)
_NO_CONTENT = {
    "object_id": f"'{DELETED}'",
    "reason": "''",
    "before": "''",
    "after": "''",
    "content_salt": "''",
}
_ROLLUPS = (
    ("inference_per_minute", "minute", "toStartOfMinute"),
    ("inference_per_hour", "hour", "toStartOfHour"),
    ("inference_per_day", "day", "toDate"),
)
_OLDER = (
    "older than the requests' own rows: a count of users among whom one can be neither named nor left out"
)


def special_steps(rows: Rows) -> dict[str, Step]:
    """The steps of these tables, by what a receipt calls the place."""
    return {
        "dead letters": Step(
            lambda work: rows.count("dead_letters", _LETTERS, work.parameters),
            lambda work: _erase_dead_letters(rows, work),
        ),
        "counts of users": Step(
            lambda work: _touched(rows, work), lambda work: _erase_rollups(rows, work), repeats=True
        ),
        "audit": Step(lambda work: _count_audit(rows, work), lambda work: _erase_audit(rows, work)),
    }


async def _erase_dead_letters(rows: Rows, work: Work) -> Counted:
    """Empties letters that hold a subject's pseudonyms or keys: what they were about
    stays, since the ledger counts them.

    Raises:
        StoreUnavailableError: not now.
    """
    found = await rows.count("dead_letters", _LETTERS, work.parameters)
    if found:
        await rows.overwrite("dead_letters", LETTER_VALUES, _LETTERS, work.parameters)
    left = await rows.count("dead_letters", _LETTERS, work.parameters) if found else 0
    return Counted(
        found, found - left, left, "the row: where it was and why, without what it said" if found else ""
    )


async def _erase_rollups(rows: Rows, work: Work) -> Counted:
    """Makes counts of users anew, of the minutes, hours and days in which anybody was
    erased:
    a count (uniq) keeps a hash of each pseudonym.

    A count is emptied, and what is left is added: counts of users are sets, so adding
    somebody twice changes nothing, and whoever comes meanwhile adds themself.

    Raises:
        StoreUnavailableError: not now.
    """
    return summed([await _rollup(rows, work, *one) for one in _ROLLUPS])


async def _touched(rows: Rows, work: Work) -> int:
    return sum([await _count_touched(rows, work, one[2]) for one in _ROLLUPS])


async def _count_touched(rows: Rows, work: Work, start: str) -> int:
    """How many minutes, hours or days (by model and outcome) have an erased user."""
    found = await rows.store.query(
        f"SELECT uniqExact({_keys(start)}) AS touched FROM inference_events "  # noqa: S608  names of ours
        f"WHERE tenant = {{tenant:String}} AND user = '{DELETED}'",
        {"tenant": work.subject.tenant},
    )
    return int(found[0]["touched"])


def _keys(start: str) -> str:
    return f"{start}(completed_at), model, outcome"


def _erased_in(start: str) -> str:
    """The minutes, hours or days in which somebody of the tenant was erased."""
    return (
        f"(SELECT {_keys(start)} FROM inference_events WHERE tenant = {{tenant:String}} "  # noqa: S608  names of ours
        f"AND user = '{DELETED}')"
    )


def _where(column: str, start: str) -> str:
    return f"tenant = {{tenant:String}} AND ({column}, model, outcome) IN {_erased_in(start)}"


async def _rollup(rows: Rows, work: Work, table: str, column: str, start: str) -> Counted:
    mine, where = {"tenant": work.subject.tenant}, _where(column, start)
    found = await _count_touched(rows, work, start)
    if found:
        empty = {"users": "arrayReduce('uniqState', CAST([], 'Array(String)'))"}
        await rows.overwrite(table, empty, where, mine)
        await rows.store.command(
            f"INSERT INTO {table} ({column}, tenant, model, outcome, users) "  # noqa: S608  names of ours
            f"SELECT {start}(completed_at) AS {column}, tenant, model, outcome, uniqState(user) AS users "
            "FROM inference_events WHERE tenant = {tenant:String} "
            f"AND ({_keys(start)}) IN {_erased_in(start)} GROUP BY {column}, tenant, model, outcome",
            mine,
        )
    older = (
        f"tenant = {{tenant:String}} AND {column} < (SELECT {start}(min(completed_at)) "  # noqa: S608  names of ours
        "FROM inference_events WHERE tenant = {tenant:String})"
    )
    left = await rows.count(table, older, mine)
    return Counted(found, found, left, _OLDER if left else "")


async def _count_audit(rows: Rows, work: Work) -> int:
    return sum([await rows.count("audit_log FINAL", one, work.parameters) for one in (_ACTOR, _CONTENT)])


async def _erase_audit(rows: Rows, work: Work) -> Counted:
    """Erases who acted and what was said of the subject: values with their salts, so that
    the chain still holds.

    Raises:
        StoreUnavailableError: not now.
    """
    found = left = 0
    for where, values in ((_ACTOR, _NO_ACTOR), (_CONTENT, _NO_CONTENT)):
        before = await rows.count("audit_log FINAL", where, work.parameters)
        if before:
            await rows.overwrite("audit_log", values, where, work.parameters)
            left += await rows.count("audit_log FINAL", where, work.parameters)
        found += before
    return Counted(
        found, found - left, left, "the row: which act was done when, by or to DELETED" if found else ""
    )
