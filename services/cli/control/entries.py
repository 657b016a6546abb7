"""The commands that every kind of entry has: list, show, delete, restore, purge."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from services.cli.beside import run_beside_installation
from services.cli.figures.tables import minute, table, words

Json = Annotated[bool, typer.Option("--json", help="As JSON, errors too.")]
Fields = dict[str, Any]
DEFAULT = "default"
"""What an option is given to take back what it named."""


@dataclass(frozen=True)
class EntryKind:
    """A kind of entry: its name, what its argument is, and its cells in a list, by the
    columns' heads.

    Where `tenant` is not None, an id is `tenant/name`, and the tenant is an option with
    this default. `gone` is what a purge takes away; `called` stands before the id where
    that is another's, and `noun` is what one is called where that is not its name.
    """

    name: str
    argument: str
    cells: Callable[[Fields], dict[str, str]]
    gone: str
    tenant: str | None = None
    has_tenant: bool = True
    called: str = ""
    noun: str = ""
    completed: Callable[[list[Fields]], list[Fields]] = list
    """Adds what the entries alone do not tell."""
    listed: Callable[[list[Fields]], list[Fields]] | None = None
    """The same for a list, with what is there without an entry; `completed` if None."""
    unmade: Callable[[str], Fields | None] = lambda _: None
    """What is there without an entry, by its id."""


def add_shared_commands(app: typer.Typer, kind: EntryKind) -> None:
    """Adds them to a group."""
    _add_list(app, kind)
    noun = kind.noun or f"a {kind.name}"
    for_one(app, kind, "show", f"Show {noun}, deleted or not.", _shown(kind))
    for verb, what, said in (
        ("delete", f"Delete {noun}, which `restore` takes back.", "is deleted"),
        ("restore", "Take a deletion back.", "is restored"),
        ("purge", kind.gone, "is gone"),
    ):
        for_one(app, kind, verb, what, _changed(kind, verb, said))


def for_one(app: typer.Typer, kind: EntryKind, name: str, what: str, run: Callable[[str, bool], int]) -> None:
    """Adds a command that takes an entry's id and --json."""
    # No function of typer's may have arguments that only some kinds have.
    if kind.tenant is None:

        @app.command(name, help=what)
        def command(
            entry_id: Annotated[str, typer.Argument(help=kind.argument)],
            as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
        ) -> None:
            run_beside_installation(lambda: run(entry_id, as_json), as_json=as_json)

    else:

        @app.command(name, help=what)
        def command_of_tenant(
            entry_id: Annotated[str, typer.Argument(help=kind.argument)],
            tenant: Annotated[str, typer.Option(help="Whose it is.")] = kind.tenant or "",
            as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
        ) -> None:
            run_beside_installation(lambda: run(f"{tenant}/{entry_id}", as_json), as_json=as_json)


def state_of(entry: Fields) -> str:
    """Whether it is open, in a few words."""
    for name in ("deleted", "revoked", "suspended"):
        if entry.get(f"{name}_at"):
            return f"{name} {minute(entry[f'{name}_at'])}"
    return "open"


def _add_list(app: typer.Typer, kind: EntryKind) -> None:
    @app.command("list", help="Show all, the oldest first.")
    def list_(
        tenant: Annotated[str, typer.Option(help="Only this tenant's.", hidden=not kind.has_tenant)] = "",
        deleted: Annotated[bool, typer.Option("--deleted", help="Deleted ones too.")] = False,  # noqa: FBT002
        as_json: Json = False,  # noqa: FBT002 (typer's way to a flag)
    ) -> None:
        run_beside_installation(
            lambda: _list(kind, tenant, with_deleted=deleted, as_json=as_json), as_json=as_json
        )


def _list(kind: EntryKind, tenant: str, *, with_deleted: bool, as_json: bool) -> int:
    from services.cli.control.control import entries, show_json

    found = [
        one for one in entries(kind.name, with_deleted=with_deleted) if tenant in ("", one.get("tenant"))
    ]
    found = (kind.listed or kind.completed)(found)
    if as_json:
        show_json(found)
        return 0
    print(*table([kind.cells(one) for one in found]), sep="\n", end="\n" if found else "")
    return 0


def _shown(kind: EntryKind) -> Callable[[str, bool], int]:
    def run(entry_id: str, as_json: bool) -> int:  # noqa: FBT001 (one of a table's functions)
        from services.cli.control.control import entry, show_json

        (found,) = kind.completed([entry(kind.name, entry_id, kind.unmade)])
        if as_json:
            show_json(found)
        else:
            for name, value in found.items():
                print(f"{name:<22} {words(value)}".rstrip())
        return 0

    return run


def _changed(kind: EntryKind, verb: str, said: str) -> Callable[[str, bool], int]:
    def run(entry_id: str, as_json: bool) -> int:  # noqa: FBT001 (one of a table's functions)
        from services.cli.control.control import change_and_say
        from services.common.control import changes

        what = {"delete": changes.delete, "restore": changes.restore, "purge": changes.purge}[verb]
        return change_and_say(what(kind.name, entry_id), f"{kind.called}{entry_id} {said}", as_json=as_json)

    return run
