"""Commands that talk to a bus and a store, of this folder's installation if one runs."""

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence

import typer

_OPTIONS = {
    "valid_from": "from",
    "subject": "for",
    "expires_at": "expires_in_days",
    "retention_by_table": "retention",
}
"""Fields whose options are called otherwise."""


def run_beside_installation(command: Callable[[], int], *, as_json: bool = False) -> None:
    """Runs a command; what is wrong is said in one line of standard error, as JSON if
    that is wanted.

    The exit status is the command's; 2 for a wrong setting, where trying again would
    end the same way, 1 for any other failure.
    """
    from services.common.errors import ConfigError, TocsinError
    from services.embedded.installation.child_environment import proxy_exceptions
    from services.embedded.installation.running_installation import environment_of_running_installation

    _keep_logs_off_the_answer()
    os.environ.update(proxy_exceptions(os.environ))
    os.environ.update(environment_of_running_installation(os.environ))
    try:
        raise typer.Exit(command())
    except TocsinError as error:
        remedy = _remedy(error)
        said = _as_json(error, remedy) if as_json else f"tocsin: {_by_option(error)}{remedy}"
        typer.echo(said, err=True)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error


def _remedy(error: Exception) -> str:
    """What to do where a part of the installation is not to be had."""
    from services.common.errors import BusUnavailableError, MissingSettingError, StoreUnavailableError
    from services.embedded.installation.home import Home

    away = (BusUnavailableError, StoreUnavailableError)
    if not isinstance(error, (*away, MissingSettingError)):
        return ""
    home = Home()
    if not home.is_locked():
        return (
            f" Nothing runs in {home.root}: `tocsin up` (or `make up`) starts an installation there, "
            "TOCSIN_HOME names another folder."
        )
    return " `tocsin status` shows what runs." if isinstance(error, away) else ""


def _by_option(error: Exception) -> str:
    """The error with the options that fields came from, as far as they were typed."""
    from services.common.control.errors import InvalidChangeError

    if not isinstance(error, InvalidChangeError):
        return str(error)
    return "; ".join(f"{option_of(name, sys.argv)}: {text}" for name, text in error.problems)


def option_of(field: str, given: Sequence[str]) -> str:
    """The option among those `given` that sets a field (`prices.0.valid_from`: --from);
    the field itself where none does.
    """
    for part in reversed(field.split(".")):
        option = "--" + _OPTIONS.get(part, part).replace("_", "-")
        if any(one == option or one.startswith(f"{option}=") for one in given):
            return option
    return field


def _as_json(error: Exception, remedy: str) -> str:
    """The error as `{"error": ..., "errors": [{"field", "message"}]}`: the fields that
    are wrong, where it names any.
    """
    problems: tuple[tuple[str, str], ...] = getattr(error, "problems", ())
    fields = [{"field": name, "message": message} for name, message in problems]
    return json.dumps({"error": f"{error}{remedy}"} | ({"errors": fields} if fields else {}))


def _keep_logs_off_the_answer() -> None:
    """Standard output is the command's answer, which a program may read; what failed is
    said once, by the command.
    """
    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    for name in ("aiokafka", "urllib3", "urllib3.connectionpool"):  # clickhouse_connect sets urllib3's anew
        logging.getLogger(name).setLevel(logging.CRITICAL)
