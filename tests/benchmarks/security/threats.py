"""How well users who turn critical are predicted, on generated lives.

    python -m tests.benchmarks.security.threats [--seed 3]

They are generated, so the figures say how the model does where the world is of that kind,
and not how it does on anybody's traffic. How well threats an hour are forecast is measured
with the other figures: `make bench-forecast`.
"""

import argparse
import random

from services.console.domain.threats.turning import DAY_S, Example, Found, examples, learn

_USERS = 150
_DAYS = 60


def main() -> None:
    """Prints it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=3)
    chance = random.Random(parser.parse_args().seed)
    _print_turning(chance)


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
