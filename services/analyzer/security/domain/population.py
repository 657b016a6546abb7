"""All users and keys of one partition of security.observations, and what each
observation leads to.

The state follows from the observations in their order and from nothing else: neither
the clock nor where a batch ends has a part in it. So it can be read back from a
checkpoint and from what came after it.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from schemas.events.security import (
    RequestObserved,
    SecurityFinding,
    SubjectForgotten,
    TextFinding,
    UserRisk,
)
from services.analyzer.security.domain.behaviour import (
    VOLUME,
    KeyState,
    Request,
    Sign,
    Told,
    UserState,
    observe_key,
    observe_user,
    recent_of,
)
from services.analyzer.security.domain.findings import behaviour_finding, with_neighbours
from services.analyzer.security.domain.levels import MOST_POINTS, allowance, level_of, weight_of
from services.analyzer.security.domain.subjects import Subjects
from services.common.control.thresholds import Thresholds

FORMAT = 1
"""Of what `dump` gives and `restore` takes. What is remembered in another format is
forgotten: what the log still has makes it anew.
"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SEEN = 2000
_TOLD, _TEXTS = 16, 48
_TELL_AGAIN_S = 3600.0
_TELL_AGAIN_MORE = 1.5
_NEIGHBOUR_S = 600.0
_NOT_FOR_ITS_CONTENT = frozenset({"model_disabled"})
_STATES: Mapping[str, TypeAdapter[Any]] = {"user": TypeAdapter(UserState), "key": TypeAdapter(KeyState)}

AnyState = UserState | KeyState


@dataclass(frozen=True, slots=True)
class Rules:
    """How findings count: what was found counts half after `half_life_s`; at most
    `most_subjects` users and keys are remembered.
    """

    half_life_s: float = 6 * 3600.0
    most_subjects: int = 10_000


@dataclass(frozen=True, slots=True)
class Effects:
    """What is to be told: findings, and users' risks by `tenant/user` (None: ended)."""

    findings: tuple[SecurityFinding, ...] = ()
    risks: tuple[tuple[str, UserRisk | None], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.findings or self.risks)

    def plus(self, more: "Effects") -> "Effects":
        """Both, in order; of each user's risks the latest."""
        if not more:
            return self
        return Effects(
            (*self.findings, *more.findings), tuple({**dict(self.risks), **dict(more.risks)}.items())
        )


