"""Commands for analysts: saved queries, a request's life, who may read, what columns
mean, what requests cost, how models do now, what is expected and what was not, what is recommended,
exports.
"""

import typer

from services.cli.analytics import analysts, costs, export, kpi, outlook, queries, recommendations


def add_to(app: typer.Typer) -> None:
    """Adds the commands to `tocsin`."""
    costs.add_to(app)
    export.add_to(app)
    kpi.add_to(app)
    outlook.add_to(app)
    queries.add_to(app)
    app.add_typer(recommendations.app, name="recommendations")
    app.add_typer(analysts.app, name="analysts", rich_help_panel="Administration")
