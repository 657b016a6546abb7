"""What `tocsin security tune` does: proposes thresholds, and sets them where that is asked
for.
"""

import asyncio
from typing import Any, get_args

from pydantic import TypeAdapter

from schemas.control import ThresholdsChanged
from services.cli.control.control import change, new, read_state
from services.common.clock import utc_now
from services.common.control.changes import amend
from services.common.control.errors import NoSuchEntryError
from services.common.control.thresholds import (
    DEFAULT_RISK_THRESHOLDS,
    RiskThresholds,
    Thresholds,
    parse_thresholds,
    thresholds_for,
)
from services.common.process.settings import CommonSettings
from services.common.store import Store
from services.console.domain.threats.tuning import TunedLevel
from services.console.security.tuning import TuningAdvice, TuningRequest

LEVELS: tuple[str, ...] = get_args(TunedLevel)
_STORE_TIMEOUT_S = 60.0


class TuningSettings(CommonSettings):
    """Where the store is, and whose thresholds hold without an entry."""

    risk_thresholds: RiskThresholds = DEFAULT_RISK_THRESHOLDS


def run_tuning(tenant: str, asked: tuple[Any, ...], *, apply: bool, as_json: bool) -> int:
    """Proposes and says so, sets it where `apply`; 1 where nothing can be proposed.

    Raises:
        NoSuchEntryError: there is no such tenant.
        BusUnavailableError: the present thresholds cannot be read, or not be set.
        StoreUnavailableError: not now.
    """
    settings = TuningSettings.load()
    state = read_state()
    present = thresholds_for(state, tenant, parse_thresholds(settings.risk_thresholds))
    advice = asyncio.run(_advise(settings.clickhouse_url, tenant, present, TuningRequest(*asked)))
    if not advice["findings"] and tenant not in state.entries("tenant"):
        raise NoSuchEntryError(f"there is no tenant {tenant!r}; `tocsin tenants list` shows all")
    proposed = advice["proposed"]
    if proposed is not None and apply:
        scores = proposed["thresholds"]
        change(
            amend("thresholds", tenant, scores, lambda: new(ThresholdsChanged, {"tenant": tenant, **scores}))
        )
    if as_json:
        print(TypeAdapter(Any).dump_json(advice | {"applied": apply and proposed is not None}).decode())
    else:
        had_own = (own := state.thresholds.get(tenant)) is not None and own.deleted_at is None
        print(told(advice, applied=apply, had_own=had_own))
    return 0 if proposed is not None else 1


async def _advise(url: str, tenant: str, present: Thresholds, asked: TuningRequest) -> dict[str, Any]:
    async with Store(url, name="tocsin-cli", timeout_s=_STORE_TIMEOUT_S) as store:
        return await TuningAdvice(store, utc_now).advise(tenant, present, asked)


def told(advice: dict[str, Any], *, applied: bool, had_own: bool) -> str:
    """An advice in words; `had_own` is whether the tenant had thresholds of its own."""
    level, present, proposed = advice["level"], advice["present"], advice["proposed"]
    said = f"{advice['judged']} of {advice['findings']} findings in prompts were judged"
    lines = [
        f"{said}, {advice['judged_false']} of them false alarms",
        f"{level} from {present['threshold']:g} on, as it is: {_share(present)}",
    ]
    sure = f"({advice['confidence']:.1%} sure; {advice['method']})"
    if proposed is None:
        lines.append(
            f"no threshold is proposed: none keeps false alarms to {advice['target']:.1%} "
            f"{sure}; judge more findings, or allow more"
        )
        return "\n".join(lines)
    lines.append(f"{level} from {proposed['threshold']:g} on, as proposed: {_share(proposed)}")
    lines.append(f"so that at most {advice['target']:.1%} are false {sure}")
    recorded = advice["recorded"]
    lines.append(
        f"of {recorded['prompts']} prompts since {advice['since'][:10]} {recorded['raised']} would have been "
        f"of a higher level, {recorded['lowered']} of a lower one"
    )
    tenant, scores = advice["tenant"], proposed["thresholds"]
    if not applied:
        return "\n".join([*lines, f"to set it: {_command(tenant, scores)}"])
    back = _command(tenant, present["thresholds"]) if had_own else f"tocsin thresholds delete {tenant}"
    return "\n".join([*lines, f"it is set; to take it back: {back}"])


def _share(one: dict[str, Any]) -> str:
    if not one["alarms"]:
        return "no judged alarm"
    low, high = one["interval"]["low"], one["interval"]["high"]
    return (
        f"{one['false_alarms']} of {one['alarms']} judged alarms false, {one['false_alarm_rate']:.1%} "
        f"({low:.1%} to {high:.1%})"
    )


def _command(tenant: str, scores: dict[str, float]) -> str:
    options = " ".join(f"--{name} {points:g}" for name, points in scores.items())
    return f"tocsin thresholds set {tenant} {options}"