@dataclass
class Population:
    """Whoever was seen lately; who is forgotten first is said by `Subjects`.

    `changed` and `removed` are the subjects that differ from the last checkpoint.
    """

    rules: Rules
    thresholds: Callable[[str], Thresholds]
    forgotten: int = 0
    repeated: int = 0
    changed: set[str] = field(default_factory=set, init=False)
    removed: set[str] = field(default_factory=set, init=False)
    _unwatched: list[str] = field(default_factory=list, init=False)
    """Forgotten for others while a risk was told: nobody else would end it."""
    _states: Subjects[AnyState] = field(init=False)
    _seen: "OrderedDict[str, None]" = field(default_factory=OrderedDict, init=False)
    _offset: int = field(default=-1, init=False)

    def __post_init__(self) -> None:
        self._states = Subjects(self.rules.most_subjects)

    def __len__(self) -> int:
        return len(self._states)

    def observe(self, seen: RequestObserved, offset: int) -> Effects:
        """What one more observation leads to, which lies at `offset`; one that was made
        before leads to nothing.
        """
        digest = _digest(seen.tenant, seen.request_id)
        if digest in self._seen:
            self.repeated += 1
            return Effects()
        self._seen[digest] = None
        if len(self._seen) > _SEEN:
            self._seen.popitem(last=False)
        self._offset = offset
        findings = self._observe_key(seen)
        risks: list[tuple[str, UserRisk | None]] = []
        if seen.user:
            of_user, risk = self._observe_user(seen)
            findings = [*of_user, *findings]
            risks += [(f"{seen.tenant}/{seen.user}", risk)] if risk is not None else []
        risks += [(user, None) for user in self._unwatched]
        self._unwatched.clear()
        return Effects(tuple(findings), tuple(risks))

    def forget(self, whom: SubjectForgotten) -> Effects:
        """Forgets a person who was erased, and ends their risk. Who came again since then
        is somebody new, of whom everything stays.
        """
        before_s = _seconds(whom.before)
        ended = []
        for subject in _subjects_of(whom):
            state = self._states.get(subject)
            if state is not None and state.since_s is not None and state.since_s >= before_s:
                continue
            self._states.remove(subject)
            self.changed.discard(subject)
            self.removed.add(subject)
            if subject.startswith("user:"):
                ended.append((subject.partition(":")[2], None))
        self._forget_who_used_keys(whom, before_s)
        return Effects((), tuple(ended))

    def _forget_who_used_keys(self, whom: SubjectForgotten, before_s: float) -> None:
        """What keys remember of whom they named."""
        named = {_digest(one)[:12] for one in whom.users}
        for subject, state in self._states.of_tenant(whom.tenant):
            if isinstance(state, KeyState):
                users = {
                    one: last_s
                    for one, last_s in state.users.items()
                    if one not in named or last_s >= before_s
                }
                if len(users) < len(state.users):
                    self._replace(subject, replace(state, users=users))

    def sweep(self, now_s: float) -> Effects:
        """Ends the risks that have waned to nothing, and forgets what no longer counts."""
        ended = []
        for subject, state in list(self._states):
            if not isinstance(state, UserState):
                continue
            if state.risk_told and self._findings_of(state, now_s) < 0.5:
                self._replace(subject, replace(state, risk_told=False))
                ended.append((subject.partition(":")[2], None))
            elif state.recent and not (recent := recent_of(state, now_s)):
                self._replace(subject, replace(state, recent=recent))
        return Effects((), tuple(ended))

    def seen(self) -> tuple[str, ...]:
        """Digests of the latest observations, in their order."""
        return tuple(self._seen)

    def dump(self, subject: str) -> dict[str, Any]:
        """A subject's state as JSON has it."""
        dumped: dict[str, Any] = _STATES[subject.partition(":")[0]].dump_python(
            self._states.get(subject), mode="json"
        )
        return dumped

    def since(self, subject: str) -> datetime | None:
        """The earliest request that a subject's state rests on."""
        state = self._states.get(subject)
        if state is None or state.since_s is None:
            return None
        return _EPOCH + timedelta(seconds=state.since_s)

    def restore(self, subjects: Mapping[str, Mapping[str, Any]], seen: tuple[str, ...]) -> None:
        """Takes up what `dump` gave of each, in whatever order.

        Raises:
            ValidationError: a state is not what `dump` gives.
        """
        states = {
            subject: _STATES[subject.partition(":")[0]].validate_python(state)
            for subject, state in subjects.items()
        }
        for subject in sorted(states, key=lambda one: (states[one].touched, one)):
            self._forgot(self._states.put(subject, states[subject], suspected=states[subject].suspected))
        self._seen = OrderedDict.fromkeys(seen)

    def _observe_key(self, seen: RequestObserved) -> list[SecurityFinding]:
        """What a key's requests say; of a request that names no user, its texts too."""
        subject, now_s = f"key:{seen.tenant}/{seen.key_id}", _seconds(seen.at)
        before = self._states.get(subject)
        state, signs = observe_key(
            before if isinstance(before, KeyState) else KeyState(),
            _digest(seen.user)[:12] if seen.user else "",
            now_s,
        )
        told, telling = self._worth_telling(state.told, signs, now_s, seen.tenant)
        texts = [] if seen.user else _not_told(seen, state.texts)
        self._put(
            subject,
            replace(
                state,
                told=told,
                texts=_remembered(state.texts, texts),
                touched=self._offset,
                since_s=_since(before, now_s),
            ),
        )
        of_key = [self._finding(seen, sign, of_key=True) for sign in telling]
        return [*[one.finding for one in texts], *of_key]

    def _observe_user(self, seen: RequestObserved) -> tuple[list[SecurityFinding], UserRisk | None]:
        subject, now_s = f"user:{seen.tenant}/{seen.user}", _seconds(seen.at)
        before = self._states.get(subject)
        request = Request(
            seen.request_id,
            now_s,
            scored=seen.score,
            blocked=seen.outcome == "blocked" and seen.error_code not in _NOT_FOR_ITS_CONTENT,
            sketch=seen.sketch,
        )
        state, signs = observe_user(before if isinstance(before, UserState) else UserState(), request)
        fresh = _not_told(seen, state.texts)
        told, telling = self._worth_telling(state.told, signs, now_s, seen.tenant)
        behaviour = [self._finding(seen, sign) for sign in telling]
        counted, weight = self._counted(state, now_s, [one.finding for one in fresh], behaviour)
        state = replace(
            state,
            told=told,
            texts=_remembered(state.texts, fresh),
            touched=self._offset,
            since_s=_since(before, now_s),
            **counted,
        )
        risk = self._risk(state, seen, now_s) if weight else None
        self._put(subject, replace(state, risk_told=True) if risk is not None else state)
        return [*_with_near(fresh, request, state), *behaviour], risk

    def _counted(
        self,
        state: UserState,
        now_s: float,
        texts: list[SecurityFinding],
        behaviour: list[SecurityFinding],
    ) -> tuple[dict[str, Any], float]:
        """What was found added to what the user is suspected of, and how much it weighs.
        What was found in a request's texts counts as the worst of it, once. How many
        requests there are counts nothing: a batch of harmless ones is no attack, and
        limits bound it.
        """
        half_life_s = self.rules.half_life_s
        counted = {"requests": state.requests.plus(1, now_s, half_life_s)}
        suspicious = [one for one in behaviour if one.category not in VOLUME]
        if not texts and not suspicious:
            return counted, 0.0
        points = max([0.0, *[one.score for one in texts]]) + sum(one.score for one in suspicious)
        in_texts = max([0.0, *[weight_of(one.level, one.place) for one in texts]])
        in_signs = sum(weight_of(one.level, one.place) for one in suspicious)
        counted["suspicion"] = state.suspicion.plus(points, now_s, half_life_s)
        counted["texts_weight"] = state.texts_weight.plus(in_texts, now_s, half_life_s)
        counted["signs_weight"] = state.signs_weight.plus(in_signs, now_s, half_life_s)
        return counted, in_texts + in_signs

    def _findings_of(self, state: UserState, now_s: float) -> float:
        """What was found of a user, as a number of findings that has waned."""
        texts, signs, requests = [
            one.at(now_s, self.rules.half_life_s)
            for one in (state.texts_weight, state.signs_weight, state.requests)
        ]
        return max(0.0, texts - allowance(requests)) + signs

    def _risk(self, state: UserState, seen: RequestObserved, now_s: float) -> UserRisk | None:
        findings = int(self._findings_of(state, now_s) + 0.5)
        if findings == 0:
            return None
        points = min(MOST_POINTS, state.suspicion.at(now_s, self.rules.half_life_s))
        return UserRisk(
            tenant=seen.tenant,
            user=seen.user,
            findings=findings,
            level=level_of(points, self.thresholds(seen.tenant)),
            score=round(points, 3),
            assessed_at=_EPOCH + timedelta(seconds=now_s),
        )

    def _worth_telling(
        self, told: tuple[Told, ...], signs: list[Sign], now_s: float, tenant: str
    ) -> tuple[tuple[Told, ...], list[Sign]]:
        """A sign is told at first, again after an hour, and when it is half as strong
        again.
        """
        if not signs and not told:
            return (), []
        lasting = [one for one in told if now_s - one.at_s < _TELL_AGAIN_S]
        before = {one.category: one.points for one in lasting}
        lowest = self.thresholds(tenant).low
        telling = [
            sign
            for sign in signs
            if sign.points >= lowest and sign.points >= _TELL_AGAIN_MORE * before.get(sign.category, 0.0)
        ]
        fresh = [Told(sign.category, now_s, sign.points) for sign in telling]
        names = {one.category for one in fresh}
        return (*[one for one in lasting if one.category not in names], *fresh)[-_TOLD:], telling

    def _finding(self, seen: RequestObserved, sign: Sign, *, of_key: bool = False) -> SecurityFinding:
        level = level_of(sign.points, self.thresholds(seen.tenant))
        return behaviour_finding(seen, sign, level, of_key=of_key)

    def _put(self, subject: str, state: AnyState) -> None:
        if state.suspected != _is_suspected(state):
            state = replace(state, suspected=not state.suspected)
        self.changed.add(subject)
        self.removed.discard(subject)
        self._forgot(self._states.put(subject, state, suspected=state.suspected))

    def _forgot(self, found: tuple[str, AnyState] | None) -> None:
        if found is None:
            return
        subject, state = found
        self.changed.discard(subject)
        self.removed.add(subject)
        self.forgotten += 1
        if isinstance(state, UserState) and state.risk_told:
            self._unwatched.append(subject.partition(":")[2])

    def _replace(self, subject: str, state: AnyState) -> None:
        self._states.replace(subject, state)
        self.changed.add(subject)


