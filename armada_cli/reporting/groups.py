"""The trials of a run by student and group of tasks: methods down (`selection.Arm`), tasks across (`TaskColumn`)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from armada_cli.direction import lower_is_better
from armada_cli.reporting import published
from armada_cli.reporting.folder import Run, TrialRecord
from armada_cli.reporting.selection import Arm, join_grids
from armada_cli.reporting.statistics import Difference, Summary, compare, correct, mean, summarise

MEAN = "mean"
"""Key of the column that averages over tasks, where no task is titled so."""

UNDISTILLED = "undistilled"


@dataclass(frozen=True)
class TaskColumn:
    """One task of a group: its title, metric, and the paper's name for it.

    Attributes:
        task: the column's key: the task's title, with the metric where that is a further one.
        title: the task's title, when it is not the key.
        beside: a further metric of a task, which the paper prints beside the main one; it has no part in the mean over tasks.
    """

    task: str
    metric: str
    published: str | None
    rows: Mapping[str, int] = field(default_factory=dict)
    title: str = ""
    beside: bool = False

    @property
    def published_key(self) -> str:
        """The column's key in `published.PublishedRow.values`."""
        return f"{self.published} {self.metric}" if self.beside else self.published or ""

    @property
    def lower_is_better(self) -> bool:
        return lower_is_better(self.metric)


@dataclass
class Comparison:
    """An arm minus another one: column key -> paired differences, where the two have a seed in common."""

    arm: Arm
    base: Arm
    differences: dict[str, Difference] = field(default_factory=dict)


@dataclass
class Group:
    """The trials of one student on one group of tasks, with everything computed from them.

    Attributes:
        baseline: the undistilled arm, None without one.
        held_out: the share of the training rows on which the points of a grid were compared; None compares nothing.
        differences: the arms minus the baseline; controls: arms minus their controls.
        sources: models of other students on these tasks that the arms learn from: text teachers, assistants.
    """

    student: str
    student_name: str
    name: str
    columns: list[TaskColumn]
    arms: list[Arm]
    baseline: Arm | None
    published: list[published.PublishedRow]
    held_out: float | None = None
    differences: list[Comparison] = field(default_factory=list)
    controls: list[Comparison] = field(default_factory=list)
    sources: list[Arm] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        """Columns of the tables: the tasks, and their mean where there are several."""
        names = [column.task for column in self.columns]
        averaged = len(self.tasks) > 1 and len({column.lower_is_better for column in self.tasks}) == 1
        return [*names, self.mean_key] if averaged else names

    @property
    def mean_key(self) -> str:
        """Key of the column that averages over tasks: `MEAN`, or longer where a task is titled so."""
        key, taken = MEAN, {column.task for column in self.columns}
        while key in taken:
            key = f"the {key}"
        return key

    @property
    def tasks(self) -> list[TaskColumn]:
        """Each task's main column: what the mean is taken over."""
        return [column for column in self.columns if not column.beside]

    def scores(self, arm: Arm, key: str) -> dict[int, float]:
        """seed -> score; for `mean_key` the seeds that all tasks have."""
        if key != self.mean_key:
            return arm.scores(key)
        by_task = [arm.scores(column.task) for column in self.tasks]
        seeds = set.intersection(*map(set, by_task))
        return {seed: mean([scores[seed] for scores in by_task]) for seed in sorted(seeds)}

    def summary(self, arm: Arm, key: str) -> Summary | None:
        return summarise(list(self.scores(arm, key).values()), lower_is_better=self.lower_is_better(key))

    def lower_is_better(self, key: str) -> bool:
        columns = self.tasks if key == self.mean_key else [column for column in self.columns if column.task == key]
        return any(column.lower_is_better for column in columns)

    def difference(self, arm: Arm, key: str) -> Difference | None:
        """The arm minus the baseline."""
        return next((item.differences.get(key) for item in self.differences if item.arm is arm), None)

    @property
    def decimals(self) -> int:
        return max((row.decimals for row in self.published), default=1)


def make_groups(run: Run) -> list[Group]:
    """The run's trials by student and task group, in the order the run lists them."""
    by_group: dict[tuple[str, str], list[TrialRecord]] = {}
    for trial in run.trials:
        by_group.setdefault((trial.student, trial.group), []).append(trial)
    return [_make_group(trials, run) for trials in by_group.values()]


