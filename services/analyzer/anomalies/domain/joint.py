"""Hours whose figures do not fit each other, though each alone may be as usual.

A learned model: the deviations of several series from what was expected of each, in one
space, with their robust centre and covariance. An hour is as far as its Mahalanobis
distance, held against the distances of the hours that it was learnt from (a conformal
p-value) and, beyond what these can tell, against a chi-squared distribution.

The covariance is of the nearer nine tenths of the hours, found in rounds (concentration
steps of the minimum covariance determinant; Rousseeuw, Van Driessen 1999), and shrunk
towards its diagonal. Isolation forests were measured and are worse at combinations:
docs/concepts/analytics/anomalies.md.

`train` is to be called on a schedule; `dump` gives JSON and `load` checks it: no pickle.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.analyzer.forecast.domain.series import WEEK, Floats

VERSION = 1
LEAST_HOURS = 2 * WEEK
MOST_FEATURES = 64
_KEPT, _ROUNDS = 0.9, 8
_SHRINK = 0.02
_FLOOR = 1e-3
_MOST_BYTES = 1_000_000
_CLIP = 30.0
_BORDERS = tuple(np.linspace(0.5, 1.0, 101).tolist())


@dataclass(frozen=True, slots=True)
class JointModel:
    """`precision` is the inverse covariance of the deviations; `distances` their squared
    distances at even shares from a half to all; `hours` how many they were.
    """

    names: tuple[str, ...]
    centre: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    distances: tuple[float, ...]
    hours: int
    trained_hour: int


@dataclass(frozen=True, slots=True)
class JointScore:
    """-log10 of the chance of an hour so far off; `drivers` are the figures by their part
    in the distance, the largest first, with the deviation that the others let expect and
    the one that came.
    """

    score: float
    distance: float
    drivers: tuple["Driver", ...]


@dataclass(frozen=True, slots=True)
class Driver:
    """`share` of the distance; both deviations in robust standard deviations."""

    name: str
    share: float
    observed: float
    expected: float


def deviations(observed: Floats, expected: Floats, unit: float = 1.0) -> Floats:
    """How far each hour lies from what was expected, on the scale of square roots, which
    makes counts scatter alike at all heights.
    """
    with np.errstate(invalid="ignore"):
        came, usual = np.maximum(observed, 0) / unit, np.maximum(expected, 0) / unit
        found: Floats = 2 * (np.sqrt(came + 0.375) - np.sqrt(usual + 0.375)) / np.sqrt(1 + usual / 100)
    return found


def train(names: Sequence[str], rows: Floats, *, trained_hour: int) -> JointModel | None:
    """From deviations, hours × figures; hours with an unknown figure are left out. None
    where fewer than two weeks of hours are whole.

    Raises:
        ValueError: names do not fit the rows, or are more than 64 or not different.
    """
    if rows.ndim != 2 or rows.shape[1] != len(names) or not 1 < len(names) <= MOST_FEATURES:
        raise ValueError(f"{len(names)} names for rows of shape {rows.shape}; give 2 to {MOST_FEATURES}")
    if len(set(names)) < len(names):
        raise ValueError(f"the names {list(names)} are not all different")
    whole = np.clip(rows[np.all(np.isfinite(rows), axis=1)], -_CLIP, _CLIP)
    if len(whole) < LEAST_HOURS:
        return None
    near = whole
    for _ in range(_ROUNDS):
        centre, precision = _fitted(near)
        away = _distances(whole, centre, precision)
        near = whole[away <= np.quantile(away, _KEPT)]
    return JointModel(
        tuple(names),
        tuple(centre.tolist()),
        tuple([tuple(one) for one in precision.tolist()]),
        tuple(np.quantile(away, _BORDERS).tolist()),
        len(whole),
        trained_hour,
    )


def score(model: JointModel, row: Sequence[float]) -> JointScore | None:
    """How unusual an hour's deviations are together; None where one is unknown.

    Raises:
        ValueError: the row has another number of figures than the model.
    """
    if len(row) != len(model.names):
        raise ValueError(f"{len(row)} figures for a model of {len(model.names)}: {', '.join(model.names)}")
    given = np.asarray(row, dtype=np.float64)
    if not np.all(np.isfinite(given)):
        return None
    given = np.clip(given, -_CLIP, _CLIP)
    precision, centre = np.array(model.precision), np.array(model.centre)
    away = float(_distances(given[None, :], centre, precision)[0])
    return JointScore(_surprise(model, away), away, _drivers(model, given - centre, precision))


def dump(model: JointModel) -> bytes:
    """As JSON."""
    return json.dumps(
        {
            "version": VERSION,
            "names": model.names,
            "centre": model.centre,
            "precision": model.precision,
            "distances": model.distances,
            "hours": model.hours,
            "trained_hour": model.trained_hour,
        },
        allow_nan=False,
    ).encode()


def load(data: bytes) -> JointModel:
    """What `dump` gave.

    Raises:
        ValueError: it is something else, too large, or of another version.
    """
    if len(data) > _MOST_BYTES:
        raise ValueError(f"a model of {len(data)} bytes is none of ours; at most {_MOST_BYTES} are read")
    try:
        found = json.loads(data)
        model = JointModel(
            tuple([str(one) for one in found["names"]]),
            tuple([float(one) for one in found["centre"]]),
            tuple([tuple([float(each) for each in one]) for one in found["precision"]]),
            tuple([float(one) for one in found["distances"]]),
            int(found["hours"]),
            int(found["trained_hour"]),
        )
        version = found["version"]
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"this is no model of joint anomalies ({type(error).__name__}); train it anew"
        ) from error
    _check(model, version)
    return model


def _check(model: JointModel, version: object) -> None:
    size = len(model.names)
    matrix = np.array([one for row in model.precision for one in row])
    fits = (
        version == VERSION
        and 1 < size <= MOST_FEATURES
        and len(model.centre) == len(model.precision) == size
        and all(len(row) == size for row in model.precision)
        and len(model.distances) == len(_BORDERS)
        and bool(np.all(np.isfinite(np.concatenate([matrix, model.centre, model.distances]))))
        and model.hours >= LEAST_HOURS
    )
    if not fits or np.linalg.eigvalsh(matrix.reshape(size, size)).min() <= 0:
        raise ValueError(f"this model (version {version}, {size} figures) cannot be used; train it anew")


def _fitted(near: Floats) -> tuple[Floats, Floats]:
    centre: Floats = np.asarray(near.mean(axis=0), dtype=np.float64)
    covariance = np.cov(near, rowvar=False)
    scale = np.maximum(np.diag(covariance), _FLOOR)
    shrunk = (1 - _SHRINK) * covariance + np.diag(_SHRINK * scale + _FLOOR)
    precision: Floats = np.asarray(np.linalg.inv(shrunk), dtype=np.float64)
    return centre, (precision + precision.T) / 2


def _distances(rows: Floats, centre: Floats, precision: Floats) -> Floats:
    away = rows - centre
    found: Floats = np.einsum("ij,jk,ik->i", away, precision, away)
    return found


def _surprise(model: JointModel, away: float) -> float:
    """By the share of training hours that were as far, up to the 99.5th percentile;
    beyond it by the tail of a chi-squared distribution that is scaled to have that percentile.
    """
    far = model.distances[-2]  # the 99.5th percentile
    if away <= far:
        share = float(np.interp(away, model.distances, _BORDERS))
        return -math.log10(max(0.005, 1 - share))
    size = len(model.names)
    quantile = _chi_quantile(size)
    beyond = _log10_chi_tail(size, quantile * away / max(far, _FLOOR)) - _log10_chi_tail(size, quantile)
    return -beyond - math.log10(0.005)


def _chi_quantile(size: int) -> float:
    """The 99.5th percentile, by Wilson's and Hilferty's cube (1931) of the normal's."""
    return float(size * (1 - 2 / (9 * size) + 2.5758293 * math.sqrt(2 / (9 * size))) ** 3)


