"""`tocsin analysts`: who may read the store, of all tenants or of one."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.beside import run_beside_installation

if TYPE_CHECKING:
    from services.embedded.clickhouse.users import AnalystsFile

app = typer.Typer(
    help="Who may read the store, of all tenants or of one (docs/concepts/analytics.md).",
    no_args_is_help=True,
)
_JSON = typer.Option("--json", help="As JSON, errors too.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="The new analyst's name.")],
    *,
    tenant: Annotated[str, typer.Option(help="Of this tenant only, by views; else of all.")] = "",
    sql: Annotated[bool, typer.Option("--sql", help="Print what to run on a ClickHouse server.")] = False,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Add an analyst to this folder's store; prints the password, which is kept nowhere."""
    run_beside_installation(
        lambda: _print_sql(name, tenant) if sql else _add(name, tenant, as_json=as_json), as_json=as_json
    )


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="The analyst's name.")],
    *,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Remove an analyst of this folder's store, at once."""
    run_beside_installation(lambda: _remove(name, as_json=as_json), as_json=as_json)


@app.command("list")
def list_(*, as_json: Annotated[bool, _JSON] = False) -> None:
    """List the analysts who were added here."""
    run_beside_installation(lambda: _list(as_json=as_json), as_json=as_json)


def _file() -> "AnalystsFile":
    from services.common.errors import ConfigError
    from services.embedded.clickhouse.users import ANALYSTS, AnalystsFile
    from services.embedded.installation.home import Home

    home = Home()
    if not home.store_users.exists():
        raise ConfigError(
            f"{home.root} has no store of its own: `tocsin analysts add NAME --tenant T --sql` prints what "
            "an administrator of your ClickHouse server runs"
        )
    return AnalystsFile(home.store / ANALYSTS)


def _add(name: str, tenant: str, *, as_json: bool) -> int:
    from services.cli.control.control import require_tenant
    from services.embedded.installation.home import Home

    file = _file()
    if Home().is_locked():
        require_tenant(tenant)
    password = file.add(name, tenant)
    what = f"what views tell of {tenant}" if tenant else "all tenants"
    shown = {"name": name, "tenant": tenant, "password": password}
    print(json.dumps(shown) if as_json else f"{name} may read {what}. Password: {password}")
    return 0


def _print_sql(name: str, tenant: str) -> int:
    import hashlib
    import secrets

    from services.common.store.tenant_views import server_statements
    from services.embedded.clickhouse.users import check_analyst_name

    check_analyst_name(name, tenant, needs_tenant=True)
    password = secrets.token_urlsafe(32)
    digest = hashlib.sha256(password.encode()).hexdigest()
    print(*(f"{one};" for one in server_statements(name, tenant, digest)), sep="\n")
    typer.echo(f"The password of {name}: {password}", err=True)
    return 0


def _remove(name: str, *, as_json: bool) -> int:
    from services.common.errors import ConfigError

    if not _file().remove(name):
        raise ConfigError(f"there is no analyst {name!r}; `tocsin analysts list` shows who there is")
    print(json.dumps({"removed": name}) if as_json else f"{name} may not read any more.")
    return 0


def _list(*, as_json: bool) -> int:
    found = [{"name": user.name, "tenant": user.tenant} for user in _file().users().values()]
    if as_json:
        print(json.dumps(found))
        return 0
    for one in found:
        print(f"{one['name']}  {one['tenant'] or 'all tenants'}")
    return 0
