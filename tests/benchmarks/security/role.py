"""What the security role costs, and how often it is wrong about generated people.

    python -m tests.benchmarks.security.role [--users 200] [--days 14]

The people are generated: sessions by day and in bursts, texts that repeat and vary,
prompt scores as the detector gives ordinary prompts (1.7 % medium). So the rates say how
the rules behave on such traffic, and not how they do on anybody's.
"""

import argparse
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from schemas.base import PromptPart
from schemas.events.security import RequestObserved, RiskLevel, SecurityFinding, TextFinding
from services.analyzer.security.child import load_judge
from services.analyzer.security.domain.inspection import Wanted, observe_request
from services.analyzer.security.domain.levels import level_of
from services.analyzer.security.domain.population import Population, Rules
from services.analyzer.security.domain.statistics.similarity import sketch
from services.common.control.thresholds import DEFAULT_THRESHOLDS
from tests.support.analyzer.recording import completed

_START = datetime(2026, 11, 2, tzinfo=UTC)
_THRESHOLDS = DEFAULT_THRESHOLDS
_WORDS = "how do I make the best plan for our new garden in spring with little money and no time".split()  # noqa: SIM905  it is prose


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--days", type=int, default=14)
    given = parser.parse_args()
    _print_inspection()
    _print_population()
    _print_ordinary(given.users, given.days)
    _print_attackers()


def _print_inspection() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    judge = load_judge()
    wanted = Wanted(prompts=True, answers=True, thresholds=_THRESHOLDS)
    print("one request, CPU-ms:")
    for name, prompt, count in (
        ("no text", None, 2000),
        ("20 words", " ".join(_WORDS), 20),
        ("200 words", " ".join(_WORDS * 10), 10),
        ("5,000 words", " ".join(_WORDS * 250), 2),
    ):
        parts = (PromptPart(role="user", chars=len(prompt)),) if prompt else ()
        event = completed(1, prompt_text=prompt, prompt_parts=parts, response_text=prompt)
        observe_request(event, judge, wanted)
        begun = time.process_time()
        for _ in range(count):
            observe_request(event, judge, wanted)
        print(f"  {name:12} {(time.process_time() - begun) / count * 1e3:8.2f}")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory: {before:.0f} MB before the model, {after:.0f} MB at most with it")


def _print_population() -> None:
    population = Population(Rules(), lambda _tenant: _THRESHOLDS)
    some = [_seen(n, f"u_{n % 2400}", n * 0.02, f"question {n}", 0.5) for n in range(60_000)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun = time.process_time()
    for offset, one in enumerate(some):
        population.observe(one, offset)
    spent = time.process_time() - begun
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"behaviour: {spent / len(some) * 1e6:.0f} CPU-us an observation; {len(population)} users and keys "
        f"with 24 requests each take {after - before:.0f} MB"
    )


def _print_ordinary(users: int, days: int) -> None:
    """How often somebody who does nothing is told of, and how often limited."""
    chance = random.Random(7)
    found: Counter[tuple[str, str]] = Counter()
    limited: set[tuple[str, int]] = set()
    total = 0
    for number in range(users):
        population = Population(Rules(), lambda _tenant: _THRESHOLDS)
        for offset, one in enumerate(_ordinary(f"u_{number}", days, chance)):
            total += 1
            effects = population.observe(one, offset)
            found.update((item.category, item.level.value) for item in effects.findings)
            limited.update((subject, int(one.at.timestamp() // 86_400)) for subject, _ in effects.risks)
    user_days = users * days
    print(f"ordinary people: {users} users, {days} days, {total} requests; findings in 1,000 user-days:")
    for (category, level), count in sorted(found.items()):
        print(f"  {category:18} {level:9} {count / user_days * 1000:8.1f}")
    print(f"  limited for a risk, of user-days: {len(limited) / user_days:.2%}")


def _print_attackers() -> None:
    """After how many requests an attacker's limits tighten."""
    chance = random.Random(11)
    print("attackers, after two days as ordinary people: requests until limits tighten, findings")
    for name, attempts in (("prober", _prober), ("flooder", _flooder), ("climber", _climber)):
        population = Population(Rules(), lambda _tenant: _THRESHOLDS)
        offset = 0
        for one in _ordinary("u_x", 2, chance):
            population.observe(one, offset)
            offset += 1
        first, kinds = None, Counter[str]()
        for place, one in enumerate(attempts(chance)):
            effects = population.observe(one, offset + place)
            kinds.update(item.category for item in effects.findings)
            if effects.risks and first is None:
                first = place + 1
        print(f"  {name:10} {first or 'never':>5}   {dict(kinds)}")


def _ordinary(user: str, days: int, chance: random.Random) -> Iterator[RequestObserved]:
    busy = chance.lognormvariate(0.5, 0.8)
    for day in range(days):
        at_s, number = day * 86_400 + chance.gauss(8 * 3600, 3600), 0
        for _ in range(min(12, round(chance.expovariate(1 / (2 * busy))))):
            topic = " ".join(chance.choices(_WORDS, k=8))
            for _ in range(1 + int(chance.expovariate(1 / 6))):
                at_s += chance.lognormvariate(3.5, 1)
                number += 1
                text = f"{topic} {' '.join(chance.choices(_WORDS, k=chance.choice([0, 3, 12])))}"
                draw = chance.random()
                score = 9.0 if draw < 0.017 else chance.uniform(3, 7) if draw < 0.08 else chance.uniform(0, 3)
                yield _seen(day * 1000 + number, user, at_s, text, score)
            at_s += chance.expovariate(1 / 3000)


def _prober(chance: random.Random) -> Iterator[RequestObserved]:
    base = " ".join(chance.choices(_WORDS, k=30))
    for number in range(40):
        words = base.split()
        words[chance.randrange(30)] = f"word{number}"
        yield _seen(90_000 + number, "u_x", 3 * 86_400 + number * 20, " ".join(words), chance.uniform(3, 6.9))


def _flooder(chance: random.Random) -> Iterator[RequestObserved]:
    for number in range(2000):
        yield _seen(90_000 + number, "u_x", 3 * 86_400 + number * 0.2, f"{chance.random()} words", 0.2)


def _climber(chance: random.Random) -> Iterator[RequestObserved]:
    for number in range(30):
        yield _seen(90_000 + number, "u_x", 3 * 86_400 + number * 60, f"{chance.random()} ask", number * 0.5)


def _seen(number: int, user: str, at_s: float, text: str, score: float) -> RequestObserved:
    at, request_id = _START + timedelta(seconds=at_s), f"{user}-{number}"
    level = level_of(score, _THRESHOLDS)
    findings = ()
    if level not in (RiskLevel.NONE, RiskLevel.LOW):
        finding = SecurityFinding(
            finding_id=request_id,
            found_at=at,
            tenant="acme",
            user=user,
            request_id=request_id,
            place="prompt",
            depth="full",
            category="jailbreak",
            level=level,
            score=score,
            action="flagged",
        )
        findings = (TextFinding(finding=finding, text=request_id),)
    return RequestObserved(
        request_id=request_id,
        tenant="acme",
        user=user,
        key_id=f"key-{user}",
        at=at,
        outcome="completed",
        score=score,
        sketch=sketch(text),
        findings=findings,
    )


if __name__ == "__main__":
    main()