def _make_group(trials: Sequence[TrialRecord], run: Run) -> Group:
    held_out = run.held_out
    columns: dict[str, TaskColumn] = {}
    arms: dict[tuple[str, str | None, str | None], Arm] = {}
    for trial, title in _with_metrics_beside(trials):
        rows = {key: value for key, value in trial.rows.items() if isinstance(value, int)}
        columns.setdefault(trial.task, TaskColumn(trial.task, trial.metric, trial.published, rows, title, bool(title)))
        for number in itertools.count(1):
            label = trial.method if number == 1 else f"{trial.method} #{number}"
            arm = arms.setdefault((label, trial.teacher, trial.control), Arm(label, trial))
            # Two arms of one title (say, with other training settings) must not overwrite each other's seeds.
            if arm.trials.setdefault(trial.task, {}).setdefault(trial.seed, trial) is trial:
                break
    controls: dict[str, set[str | None]] = {}
    for arm in arms.values():
        controls.setdefault(arm.label, set()).add(arm.first.control)
    for arm in arms.values():
        if arm.first.control and len(controls[arm.label]) > 1:
            arm.label += f" control={arm.first.control}"
    rows_of_table = list(arms.values())
    if held_out is not None:
        rows_of_table = join_grids(rows_of_table, {key: column.title or key for key, column in columns.items()})
    teachers = list(dict.fromkeys([None, *(arm.first.teacher for arm in rows_of_table)]))
    ordered = sorted(rows_of_table, key=lambda arm: (teachers.index(arm.first.teacher), arm.first.method_name != UNDISTILLED))
    first = trials[0]
    group = Group(
        student=first.student,
        student_name=first.student_name,
        name=first.group,
        columns=list(columns.values()),
        arms=ordered,
        baseline=next((arm for arm in ordered if arm.first.method_name == UNDISTILLED), None),
        held_out=held_out,
        published=published.rows_for(
            first.student_name,
            [(column.published, column.metric) for column in columns.values() if column.published],
            [arm.first.teacher_name for arm in ordered if arm.first.teacher_name],
        ),
    )
    if group.baseline is not None:
        pairs = [(arm, group.baseline) for arm in ordered if arm is not group.baseline]
        group.differences = _compare(group, pairs)
    group.controls = _compare(group, [(arm, other) for arm in ordered for other in ordered if _is_control_of(other, arm)])
    group.sources = _list_sources(run.dependencies, group)
    return group


def _list_sources(dependencies: Iterable[TrialRecord], group: Group) -> list[Arm]:
    """One arm for each way in which another student was trained on the group's tasks for its arms."""
    tasks = {column.title or column.task for column in group.columns}
    sources: dict[tuple[str, str], Arm] = {}
    for trial in dependencies:
        if trial.score is not None and trial.student != group.student and trial.group == group.name and trial.task in tasks:
            arm = sources.setdefault((trial.student, trial.method), Arm(f"{trial.student}, {trial.method}", trial))
            arm.trials.setdefault(trial.task, {}).setdefault(trial.seed, trial)
    return list(sources.values())


def _with_metrics_beside(trials: Sequence[TrialRecord]) -> Iterator[tuple[TrialRecord, str]]:
    """The trials, and once more with each further metric that the paper prints of their tasks and that was measured; such a
    one has a task of its own, and the title of the real one beside it."""
    measured = {(trial.task, metric) for trial in trials for metric in trial.scores}
    yield from ((trial, "") for trial in trials)
    for trial in trials:
        for metric in published.metrics_beside(trial.published, trial.metric) if trial.published else ():
            if (trial.task, metric) in measured:
                key = f"{trial.task}, {published.metric_title(metric)}"
                yield dataclasses.replace(trial, task=key, metric=metric, score=trial.scores.get(metric)), trial.task


def _compare(group: Group, pairs: Sequence[tuple[Arm, Arm]]) -> list[Comparison]:
    """Each column of a table is one family of tests."""
    comparisons = [Comparison(arm, base) for arm, base in pairs]
    for key in group.keys:
        family = {
            place: difference
            for place, (arm, base) in enumerate(pairs)
            if (difference := compare(group.scores(arm, key), group.scores(base, key))) is not None
        }
        for place, difference in zip(family, correct(list(family.values())), strict=True):
            comparisons[place].differences[key] = difference
    return [comparison for comparison in comparisons if comparison.differences]


SAME_IN_CONTROL = ("method_name", "teacher", "components", "options", "train")
"""What a row has in common with the control of it, by the names of `folder.TrialRecord`."""


def _is_control_of(control: Arm, arm: Arm) -> bool:
    """The same method, teacher, components, options and training settings, but for what the control changes; of grids the same
    points."""
    if not control.first.control or arm.first.control or len(control.points) != len(arm.points):
        return False
    return all(
        one.options is not None and all(getattr(one, name) == getattr(other, name) for name in SAME_IN_CONTROL)
        for one, other in zip(control.points, arm.points, strict=True)
    )
