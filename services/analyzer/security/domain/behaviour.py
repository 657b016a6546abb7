"""What a user's or a key's requests, taken together, say: each sign has its points and a
sentence why. State in, signs and new state out.

What is remembered of somebody is bounded: `_RECENT` requests of the last two hours, and
amounts that wane. All times are event time, in Unix seconds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from services.analyzer.security.domain.statistics.decay import Amount
from services.analyzer.security.domain.statistics.hours import Hours, unusual
from services.analyzer.security.domain.statistics.hours import observe as observe_hour
from services.analyzer.security.domain.statistics.rates import Rate, RateModel
from services.analyzer.security.domain.statistics.similarity import similarities
from services.analyzer.security.domain.statistics.trend import rising

VOLUME = frozenset({"rate", "near_duplicates"})
"""Signs of how much somebody sends, whatever it is."""
_RECENT = 24
_RECENT_S = 2 * 3600.0
_BLOCKED_HALF_LIFE_S = 3600.0
_SUSPECT = 3.0
_ORDINARY_SUSPECT = 0.1
"""The share of ordinary prompts with so many points, or more."""
_SAME, _ALIKE = 0.95, 0.35
_KNOWN_USERS = 256
_DAY_S = 86_400.0

REQUESTS = RateModel(width_s=300, prior_shape=2.0, prior_exposure=0.1)
"""Requests in five minutes; of somebody unknown 20 are expected."""
NEWCOMERS = RateModel(width_s=3600, prior_shape=2.0, prior_exposure=0.1)
"""Users in an hour whom a key did not name in the last day."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it is remembered; `scored` is its prompt's score, in points."""

    request_id: str
    at_s: float
    scored: float = 0.0
    blocked: bool = False
    sketch: str = ""

    @property
    def is_suspect(self) -> bool:
        """Whether it looked like an attack, be it faintly."""
        return self.blocked or self.scored >= _SUSPECT


