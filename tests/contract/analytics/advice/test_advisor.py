"""What is told lives on in the store: raised once, decided, measured, isolated."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest

from schemas.envelope import Envelope
from schemas.events.audit import Actor
from schemas.events.insight.recommendations import RecommendationChanged
from schemas.topics import RECOMMENDATIONS
from services.analyzer.advice.advisor import SETTLE, Advisor
from services.analyzer.advice.domain.rules import RULES
from services.analyzer.recorder.interfaces import StoreTables
from services.analyzer.recorder.rows import process_message
from services.analyzer.recorder.tables.recommendations import RECOMMENDATION_CHANGES
from services.common.bus import Outgoing
from services.common.bus.coordinates import LogPosition
from services.common.errors import StoreUnavailableError
from services.common.http.problems import ProblemError
from services.common.store import Store
from services.console.feedback.recommendations.decisions import DecisionService
from services.console.feedback.recommendations.reader import RecommendationQuery, Recommendations
from tests.contract.analytics.advice.cases import CASES
from tests.contract.analytics.advice.rows import TO, requests

_DAY = timedelta(days=1)
_ADMIN = Actor(kind="key", id="adm1nKey")


@dataclass
class Recorder:
    """Takes what is sent, and records it at once, as the recorder does."""

    store: Store
    sent: list[RecommendationChanged] = field(default_factory=list)
    _offsets: Any = field(default_factory=count)

    async def send(self, record: Outgoing) -> None:
        message, offset = record.value, next(self._offsets)
        assert isinstance(message, RecommendationChanged)
        envelope = Envelope(f"e{offset}", "tocsin", "test", TO, record.subject, record.tenant, offset)
        row = process_message(
            RECOMMENDATION_CHANGES,
            message.encode(),
            envelope.to_headers(),
            LogPosition(topic=RECOMMENDATIONS.name, partition=0, offset=offset),
        )
        await StoreTables(self.store).insert(RECOMMENDATION_CHANGES.table, [row], token=f"t{offset}")
        self.sent.append(message)


@dataclass
class Moment:
    """A clock that stands."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


async def _states(store: Store) -> dict[str, str]:
    rows = await store.query("SELECT rule, subject, state FROM v_recommendations")
    return {
        f"{row['rule']} {row['subject'].get('tenant') or row['subject'].get('model')}": row["state"]
        for row in rows
    }


async def test_quiet_platform_is_told_nothing(empty: Store) -> None:
    """Neither one without a request, nor one where nothing is the matter."""
    recorder = Recorder(empty)
    await Advisor(empty, recorder.send, Moment(TO)).advise(TO)
    await empty.command(requests(4000, range(28), tenant="'quiet'", model="'fine'"))
    await Advisor(empty, recorder.send, Moment(TO)).advise(TO)
    assert recorder.sent == []


async def test_recommendation_is_raised_once_decided_by_its_tenant_and_stays_so(empty: Store) -> None:
    """A second look, or another analyzer's, tells nothing; another tenant's administrator
    finds nothing; what was decided holds although it is raised again by accident.
    """
    for sql in CASES["truncated_answers"].rows:
        await empty.command(sql)
    only = {"truncated_answers": RULES["truncated_answers"]}
    recorder, clock = Recorder(empty), Moment(TO + SETTLE)
    advisor = Advisor(empty, recorder.send, clock, only)
    assert await advisor.advise_if_due()
    assert not await advisor.advise_if_due()
    assert [one.change.value for one in recorder.sent] == ["raised"]
    await Advisor(empty, recorder.send, clock, only).advise(TO)
    assert len(recorder.sent) == 1
    told = recorder.sent[0]
    found = Recommendations(empty, clock)
    decisions = DecisionService(found, recorder.send, Moment(clock.now + timedelta(hours=1)))
    with pytest.raises(ProblemError) as refused:
        await decisions.decide("globex", told.fingerprint, "accepted", "", _ADMIN)
    assert refused.value.problem.status == 404
    await decisions.decide(
        "truncated_answers-yes", told.fingerprint, "dismissed", "short ones are wanted", _ADMIN
    )
    await recorder.send(
        Outgoing(
            RECOMMENDATIONS.name,
            told.model_copy(update={"changed_at": clock.now + _DAY}),
            subject=told.fingerprint,
            tenant=told.tenant,
        )
    )
    (page,) = (await found.page(RecommendationQuery({"state": "dismissed", "tenant": told.tenant})))["data"]
    assert (page["state"], page["decided_by"], page["decision_reason"]) == (
        "dismissed",
        "adm1nKey",
        "short ones are wanted",
    )
    assert page["decided_harm"] == pytest.approx(0.25)
    assert (await found.page(RecommendationQuery({"state": "open"})))["data"] == []
    await Advisor(empty, recorder.send, Moment(TO + 91 * _DAY), only).advise(TO)
    assert recorder.sent[-1].change.value == "reopened"
    assert (await _states(empty)) == {"truncated_answers truncated_answers-yes": "new"}
    await Advisor(empty, recorder.send, Moment(TO + 95 * _DAY), only).advise(TO + 95 * _DAY)
    assert recorder.sent[-1].change.value == "lapsed"
    assert list((await _states(empty)).values()) == ["lapsed"]


