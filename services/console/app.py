"""The console's wiring, and nothing else."""

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from schemas.inference import Lane
from schemas.topics import STATUS_TOPIC, requests_topic
from services.common.budgets.spend import SpendStore
from services.common.bus import Tail
from services.common.bus.administration.inspection import group_lags
from services.common.bus.consumers.log_scan import LogScans
from services.common.bus.producers.counting import CountingProducer
from services.common.clock import monotonic_s, utc_now
from services.common.control.access.key_uses import KeyUses
from services.common.control.access.last_uses import LastUses
from services.common.control.audit_entries import AuditWriter
from services.common.control.authentication import KeyChecker
from services.common.control.errors import ChangeRefusedError
from services.common.control.limits import RuleBook, parse_defaults
from services.common.control.reader import ControlReader
from services.common.control.thresholds import parse_thresholds
from services.common.control.writer import ControlWriter
from services.common.errors.value_rules import rule_of, shown
from services.common.http.access_log import AccessLogMiddleware
from services.common.http.authentication import Authenticator
from services.common.http.docs.page import docs_router
from services.common.http.operations import operations_router
from services.common.http.problems import malformed
from services.common.http.protocol import HttpConfig
from services.common.http.responses import answer_problems, crash_response, problem_response
from services.common.http.server import EmbeddedServer
from services.common.process import metrics
from services.common.process.health import HealthState
from services.common.requests.masking.recording import TextRecording, stored_text
from services.common.requests.model_catalogue import load_models
from services.common.requests.request_finder import RequestFinder
from services.common.store import Store
from services.common.store.reading import ViewReader
from services.console.administration.administrators import Administrators
from services.console.administration.entry_service import EntryService
from services.console.administration.kinds import Display
from services.console.administration.own_keys import OwnKeys
from services.console.administration.refusals import on_refused
from services.console.administration.serial_changes import SerialChanges, Write
from services.console.auditing.middleware import AuditMiddleware
from services.console.auditing.recorder import CallRecorder
from services.console.feedback.recommendations.decisions import DecisionService
from services.console.feedback.recommendations.reader import Recommendations
from services.console.feedback.request_lookup import RequestLookup
from services.console.feedback.service import FeedbackService
from services.console.identity.callers import Callers
from services.console.identity.log_outs import LogOuts
from services.console.identity.sessions import EndedSessions, SessionSigner
from services.console.privacy.wiring import Privacy
from services.console.read_models.budgets import BudgetSpend
from services.console.read_models.cached_read import CachedRead
from services.console.read_models.costs import Costs
from services.console.read_models.ledger import Ledger
from services.console.read_models.own_matters import OwnMatters
from services.console.read_models.processes import StatusWindow
from services.console.read_models.rows.audit_trail import AuditTrail
from services.console.read_models.rows.export import Exports
from services.console.read_models.satisfaction import Satisfaction
from services.console.read_models.service_health import ServiceHealth
from services.console.read_models.status import PlatformStatus
from services.console.read_models.usage.anomalies import Anomalies
from services.console.read_models.usage.capacity import Capacity
from services.console.read_models.usage.forecasts import Forecasts
from services.console.read_models.usage.reader import Usage
from services.console.routes.admin import admin_router
from services.console.routes.audit import audit_router
from services.console.routes.auth import auth_router
from services.console.routes.documentation import document
from services.console.routes.feedback import feedback_router
from services.console.routes.figures.budget_spend import budget_spend_router
from services.console.routes.figures.costs import costs_router
from services.console.routes.figures.export import export_router
from services.console.routes.figures.kpi import kpi_router
from services.console.routes.figures.outlook import Outlook, outlook_router
from services.console.routes.figures.quality import quality_router
from services.console.routes.figures.recommendations import recommendations_router
from services.console.routes.figures.requests import requests_router
from services.console.routes.figures.usage import usage_router
from services.console.routes.me import me_router
from services.console.routes.privacy import privacy_router
from services.console.routes.security.analysis import security_router
from services.console.routes.security.investigation import investigation_router
from services.console.routes.status import status_router
from services.console.security.analyst import Analyst
from services.console.security.feedback import FindingFeedbackService
from services.console.security.findings import Findings
from services.console.security.services import SecurityServices
from services.console.security.tuning import TuningAdvice
from services.console.settings import Settings


