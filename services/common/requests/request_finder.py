"""Finds a request in the log by its id."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from schemas.errors import ErrorCode
from schemas.inference import InferenceRequested
from services.common.bus.consumers.log_scan import LogScans, TooManyLookupsError
from services.common.bus.coordinates import LogPosition, Record, position_of
from services.common.clock import MonotonicClock
from services.common.errors import TransientError
from services.common.http.problems import Problem, ProblemError, retry_after, unavailable
from services.common.process.lru_cache import LruCache
from services.common.requests.request_ids import time_ms_of

_PUBLISHED_WITHIN_MS = 30_000
"""A request is in the log so long after the time in its id, or never."""
_REMEMBERED_S = 60.0
_REMEMBERED = 4096


@dataclass
class RequestFinder:
    """Looks into the lanes. What is not there and cannot come any more is remembered for
    a minute, of the latest 4096 ids.
    """

    scans: LogScans
    monotonic: MonotonicClock
    _absent: LruCache[str, float] = field(default_factory=lambda: LruCache(_REMEMBERED), init=False)

    async def find(
        self, request_id: str, *, tenant: str, topics: Sequence[str], now_ms: float
    ) -> tuple[InferenceRequested, LogPosition] | None:
        """A request as it was first published, and where; None where there is none.

        `tenant` is who asks, whosever the request is; `now_ms` the present by the
        brokers' clock.

        Raises:
            ProblemError: 429, this tenant has too many look-ups under way; 503, the log
                cannot be read now.
        """
        made_at_ms = time_ms_of(request_id)
        if made_at_ms is None or (self._absent.get(request_id) or 0.0) > self.monotonic():
            return None
        found = await asyncio.gather(
            *(
                self.scans.of(topic, 0).records_of(
                    request_id.encode(), made_at_ms, tenant=tenant, within_ms=_PUBLISHED_WITHIN_MS
                )
                for topic in topics
            ),
            return_exceptions=True,
        )
        failures: list[BaseException] = []
        for records in found:
            if isinstance(records, BaseException):
                failures.append(records)
            elif (first := _first_attempt(records)) is not None:
                return first
        for failure in failures:
            raise cannot_look_up(failure) if isinstance(failure, TransientError) else failure
        if now_ms - made_at_ms > 2 * _PUBLISHED_WITHIN_MS:
            self._absent.put(request_id, self.monotonic() + _REMEMBERED_S)
        return None


def cannot_look_up(error: BaseException) -> ProblemError:
    """What a look-up in the log that failed means to the client.

    429 where its own tenant asks too much, 503 where the log cannot be read now.
    """
    if isinstance(error, TooManyLookupsError):
        problem = ProblemError(
            Problem(
                429,
                ErrorCode.RATE_LIMIT_EXCEEDED,
                "Too many look-ups of this tenant's requests are under way. Try again in a second.",
                headers=retry_after(1),
            )
        )
    else:
        problem = unavailable(
            "The log could not be read in time to look the request up. Try again.",
            code=ErrorCode.BUS_UNAVAILABLE,
        )
    problem.__cause__ = error
    return problem


def _first_attempt(records: Iterable[Record]) -> tuple[InferenceRequested, LogPosition] | None:
    for record in records:
        try:
            request = InferenceRequested.model_validate_json(record.value or b"")
        except ValidationError:
            continue
        if request.attempt == 1:
            return request, position_of(record)
    return None
