"""How trainings went: the loss over the steps and the score over the epochs, as lines that the page draws."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from armada_cli.reporting.groups import Group
from armada_cli.reporting.selection import Arm
from armada_cli.reporting.statistics import mean
from armada_cli.training_log import read_log

POINTS = 60
"""Of a line at most: a page of many trials stays small."""


@dataclass(frozen=True)
class Line:
    """The mean over seeds. `points`: x and y in percent of the chart, as SVG's ``points`` has them; `last` its last value."""

    label: str
    points: str
    last: str


@dataclass(frozen=True)
class Chart:
    """Lines of several arms on one scale; `low` and `high` are the numbers at the bottom and at the top."""

    title: str
    x: str
    low: str
    high: str
    lines: list[Line]


def make_charts(group: Group) -> Iterator[Chart]:
    """For each task the training loss, and the validation score where it was taken more than once."""
    for column in group.tasks:
        losses = {arm: _losses(arm, column.task) for arm in group.arms}
        scores = {arm: _scores(arm, column.task, column.metric) for arm in group.arms}
        name = column.title or column.task
        yield from _draw(f"{name}: loss of the training", "steps", losses)
        yield from _draw(f"{name}: {column.metric} of the validation rows", "epochs", scores)


def _losses(arm: Arm, task: str) -> list[tuple[float, float]]:
    return _average(
        [
            [(float(record["step"]), float(record["loss"])) for record in read_log(trial.folder) if "loss" in record]
            for trial in arm.trials.get(task, {}).values()
            if trial.score is not None
        ]
    )


def _scores(arm: Arm, task: str, metric: str) -> list[tuple[float, float]]:
    curves = []
    for trial in arm.trials.get(task, {}).values():
        known = [
            (float(record["epoch"]), float(record["scores"][metric]))
            for record in trial.epochs
            if isinstance(record, dict) and isinstance(record.get("scores"), dict) and metric in record["scores"]
        ]
        if len(known) > 1:
            curves.append(known)
    return _average(curves)


def _average(curves: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The mean over curves at each place that all of them have."""
    values: dict[float, list[float]] = defaultdict(list)
    for curve in curves:
        for x, y in curve:
            if math.isfinite(y):
                values[x].append(y)
    return [(x, mean(known)) for x, known in sorted(values.items()) if len(known) == len(curves)]


def _draw(title: str, x: str, curves: dict[Arm, list[tuple[float, float]]]) -> Iterator[Chart]:
    drawn = {arm: _thin(curve) for arm, curve in curves.items() if len(curve) > 1}
    if not drawn:
        return
    heights = [y for curve in drawn.values() for _, y in curve]
    widths = [place for curve in drawn.values() for place, _ in curve]
    low, high = min(heights), max(heights)
    left, right = min(widths), max(widths)

    def at(place: float, y: float) -> str:
        across = 100 * (place - left) / ((right - left) or 1.0)
        return f"{across:.1f},{100 - 100 * (y - low) / ((high - low) or 1.0):.1f}"

    lines = [Line(arm.label, " ".join(at(*point) for point in curve), f"{curve[-1][1]:.3g}") for arm, curve in drawn.items()]
    yield Chart(title, f"{left:g} to {right:g} {x}", f"{low:.3g}", f"{high:.3g}", lines)


def _thin(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Every so many-th point, and the last one."""
    every = -(-len(curve) // POINTS)
    return [*curve[:-1:every], curve[-1]] if curve else []