class Console:
    """A running console; see `services.common.process.runner.App`."""

    def __init__(self, settings: Settings, *, write: Write | None = None, store: Store | None = None) -> None:
        self.health = HealthState()
        url, name = settings.kafka_url, f"console-{settings.instance}"
        pepper = settings.key_pepper.get_secret_value()
        self.control = ControlReader(url, name, self.health)
        self._store = store or Store(
            settings.clickhouse_url, name="tocsin-console", timeout_s=settings.store_timeout_s
        )
        self.views = ViewReader(settings.clickhouse_url, name="tocsin-console")
        self._services = ServiceHealth(settings.health_targets)
        self._bus = Tail(url, f"{name}-bus", topic=STATUS_TOPIC.name)
        self._events = CountingProducer(url, name, timeout_s=settings.ack_timeout_s)
        self._log_outs = LogOuts(
            url, name, self._events.send, utc_now, EndedSessions(settings.session_longest_s)
        )
        keys = Authenticator(
            self.control,
            KeyChecker(pepper),
            settings.token_checker(monotonic_s),
            settings.proxy_networks,
            KeyUses(self._events.send),
        )
        self.last_uses = LastUses(url, name)
        self.callers = Callers(settings, keys, utc_now, SessionSigner(pepper), self._log_outs)
        self._scans = LogScans(url, name, wait_s=10.0)
        models = self._models = load_models(Path(settings.models_file))
        lanes = [requests_topic(model.name, Lane(lane)) for model in models for lane in model.lanes]
        self._texts = TextRecording(
            lambda tenant: stored_text(self.control.state, tenant, settings.store_text)
        )
        self._feedback = FeedbackService(
            RequestLookup(self._store, RequestFinder(self._scans, monotonic_s), lanes, utc_now).find,
            self._events.send,
            settings.pseudonym_key.get_secret_value(),
            utc_now,
            self._texts,
        )
        self._admins = Administrators(
            self.callers, settings.pseudonym_key.get_secret_value(), settings.proxy_networks
        )
        self.entries = EntryService(
            self.control,
            SerialChanges(write or _writer(url, pepper, self.control), self.control),
            pepper,
            frozenset(model.name for model in models),
            utc_now,
            frozenset(alias for model in models for alias in model.aliases),
        )
        names = {name: model.name for model in models for name in (model.name, *model.aliases)}
        self._spend = BudgetSpend(
            SpendStore(self._store),
            settings.pseudonym_key.get_secret_value(),
            utc_now,
            lambda name: names.get(name, name),
        )
        findings = Findings(self._store, utc_now, settings.pseudonym_key.get_secret_value())
        self.security = SecurityServices(
            self.control,
            parse_thresholds(settings.risk_thresholds),
            Analyst(),
            findings,
            FindingFeedbackService(findings, self._events.send, utc_now),
            TuningAdvice(self._store, utc_now),
        )
        self.auditing = CallRecorder(
            self.control,
            AuditWriter(self._events.send),
            utc_now,
            settings.pseudonym_key.get_secret_value(),
            settings.proxy_networks,
        )
        self.privacy = Privacy(
            settings, self.control, self._events.send, self._bus.partitions, self.auditing.writer
        )
        self.status = PlatformStatus(
            {
                "bus": _cached("bus", self._read_bus),
                "store": _cached("store", self._read_store),
                "processes": _cached("processes", StatusWindow(url, name, utc_now).read, timeout_s=5.0),
                "services": _cached("services", self._services.read),
                "consumers": _cached("consumers", lambda: group_lags(url), timeout_s=5.0, fresh_s=3.0),
                "ledger": _cached("ledger", Ledger(self._store).read, timeout_s=5.0, fresh_s=10.0),
            }
        )
        self.app = self._make_app(settings)
        self._server = EmbeddedServer(
            HttpConfig(
                self.app,
                host=settings.host,
                port=settings.port,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=int(settings.drain_timeout_s) + 5,
            )
        )

    @property
    def port(self) -> int:
        """Where it listens, once started."""
        return self._server.port

    async def start(self) -> None:
        """Listens at once, for /health; lets nobody in until the keys are read.

        The store is not waited for: what it cannot tell says so.
        """
        await self._server.start()
        await asyncio.gather(
            self.control.start(), self._log_outs.start(), self.last_uses.start(), self.privacy.start()
        )
        await self._bus.start([], {})
        await self._events.start()

    async def run(self) -> None:
        """Serves until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.control.run())
            group.create_task(self.callers.keys.run())
            group.create_task(self._log_outs.run())
            group.create_task(self.last_uses.run())
            group.create_task(self.auditing.run())
            group.create_task(self.privacy.run())

    async def drain(self) -> None:
        """Accepts no more connections; answers under way go on until `close`."""
        self._server.should_exit = True

    async def close(self) -> None:
        """Ends what is left, disconnects."""
        await self._server.close()
        await self.status.close()
        await self.auditing.close()
        await asyncio.gather(
            self._services.close(),
            self.privacy.close(),
            self.control.close(),
            self._log_outs.close(),
            self.last_uses.close(),
            self._bus.close(),
            self._events.close(),
            self._texts.close(),
            self.security.analyst.close(),
            self._scans.close(),
            self._store.close(),
            self.views.close(),
        )

    async def _read_bus(self) -> dict[str, Any]:
        return {"status_end_offset": (await self._bus.end_offsets(STATUS_TOPIC.name, [0]))[0]}

    async def _read_store(self) -> dict[str, Any]:
        return {"version": (await self._store.query("SELECT version() AS version"))[0]["version"]}

    def _make_app(self, settings: Settings) -> AccessLogMiddleware:
        app = FastAPI(
            title="Tocsin console",
            version="1",
            description="The platform's API: its state, its figures, its administration.",
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        display, forecasts = Display(self.last_uses.of), Forecasts(self._store, utc_now)
        for router in (
            auth_router(self.callers, settings),
            status_router(self.callers, self.status),
            quality_router(self.callers, Satisfaction(self._store, utc_now)),
            costs_router(
                self.callers,
                Costs(self._store),
                utc_now,
                self.control,
                settings.pseudonym_key.get_secret_value(),
            ),
            requests_router(self.callers, self.views, utc_now),
            kpi_router(self.callers, self.views, utc_now),
            export_router(self.callers, Exports(self.views), self.auditing, utc_now),
            usage_router(
                self.callers, Usage(self._store, utc_now), Anomalies(self._store), forecasts, utc_now
            ),
            outlook_router(self.callers, self._outlook(forecasts), utc_now),
            admin_router(self._admins, self.entries, display, settings),
            budget_spend_router(self._admins, self.entries, self._spend),
            audit_router(self._admins, AuditTrail(self._store)),
            me_router(self._admins, self._own_matters(settings), display, settings),
            privacy_router(
                self._admins,
                self.privacy.service,
                self.privacy.export,
                settings.key_pepper.get_secret_value(),
            ),
            security_router(self.callers, self.security, settings),
            investigation_router(self._admins, self.security, settings),
            self._recommendations_router(settings),
            feedback_router(self.callers, self._feedback, settings),
            operations_router(self.health),
            docs_router("/api"),
        ):
            app.include_router(router)
        answer_problems(app)
        app.add_exception_handler(ChangeRefusedError, on_refused)
        app.add_exception_handler(RequestValidationError, _on_invalid)
        document(app)
        return AccessLogMiddleware(
            AuditMiddleware(app, self.auditing),
            crash_response,
            requests=metrics.CONSOLE_REQUESTS,
            seconds=metrics.CONSOLE_SECONDS,
        )

    def _outlook(self, forecasts: Forecasts) -> Outlook:
        return Outlook(
            Anomalies(self._store), forecasts, Capacity(self._store, forecasts, utc_now), self._models
        )

    def _recommendations_router(self, settings: Settings) -> APIRouter:
        found = Recommendations(self._store, utc_now)
        decisions = DecisionService(found, self._events.send, utc_now)
        return recommendations_router(self._admins, found, decisions, settings)

    def _own_matters(self, settings: Settings) -> OwnMatters:
        return OwnMatters(
            OwnKeys(self.control, self.entries.changes, self.entries.pepper),
            Costs(self._store),
            self._spend,
            self._models,
            RuleBook(parse_defaults(settings.limits_defaults)),
            settings.pseudonym_key.get_secret_value(),
            utc_now,
        )


def build(settings: Settings) -> Console:
    """A console, joined but not started."""
    return Console(settings)


def _writer(url: str, pepper: str, control: ControlReader) -> Write:
    return lambda actor, change: ControlWriter(url, actor, pepper, known=control.known).apply(change)


def _cached(name: str, read: Any, *, timeout_s: float = 3.0, fresh_s: float = 1.0) -> CachedRead:
    return CachedRead(name, read, utc_now, monotonic_s, timeout_s=timeout_s, fresh_s=fresh_s)


async def _on_invalid(request: Request, error: Exception) -> Response:
    """A parameter that FastAPI refuses, as a problem."""
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for nothing else
    first = error.errors()[0]
    name = str(first["loc"][-1])
    return problem_response(
        malformed(f"{name}: {rule_of(first)}{shown(first)}.", name).problem, request.url.path
    )
