"""A history made ready to be learnt from: gaps filled, outbreaks and outages capped.

An hour that lies far from what its neighbours of the same hour of the week say is drawn
in to the border of the usual (Hampel's identifier: the median and its absolute
deviation). Where most hours of a day lie on the same side the level has changed, which
is to be learnt, not hidden: these hours stay. Where the last two days and more lie apart
from the weeks before by a factor, what came before is multiplied by it: the seasons are
kept, the level is the new one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.analyzer.forecast.domain.series import DAY, WEEK, Floats, HourlySeries, Whole

Bools = NDArray[np.bool_]

_FAR = 6.0
_TO = 3.0
_SHIFT_SHARE = 0.6
_SHIFT_DAYS, _SHIFT_LEAST = 2, 0.3


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """`values` without gaps or outbreaks; `seen` as they came, NaN where unknown;
    `unit` what one event is (of amounts: a small step); `capped` hours were drawn in; what
    came before the last change of level was multiplied by `shift`.
    """

    values: Floats
    seen: Floats
    slots: Whole
    first_hour: int
    unit: float
    capped: int = 0
    shift: float = 1.0

    def __len__(self) -> int:
        return len(self.values)


def prepared(series: HourlySeries) -> History:
    """The series as models learn from it. It must have a known hour."""
    seen, slots = series.values, series.slots
    unit = 1.0 if series.kind == "count" else _step(seen)
    around = _around(seen)
    scale = np.sqrt(unit * around + 0.01 * around**2 + 0.25 * unit**2)
    away = (seen - around) / scale
    usual = 1.4826 * float(np.nanmedian(np.abs(away))) if np.any(~np.isnan(away)) else 0.0
    border = max(usual, 0.8)
    far = np.abs(np.nan_to_num(away)) > _FAR * border
    far &= ~_shifted(far, np.sign(np.nan_to_num(away)))
    drawn_in = np.maximum(0.0, around + np.sign(away) * _TO * border * scale)
    values = np.where(far, drawn_in, seen)
    filled, capped = _filled(values, slots), int(np.count_nonzero(far))
    begin, shift = _last_shift(filled, unit)
    filled[:begin] *= shift
    return History(filled, seen, slots, series.first_hour, unit, capped, shift)


def _last_shift(values: Floats, unit: float) -> tuple[int, float]:
    """Where the present level began, and by which factor it differs from before; 0 and 1
    where it does not. Days are held against the same hours of the two weeks before.
    """
    days = (len(values) - 2 * WEEK) // DAY
    if days < _SHIFT_DAYS + 3:
        return 0, 1.0
    before = (_moved(values, WEEK) + _moved(values, 2 * WEEK)) / 2
    begin = len(values) - days * DAY
    came = values[begin:].reshape(days, DAY).sum(axis=1)
    usual = before[begin:].reshape(days, DAY).sum(axis=1)
    ratios = np.log((came + unit) / (usual + unit))
    middle = float(np.median(ratios[:-_SHIFT_DAYS]))
    spread = 1.4826 * float(np.median(np.abs(ratios[:-_SHIFT_DAYS] - middle)))
    noise = 1 / float(np.sqrt(np.median(usual) / unit + 1))
    away = ratios - middle
    side = np.sign(away[-1])
    beyond = side * away > max(_SHIFT_LEAST, 4 * spread, 4 * noise)
    lasting = int(np.argmin(np.append(beyond[::-1], False)))
    if not _SHIFT_DAYS <= lasting < 7:
        return 0, 1.0
    return len(values) - lasting * DAY, float(np.exp(np.median(away[-lasting:])))


def _step(values: Floats) -> float:
    """A fiftieth of the usual positive amount; so amounts scatter by their size."""
    positive = values[values > 0]
    return float(np.median(positive)) / 50 if len(positive) else 1.0


def _around(values: Floats) -> Floats:
    """The median of the hours that should be alike: the same hour of the weeks beside,
    of the days beside where there are no such weeks.
    """
    every = WEEK if len(values) >= 3 * WEEK else DAY
    if len(values) < 3 * DAY:
        return np.full(len(values), np.nanmedian(values))
    beside = [_moved(values, every * step) for step in (-3, -2, -1, 0, 1, 2, 3)]
    stacked = np.vstack(beside)
    alone = np.all(np.isnan(stacked), axis=0)
    stacked[:, alone] = np.nanmedian(values)
    found: Floats = np.nanmedian(stacked, axis=0)
    return found


def _moved(values: Floats, by: int) -> Floats:
    moved = np.full(len(values), np.nan)
    if by == 0:
        return values
    if abs(by) < len(values):
        moved[max(0, by) : len(values) + min(0, by)] = values[max(0, -by) : len(values) - max(0, by)]
    return moved


def _shifted(far: Bools, side: Floats) -> Bools:
    """Hours within a day most of which lie far on the same side."""
    found = np.zeros(len(far), dtype=bool)
    if len(far) < DAY:
        return found
    for sign in (-1.0, 1.0):
        one_side = far & (side == sign)
        sums = np.convolve(one_side, np.ones(DAY), mode="valid")
        for place in np.flatnonzero(sums >= _SHIFT_SHARE * DAY):
            found[place : place + DAY] |= one_side[place : place + DAY]
    return found


def _filled(values: Floats, slots: Whole) -> Floats:
    """Unknown hours as the same hour of the week before, of the day before, or as the
    median: so models that need each hour can go on. They are not judged by them.
    """
    filled = values.copy()
    fallback = float(np.nanmedian(values))
    by_slot: dict[int, float] = {}
    by_hour: dict[int, float] = {}
    for place, (value, slot) in enumerate(zip(values, slots, strict=True)):
        if np.isnan(value):
            filled[place] = by_slot.get(int(slot), by_hour.get(int(slot) % DAY, fallback))
        else:
            by_slot[int(slot)] = by_hour[int(slot) % DAY] = float(value)
    return filled
