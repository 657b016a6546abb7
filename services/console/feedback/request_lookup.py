"""What is known of a single request, by its id."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog

from schemas.errors import ErrorCode
from services.common.clock import Clock
from services.common.errors import StoreUnavailableError
from services.common.http.problems import unavailable
from services.common.requests.request_finder import RequestFinder
from services.common.requests.request_ids import may_be_in_log, time_ms_of
from services.common.store import Store

log = structlog.get_logger(__name__)

_LONGEST_KEPT_S = 400 * 86_400.0
_LOG_KEPT_S = 55 * 60.0
"""A little less than what the lanes keep."""
_LONGEST_REQUEST = timedelta(hours=1)
_CLOCKS_DIFFER = timedelta(hours=25)
"""Clocks of gateways, dispatchers and clients may be wrong by a time zone."""
_SQL = """
SELECT tenant, model, requested_at FROM inference_events
WHERE request_id = {request_id:String}
    AND completed_at BETWEEN {from:DateTime64(3, 'UTC')} AND {to:DateTime64(3, 'UTC')}
LIMIT 1
"""


class RatedRequest(NamedTuple):
    """What is known of a request."""

    tenant: str
    model: str
    requested_at: datetime | None


@dataclass
class RequestLookup:
    """Finds requests by their ids: in the store, and while they are young in the log too,
    which has those that are under way or not recorded yet.
    """

    store: Store
    finder: RequestFinder
    topics: Sequence[str]
    clock: Clock

    async def find(self, request_id: str, tenant: str) -> RatedRequest | None:
        """A request, for a tenant that asks; None where there is none.

        Raises:
            ProblemError: 429, the tenant asks too much; 503, it cannot be told now.
        """
        made_at_ms, now = time_ms_of(request_id), self.clock()
        if made_at_ms is None or not may_be_in_log(made_at_ms, now, _LONGEST_KEPT_S):
            return None
        store_away: StoreUnavailableError | None = None
        try:
            found = await self._in_store(request_id, made_at_ms)
        except StoreUnavailableError as error:
            log.warning("feedback_store_away", error=str(error))
            found, store_away = None, error
        if found is None and may_be_in_log(made_at_ms, now, _LOG_KEPT_S):
            found = await self._in_log(request_id, tenant)
        if found is None and store_away is not None:
            raise unavailable(
                "The request cannot be looked up now. Try again.", code=ErrorCode.STORE_UNAVAILABLE
            ) from store_away
        return found

    async def _in_store(self, request_id: str, made_at_ms: int) -> RatedRequest | None:
        made_at = datetime.fromtimestamp(made_at_ms / 1000, UTC)
        rows = await self.store.query(
            _SQL,
            {
                "request_id": request_id,
                "from": made_at - _CLOCKS_DIFFER,
                "to": made_at + _LONGEST_REQUEST + _CLOCKS_DIFFER,
            },
        )
        return RatedRequest(rows[0]["tenant"], rows[0]["model"], rows[0]["requested_at"]) if rows else None

    async def _in_log(self, request_id: str, tenant: str) -> RatedRequest | None:
        found = await self.finder.find(
            request_id, tenant=tenant, topics=self.topics, now_ms=self.clock().timestamp() * 1000
        )
        if found is None:
            return None
        request, _ = found
        return RatedRequest(request.tenant, request.model, request.requested_at)
