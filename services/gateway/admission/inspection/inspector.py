"""Judges the prompts of a call before they are published.

Rules read every text: short ones here, at once; the rest in a worker, or, where none
is there, here too, a piece at a time between the streams. The model reads what looks
suspicious to them, or to the n-grams, in a worker. Most prompts do not, and wait for
nobody; nor do they while workers have no time, but where only the model can tell
whether a prompt is to be blocked.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from schemas.control import PolicyChanged
from schemas.errors import ErrorCode
from schemas.events.security import PromptRisk
from schemas.inference import InferenceRequested
from services.common.clock import MonotonicClock
from services.common.control.state import ControlState
from services.common.control.thresholds import DEFAULT_THRESHOLDS, Thresholds, thresholds_for
from services.common.http.problems import unavailable
from services.common.process import metrics
from services.common.process.child.turns import Turns
from services.common.process.health import Reporter
from services.common.process.interpreter import cpu_limit
from services.common.requests.shared_room import SharedRoom
from services.gateway.admission.inspection.cache import VerdictCache
from services.gateway.admission.inspection.passages import slices_of
from services.gateway.admission.inspection.pool import WorkerPool
from services.gateway.admission.inspection.reading import (
    JUDGED,
    Judgement,
    Read,
    Reading,
    is_settled,
    risk_of,
    undecided,
)

_HERE_CHARS = 600
"""New text of a call up to which it is read here: 0.2 to 1 ms."""
_HERE_CPU_S = 0.1
"""A text that takes longer was made to (a millisecond is usual), and is not read here."""
_HERE_MOST = 2
"""So many such texts of a call are begun with here; those behind them are not read."""
_JOB_TEXTS = 4
"""Of a call in one job: some 10 ms, so that a long prompt of one tenant, which has its turn
at every job, holds up others' short ones by no more.
"""
_WORKER_S = 20.0
_READ_HERE_BYTES = 2 * 1024 * 1024
"""Text that may wait to be read here a piece at a time, tenants in turn, where no worker can."""

# Few, and asked for with each request.
_missed = lru_cache(16)(metrics.INSPECTION_MISSED.labels)
_seconds = lru_cache(16)(metrics.INSPECTION_SECONDS.labels)
_inspections = lru_cache(16)(metrics.INSPECTIONS.labels)


class Reads(Protocol):
    """`Screener`, as far as it is asked here."""

    versions: tuple[str, str]

    def read(self, text: str, thresholds: Thresholds) -> Reading:
        """What rules say."""

    def suspicion(self, text: str) -> float:
        """What n-grams say."""


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """How long a call waits: for the model's opinion, and, where it is to be blocked or
    not, for a decision. `thresholds` hold where an administrator set none.
    """

    budget_s: float = 0.01
    decision_s: float = 2.0
    thresholds: Thresholds = DEFAULT_THRESHOLDS


@dataclass(slots=True)
class _Call:
    """One call's texts and what is known of them."""

    tenant: str
    policy: PolicyChanged
    thresholds: Thresholds
    began_s: float
    keys: Mapping[str, bytes]
    readings: dict[str, Reading] = field(default_factory=dict)
    judgements: dict[str, Judgement] = field(default_factory=dict)


