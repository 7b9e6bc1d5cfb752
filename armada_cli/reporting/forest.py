"""Differences with their intervals, placed on an axis: what the page draws as a forest plot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from armada_cli.reporting.groups import Group
from armada_cli.reporting.selection import Arm
from armada_cli.reporting.tables import signed
from armada_cli.reporting.verdicts import Verdicts

if TYPE_CHECKING:
    from armada_cli.reporting.statistics.verdict import Contrast

TICKS = 4
"""Marks of an axis, about."""


@dataclass(frozen=True)
class Bar:
    """One difference. `low`, `point` and `high` are places on the axis in percent of its length; the first and the last are
    None without an interval."""

    label: str
    teacher: str
    text: str
    verdict: str
    low: float | None
    point: float
    high: float | None


@dataclass(frozen=True)
class Forest:
    """The differences of one task from one kind of base.

    Attributes:
        zero: place of no difference, in percent; ticks: (place, number) of the axis.
        better: the side on which a method is better, ``right`` or ``left``.
    """

    title: str
    zero: float
    ticks: list[tuple[float, str]]
    better: str
    bars: list[Bar]


def make_forests(group: Group, verdicts: Verdicts) -> Iterator[Forest]:
    """For each task of a group the differences from the undistilled student, and those from each method's control."""
    for column in group.tasks:
        for what in ("undistilled", "control"):
            drawn = []
            for arm in group.arms:
                verdict = verdicts.of(arm, column.task)
                contrast = getattr(verdict, what) if verdict is not None else None
                if contrast is not None:
                    drawn.append((arm, contrast))
            if drawn:
                base = "the undistilled student" if what == "undistilled" else "its control"
                title = f"{column.title or column.task}: difference from {base}"
                yield _place(title, drawn, "left" if column.lower_is_better else "right")


def _place(title: str, drawn: Sequence[tuple[Arm, Contrast]], better: str) -> Forest:
    ends = [0.0]
    for _, contrast in drawn:
        ends += [contrast.difference]
        if contrast.interval is not None:
            ends += [contrast.interval.low, contrast.interval.high]
    marks = _choose_ticks(min(ends), max(ends))
    low, high = min(*ends, *marks), max(*ends, *marks)

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    bars = [
        Bar(
            arm.label,
            arm.first.teacher or "",
            _describe(contrast),
            contrast.outcome,
            None if contrast.interval is None else at(contrast.interval.low),
            at(contrast.difference),
            None if contrast.interval is None else at(contrast.interval.high),
        )
        for arm, contrast in drawn
    ]
    return Forest(title, at(0.0), [(at(mark), f"{mark:g}".replace("-", "−")) for mark in marks], better, bars)


def _describe(contrast: Contrast) -> str:
    interval = contrast.interval
    bounds = "" if interval is None else f" ({signed(interval.low)} to {signed(interval.high)})"
    return signed(contrast.difference) + bounds


def _choose_ticks(low: float, high: float) -> list[float]:
    """About `TICKS` round numbers from below `low` to above `high`."""
    span = (high - low) or 1.0
    step = 10 ** math.floor(math.log10(span / TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if factor * step * TICKS >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]