@dataclass(frozen=True, slots=True)
class Sign:
    """Something that is suspicious about somebody. `like` are the requests that it rests
    on, each with how like the newest it is.
    """

    category: str
    points: float
    why: str
    like: tuple[tuple[Request, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """A sign that was told lately, with its points then."""

    category: str
    at_s: float
    points: float


@dataclass(frozen=True, slots=True)
class UserState:
    """What is remembered of a user.

    `touched` is the offset of its newest observation, `suspected` says whether it is to
    be remembered longer. `texts` are digests of texts of
    which something was told. `suspicion` are points; `texts_weight` and `signs_weight`
    count findings in texts and in behaviour, `requests` what they came of: all wane.
    `risk_told` says that a risk stands on the bus. `since_s` is the earliest request that
    the state rests on, None where a former version did not say.
    """

    touched: int = -1
    since_s: float | None = None
    suspected: bool = False
    rate: Rate = field(default_factory=Rate)
    hours: Hours = field(default_factory=Hours)
    recent: tuple[Request, ...] = ()
    blocked: Amount = field(default_factory=Amount)
    suspicion: Amount = field(default_factory=Amount)
    requests: Amount = field(default_factory=Amount)
    texts_weight: Amount = field(default_factory=Amount)
    signs_weight: Amount = field(default_factory=Amount)
    told: tuple[Told, ...] = ()
    texts: tuple[str, ...] = ()
    risk_told: bool = False


@dataclass(frozen=True, slots=True)
class KeyState:
    """What is remembered of an API key: the users that it named last, with when each
    came last; `texts` as of a user, where it names none, and `since_s`.
    """

    touched: int = -1
    since_s: float | None = None
    suspected: bool = False
    rate: Rate = field(default_factory=Rate)
    newcomers: Rate = field(default_factory=Rate)
    users: Mapping[str, float] = field(default_factory=dict)
    told: tuple[Told, ...] = ()
    texts: tuple[str, ...] = ()


def observe_user(state: UserState, request: Request) -> tuple[UserState, list[Sign]]:
    """After one more ended request."""
    now_s, earlier = request.at_s, recent_of(state, request.at_s)
    blocked = state.blocked.plus(float(request.blocked), now_s, _BLOCKED_HALF_LIFE_S)
    after = replace(
        state,
        rate=REQUESTS.observe(state.rate, now_s),
        hours=observe_hour(state.hours, now_s),
        recent=(*earlier, request)[-_RECENT:],
        blocked=blocked,
    )
    like = _alike(request, earlier)
    found = [
        _too_many(after.rate, "rate", "requests in five minutes", REQUESTS),
        _repeated(like),
        _probing(request, like),
        _escalating(after.recent),
        _blocked(request, blocked.at(now_s, _BLOCKED_HALF_LIFE_S)),
        _odd_hour(state.hours, now_s),
    ]
    return after, [sign for sign in found if sign is not None]


def observe_key(state: KeyState, user: str, at_s: float) -> tuple[KeyState, list[Sign]]:
    """After one more request with a key; `user` is empty where nobody was named."""
    users = dict(state.users)
    is_new = bool(user) and users.pop(user, 0.0) < at_s - _DAY_S
    if user:
        users[user] = at_s
    if len(users) > _KNOWN_USERS:
        del users[next(iter(users))]
    after = replace(
        state,
        rate=REQUESTS.observe(state.rate, at_s),
        newcomers=NEWCOMERS.observe(state.newcomers, at_s) if is_new else state.newcomers,
        users=users,
    )
    found = [_too_many(after.rate, "rate", "requests in five minutes with one key", REQUESTS)]
    if is_new:
        found.append(
            _too_many(after.newcomers, "many_users", "users within an hour who are new to the key", NEWCOMERS)
        )
    return after, [sign for sign in found if sign is not None]


def recent_of(state: UserState, now_s: float) -> tuple[Request, ...]:
    """The requests that still count."""
    return tuple([one for one in state.recent if one.at_s >= now_s - _RECENT_S])


def _alike(request: Request, earlier: Sequence[Request]) -> tuple[tuple[Request, float], ...]:
    """The earlier requests whose text is like this one's."""
    if not request.sketch:
        return ()
    found = similarities(request.sketch, [one.sketch for one in earlier])
    return tuple([(one, share) for one, share in zip(earlier, found, strict=True) if share >= _ALIKE])


def _too_many(rate: Rate, category: str, what: str, model: RateModel) -> Sign | None:
    if rate.count < 20:
        return None
    surprise = model.surprise(rate)
    points = min(12.0, surprise - 4)
    if points <= 0:
        return None
    return Sign(
        category,
        points,
        f"{rate.count} {what}, where {model.expected(rate):.1f} are usual: "
        f"a chance of 1 in 10^{surprise:.0f}",
    )


def _repeated(like: Sequence[tuple[Request, float]]) -> Sign | None:
    """Nothing but repeats is no attack: it never counts more than low."""
    same = tuple([one for one in like if one[1] >= _SAME])
    if len(same) < 12:
        return None
    return Sign(
        "near_duplicates",
        min(6.9, len(same) / 4),
        f"{len(same)} of the last {_RECENT} requests within two hours say the same",
        same,
    )


def _probing(request: Request, like: Sequence[tuple[Request, float]]) -> Sign | None:
    """Variations of one text, of which more looked like attacks than ordinary texts do:
    somebody is trying which one passes.
    """
    variations = tuple([one for one in like if one[1] < _SAME])
    suspects = request.is_suspect + sum(one.is_suspect for one, _ in variations)
    surprise = -math.log10(_binomial_tail(suspects, len(variations) + 1, _ORDINARY_SUSPECT))
    if len(variations) < 4 or not request.is_suspect or surprise < 4:
        return None
    minutes = (request.at_s - min(one.at_s for one, _ in variations)) / 60
    return Sign(
        "probing",
        min(20.0, 2 * surprise),
        f"{len(variations) + 1} variations of one text within {max(1, round(minutes))} min, "
        f"of which {suspects} looked like attacks: by chance 1 in 10^{surprise:.0f}",
        variations,
    )


def _binomial_tail(least: int, count: int, chance: float) -> float:
    """P(X >= least) of so many independent trials."""
    return sum(
        math.comb(count, number) * chance**number * (1 - chance) ** (count - number)
        for number in range(least, count + 1)
    )


def _escalating(recent: Sequence[Request]) -> Sign | None:
    """Scores that rise from request to request."""
    scores = [one.scored for one in recent[-16:]]
    if len(scores) < 8 or scores[-1] < _SUSPECT:
        return None
    z = rising(scores)
    if z < 3.09:
        return None
    return Sign(
        "escalation",
        min(12.0, 3 * z),
        f"the scores of the last {len(scores)} prompts rise, to {scores[-1]:.1f} (Mann-Kendall z = {z:.1f})",
        tuple([(one, 0.0) for one in recent[-16:-1] if one.is_suspect]),
    )


def _blocked(request: Request, amount: float) -> Sign | None:
    if not request.blocked or amount < 2.5:
        return None
    return Sign(
        "many_blocked",
        min(20.0, 3 * amount),
        f"{amount:.1f} requests were blocked lately (each counts half after an hour)",
    )


def _odd_hour(hours: Hours, at_s: float) -> Sign | None:
    surprise = unusual(hours, at_s)
    if not surprise:
        return None
    return Sign(
        "unusual_hours",
        min(6.0, 1.5 * surprise),
        f"active at {int(at_s // 3600) % 24} h UTC, an hour with {10**-surprise:.2%} of the requests so far",
    )
