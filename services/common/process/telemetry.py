"""Logs as structured events, and one trace from HTTP to the store.

Trace context travels as W3C `traceparent`, in HTTP headers and in Kafka's. Where no
exporter is configured it is passed on and no span is made, which costs next to nothing;
with `TOCSIN_OTLP_ENDPOINT` each step is a span.
"""

import contextlib
import logging
import secrets
import sys
from collections.abc import Iterator, Mapping

import orjson
import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.common.process.settings import CommonSettings

_propagator = TraceContextTextMapPropagator()
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logging(service: str, settings: CommonSettings) -> None:
    """Makes structlog write one JSON line an event to standard error, or readable lines
    with `TOCSIN_LOG_FORMAT=console`; libraries' logs likewise.
    """
    level, as_json = _LEVELS[settings.log_level], settings.log_format == "json"
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        exception_formatter=structlog.dev.plain_traceback,  # others show variables, and so secrets
    )
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.JSONRenderer(serializer=orjson.dumps) if as_json else console,
        ],
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer)
        if as_json
        else structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    theirs = structlog.processors.JSONRenderer() if as_json else console
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, theirs],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("uvicorn", "urllib3", "httpx", "clickhouse_connect", "aiokafka"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
    structlog.contextvars.bind_contextvars(service=service, instance=settings.instance)


def configure_tracing(service: str, settings: CommonSettings) -> None:
    """Exports spans over OTLP/HTTP where an endpoint is configured."""
    if not settings.otlp_endpoint:
        return
    provider = TracerProvider(
        resource=Resource.create(
            {"service.name": f"tocsin-{service}", "service.instance.id": settings.instance}
        )
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.otlp_endpoint)))
    trace.set_tracer_provider(provider)


def new_traceparent() -> str:
    """A fresh W3C trace context, for a request that came without one."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


@contextlib.contextmanager
def span(
    name: str, traceparent: str | None, attributes: Mapping[str, str | int | float] | None = None
) -> Iterator[str | None]:
    """A span under the given context; yields the context for what comes after.

    Without an exporter it yields what it was given.
    """
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        yield traceparent
        return
    parent = _propagator.extract({"traceparent": traceparent}) if traceparent else None
    with provider.get_tracer("tocsin").start_as_current_span(
        name, context=parent, attributes=dict(attributes or {})
    ):
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        yield carrier.get("traceparent", traceparent)
