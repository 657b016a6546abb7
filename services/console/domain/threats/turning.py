"""Which users are likely to turn critical: a finding of that level within a day.

Logistic regression on what was found of a user before, ridge-penalised (Hastie,
Tibshirani, Friedman: The Elements of Statistical Learning, section 4.4), calibrated by
Platt's scaling on later examples (1999), and judged by Brier's score on still later
ones (1950): each part knows nothing of what comes after it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

DAY_S = 86_400.0
_WEEK_S = 7 * DAY_S
_STEP_S = 6 * 3600.0
_LEAST_POSITIVE = 20
_RIDGE = 1.0
_ROUNDS = 25
_MOST_EXAMPLES = 20_000
_RANK = {"low": 1, "medium": 2, "high": 3, "critical": 4}
_TELLING = frozenset({"probing", "escalation", "many_blocked"})

Row = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A finding of a user: when (Unix seconds), of what, how bad, what was done."""

    at_s: float
    category: str
    level: str
    score: float
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """What was known of a user at a time, and whether he turned critical after it."""

    at_s: float
    row: Row
    turned: bool


@dataclass(frozen=True, slots=True)
class Model:
    """Weights of the standardised features, the bias last, and the calibration."""

    means: Row
    scales: Row
    weights: Row
    slope: float = 1.0
    shift: float = 0.0

    def chance(self, row: Row) -> float:
        """The chance that the user turns critical within a day."""
        return _sigmoid(self.slope * self.log_odds(row) + self.shift)

    def log_odds(self, row: Row) -> float:
        """Before calibration."""
        standard = [
            (one - mean) / scale for one, mean, scale in zip(row, self.means, self.scales, strict=True)
        ]
        return sum(map(float.__mul__, standard, self.weights)) + self.weights[-1]


@dataclass(frozen=True, slots=True)
class Quality:
    """On examples that the model did not see: Brier's score, that of always saying the
    share that turned, and how many there were.
    """

    brier: float
    base_brier: float
    examples: int
    turned: int

    @property
    def skill(self) -> float:
        """The share of the base score that is saved; below 0 the model is worse."""
        return 1 - self.brier / self.base_brier if self.base_brier > 0 else 0.0


def features(found: Sequence[Found], now_s: float) -> Row:
    """What is known of a user from the findings of the week before."""
    week = [one for one in found if now_s - _WEEK_S <= one.at_s <= now_s]
    day = [one for one in week if one.at_s >= now_s - DAY_S]
    late = [one.score for one in week[-3:]]
    early = [one.score for one in week[:-3]]
    rise = (sum(late) / len(late) - sum(early) / len(early)) if late and early else 0.0
    waned = sum(one.score * 0.5 ** ((now_s - one.at_s) / (DAY_S / 4)) for one in week)
    return (
        math.log1p(waned),
        math.log1p(len(day)),
        math.log1p(len(week)),
        max([one.score for one in day], default=0.0) / 10,
        rise / 10,
        float(max([_RANK.get(one.level, 0) for one in day], default=0)),
        float(len({one.category for one in day})),
        math.log1p(sum(one.blocked for one in day)),
        float(any(one.category in _TELLING for one in day)),
    )


def examples(found: Sequence[Found], until_s: float) -> list[Example]:
    """One each six hours in which something of the week before is known, up to a day
    before `until_s`: what came after that is not known yet.
    """
    if not found:
        return []
    ordered = sorted(found, key=lambda one: one.at_s)
    critical = [one.at_s for one in ordered if one.level == "critical"]
    made = []
    step = math.ceil(ordered[0].at_s / _STEP_S)
    while (now_s := step * _STEP_S) <= until_s - DAY_S:
        step += 1
        if any(now_s - _WEEK_S <= one.at_s <= now_s for one in ordered):
            turned = any(now_s < at_s <= now_s + DAY_S for at_s in critical)
            made.append(Example(now_s, features(ordered, now_s), turned))
    return made


