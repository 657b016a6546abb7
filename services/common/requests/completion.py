"""Prices a request's one end and says what it looks like to everybody else.

Pure; the dispatcher uses it for what was generated, a gateway for what it ends itself.
"""

from datetime import datetime

from schemas.inference import Delivered, End, InferenceCompleted, InferenceRequested
from services.common.requests.masking.texts import texts_of
from services.common.requests.model_catalogue import Price
from services.common.requests.pricing import cost_usd


def completed_event(
    request: InferenceRequested,
    end: End,
    choices: tuple[Delivered, ...],
    *,
    replica_id: str,
    price: Price,
    now: datetime,
) -> InferenceCompleted:
    """The event for a request that ended now.

    It has no texts, only their lengths in characters: what may be told of them, and how,
    `masking.recording` adds. Queue and first-token time are the client's, whichever
    attempt gave it the first token; the rate is the last attempt's.
    """
    texts = texts_of(request, choices)
    usage, seconds = end.usage, (end.generation_ms or 0) / 1000
    delivered = request.delivered
    generated = usage.completion_tokens - (sum([one.tokens for one in delivered]) if delivered else 0)
    return InferenceCompleted(
        request_id=request.request_id,
        tenant=request.tenant,
        key_id=request.key_id,
        user=request.user,
        model=request.model,
        kind=request.kind,
        lane=request.lane,
        stream=request.stream,
        outcome=end.outcome,
        finish_reasons=tuple([choice.finish_reason for choice in choices if choice.finish_reason]),
        error_code=end.error.code if end.error else None,
        attempts=request.attempt,
        replica_id=replica_id,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=min(usage.cached_tokens, usage.prompt_tokens),
        cost_usd=cost_usd(price, usage, end.outcome),
        requested_at=request.requested_at,
        completed_at=now,
        duration_ms=max(0.0, (now - request.requested_at).total_seconds() * 1000),
        queue_ms=end.queue_ms if request.queue_ms is None else request.queue_ms,
        ttft_ms=end.ttft_ms if request.ttft_ms is None else request.ttft_ms,
        tokens_per_s=max(0, generated) / seconds if seconds > 0 else None,
        mean_logprob=end.mean_logprob,
        prompt_chars=len(texts.prompt),
        response_chars=sum(map(len, texts.answered)),
        risk=request.risk,
    )
