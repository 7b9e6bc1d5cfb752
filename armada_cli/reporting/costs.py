"""What each method costs beside plain fine-tuning, as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from armada_cli.console import shorten_count
from armada_cli.reporting.folder import TrialRecord
from armada_cli.reporting.groups import Group
from armada_cli.reporting.selection import Arm
from armada_cli.reporting.statistics import mean
from armada_cli.reporting.tables import Cell, ReportTable, Section, TableRow, make_title

HEADS = [
    ("steps", "× undistilled"),
    ("student's passes", "× undistilled"),
    ("teachers' passes", "a student's pass"),
    ("time", "× undistilled"),
    ("peak memory", "GB"),
    ("teacher's side", "parameters"),
]

NOTE = (
    "Of a training, as the mean over tasks and seeds. Passes are rows that went forward through the student, and through "
    "models that teach it live; what is computed once and kept for all is not among them, nor is the training of a finished "
    "teacher. The teacher's side are the parameters that were trained there. Time was taken while other trials ran beside it."
)


def make_cost_table(group: Group) -> ReportTable | None:
    """Optimizer steps, forward passes, time, memory and the teacher's parameters of each arm; None where no trial recorded
    them, or only one arm did."""
    rows = [
        TableRow(_label(arm), list(_cells(group.baseline, arm)))
        for arm in group.arms
        if any(trial.passes for trial in _trials(arm))
    ]
    return ReportTable(make_title(group, "cost"), HEADS, [Section("", rows)], [NOTE]) if len(rows) > 1 else None


def _label(arm: Arm) -> str:
    return f"{arm.label}, teacher {arm.first.teacher}" if arm.first.teacher else arm.label


def _trials(arm: Arm) -> list[TrialRecord]:
    return [trial for by_seed in arm.trials.values() for trial in by_seed.values()]


def _cells(baseline: Arm | None, arm: Arm) -> Iterator[Cell]:
    yield _ratio(baseline, arm, lambda trial: trial.steps)
    yield _ratio(baseline, arm, lambda trial: trial.passes.get("student"))
    shares = [
        sum(rows for kind, rows in trial.passes.items() if kind != "student") / trial.passes["student"]
        for trial in _trials(arm)
        if trial.passes.get("student")
    ]
    yield Cell((f"{mean(shares):.2f}",)) if any(shares) else Cell()
    yield _ratio(baseline, arm, seconds_of)
    peaks = [trial.peak_memory for trial in _trials(arm) if trial.peak_memory]
    yield Cell((f"{mean(peaks) / 1e9:.1f}",)) if peaks else Cell()
    sides = [sum(trial.teacher_parameters.values()) for trial in _trials(arm)]
    yield Cell((shorten_count(max(sides)),)) if any(sides) else Cell()


def seconds_of(trial: TrialRecord) -> float | None:
    """Seconds that the training itself took, with a method's own pre-training."""
    stages = [trial.stages.get(name) for name in ("pre-training", "training")]
    return sum(float(value) for value in stages if isinstance(value, (int, float))) or None


def _ratio(baseline: Arm | None, arm: Arm, figure: Callable[[TrialRecord], float | None]) -> Cell:
    """The mean over tasks and seeds of a figure over the baseline's of the same task and seed."""
    if baseline is None:
        return Cell()
    ratios = []
    for task, by_seed in arm.trials.items():
        for seed, trial in by_seed.items():
            other = baseline.trials.get(task, {}).get(seed)
            own, base = figure(trial), None if other is None else figure(other)
            if own is not None and base:
                ratios.append(own / base)
    return Cell((f"{mean(ratios):.2f}",)) if ratios else Cell()
