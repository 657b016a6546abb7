"""The option that names scopes."""

from enum import StrEnum
from typing import Annotated

import typer


class ScopeName(StrEnum):
    """The values of `schemas.control.Scope`, which takes long to import."""

    INFER = "infer"
    FEEDBACK = "feedback"
    READ = "read"
    ADMIN = "admin"
    PLATFORM = "platform"


def split_scopes(given: list[str] | None) -> list[str]:
    """The scopes that were named, each once: `--scopes read,infer` is the same as
    `--scope read --scope infer`.

    Raises:
        typer.BadParameter: there is no such scope, or none is named.
    """
    names = [name.strip() for one in given or [] for name in one.split(",") if name.strip()]
    for name in names:
        if name not in set(ScopeName):
            raise typer.BadParameter(f"{name!r} is no scope; there are {', '.join(ScopeName)}")
    if given and not names:
        raise typer.BadParameter(f"no scope is named; there are {', '.join(ScopeName)}")
    return list(dict.fromkeys(names))


_OPTION = typer.Option(
    "--scopes",
    "--scope",
    callback=split_scopes,
    help=f"What it may do, of {', '.join(ScopeName)}; repeatable, or separated by commas. `admin` is for its "
    "own tenant, `admin,platform` for all.",
)
Scopes = Annotated[list[str], _OPTION]
ScopesOrNone = Annotated[list[str] | None, _OPTION]