def _subjects_of(whom: SubjectForgotten) -> list[str]:
    return [
        *(f"user:{whom.tenant}/{one}" for one in whom.users),
        *(f"key:{whom.tenant}/{one}" for one in whom.key_ids),
    ]


def _since(before: AnyState | None, now_s: float) -> float | None:
    if before is None:
        return now_s
    return None if before.since_s is None else min(before.since_s, now_s)


def _with_near(found: list[TextFinding], request: Request, state: UserState) -> list[SecurityFinding]:
    """Findings in texts, with the user's requests of about the same time."""
    if not found:
        return []
    near = [
        one
        for one in recent_of(state, request.at_s)
        if one.request_id != request.request_id and abs(one.at_s - request.at_s) <= _NEIGHBOUR_S
    ]
    return [with_neighbours(one.finding, request, near) for one in found]


def _is_suspected(state: AnyState) -> bool:
    """Whether something was told of a subject that is not to be forgotten soon."""
    return bool(state.told) or (isinstance(state, UserState) and state.risk_told)


def _not_told(seen: RequestObserved, texts: tuple[str, ...]) -> list[TextFinding]:
    """The findings but for those in earlier messages that were told already."""
    return [one for one in seen.findings if not (one.earlier and one.text in texts)]


def _remembered(texts: tuple[str, ...], found: list[TextFinding]) -> tuple[str, ...]:
    if not found:
        return texts
    fresh = [one.text for one in found if one.text]
    return (*[one for one in texts if one not in fresh], *dict.fromkeys(fresh))[-_TEXTS:]


def _seconds(at: datetime) -> float:
    return (at - _EPOCH).total_seconds()


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode(errors="surrogatepass"), digest_size=8).hexdigest()
