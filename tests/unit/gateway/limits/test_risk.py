"""Limits that tighten for what was found in a user's requests."""

import contextlib
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import EVERYBODY, ThresholdsChanged
from schemas.events.security import UserRisk
from services.common.control.state import ControlState
from services.common.http.problems import ProblemError
from services.common.identity import pseudonym, pseudonym_of_named
from services.gateway.limits.risk import RiskTable
from services.gateway.limits.risk_reader import RiskReader
from services.gateway.openai.requests import CompletionBody
from tests.unit.gateway.limits.scene import NOW, LimitsScene, caller, request
from tests.unit.gateway.serving import serving_of
from tests.unit.gateway.streams.stage import make_stage

ANN = "u_acme_ann"


def risk(findings: int, user: str = ANN, **fields: Any) -> UserRisk:
    """An assessment of the present."""
    return UserRisk(**({"tenant": "acme", "user": user, "findings": findings, "assessed_at": NOW} | fields))


async def admitted(scene: LimitsScene, count: int, **fields: Any) -> int:
    """How many of Ann's requests are let in."""
    count_in = 0
    for _ in range(count):
        try:
            await scene.admit(caller(user="ann"), [request(**({"user": ANN} | fields))])
        except ProblemError:
            break
        count_in += 1
    return count_in


@pytest.mark.parametrize(("findings", "an_hour"), [(1, 50), (3, 50), (4, 10), (1000, 10)])
async def test_findings_tighten_a_users_limit_at_once(findings: int, an_hour: int) -> None:
    """Up to three: 50 an hour; more: 10. Nobody else is touched."""
    scene = LimitsScene()
    assert await admitted(scene, 200) == 200
    scene.risks.take(f"acme/{ANN}", risk(findings))
    assert await admitted(scene, 200) == an_hour
    [let_in] = await scene.admit(caller(user="bob"), [request(user="u_acme_bob")])
    assert let_in.headers == ()


async def test_refusal_says_why_and_nothing_of_what_was_found() -> None:
    """No rule, no score, no level."""
    scene = LimitsScene()
    scene.risks.take(f"acme/{ANN}", risk(9, score=77.7))
    await admitted(scene, 10)
    with pytest.raises(ProblemError) as refused:
        await scene.admit(caller(user="ann"), [request(user=ANN)])
    assert refused.value.problem.message == (
        "Rate limit reached: this user, for what was found in its recent requests, may have 10 requests an "
        "hour. Try again in 6m0s."
    )


async def test_limit_loosens_as_findings_wane() -> None:
    """Four of them: two after a half-life, one after two, none after four."""
    scene = LimitsScene()
    scene.risks.take(f"acme/{ANN}", risk(4))
    limits = []
    for half_lives in (0, 1, 2, 3, 4):
        scene.time_s = 1000 + half_lives * 3600
        rules = scene.admission._rules(caller(user="ann"), request(user=ANN))
        limits.append(rules[0].limit if rules else None)
    assert limits == [10, 50, 50, 50, None]


async def test_naming_another_user_in_the_body_loosens_nothing() -> None:
    """Whom the key belongs to counts, whoever is named; whom a key without an owner names
    is another user.
    """
    stage = make_stage()
    key = stage.registry.settings.pseudonym_key.get_secret_value()
    jo = pseudonym(key, tenant="acme", user="jo")
    named_sue = pseudonym_of_named(key, tenant="acme", user="sue")
    for owner, named, an_hour in (
        ("jo", "someone", 10),
        ("", "sue", 10),
        ("", "jo", 99),
        ("ann", "jo", 99),
        ("sue", "sue", 99),
    ):
        serving = serving_of(stage, 0)
        for user in (jo, named_sue):
            serving.limits.risks.take(f"acme/{user}", risk(9, user))
        body = CompletionBody(model="m", prompt="a", user=named)
        count = 0
        for _ in range(99):
            with contextlib.suppress(ProblemError):
                asked = serving.requests.completions(caller(user=owner), body, stream=False)
                await serving.limits.admit(caller(user=owner), asked)
                count += 1
        assert count == an_hour


COUNTS = (100, 50, 10)


async def test_users_without_findings_are_limited_only_where_that_number_was_named() -> None:
    """By the tenant's thresholds or everybody's; by another's or deleted ones not."""
    assert await admitted(LimitsScene(), 150) == 150
    for tenant in ("acme", EVERYBODY):
        named = ThresholdsChanged(tenant=tenant, requests_per_hour=COUNTS)
        assert await admitted(LimitsScene(state=ControlState(thresholds={tenant: named})), 150) == 100
    elsewhere = ThresholdsChanged(tenant="other", requests_per_hour=COUNTS)
    assert await admitted(LimitsScene(state=ControlState(thresholds={"other": elsewhere})), 150) == 150
    deleted = ThresholdsChanged(tenant="acme", requests_per_hour=COUNTS, deleted_at=NOW)
    assert await admitted(LimitsScene(state=ControlState(thresholds={"acme": deleted})), 150) == 150


