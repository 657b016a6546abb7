"""What is counted of each request that a gateway served: once, when it has its answer or
its client has left.
"""

from dataclasses import dataclass, field

from prometheus_client import Counter, Histogram

from schemas.inference import End
from services.common.process import metrics
from services.gateway.streams.reply_stream import ReplyStream

LEFT, GIVEN_UP = "left", "given_up"
"""How a request ends for a client that the log does not tell of an end."""


@dataclass(frozen=True, slots=True)
class _OfModel:
    """A model's metrics, looked up once."""

    latency: Histogram
    tokens: Counter
    inter_token: Histogram
    queue: Histogram


@dataclass
class RequestMeasurements:
    """Counts requests by model, of which the models file has few."""

    _models: dict[str, _OfModel] = field(default_factory=dict, init=False)
    _statuses: dict[tuple[str, str], Counter] = field(default_factory=dict, init=False)

    def served(self, reply_stream: ReplyStream, now: float) -> None:
        """A client is served no more. One that came back to a stream was counted when
        it first came.
        """
        if reply_stream.began_at is None:
            return
        model, end = reply_stream.request.model, reply_stream.state.end
        if end is None:
            self._count(model, LEFT if reply_stream.problem is None else GIVEN_UP)
            return
        self._count(model, end.outcome.value)
        of_model = self._of(model)
        of_model.latency.observe(now - reply_stream.began_at)
        of_model.tokens.inc(end.usage.completion_tokens)
        if end.queue_ms is not None:
            of_model.queue.observe(end.queue_ms / 1000)
        between_s = inter_token_s(end)
        if between_s is not None:
            of_model.inter_token.observe(between_s)

    def _count(self, model: str, status: str) -> None:
        counter = self._statuses.get((model, status))
        if counter is None:
            counter = self._statuses[model, status] = metrics.LLM_REQUESTS.labels(model, status)
        counter.inc()

    def _of(self, model: str) -> _OfModel:
        found = self._models.get(model)
        if found is None:
            found = self._models[model] = _OfModel(
                metrics.LLM_REQUEST_LATENCY_SECONDS.labels(model),
                metrics.LLM_TOKENS_GENERATED.labels(model),
                metrics.GATEWAY_INTER_TOKEN_SECONDS.labels(model),
                metrics.GATEWAY_QUEUE_SECONDS.labels(model),
            )
        return found


def inter_token_s(end: End) -> float | None:
    """Seconds between two tokens in the mean, from the first to the last of the last
    attempt; None where there were not two, or it is not known.
    """
    tokens = end.usage.completion_tokens
    if end.generation_ms is None or end.ttft_ms is None or end.queue_ms is None or tokens < 2:
        return None
    first_ms = max(0.0, end.ttft_ms - end.queue_ms)
    return max(0.0, end.generation_ms - first_ms) / (tokens - 1) / 1000
