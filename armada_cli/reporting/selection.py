"""Grids whose points were compared on training rows that nothing is trained on: one row of a table each, which shows for every
task the point that was best there. The validation rows have no part in the choice."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from armada_cli.direction import lower_is_better
from armada_cli.reporting.folder import TrialRecord
from armada_cli.reporting.statistics import mean


@dataclass(eq=False)
class Arm:
    """One row: a method with one set of options, one control and one teacher, or the chosen points of its grid.

    Attributes:
        first: its first trial, which speaks for all that an arm's trials have in common.
        trials: task -> seed -> trial.
        search: what it was chosen from; None for a single point.
    """

    label: str
    first: TrialRecord
    trials: dict[str, dict[int, TrialRecord]] = field(default_factory=dict)
    search: Search | None = None

    @property
    def points(self) -> list[TrialRecord]:
        """The first trial of each point that was tried."""
        return [self.first] if self.search is None else self.search.points

    def scores(self, task: str) -> dict[int, float]:
        return {seed: trial.score for seed, trial in sorted(self.trials.get(task, {}).items()) if trial.score is not None}

    def missing(self, task: str) -> list[TrialRecord]:
        return [trial for _, trial in sorted(self.trials.get(task, {}).items()) if trial.score is None]


@dataclass(frozen=True)
class Chosen:
    """The point of one task.

    Attributes:
        values: option or training setting -> the point's value; label: its title.
        score: its mean over the seeds on the held-out rows.
        equals: how many points have that mean; the first of them, in the recipe's order, is chosen.
        compared: how many points had a score for every seed.
    """

    label: str
    values: Mapping[str, str]
    score: float
    equals: int
    compared: int


@dataclass(frozen=True)
class Search:
    """What an arm was chosen from.

    Attributes:
        title: of the recipe's entry; points: the first trial of each point.
        axes: option or training setting -> the values that were tried.
        chosen: task -> its point; a task is absent as long as no point has a score for every seed.
    """

    title: str
    points: list[TrialRecord]
    axes: Mapping[str, list[str]]
    chosen: Mapping[str, Chosen]


def join_grids(arms: Sequence[Arm], tasks: Mapping[str, str]) -> list[Arm]:
    """The arms, those that are points of one grid as one; each stands where its first point stood.

    Args:
        tasks: column -> the task whose choice it shows: its own, or that of the main metric.
    """
    grids: dict[tuple[int, str | None, str | None] | int, list[Arm]] = {}
    for number, arm in enumerate(arms):
        one = arm.first
        grids.setdefault((-number - 1) if one.entry is None else (one.entry, one.teacher, one.control), []).append(arm)
    return [points[0] if len(points) == 1 else _join(points, tasks) for points in grids.values()]


def _join(arms: Sequence[Arm], tasks: Mapping[str, str]) -> Arm:
    chosen: dict[str, Chosen] = {}
    trials: dict[str, dict[int, TrialRecord]] = {}
    shown: dict[str, Arm] = {}
    for task in dict.fromkeys(tasks.values()):
        able = [arm for arm in arms if arm.trials.get(task)]
        if able:
            shown[task], choice = _choose(able, task)
            chosen |= {} if choice is None else {task: choice}
    for column, task in tasks.items():
        if task in shown and column in shown[task].trials:
            trials[column] = shown[task].trials[column]
    first = arms[0].first
    axes: dict[str, list[str]] = {}
    for arm in arms:
        for name, value in arm.first.point.items():
            axes[name] = list(dict.fromkeys([*axes.get(name, []), value]))
    label = f"{first.entry_title or first.method_name}, best of {len(arms)} on held-out rows"
    components = dict.fromkeys(first.components)
    common = {
        name: first.components[name]
        for name in components
        if all(arm.first.components.get(name) == first.components[name] for arm in arms)
    }
    search = Search(first.entry_title or first.method_name, [arm.first for arm in arms], axes, chosen)
    return Arm(label, dataclasses.replace(first, method=label, components=common), trials, search)


def _choose(arms: Sequence[Arm], task: str) -> tuple[Arm, Chosen | None]:
    """The arm with the best mean on the held-out rows among those that have all their scores there, the first of equals; the
    first of all, and no choice, where none has."""
    means: dict[int, float] = {}
    metric = ""
    for number, arm in enumerate(arms):
        metric = next(iter(arm.trials[task].values())).metric
        scores = [trial.selection.get(metric) for _, trial in sorted(arm.trials[task].items())]
        known = [score for score in scores if score is not None]
        if len(known) == len(scores):
            means[number] = mean(known)
    if not means:
        return arms[0], None
    best = (min if lower_is_better(metric) else max)(means.values())
    number = next(number for number, value in means.items() if value == best)
    point = arms[number].first
    equals = Counter(means.values())[best]
    return arms[number], Chosen(point.method, point.point, best, equals, len(means))
