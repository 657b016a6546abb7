"""What the ends of requests tell of their texts: the one place where that is decided."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import structlog

from schemas.inference import InferenceCompleted
from schemas.limits import MARGIN_BYTES, MAX_ANSWER_BYTES, MAX_REQUEST_BYTES
from services.common.control.state import ControlState
from services.common.process import metrics
from services.common.requests.masking.masker import Masker, NotMaskedError
from services.common.requests.masking.sensitive_texts import MaskScope
from services.common.requests.masking.texts import RequestTexts, with_texts

log = structlog.get_logger(__name__)

StoreText = Literal["masked", "none", "raw"]
_MOST_BYTES = MAX_REQUEST_BYTES + MAX_ANSWER_BYTES + MARGIN_BYTES
_ESCAPED = 6
"""Bytes that a character takes in JSON at most."""


def stored_text(state: ControlState, tenant: str, default: StoreText) -> StoreText:
    """What is kept of a tenant's texts: as its policy has it, or everybody's, where an
    administrator made one; else the installation's `default`. Where that is none, none
    is kept of anybody.
    """
    if default == "none":
        return "none"
    return state.policy_of(tenant).store_text if state.has_policy(tenant) else default


@dataclass
class TextRecording:
    """Gives ends their texts. An end that nothing is said about here has none: what is
    raw cannot come into a record for want of a call.

    `stored` tells what is kept of a tenant's.
    """

    stored: Callable[[str], StoreText] = lambda _tenant: "masked"
    masker: Masker = field(default_factory=Masker)

    async def end_with_texts(self, event: InferenceCompleted, texts: RequestTexts) -> InferenceCompleted:
        """The end with its texts, as its tenant's are kept. One whose texts cannot be
        masked, or would not fit into a record, is told without: an end is never lost.
        """
        kept = self.stored(event.tenant)
        if kept == "none":
            return event
        if kept == "masked":
            try:
                masked = await self.masker.mask(texts.all, MaskScope.TO_KEEP, tenant=event.tenant)
            except NotMaskedError as error:
                log.warning("texts_not_stored", request_id=event.request_id, reason=str(error))
                return event
            texts = texts.with_texts(masked.texts)
        told = with_texts(event, texts)
        if sum(map(len, texts.all)) > _MOST_BYTES // _ESCAPED and len(told.encode()) > _MOST_BYTES:
            metrics.MASKING_MISSED.labels("too_large").inc()
            log.warning("texts_not_stored", request_id=event.request_id, reason="too large for a record")
            return event
        return told

    async def remarks(self, tenant: str, *texts: str | None) -> list[str | None]:
        """What people wrote about a request, together: masked, but where the tenant's
        texts are kept as they are. None for what cannot be masked, and for all of it
        where none of the tenant's texts is kept.
        """
        kept = self.stored(tenant)
        if kept == "none":
            return [None for _ in texts]
        if kept == "raw":
            return list(texts)
        try:
            masked = await self.masker.mask([text or "" for text in texts], MaskScope.TO_KEEP, tenant=tenant)
        except NotMaskedError as error:
            log.warning("remarks_not_stored", tenant=tenant, reason=str(error))
            return [None for _ in texts]
        return [None if text is None else shown for text, shown in zip(texts, masked.texts, strict=True)]

    async def close(self) -> None:
        """Ends the process that masks."""
        await self.masker.close()