@dataclass
class Inspector:
    """One gateway's inspection. `load_screener` reads the rules; it is called once, by
    `start`.
    """

    state: Callable[[], ControlState]
    load_screener: Callable[[], Reads]
    pool: WorkerPool
    time_budget: TimeBudget
    monotonic: MonotonicClock
    health: Reporter
    cache: VerdictCache = field(default_factory=VerdictCache)
    read_here: SharedRoom = field(default_factory=lambda: SharedRoom(_READ_HERE_BYTES))
    _screener: Reads | None = field(default=None, init=False)
    _turns: Turns = field(default_factory=Turns, init=False)

    async def start(self) -> None:
        """Reads the rules, beside the event loop."""
        self._screener = await asyncio.to_thread(self.load_screener)

    async def run(self) -> None:
        """Keeps the workers alive, until cancelled; says it is ready with the first, or
        when that takes too long: the rules hold without.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.pool.run())
            if self.pool.count:
                await self.pool.wait_until_ready(_WORKER_S)
            self._tell()
            self.pool.on_change = self._tell

    def _tell(self) -> None:
        who = "rules and model" if self.pool.ready else "rules alone"
        self.health.report(
            "inspection", ok=True, detail=f"{who}; {self.pool.ready} of {self.pool.count} workers"
        )

    async def inspect(self, requests: Sequence[InferenceRequested]) -> list[InferenceRequested]:
        """The requests of one call, each with its risk, as the tenant's policy has it.

        Raises:
            ProblemError: 503, the tenant's policy blocks, and it could not be told in
                time whether that is due.
        """
        tenant = requests[0].tenant
        policy = self.state().policy_of(tenant)
        if policy.prompt_attacks == "off":
            return list(requests)
        texts = [slices_of(request) for request in requests]
        every = dict.fromkeys(text for one in texts for text in one)
        thresholds = thresholds_for(self.state(), tenant, self.time_budget.thresholds)
        keys = self.cache.keys(every, tenant, thresholds)
        call = _Call(tenant, policy, thresholds, self.monotonic(), keys)
        await self._read_all(call)
        if len(texts) == 1:
            risks = [await self._judge(call, texts[0])]
        else:
            risks = await asyncio.gather(*(self._judge(call, one) for one in texts))
        self._count(call, risks)
        return [
            request.model_copy(update={"risk": risk}) for request, risk in zip(requests, risks, strict=True)
        ]

    def _budget_s(self, call: _Call) -> float:
        """The model's time: an administrator's, where one named it."""
        named_ms = self.state().inspection_ms_of(call.tenant)
        return self.time_budget.budget_s if named_ms is None else named_ms / 1000

    async def _read_all(self, call: _Call) -> None:
        unread = []
        for text, key in call.keys.items():
            known = self.cache.readings.get(key)
            if known is None:
                unread.append(text)
            else:
                call.readings[text] = known
        if sum(map(len, unread)) <= _HERE_CHARS:
            self._read_at_once(call, unread)
        elif self.pool.ready:
            await self._read_beside(call, unread)
        left = [text for text in unread if text not in call.readings]
        if left and not self.pool.ready:
            await self._read_between(call, left)
        if call.policy.prompt_attacks == "block" and any(text not in call.readings for text in left):
            raise _not_told()

    def _read_at_once(self, call: _Call, texts: Iterable[str]) -> None:
        """Reads short texts here, but those that were made to take long, and of many such
        what follows them.
        """
        slow = 0
        for text in texts:
            if slow >= _HERE_MOST:
                return
            slow += not self._is_read(call, text)

    def _is_read(self, call: _Call, text: str) -> bool:
        """Reads a text here; whether that was within its time."""
        try:
            self._take_reading(call, text, self._read(text, call.thresholds))
        except TimeoutError:
            _missed("unread").inc()
            return False
        return True

    async def _read_beside(self, call: _Call, texts: Sequence[str]) -> None:
        """Has workers read texts. Those for which there is no room or no time are not
        read here instead: a flood of long ones would take the streams' time.
        """
        jobs = [list(texts[start : start + _JOB_TEXTS]) for start in range(0, len(texts), _JOB_TEXTS)]

        def took(job: Sequence[str]) -> Callable[[list[Any]], None]:
            def take(read: list[Any]) -> None:
                for text, one in zip(job, read, strict=False):
                    self._take_reading(call, text, Reading(one[0], one[1], one[2], tuple(one[3])))

            return take

        await asyncio.gather(
            *(
                self.pool.ask(
                    {"kind": "screen", "texts": job, "thresholds": call.thresholds},
                    tenant=call.tenant,
                    within_s=self._left_s(call),
                    urgent=True,
                    on_read=took(job),
                )
                for job in jobs
            )
        )

    async def _read_between(self, call: _Call, texts: Sequence[str]) -> None:
        """Reads texts here, one at a time, and lets the streams have as much time after
        each.
        """
        size = sum(map(len, texts))
        if not self.read_here.take(call.tenant, size):
            _missed("unread").inc()
            return
        try:
            async with asyncio.timeout(max(0.0, self._left_s(call))):
                for text in texts:
                    await self._read_in_turn(call, text)
        except TimeoutError:
            _missed("unread").inc()
        finally:
            self.read_here.give_back(call.tenant, size)

    async def _read_in_turn(self, call: _Call, text: str) -> None:
        """Reads one text here, once it is its tenant's turn."""
        await self._turns.acquire(call.tenant)
        try:
            began_s = self.monotonic()
            self._is_read(call, text)
            await asyncio.sleep(self.monotonic() - began_s)
        finally:
            self._turns.release()

    async def _judge(self, call: _Call, texts: Sequence[str]) -> PromptRisk:
        """What becomes of one request, with the model's opinion where that is wanted."""
        read = Read(texts, call.readings, self._known(call, texts))
        if self.pool.count and not is_settled(read, call.policy, call.thresholds):
            read = await self._look_deeper(call, read)
        return risk_of(read, call.policy, call.thresholds, self._versions)

    async def _look_deeper(self, call: _Call, read: Read) -> Read:
        """What was read, with the model's opinion where that is wanted."""
        busy = self.pool.hopeless(self._budget_s(call) - self._spent_s(call))
        if not busy or call.policy.block_at != "critical":
            await self._suspect(call, read.open_texts())
        deciding = undecided(read, call.policy, call.thresholds)
        wanted = deciding or [text for text in read.suspects() if text not in read.judgements]
        if not wanted or (busy and not deciding):
            if busy and (wanted or read.open_texts()):
                _missed(busy).inc()
                return Read(read.of, read.readings, read.judgements, timed_out=True)
            return read
        in_time = await self._ask_model(call, wanted, decides=bool(deciding))
        read = Read(read.of, read.readings, self._known(call, read.of), timed_out=not in_time)
        if undecided(read, call.policy, call.thresholds):
            raise _not_told()
        return read

    async def _suspect(self, call: _Call, texts: Sequence[str]) -> None:
        """Asks the n-grams of texts, one at a time between the streams."""
        for number, text in enumerate(texts):
            if number:
                await asyncio.sleep(0)
            if self._screener is not None:
                suspicion = self._screener.suspicion(text)
                self._take_reading(call, text, call.readings[text]._replace(suspicion=suspicion))

    async def _ask_model(self, call: _Call, texts: Sequence[str], *, decides: bool) -> bool:
        """Whether the model read all of the texts in time."""
        within_s = self._left_s(call) if decides else self._budget_s(call) - self._spent_s(call)

        def took(job: Sequence[str]) -> Callable[[list[Any]], None]:
            def take(judged: list[Any]) -> None:
                for text, one in zip(job, judged, strict=False):
                    judgement = Judgement(one[0], one[1], tuple(one[2]))
                    call.judgements[text] = judgement
                    self.cache.judgements.put(call.keys[text], judgement)

            return take

        jobs = [texts[start : start + JUDGED] for start in range(0, len(texts), JUDGED)]
        done = await asyncio.gather(
            *(
                self.pool.ask(
                    {
                        "kind": "judge",
                        "texts": list(job),
                        "thresholds": call.thresholds,
                        "within_s": within_s,
                    },
                    tenant=call.tenant,
                    within_s=max(0.0, within_s),
                    urgent=decides,
                    on_read=took(job),
                )
                for job in jobs
            )
        )
        return all(done)

    def _known(self, call: _Call, texts: Iterable[str]) -> dict[str, Judgement]:
        found = {}
        for text in texts:
            judged = call.judgements.get(text) or self.cache.judgements.get(call.keys[text])
            if judged is not None:
                found[text] = judged
        return found

    def _take_reading(self, call: _Call, text: str, reading: Reading) -> None:
        call.readings[text] = reading
        self.cache.readings.put(call.keys[text], reading)

    def _read(self, text: str, thresholds: Thresholds) -> Reading:
        if self._screener is None:
            raise unavailable("The gateway is starting. Try again.", code=ErrorCode.STARTING)
        with cpu_limit(_HERE_CPU_S):
            return self._screener.read(text, thresholds)

    def _spent_s(self, call: _Call) -> float:
        return self.monotonic() - call.began_s

    def _left_s(self, call: _Call) -> float:
        return self.time_budget.decision_s - self._spent_s(call)

    @property
    def _versions(self) -> tuple[str, str]:
        return ("", "") if self._screener is None else self._screener.versions

    def _count(self, call: _Call, risks: Sequence[PromptRisk]) -> None:
        deepest = max((risk.depth for risk in risks), key=("none", "rules", "model").index)
        _seconds(deepest).observe(self._spent_s(call))
        for risk in risks:
            _inspections(risk.level, risk.depth).inc()


def _not_told() -> Exception:
    """A policy that blocks is not got round by keeping the inspection busy."""
    _missed("refused").inc()
    return unavailable(
        "The prompt could not be inspected in time, and this tenant's policy wants that. Nothing was begun. "
        "Try again.",
        code=ErrorCode.OVERLOADED,
    )
