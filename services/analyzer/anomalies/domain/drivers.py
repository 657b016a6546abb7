"""What an anomaly is due to: which values of which dimension make up the change.

Of each dimension (model, tenant, user, error kind) the values are held against what was
expected of each. The contribution of a value is its change over the whole change
(Bhagwan and others: Adtributor, NSDI 2014, section 3: explanatory power). A dimension
explains the more, the fewer of its values carry the change and the more these changed
apart from the rest: surprise, the Jensen-Shannon divergence of shares (ibid.). A rise of
everything by the same factor is explained by none, and that is what is said.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

MOST_VALUES = 10_000
_ENOUGH = 0.67
_LEAST = 0.1
_MOST_NAMED = 5
_LEAST_SURPRISE = 0.002


@dataclass(frozen=True, slots=True)
class Contribution:
    """`share` of the change is due to this value; shares of all values sum to 1, and
    single ones may lie outside of 0 to 1 where others changed the other way.
    """

    value: str
    observed: float
    expected: float
    share: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A dimension's values that together make up two thirds of the change, at most five;
    `share` is theirs together.
    """

    dimension: str
    contributions: tuple[Contribution, ...]
    share: float
    surprise: float


def explain(
    observed: Mapping[str, Mapping[str, float]], expected: Mapping[str, Mapping[str, float]]
) -> tuple[Explanation, ...]:
    """Of sums by dimension and value: those of the anomaly's hours, and what was expected
    of as many hours. The most telling dimension first; none where a change is everywhere
    alike, or where nothing changed.

    Raises:
        ValueError: a dimension has more than 10,000 values, or a sum is no number.
    """
    found = [
        one
        for dimension in sorted(set(observed) | set(expected))
        if (one := _explanation(dimension, observed.get(dimension, {}), expected.get(dimension, {})))
    ]
    return tuple(
        sorted(found, key=lambda one: (-one.surprise / math.sqrt(len(one.contributions)), one.dimension))
    )


def expected_of_shares(total: float, usual: Mapping[str, float]) -> dict[str, float]:
    """What each value should have of a total, by its usual share; nothing is usual where
    all were 0.
    """
    whole = sum(usual.values())
    return {value: total * part / whole for value, part in usual.items()} if whole > 0 else {}


def _explanation(
    dimension: str, observed: Mapping[str, float], expected: Mapping[str, float]
) -> Explanation | None:
    values = sorted(set(observed) | set(expected))
    if len(values) > MOST_VALUES:
        raise ValueError(
            f"{dimension} has {len(values)} values; keep the {MOST_VALUES} largest, sum the rest"
        )
    came = [float(observed.get(one, 0.0)) for one in values]
    usual = [float(expected.get(one, 0.0)) for one in values]
    if not all(map(math.isfinite, (*came, *usual))) or min((*came, *usual, 0.0)) < 0:
        raise ValueError(f"sums of {dimension} must be numbers of 0 or more")
    change = sum(came) - sum(usual)
    if change == 0 or len(values) < 2:
        return None
    rows = [
        Contribution(value, one, other, (one - other) / change)
        for value, one, other in zip(values, came, usual, strict=True)
    ]
    rows.sort(key=lambda one: (-one.share, one.value))
    named = _named(rows)
    surprise = _divergence(came, usual)
    if not named or surprise < _LEAST_SURPRISE:
        return None
    return Explanation(dimension, tuple(named), sum(one.share for one in named), surprise)


def _named(rows: list[Contribution]) -> list[Contribution]:
    """The largest that together are two thirds; none where five do not suffice."""
    named: list[Contribution] = []
    for one in rows[:_MOST_NAMED]:
        if one.share < _LEAST:
            break
        named.append(one)
        if sum(each.share for each in named) >= _ENOUGH:
            return named
    return []


def _divergence(came: list[float], usual: list[float]) -> float:
    """Jensen's and Shannon's, in bits: 0 of the same shares, 1 of none in common."""
    total, whole = sum(came), sum(usual)
    if total <= 0 or whole <= 0:
        return 1.0
    found = 0.0
    for one, other in zip(came, usual, strict=True):
        p, q = one / total, other / whole
        middle = (p + q) / 2
        found += sum(part / 2 * math.log2(part / middle) for part in (p, q) if part > 0)
    return max(0.0, found)