async def test_evidence_is_the_subjects_row_and_effect_is_measured_once_there_are_weeks(empty: Store) -> None:
    """Before: eight weeks of which half of the answers were cut; after: two with none. In
    between it says what is missing.
    """
    long_ago = {"tenant": "'acme'", "model": "'m'", "finish_reasons": "if(n % 2 = 0, ['length'], ['stop'])"}
    await empty.command(requests(4200, range(14, 70), **long_ago))
    await empty.command(requests(4200, range(14, 70), **long_ago | {"tenant": "'globex'"}))
    await empty.command(requests(1050, range(14), tenant="'acme'", model="'m'"))
    recorder = Recorder(empty)
    accepted_at = TO - 14 * _DAY - timedelta(hours=12)
    only = {"truncated_answers": RULES["truncated_answers"]}
    await Advisor(empty, recorder.send, Moment(accepted_at - timedelta(hours=1)), only).advise(TO - 15 * _DAY)
    assert {one.tenant for one in recorder.sent} == {"acme", "globex"}
    (mine,) = [one for one in recorder.sent if one.tenant == "acme"]
    found = Recommendations(empty, Moment(accepted_at + 3 * _DAY))
    await DecisionService(found, recorder.send, Moment(accepted_at)).decide(
        "", mine.fingerprint, "accepted", "we try", _ADMIN
    )
    known = await found.one("acme", mine.fingerprint)
    assert known is not None
    assert await found.one("globex", mine.fingerprint) is None
    early = await found.whole(known)
    assert early["effect"]["verdict"] == "not known yet"
    assert "1 are needed" in early["effect"]["needed"]
    assert [row["tenant"] for row in early["evidence"]["rows"]] == ["acme"]
    assert early["evidence"]["rows"][0]["truncated_share"] == pytest.approx(0.5, abs=0.05)
    assert "--param tenant=acme" in early["evidence"]["command"]
    assert [one["change"] for one in early["history"]] == ["accepted", "raised"]
    late = await Recommendations(empty, Moment(TO + timedelta(hours=1))).whole(known)
    effect = late["effect"]
    assert (effect["verdict"], effect["weeks_before"], effect["weeks_after"]) == ("better", 8, 2)
    assert effect["change"] == pytest.approx(-0.5, abs=0.05)
    assert effect["low"] <= effect["change"] <= effect["high"] < 0


async def test_rule_that_cannot_be_asked_keeps_no_other_from_it_and_lapses_nothing(empty: Store) -> None:
    """Only when none can be asked that is an error."""
    for name in ("truncated_answers", "abandoned_streams"):
        for sql in CASES[name].rows:
            await empty.command(sql)
    recorder = Recorder(empty)
    only = {name: RULES[name] for name in ("truncated_answers", "abandoned_streams")}
    await Advisor(empty, recorder.send, Moment(TO), only).advise(TO)
    assert len(recorder.sent) == 2
    await empty.command("TRUNCATE TABLE inference_events")
    await empty.command("RENAME TABLE v_requests TO v_away")
    with pytest.raises(StoreUnavailableError, match="no rule could be asked"):
        await Advisor(empty, recorder.send, Moment(TO + _DAY), only).advise(TO)
    more = only | {"silent_tenants": RULES["silent_tenants"]}
    await Advisor(empty, recorder.send, Moment(TO + _DAY), more).advise(TO)
    assert len(recorder.sent) == 2
