"""Figures that do not fit each other: the joint model against an isolation forest."""

import numpy as np

from services.analyzer.anomalies.domain.joint import JointModel, deviations, score, train
from services.analyzer.forecast.domain.series import WEEK, Floats, slots_of
from tests.benchmarks.analytics.histories import FIRST, office

NAMES = ("requests", "tokens", "cost", "errors", "latency")
TRAINED, JUDGED = 4 * WEEK, 2 * WEEK
_THRESHOLD = 3.0


def traffic(seed: int, hours: int = TRAINED + JUDGED) -> tuple[Floats, Floats]:
    """Observed and expected, hours × figures: tokens follow requests, cost tokens, latency
    the load, as one's own platform has it.
    """
    chance = np.random.default_rng(seed)
    usual = 300 * office(slots_of(FIRST, hours, "UTC"))
    load = np.exp(0.15 * chance.normal(size=hours))
    requests = chance.poisson(usual * load).astype(float)
    tokens = requests * 400 * np.exp(0.04 * chance.normal(size=hours))
    cost = tokens * 2e-5 * np.exp(0.02 * chance.normal(size=hours))
    errors = chance.poisson(0.01 * requests).astype(float)
    latency = 2.0 * load**0.5 * np.exp(0.05 * chance.normal(size=hours))
    expected = np.column_stack([usual, 400 * usual, 0.008 * usual, 0.01 * usual, np.full(hours, 2.0)])
    return np.column_stack([requests, tokens, cost, errors, latency]), expected


UNITS = (1.0, 400.0, 0.008, 1.0, 0.02)
PLANTED: dict[str, dict[str, float]] = {
    "20 % more tokens a request": {"tokens": 1.2, "cost": 1.2},
    "15 % fewer requests, 15 % more tokens": {"requests": 0.85, "tokens": 1.15, "cost": 1.15},
    "cost 12 % above its tokens": {"cost": 1.12},
    "latency 30 % up at a quiet hour": {"latency": 1.3},
    "everything up by half (a plain spike)": {
        "requests": 1.5,
        "tokens": 1.5,
        "cost": 1.5,
        "errors": 1.5,
        "latency": 1.2,
    },
}


def rows_of(observed: Floats, expected: Floats) -> Floats:
    """Deviations of all figures."""
    return np.column_stack(
        [deviations(observed[:, one], expected[:, one], unit) for one, unit in enumerate(UNITS)]
    )


def print_joint(seeds: int) -> None:
    """Recall of single planted hours, at a threshold that both share: as many false
    alarms as the joint model has.
    """
    from sklearn.ensemble import IsolationForest

    recalls: dict[str, list[list[float]]] = {name: [] for name in PLANTED}
    drivers: dict[str, list[bool]] = {name: [] for name in PLANTED}
    alarms, hours = 0, 0
    for seed in range(7000, 7000 + seeds):
        observed, expected = traffic(seed)
        rows = rows_of(observed, expected)
        model = train(NAMES, rows[:TRAINED], trained_hour=FIRST + TRAINED)
        assert model is not None
        ours = _ours(model, rows[TRAINED:])
        false = int((ours >= _THRESHOLD).sum())
        alarms, hours = alarms + false, hours + JUDGED
        forest = IsolationForest(n_estimators=300, random_state=seed, n_jobs=1).fit(rows[:TRAINED])
        theirs = -forest.score_samples(rows[TRAINED:])
        border = np.sort(theirs)[-max(1, false + 1)]
        univariate = np.abs(rows[:TRAINED]).max(axis=0)
        for name, changes in PLANTED.items():
            changed = observed[TRAINED:].copy()
            for figure, factor in changes.items():
                changed[:, NAMES.index(figure)] *= factor
            planted = rows_of(changed, expected[TRAINED:])
            recalls[name].append(
                [
                    float(np.mean(_ours(model, planted) >= _THRESHOLD)),
                    float(np.mean(-forest.score_samples(planted) > border)),
                    float(np.mean(np.any(np.abs(planted) > univariate, axis=1))),
                ]
            )
            found = score(model, planted[10].tolist())
            assert found is not None
            drivers[name].append(found.drivers[0].name in changes)
    print(
        f"joint model, {len(NAMES)} figures, trained on four weeks: score >= {_THRESHOLD:g}, "
        f"{alarms} false alarms in {hours / WEEK:.0f} weeks ({alarms / hours * WEEK:.2f} a week)\n"
    )
    print("| planted in one hour | joint | isolation forest | one beyond training | first driver changed |")
    print("|-|-|-|-|-|")
    for name, of in recalls.items():
        ours, theirs, alone = np.mean(of, axis=0)
        print(f"| {name} | {ours:.2f} | {theirs:.2f} | {alone:.2f} | {np.mean(drivers[name]):.2f} |")


def _ours(model: JointModel, rows: Floats) -> Floats:
    found = [score(model, row.tolist()) for row in rows]
    return np.array([0.0 if one is None else one.score for one in found])
