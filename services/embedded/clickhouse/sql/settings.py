"""Which settings a request may have: nobody's may change the protection, an analyst's
are a short list, and limits among them get lower only.
"""

import re
from collections.abc import Mapping

from services.embedded.clickhouse.errors import StoreError
from services.embedded.clickhouse.sql import vocabulary
from services.embedded.clickhouse.users import Role

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def check_settings(settings: Mapping[str, str], role: Role, *, caps: Mapping[str, float]) -> dict[str, str]:
    """The settings of a URL as they are applied.

    An analyst's limits above `caps` (by name), or unlimited, become the caps: tools send
    limits of their own without asking.

    Raises:
        StoreError: One of them is refused.
    """
    applied = {name: _checked(name, value, role) for name, value in settings.items()}
    if not role.only_reads:
        return applied
    return {name: _capped(name, value, caps) if name in caps else value for name, value in applied.items()}


def check_clause(settings: Mapping[str, str], *, caps: Mapping[str, float]) -> dict[str, str]:
    """The settings of an analyst's SETTINGS clauses; there a limit above the caps is an
    error, because the clause is part of the statement.

    `readonly` is left out: the handle has it anyway.

    Raises:
        StoreError: One of them is refused.
    """
    if "log_comment" in settings:
        raise StoreError(164, "READONLY", "Cannot modify 'log_comment' in a clause: give it in the URL")
    applied = {name: _checked(name, value, Role.ANALYST) for name, value in settings.items()}
    for name, value in applied.items():
        if name in caps and float(_capped(name, value, caps)) != float(value):
            raise StoreError(
                452,
                "SETTING_CONSTRAINT_VIOLATION",
                f"Setting {name} shouldn't be greater than {caps[name]:g}, and not 0 (without limit)",
            )
    return {name: value for name, value in applied.items() if name != "readonly"}


def _checked(name: str, value: str, role: Role) -> str:
    if not _NAME.fullmatch(name):
        raise StoreError(115, "UNKNOWN_SETTING", f"Unknown setting {name!r}")
    if vocabulary.FORBIDDEN_SETTING.fullmatch(name.lower()):
        raise StoreError(
            452,
            "SETTING_CONSTRAINT_VIOLATION",
            f"Setting {name} should not be changed: it is the store's own",
        )
    if value != vocabulary.PINNED_SETTINGS.get(name, value):
        raise StoreError(
            452,
            "SETTING_CONSTRAINT_VIOLATION",
            f"Setting {name} should be {vocabulary.PINNED_SETTINGS[name]}: an answer means that rows are "
            "stored",
        )
    if role.only_reads and not _is_analyst_setting(name):
        raise StoreError(
            164, "READONLY", f"Cannot modify '{name}' setting in readonly mode: the user's role is analyst"
        )
    return value


def _is_analyst_setting(name: str) -> bool:
    names_a_file = "schema" in name or "template" in name or name.endswith("_path")
    return name in vocabulary.ANALYST_SETTINGS or (name.startswith("output_format_") and not names_a_file)


def _capped(name: str, value: str, caps: Mapping[str, float]) -> str:
    try:
        asked = float(value)
    except ValueError:
        asked = float("nan")
    if not 0 <= asked < float("inf"):
        raise StoreError(72, "CANNOT_PARSE_NUMBER", f"Cannot parse {name} {value!r} as a number from 0 on")
    if 0 < asked <= caps[name]:
        return value
    return f"{caps[name]:.0f}"