def _log10_chi_tail(size: int, value: float) -> float:
    """log10 P(chi² of so many degrees > value), by Wilson's and Hilferty's cube root and
    the normal tail's asymptotic series where erfc underflows.
    """
    z = (math.cbrt(value / size) - 1 + 2 / (9 * size)) / math.sqrt(2 / (9 * size))
    if z < 25:
        return math.log10(max(0.5 * math.erfc(z / math.sqrt(2)), 1e-300))
    return (-z * z / 2 - math.log(z * math.sqrt(2 * math.pi))) / math.log(10)


def _drivers(model: JointModel, away: Floats, precision: Floats) -> tuple[Driver, ...]:
    """Of each figure the distance that vanishes were it as the others let expect: its
    squared conditional deviation (the diagonal of the precision holds the inverse of the
    conditional variances).
    """
    diagonal = np.diag(precision)
    conditional = away - (precision @ away) / diagonal
    parts = (away - conditional) ** 2 * diagonal
    whole = float(parts.sum()) or 1.0
    spread = np.sqrt(np.maximum(np.diag(np.linalg.inv(precision)), _FLOOR))
    rows = [
        Driver(name, float(part / whole), float(one / scale), float(other / scale))
        for name, part, one, other, scale in zip(model.names, parts, away, conditional, spread, strict=True)
    ]
    return tuple(sorted(rows, key=lambda one: (-one.share, one.name)))
