"""`tocsin budgets`: how much may be spent a day or a month."""

from typing import Annotated, Any

import typer

from services.cli.beside import run_beside_installation
from services.cli.control.entries import EntryKind, Fields, Json, add_shared_commands, state_of
from services.cli.figures.tables import minute

app = typer.Typer(
    help="Make, show, change and delete budgets of keys, users, tenants and models.", no_args_is_help=True
)

_Limit = Annotated[str, typer.Option("--limit-usd", help="How many US dollars, such as 25 or 0.50.")]
_Zone = Annotated[str, typer.Option(help="Whose days and months, such as Europe/Paris.")]
_WarnAt = Annotated[str, typer.Option(help="Shares of the limit at which to warn, by commas; empty: none.")]


def _cells(one: Fields) -> dict[str, str]:
    known = not one["deleted_at"] and one.get("spent_usd") is not None
    return {
        "budget": one["budget_id"],
        "tenant": one["tenant"],
        "for": f"{one['subject']['kind']} {one['subject']['id']}",
        "limit": f"{one['limit_usd']} USD a {one['period']}",
        "kind": "hard" if one["hard"] else "soft",
        "spent": one["spent_usd"] if known else "",
        "left": ("exhausted" if one["is_exhausted"] else one["left_usd"]) if known else "",
        "renews": minute(one["renews_at"]) if known else state_of(one),
    }


def _with_spending(budgets: list[Fields]) -> list[Fields]:
    from services.cli.figures.standings import with_spending

    return with_spending(budgets)


KIND = EntryKind("budget", "The budget's id.", _cells, "Remove a budget for good.", completed=_with_spending)
add_shared_commands(app, KIND)


def _subject(given: str) -> str:
    kind, colon, subject = given.partition(":")
    if kind not in ("key", "user", "tenant", "model") or not colon or not subject:
        raise typer.BadParameter(
            f"{given!r} must look like key:ID, user:TENANT/USER, tenant:ID or model:NAME"
        )
    return given


@app.command()
def create(  # noqa: PLR0917 (typer turns them into options)
    budget_id: Annotated[str, typer.Argument(help="Its id: lower-case letters, digits, dots, hyphens.")],
    subject: Annotated[
        str,
        typer.Option(
            "--for", callback=_subject, help="For whom: key:ID, user:TENANT/USER, tenant:ID or model:NAME."
        ),
    ],
    limit_usd: _Limit,
    tenant: Annotated[
        str,
        typer.Option(help="Whose spending it bounds; left out, the tenant that --for names, else default."),
    ] = "",
    period: Annotated[str, typer.Option(help="day or month.")] = "month",
    time_zone: _Zone = "UTC",
    hard: Annotated[  # noqa: FBT002 (typer's way to a flag)
        bool, typer.Option("--hard/--soft", help="Refuse what exceeds it, or only warn.")
    ] = False,
    warn_at: _WarnAt = "0.8,1",
    as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Make a budget."""
    kind, _, of = subject.partition(":")
    fields: Fields = {
        "budget_id": budget_id,
        "tenant": tenant or tenant_in(kind, of),
        "subject": {"kind": kind, "id": of},
        "period": period,
        "time_zone": time_zone,
        "limit_usd": limit_usd,
        "hard": hard,
        "warn_at": _shares(warn_at),
    }
    run_beside_installation(lambda: _create(fields, as_json=as_json), as_json=as_json)


@app.command("set")
def set_(  # noqa: PLR0917 (typer turns them into options)
    budget_id: Annotated[str, typer.Argument(help="The budget's id.")],
    limit_usd: Annotated[str | None, typer.Option("--limit-usd", help="How many US dollars.")] = None,
    period: Annotated[str | None, typer.Option(help="day or month.")] = None,
    time_zone: Annotated[str | None, typer.Option(help="Whose days and months.")] = None,
    hard: Annotated[bool | None, typer.Option("--hard/--soft", help="Refuse, or only warn.")] = None,
    warn_at: Annotated[
        str | None, typer.Option(help="Shares at which to warn, by commas; empty: none.")
    ] = None,
    as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
) -> None:
    """Change what is named of a budget; for whom it is stays."""
    fields: dict[str, Any] = {
        "limit_usd": limit_usd,
        "period": period,
        "time_zone": time_zone,
        "hard": hard,
        "warn_at": None if warn_at is None else _shares(warn_at),
    }
    given = {name: value for name, value in fields.items() if value is not None}
    run_beside_installation(lambda: _edit(budget_id, given, as_json=as_json), as_json=as_json)


def tenant_in(kind: str, subject: str) -> str:
    """The tenant that a subject names; `default` where it names none."""
    named = {"tenant": subject, "user": subject.partition("/")[0]}
    return named.get(kind) or "default"


def _shares(given: str) -> list[str]:
    return given.split(",") if given.strip() else []


def _create(fields: Fields, *, as_json: bool) -> int:
    from schemas.control import BudgetChanged
    from services.cli.control.control import create_and_say

    return create_and_say(BudgetChanged, fields, f"budget {fields['budget_id']} is created", as_json=as_json)


def _edit(budget_id: str, fields: Fields, *, as_json: bool) -> int:
    from services.cli.control.control import edit_and_say

    return edit_and_say("budget", budget_id, fields, f"{budget_id} is changed", as_json=as_json)
