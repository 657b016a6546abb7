"""How well threats and users who turn critical are predicted, on generated histories.

    python -m tests.benchmarks.security.threats [--seed 3]

Both are generated, so the figures say how the models do where the world is of that
kind, and not how they do on anybody's traffic: for that there is
`tocsin security forecast`, which holds itself against the store's own history.
"""

import argparse
import math
import random
from collections.abc import Iterator

from services.console.domain.threats.backtest import backtest
from services.console.domain.threats.turning import DAY_S, Example, Found, examples, learn

_WEEKS = 6
_USERS = 150
_DAYS = 60


def main() -> None:
    """Prints both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=3)
    chance = random.Random(parser.parse_args().seed)
    print("threats per hour, 14 days forecast one by one (mean absolute error; interval of 80 %)")
    for name, counts in _histories(chance):
        found = backtest(counts, 0)
        assert found is not None
        print(
            f"  {name:34} mean {sum(counts) / len(counts):7.2f}  error {found.error:7.2f}  "
            f"naive ({found.naive:4}) {found.naive_error:7.2f}  skill {found.skill:6.1%}  "
            f"covered {found.covered:.1%}"
        )
    _print_turning(chance)


def _histories(chance: random.Random) -> Iterator[tuple[str, list[int]]]:
    for name, mean, scatter, swing, outbreaks, growth in (
        ("few, no season", 0.3, 5.0, 0.0, 0, 0.0),
        ("office hours", 4.0, 5.0, 0.9, 0, 0.0),
        ("office hours, many", 60.0, 10.0, 0.9, 0, 0.0),
        ("office hours, outbreaks", 4.0, 5.0, 0.9, 12, 0.0),
        ("growing a tenth a week", 10.0, 5.0, 0.6, 2, 0.1),
        ("scattered, no season", 5.0, 0.7, 0.0, 0, 0.0),
    ):
        yield (
            name,
            [
                _drawn(chance, mean * _season(hour, swing) * (1 + growth) ** (hour / 168), scatter)
                + (
                    chance.randrange(20, 80)
                    if outbreaks and chance.random() < outbreaks / (_WEEKS * 168)
                    else 0
                )
                for hour in range(_WEEKS * 168)
            ],
        )


def _season(hour: int, swing: float) -> float:
    weekend = hour // 24 % 7 in (2, 3)  # 1970 began on a Thursday
    return (1 + swing * math.sin(2 * math.pi * (hour % 24 - 8) / 24)) * (1 - swing * 0.7 * weekend)


def _drawn(chance: random.Random, mean: float, scatter: float) -> int:
    """Poisson of a Gamma rate: negative binomial."""
    rate, count, product = chance.gammavariate(scatter, mean / scatter), 0, chance.random()
    if rate > 200:
        return max(0, round(chance.gauss(rate, math.sqrt(rate))))
    while product > math.exp(-rate):
        count, product = count + 1, product * chance.random()
    return count


def _print_turning(chance: random.Random) -> None:
    known: list[Example] = []
    for _ in range(_USERS):
        known += examples(_life(chance), _DAYS * DAY_S)
    learnt = learn(known)
    assert learnt is not None
    model, found = learnt
    print(
        f"users who turn critical within a day: {len(known)} examples of {_USERS} users; of the newest "
        f"{found.examples}, {found.turned} turned: Brier {found.brier:.4f}, always saying the share "
        f"{found.base_brier:.4f}, skill {found.skill:.1%}"
    )
    unseen = sorted(known, key=lambda one: one.at_s)[-len(known) // 5 :]
    for low, high in ((0, 0.02), (0.02, 0.05), (0.05, 0.1), (0.1, 0.2), (0.2, 0.5), (0.5, 1.01)):
        some = [one for one in unseen if low <= model.chance(one.row) < high]
        if some:
            told = sum(model.chance(one.row) for one in some) / len(some)
            came = sum(one.turned for one in some) / len(some)
            print(f"  told {told:6.1%}  came {came:6.1%}  of {len(some)}")


def _life(chance: random.Random) -> list[Found]:
    """Most have a false alarm now and then; some go on to try harder, and some of these
    succeed in being critical.
    """
    found: list[Found] = []
    at_s = chance.uniform(0, 3) * DAY_S
    while at_s < _DAYS * DAY_S:
        if chance.random() < 0.12:
            heat = 4.0
            while chance.random() < 0.85 and len(found) < 400:
                at_s += chance.expovariate(1 / 5000)
                heat += chance.uniform(0, 2.5)
                score = max(3.0, chance.gauss(heat, 2))
                level = (
                    "low" if score < 7 else "medium" if score < 12 else "high" if score < 20 else "critical"
                )
                category = chance.choice(["jailbreak", "probing", "escalation"])
                found.append(Found(at_s, category, level, score, blocked=level == "critical"))
        else:
            score = chance.uniform(3, 9)
            found.append(Found(at_s, "jailbreak", "low" if score < 7 else "medium", score))
        at_s += chance.expovariate(1 / (2.5 * DAY_S))
    return found


if __name__ == "__main__":
    main()