@pytest.mark.parametrize("tenant", ["acme", EVERYBODY])
async def test_scores_of_thresholds_limit_nobody_of_whom_nothing_was_found(tenant: str) -> None:
    """Whoever says from which score on a prompt is dangerous bounds no harmless user."""
    scores = ThresholdsChanged(tenant=tenant, low=2, medium=5, high=9, critical=15)
    scene = LimitsScene(state=ControlState(thresholds={tenant: scores}))
    assert await admitted(scene, 150) == 150
    scene.risks.take(f"acme/{ANN}", risk(1))
    assert await admitted(scene, 150) == 50


async def test_scores_of_a_tenant_leave_everybodys_hourly_numbers() -> None:
    """What a tenant's own thresholds do not name is as `*` has it."""
    thresholds = {
        "acme": ThresholdsChanged(tenant="acme", high=9),
        EVERYBODY: ThresholdsChanged(requests_per_hour=(20, 5, 1)),
    }
    assert await admitted(LimitsScene(state=ControlState(thresholds=thresholds)), 150) == 20


async def test_tenants_own_thresholds_set_the_numbers() -> None:
    """Configurable."""
    own = ThresholdsChanged(tenant="acme", requests_per_hour=(7, 5, 0))
    scene = LimitsScene(state=ControlState(thresholds={"acme": own}))
    assert await admitted(scene, 20) == 7
    scene.risks.take(f"acme/{ANN}", risk(4))
    assert await admitted(scene, 20) == 0


def test_table_is_bounded_and_takes_no_record_under_a_wrong_key() -> None:
    """Those assessed longest ago go first; a tombstone ends one."""
    table = RiskTable(3600.0, capacity=3)
    for number in range(5):
        table.take(f"acme/u{number}", risk(9, f"u{number}"))
    table.take("acme/u0", risk(9, "u4"))
    assert (len(table), table.forgotten, table.findings_of("acme", "u1", NOW)) == (3, 2, 0)
    table.take("acme/u4", None)
    assert (len(table), table.findings_of("acme", "u4", NOW)) == (2, 0)


def test_flood_of_one_tenants_users_forgets_no_other_tenants() -> None:
    """Room is taken from who takes most of it, one of each tenant stays."""
    table = RiskTable(3600.0, capacity=50)
    for number in range(10):
        table.take(f"globex/u{number}", risk(9, f"u{number}", tenant="globex"))
    table.take(f"acme/{ANN}", risk(9))
    for number in range(500):
        table.take(f"evil/u{number}", risk(9, f"u{number}", tenant="evil"))
    assert (len(table), table.forgotten) == (50, 461)
    assert table.findings_of("acme", ANN, NOW) > 0
    assert all(table.findings_of("globex", f"u{number}", NOW) for number in range(10))
    assert table.findings_of("evil", "u499", NOW) > 0
    for number in range(500):
        table.take(f"evil/u{number}", None)
    assert len(table) == 11


@given(
    takes=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.booleans()), max_size=60),
    capacity=st.integers(1, 5),
)
def test_table_knows_how_many_it_holds(takes: list[tuple[str, str, bool]], capacity: int) -> None:
    """Whatever is taken, ended and forgotten in whatever order."""
    table = RiskTable(3600.0, capacity=capacity)
    for tenant, user, ends in takes:
        table.take(f"{tenant}/{user}", None if ends else risk(9, user, tenant=tenant))
        held = [1 for one in "abc" for name in "xyz" if table.findings_of(one, name, NOW)]
        assert len(table) == len(held) <= capacity


@given(findings=st.integers(-(2**60), 2**60), age_s=st.floats(-1e9, 1e9))
def test_waned_findings_are_a_count_whatever_was_recorded(findings: int, age_s: float) -> None:
    """From the future, a thousand years old, negative: never an error, never more."""
    table = RiskTable(60.0)
    table.take("acme/u", risk(findings, "u", assessed_at=NOW - timedelta(seconds=age_s)))
    assert 0 <= table.findings_of("acme", "u", NOW) <= max(0, findings)


class FakeTail:
    """A compacted topic."""

    def __init__(self, *records: Any) -> None:
        self.records = records

    async def start(self, *_: Any) -> None: ...

    async def read_to_end(self, **_: Any) -> Any:
        yield self.records


async def test_reader_takes_the_newest_of_each_user_and_passes_over_garbage() -> None:
    """Garbage leaves what was known; an empty record ends it."""

    def record(user: str, value: bytes | None) -> Any:
        return SimpleNamespace(key=f"acme/{user}".encode(), value=value, partition=0, offset=0)

    tail = FakeTail(
        record("a", risk(1, "a").encode()),
        record("a", risk(5, "a").encode()),
        record("a", b"{"),
        record("b", risk(2, "b").encode()),
        record("b", None),
        SimpleNamespace(key=None, value=b"{}", partition=0, offset=0),
    )
    reader = RiskReader(tail, RiskTable(3600.0))  # type: ignore[arg-type]
    await reader.start()
    assert (reader.table.findings_of("acme", "a", NOW), len(reader.table)) == (5, 1)
