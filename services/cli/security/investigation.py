"""Which findings `tocsin security` shows, and how one is judged."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast, get_args

from pydantic import ValidationError

from schemas.events.audit import AuditEntry
from schemas.events.security import FindingFeedback
from services.cli.control.control import CONNECT_TIMEOUT_S, operator, show_json
from services.common.bus.producers.counting import CountingProducer
from services.common.clock import utc_now
from services.common.control.audit_entries import AuditWriter
from services.common.control.errors import InvalidChangeError, NoSuchEntryError
from services.common.errors import BusUnavailableError
from services.common.http.problems import ProblemError
from services.common.process.settings import CommonSettings
from services.common.store import Store
from services.console.security.answers import FindingParameters
from services.console.security.feedback import FindingFeedbackService, Verdict
from services.console.security.findings import FindingQuery, Findings

VERDICTS: tuple[str, ...] = get_args(Verdict)
_STORE_TIMEOUT_S = 30.0


def query_of(given: Mapping[str, Any]) -> FindingQuery:
    """The findings that are meant, by the rules of GET /api/security/findings.

    Raises:
        InvalidChangeError: an option's value is wrong.
    """
    try:
        return FindingParameters.model_validate(given).query
    except ValidationError as error:
        raise InvalidChangeError.of(error, FindingParameters) from error


def judge_finding(finding_id: str, verdict: str, *, as_json: bool) -> int:
    """Publishes what the operator says of a finding, one of `VERDICTS`, after its entry in
    the audit.

    Raises:
        NoSuchEntryError: there is no such finding.
        BusUnavailableError: the bus does not take it.
        StoreUnavailableError: the finding cannot be looked up now.
    """
    given = asyncio.run(_judge(finding_id, cast("Verdict", verdict)))
    if as_json:
        show_json(given.model_dump(mode="json", include={"feedback_id", "finding_id", "verdict", "given_by"}))
    else:
        print(f"finding {finding_id} of {given.tenant} ({given.category}, {given.level}) is a {verdict}")
    return 0


async def _judge(finding_id: str, verdict: Verdict) -> FindingFeedback:
    settings = CommonSettings.load()
    producer = CountingProducer(settings.kafka_url, "cli-judge")
    try:
        await producer.start(CONNECT_TIMEOUT_S)
        async with Store(settings.clickhouse_url, name="tocsin-cli", timeout_s=_STORE_TIMEOUT_S) as store:
            findings = Findings(store, utc_now, "")
            found = await findings.one("", finding_id)
            if found is None:
                raise NoSuchEntryError(
                    f"there is no finding {finding_id!r}; `tocsin security findings` shows ids"
                )
            await AuditWriter(producer.send, timeout_s=10.0).record(_entry(found))
            service = FindingFeedbackService(findings, producer.send, utc_now)
            return await service.submit(found["tenant"], finding_id, verdict, operator())
    except ProblemError as error:
        raise BusUnavailableError(error.problem.message) from error
    finally:
        await producer.close()


def _entry(found: Mapping[str, Any]) -> AuditEntry:
    return AuditEntry.create(
        occurred_at=utc_now(),
        actor=operator(),
        action="finding.judged",
        object_kind="finding",
        object_id=found["finding_id"],
        tenant=found["tenant"],
    )