def learn(known: Sequence[Example]) -> tuple[Model, Quality] | None:
    """A model and how good it is; None where too few turned critical to learn from.

    The oldest three fifths teach, the next fifth calibrates, the newest fifth judges. Of
    very many an even sample is taken.
    """
    ordered = sorted(known, key=lambda one: (one.at_s, one.row))
    ordered = ordered[:: math.ceil(len(ordered) / _MOST_EXAMPLES) or 1]
    size = len(ordered)
    parts = ordered[: size * 3 // 5], ordered[size * 3 // 5 : size * 4 // 5], ordered[size * 4 // 5 :]
    if any(sum(one.turned for one in part) < _LEAST_POSITIVE // 4 for part in parts):
        return None
    if sum(one.turned for one in parts[0]) < _LEAST_POSITIVE:
        return None
    model = _calibrated(_fitted(parts[0]), parts[1])
    return model, quality(model, parts[2])


def quality(model: Model, unseen: Sequence[Example]) -> Quality:
    """How good a model is on examples that it did not see."""
    turned = [float(one.turned) for one in unseen]
    share = sum(turned) / len(turned)
    brier = sum((model.chance(one.row) - is_so) ** 2 for one, is_so in zip(unseen, turned, strict=True))
    return Quality(brier / len(turned), share * (1 - share), len(turned), int(sum(turned)))


def _fitted(known: Sequence[Example]) -> Model:
    columns = list(zip(*[one.row for one in known], strict=True))
    means = tuple([sum(one) / len(one) for one in columns])
    scales = tuple(
        [
            math.sqrt(sum((one - mean) ** 2 for one in column) / len(column)) or 1.0
            for column, mean in zip(columns, means, strict=True)
        ]
    )
    rows = [
        (*[(one - mean) / scale for one, mean, scale in zip(item.row, means, scales, strict=True)], 1.0)
        for item in known
    ]
    weights = _regress(rows, [float(one.turned) for one in known], _RIDGE)
    return Model(means, scales, weights)


def _calibrated(model: Model, later: Sequence[Example]) -> Model:
    """With Platt's slope and shift; his targets keep them finite."""
    positive = sum(one.turned for one in later)
    high, low = (positive + 1) / (positive + 2), 1 / (len(later) - positive + 2)
    rows = [(model.log_odds(one.row), 1.0) for one in later]
    slope, shift = _regress(rows, [high if one.turned else low for one in later], 1e-3)
    if slope <= 0:  # later examples contradict the ranking: only the share that turned is kept
        slope, shift = 0.0, math.log(high / (1 - high)) if positive == len(later) else _log_odds(later)
    return Model(model.means, model.scales, model.weights, slope, shift)


def _log_odds(known: Sequence[Example]) -> float:
    share = (sum(one.turned for one in known) + 1) / (len(known) + 2)
    return math.log(share / (1 - share))


def _regress(rows: Sequence[Row], targets: Sequence[float], ridge: float) -> Row:
    """Newton's method on the penalised likelihood; the last feature is the bias and is
    not penalised.
    """
    size = len(rows[0])
    weights = [0.0] * size
    for _ in range(_ROUNDS):
        slope = [-ridge * one for one in weights[:-1]] + [0.0]
        curve = [[ridge * (one == two and one < size - 1) for two in range(size)] for one in range(size)]
        for row, target in zip(rows, targets, strict=True):
            chance = _sigmoid(sum(map(float.__mul__, row, weights)))
            spread = max(chance * (1 - chance), 1e-9)
            for one in range(size):
                slope[one] += (target - chance) * row[one]
                for two in range(one + 1):
                    curve[one][two] += spread * row[one] * row[two]
        step = _solved(curve, slope)
        weights = [one + other for one, other in zip(weights, step, strict=True)]
        if max(map(abs, step)) < 1e-8:
            break
    return tuple(weights)


def _solved(lower: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """The solution of a symmetric positive definite system, of which the lower triangle
    is given (Cholesky).
    """
    size = len(right)
    root = [[0.0] * size for _ in range(size)]
    for one in range(size):
        for two in range(one + 1):
            rest = lower[one][two] - sum(root[one][k] * root[two][k] for k in range(two))
            root[one][two] = math.sqrt(max(rest, 1e-12)) if one == two else rest / root[two][two]
    found = list(right)
    for one in range(size):
        found[one] = (found[one] - sum(root[one][k] * found[k] for k in range(one))) / root[one][one]
    for one in reversed(range(size)):
        rest = sum(root[k][one] * found[k] for k in range(one + 1, size))
        found[one] = (found[one] - rest) / root[one][one]
    return found


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-min(max(value, -60.0), 60.0)))
