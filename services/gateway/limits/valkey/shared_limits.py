"""Asks the shared store whether a request is within its limits.

Everything goes over one connection in order, gathered while an answer is awaited. The
store is never needed: a gateway that gets no answer in time judges by what it and the
others told each other on the bus, and tells the store afterwards what it holds.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from valkey.asyncio import Valkey
from valkey.exceptions import NoScriptError, ValkeyError

from services.common.control.limits import LimitKind, Rule
from services.common.process import metrics
from services.gateway.limits.limiter import Cost, Refused, Reservation
from services.gateway.limits.valkey.scripts import ADMIT, HOLD, PREFIX, SETTLE

log = structlog.get_logger(__name__)

_ANSWER_S = 0.05
_BATCH_S = 0.5
_BATCH = 64
_QUEUED = 4096
_SIGN_OF_LIFE_S = 2.0
_AGAIN_S = 1.0
_UNSURE = 10_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the store says: the limit that a request exceeds, if any, and how much of each
    limit's period is used now.
    """

    refused: Refused | None
    used_s: tuple[float, ...]


@dataclass(slots=True)
class _Call:
    script: str
    names: tuple[str, ...]
    arguments: tuple[str | int | float, ...]
    answer: "asyncio.Future[Any] | None" = None


@dataclass
class SharedLimits:
    """One gateway's connection to the store; `held` says what it holds of a limit."""

    url: str = field(repr=False)
    source: str
    held: Callable[[str], float]
    answer_s: float = _ANSWER_S
    available: bool = field(default=False, init=False)
    _calls: deque[_Call] = field(default_factory=deque, init=False)
    _waiting: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _asked: Counter[str] = field(default_factory=Counter, init=False)
    """What was asked for and is not held yet."""
    _unsure: dict[str, None] = field(default_factory=dict, init=False)
    """Limits of which the store may not know what this gateway holds."""
    _told_away: bool = field(default=False, init=False)
    _hashes: dict[str, str] = field(default_factory=dict, init=False)
    _client: Valkey = field(init=False)

    def __post_init__(self) -> None:
        self._client = Valkey.from_url(
            valkey_url(self.url), socket_connect_timeout=_BATCH_S, socket_timeout=_BATCH_S, max_connections=2
        )

    async def admit(self, rules: Sequence[Rule], cost: Cost) -> Verdict | None:
        """Takes a request's part of its limits, or says which it exceeds; None where the
        store does not answer in time. Each limit allows for the request as such.
        """
        if not self.available:
            metrics.LIMITS_STORE_SKIPPED.inc()
            return None
        amounts = [_amount(rule, cost) for rule in rules]
        arguments = [
            part
            for rule, amount in zip(rules, amounts, strict=True)
            for part in (rule.kind.value, rule.limit, rule.period_s * 1e6, amount)
        ]
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        names = tuple(rule.name for rule in rules)
        self._asked.update(dict(zip(names, amounts, strict=True)))
        try:
            self._send(_Call(ADMIT, names, tuple(arguments), answer))
            async with asyncio.timeout(self.answer_s):
                said = await answer
        except TimeoutError:
            said = None
        finally:
            self._forget_asked(names, amounts)
            if not answer.done() or answer.cancelled() or answer.result() is None:
                self._note_unsure(names)
        if said is None:
            metrics.LIMITS_STORE_SKIPPED.inc()
            return None
        refused = Refused(rules[said[0] - 1], said[1] / 1e6) if said[0] else None
        return Verdict(refused, tuple(used_us / 1e6 for used_us in said[2:]))

    def settle(self, reservation: Reservation, tokens: int) -> None:
        """A request ended and took so many tokens."""
        self._settle(
            (rule, amount, tokens if rule.kind is LimitKind.TOKENS and rule.limit else 0)
            for rule, _, amount in reservation.held
        )

    def give_back(self, reservation: Reservation, now_s: float) -> None:
        """The request was never begun: nothing is held of its limits, nor used."""
        held = [(rule, amount, 0.0) for rule, _, amount in reservation.held]
        self._settle([*held, *((rule, 0.0, -amount) for rule, amount in reservation.unused(now_s))])

    def _settle(self, parts: Iterable[tuple[Rule, float, float]]) -> None:
        """Of each limit: so much less is held, so much more is used."""
        names, arguments = [], list[float]()
        for rule, held, used in parts:
            names.append(rule.name)
            arguments += (rule.limit, rule.period_s * 1e6, held, used)
        if names:
            self._send(_Call(SETTLE, tuple(names), tuple(arguments)))

    async def run(self) -> None:
        """Keeps the connection, until cancelled."""
        while True:
            try:
                await self._serve()
            except Exception as error:  # noqa: BLE001  whatever is wrong with the store must not stop the gateway
                if not self._told_away:
                    log.warning("limits_store_away", error=repr(error))
                self._told_away = True
                self._lose()
            await asyncio.sleep(_AGAIN_S)

    async def close(self) -> None:
        """Tells what was used, and that nothing is held here any more; disconnects."""
        with contextlib.suppress(ValkeyError, OSError, TimeoutError):
            async with asyncio.timeout(_BATCH_S):
                if self.available:
                    while self._calls:
                        await self._send_batch()
                    await self._client.delete(f"{PREFIX}alive:{self.source}")
        with contextlib.suppress(ValkeyError, OSError):
            await self._client.aclose()

    async def _serve(self) -> None:
        """Sends what is asked, and a sign of life, while the store answers."""
        await self._load()
        told_s = float("-inf")
        loop = asyncio.get_running_loop()
        while True:
            if self._unsure or loop.time() - told_s >= _SIGN_OF_LIFE_S:
                told_s = loop.time()
                self._calls.appendleft(self._sign_of_life())
            while self._calls:
                await self._send_batch()
            if not self.available:
                log.info("limits_store_there")
            self.available, self._told_away = True, False
            metrics.LIMITS_STORE_AWAY.set(0)
            self._waiting.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SIGN_OF_LIFE_S / 2):
                    await self._waiting.wait()

    async def _load(self) -> None:
        async with asyncio.timeout(2 * _BATCH_S):
            for script in (ADMIT, SETTLE, HOLD):
                self._hashes[script] = await self._client.script_load(script)

    async def _send_batch(self) -> None:
        calls = [self._calls.popleft() for _ in range(min(_BATCH, len(self._calls)))]
        calls = [one for one in calls if one.answer is None or not one.answer.done()]
        said: list[Any] = [None] * len(calls)
        try:
            async with asyncio.timeout(_BATCH_S):
                said = await self._execute(calls)
        finally:
            for call, one in zip(calls, said, strict=True):
                _tell(call, one if isinstance(one, list) else None)
                if not isinstance(one, list | int):
                    self._note_unsure(call.names)
        failure = next((one for one in said if isinstance(one, Exception)), None)
        if failure is not None:
            raise failure

    async def _execute(self, calls: Sequence[_Call]) -> list[Any]:
        """The answers in order; after a restart of the store its scripts are loaded anew,
        and nothing was done.
        """
        for _ in range(2):
            pipeline = self._client.pipeline(transaction=False)
            for call in calls:
                keys = [PREFIX + name for name in call.names]
                pipeline.evalsha(
                    self._hashes[call.script], len(keys), *keys, self.source, *map(str, call.arguments)
                )
            said: list[Any] = await pipeline.execute(raise_on_error=False)
            if not any(isinstance(one, NoScriptError) for one in said):
                break
            await self._load()
        return said

    def _send(self, call: _Call) -> None:
        if not self.available or len(self._calls) >= _QUEUED:
            self._note_unsure(call.names)
            _tell(call, None)
            return
        self._calls.append(call)
        self._waiting.set()

    def _forget_asked(self, names: Iterable[str], amounts: Iterable[int]) -> None:
        for name, amount in zip(names, amounts, strict=True):
            self._asked[name] -= amount
            if not self._asked[name]:
                del self._asked[name]

    def _sign_of_life(self) -> _Call:
        names = tuple(self._unsure)
        self._unsure.clear()
        amounts = tuple(self.held(name) + self._asked[name] for name in names)
        return _Call(HOLD, names, amounts)

    def _note_unsure(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._unsure or len(self._unsure) < _UNSURE:
                self._unsure[name] = None
            else:
                metrics.LIMITS_PASSED_OVER.labels("store").inc()

    def _lose(self) -> None:
        """Nobody waits for a store that does not answer."""
        self.available = False
        metrics.LIMITS_STORE_AWAY.set(1)
        while self._calls:
            call = self._calls.popleft()
            self._note_unsure(call.names)
            _tell(call, None)


def valkey_url(url: str) -> str:
    """An address as the driver reads it: redis:// is the same as valkey://."""
    scheme, colon, rest = url.partition(":")
    return {"redis": "valkey", "rediss": "valkeys"}.get(scheme, scheme) + colon + rest


def _amount(rule: Rule, cost: Cost) -> int:
    if rule.kind is LimitKind.REQUESTS:
        return cost.requests
    return cost.streams if rule.kind is LimitKind.STREAMS else min(cost.tokens, rule.limit)


def _tell(call: _Call, said: list[Any] | None) -> None:
    if call.answer is not None and not call.answer.done():
        call.answer.set_result(said)
