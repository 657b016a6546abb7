"""`tocsin export`: its options; the work is imported only when the command is called."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.beside import run_beside_installation


def add_to(app: typer.Typer) -> None:
    """Adds the command to `tocsin`."""
    app.command()(export)


def export(
    view: Annotated[str, typer.Argument(help="A view, as v_requests; without it: the list.")] = "",
    *,
    form: Annotated[str, typer.Option("--format", help="json (an object a line), csv or parquet.")] = "json",
    begin: Annotated[str, typer.Option("--from", help="A day, or a time with its offset; else --days.")] = "",
    end: Annotated[str, typer.Option("--to", help="The same: the first that does not count; else now.")] = "",
    days: Annotated[int, typer.Option(min=1, max=1830, help="So many days up to now, today being one.")] = 30,
    time_zone: Annotated[str, typer.Option(help="Whose days; a name such as Europe/Paris.")] = "UTC",
    columns: Annotated[str, typer.Option(help="These, separated by commas; else all.")] = "",
    only: Annotated[
        list[str] | None,
        typer.Option("--filter", help="outcome=failed, duration_ms>=5000 ...: several times."),
    ] = None,
    tenant: Annotated[str, typer.Option(help="Of this tenant only.")] = "",
    output: Annotated[
        Path | None, typer.Option(help="A file that is not there yet; else VIEW.FORMAT.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, not where it was interrupted.")
    ] = False,
    rows: Annotated[int, typer.Option(min=1, max=1_000_000, help="So many at a time.")] = 100_000,
    patience_s: Annotated[
        float, typer.Option(min=0, help="How long a platform that is away is waited for.")
    ] = 300,
    url: Annotated[str, typer.Option(help="The platform's address; else that of this installation.")] = "",
) -> None:
    """Write a view's rows to a file, through the platform's API with TOCSIN_API_KEY (else
    the installation's first key). After an interruption the same command goes on.
    """
    from services.cli.analytics.exporting import Export, list_views, place

    def run() -> int:
        address, key = place(url)
        if not view:
            return list_views(address, key)
        span = {"from": begin, "to": end, "days": "" if begin else str(days), "time_zone": time_zone}
        asked = {**span, "format": form, "columns": columns, "tenant": tenant, "limit": str(rows)}
        query = [(name, value) for name, value in asked.items() if value]
        query += [("filter", one) for one in only or ()]
        file = output or Path(f"{view}.{'ndjson' if form == 'json' else form}")
        return Export(address, key, view, query, form, file, patience_s).run(restart=restart)

    run_beside_installation(run)
