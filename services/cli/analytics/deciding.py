"""How `tocsin recommendations` asks and decides: by the rules of /api/recommendations."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from pydantic import ValidationError

from schemas.events.audit import AuditEntry
from schemas.events.insight.recommendations import RecommendationChanged
from services.cli.control.control import CONNECT_TIMEOUT_S, operator, show_json
from services.common.bus.producers.counting import CountingProducer
from services.common.clock import utc_now
from services.common.control.audit_entries import AuditWriter
from services.common.control.errors import InvalidChangeError, NoSuchEntryError
from services.common.errors import BusUnavailableError
from services.common.http.problems import ProblemError
from services.common.process.settings import CommonSettings
from services.common.store import Store
from services.console.feedback.recommendations.answers import DecisionBody, RecommendationParameters
from services.console.feedback.recommendations.decisions import DECISIONS, DecisionService
from services.console.feedback.recommendations.reader import RecommendationQuery, Recommendations

_STORE_TIMEOUT_S = 60.0


def query_of(given: Mapping[str, Any]) -> RecommendationQuery:
    """The recommendations that are meant.

    Raises:
        InvalidChangeError: an option's value is wrong.
    """
    try:
        return RecommendationParameters.model_validate(given).query
    except ValidationError as error:
        raise InvalidChangeError.of(error, RecommendationParameters) from error


def no_such(fingerprint: str) -> NoSuchEntryError:
    """There is none of this fingerprint."""
    return NoSuchEntryError(
        f"there is no recommendation {fingerprint!r}; `tocsin recommendations list --state all` shows all"
    )


async def asked(ask: Callable[[Recommendations], Coroutine[Any, Any, Any]]) -> Any:
    """What the store says.

    Raises:
        StoreUnavailableError: not now.
    """
    url = CommonSettings.load().clickhouse_url
    async with Store(url, name="tocsin-cli", timeout_s=_STORE_TIMEOUT_S) as store:
        return await ask(Recommendations(store, utc_now))


def decide(fingerprint: str, verb: str, reason: str, *, as_json: bool) -> int:
    """Publishes what the operator decides, after its entry in the audit.

    Raises:
        NoSuchEntryError: there is no such recommendation.
        InvalidChangeError: the reason is too long.
        BusUnavailableError: the bus does not take it.
        StoreUnavailableError: it cannot be looked up now.
    """
    try:
        body = DecisionBody(reason=reason)
    except ValidationError as error:
        raise InvalidChangeError.of(error, DecisionBody) from error
    taken = asyncio.run(_decide(fingerprint, verb, body.reason))
    if as_json:
        show_json(taken.model_dump(mode="json", include={"fingerprint", "tenant", "change", "changed_by"}))
    else:
        print(f"recommendation {fingerprint} is {taken.change.value}")
    return 0


async def _decide(fingerprint: str, verb: str, reason: str) -> RecommendationChanged:
    settings = CommonSettings.load()
    producer = CountingProducer(settings.kafka_url, "cli-decide")
    try:
        await producer.start(CONNECT_TIMEOUT_S)
        async with Store(settings.clickhouse_url, name="tocsin-cli", timeout_s=_STORE_TIMEOUT_S) as store:
            found = Recommendations(store, utc_now)
            known = await found.one("", fingerprint)
            if known is None:
                raise no_such(fingerprint)
            decision = DECISIONS[verb]
            entry = AuditEntry.create(
                occurred_at=utc_now(),
                actor=operator(),
                action=f"recommendation.{decision}",
                object_kind="recommendation",
                object_id=fingerprint,
                tenant=known["tenant"],
            )
            await AuditWriter(producer.send, timeout_s=10.0).record(entry)
            service = DecisionService(found, producer.send, utc_now)
            return await service.decide("", fingerprint, decision, reason, operator())
    except ProblemError as error:
        raise BusUnavailableError(error.problem.message) from error
    finally:
        await producer.close()
