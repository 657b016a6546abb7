"""Joins the parts of a gateway's limits."""

from collections.abc import Sequence
from uuid import uuid4

from schemas.topics import LIMIT_SHARES, RISK
from services.common.bus.consumers.consumer import Tail
from services.common.clock import monotonic_s, utc_now
from services.common.control.limits import RuleBook, parse_defaults
from services.common.control.reader import ControlReader
from services.common.requests.model_catalogue import ModelConfig
from services.gateway.bus.publisher import RequestPublisher
from services.gateway.limits.estimate import TokenEstimates
from services.gateway.limits.guard import LimitGuard
from services.gateway.limits.limiter import LocalLimits
from services.gateway.limits.peer_usage import PeerUsage
from services.gateway.limits.risk import RiskTable
from services.gateway.limits.risk_reader import RiskReader
from services.gateway.limits.usage_exchange import UsageExchange
from services.gateway.limits.valkey.shared_limits import SharedLimits
from services.gateway.settings import Settings


def make_limits(
    settings: Settings, models: Sequence[ModelConfig], control: ControlReader, publisher: RequestPublisher
) -> tuple[LimitGuard, UsageExchange, RiskReader]:
    """The limits, and what carries them from gateway to gateway."""
    url, name = settings.kafka_url, f"gateway-{settings.instance}"
    limits_url = settings.limits_url.get_secret_value()
    shares = PeerUsage(settings.instance, uuid4().hex[:12])
    limiter = LocalLimits(shares)
    usage_exchange = UsageExchange(
        Tail(url, f"{name}-limits", topic=LIMIT_SHARES.name),
        publisher.producer,
        shares,
        publisher.bus_clock.now_ms,
        monotonic_s,
        limiter.on_used,
    )
    risks = RiskReader(
        Tail(url, f"{name}-risk", topic=RISK.name), RiskTable(settings.limits_risk_half_life_s)
    )
    admission = LimitGuard(
        RuleBook(parse_defaults(settings.limits_defaults)),
        risks.table,
        limiter,
        TokenEstimates({model.name: model.context_length for model in models}),
        lambda: control.state,
        utc_now,
        monotonic_s,
        usage_exchange.publish_soon,
        SharedLimits(limits_url, shares.incarnation, shares.held) if limits_url else None,
    )
    return admission, usage_exchange, risks
