"""A run -> its tables, as plain text cells: what to show. How it looks is `render`'s business."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from armada_cli.direction import lower_is_better
from armada_cli.reporting import published
from armada_cli.reporting.folder import Run, Trial
from armada_cli.reporting.statistics import Difference, Summary, compare, holm, mean, summarise

NOTHING = "–"
"""A cell without a value."""

MEAN = "mean"
"""Key of the column that averages over tasks."""

REGULARISATION = (
    "An improvement which the shuffled or noise teacher also gives is regularisation, not knowledge: only a real teacher "
    "that beats its control has taught something."
)

FIT = (
    "How well the aligner fits the rows that it was trained on, which says nothing of rows that it has not seen. Not to be "
    "compared with the paper's numbers of the aligner, which are of validation splits (Table 6: 55.4 on CB is 31 of 56 rows)."
)

Key: TypeAlias = tuple[int | str, ...]

FEW_SEEDS = 5
SMALL_P = 0.05

_METRIC_TITLES = {
    "mcc": "Mcc",
    "accuracy": "Acc",
    "pearson": "Pear",
    "spearman": "Spear",
    "f1": "F1",
    "microf1": "micro F1",
    "macrof1": "macro F1",
    "rougel": "ROUGE-L",
}
_STATUS = ("failed", "damaged", "pending")


@dataclass(frozen=True)
class Column:
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
class Arm:
    """One row: a method with one set of options and one teacher.

    `trials` holds task -> seed -> trial.
    """

    label: str
    method: str
    method_name: str
    teacher: str | None
    teacher_name: str | None
    manifold: str | None
    control: str | None
    options: Mapping[str, object] | None
    trials: dict[str, dict[int, Trial]] = field(default_factory=dict)

    def scores(self, task: str) -> dict[int, float]:
        return {seed: trial.score for seed, trial in sorted(self.trials.get(task, {}).items()) if trial.score is not None}

    def missing(self, task: str) -> list[Trial]:
        return [trial for _, trial in sorted(self.trials.get(task, {}).items()) if trial.score is None]


@dataclass
class Group:
    """The trials of one student on one group of tasks, with everything computed from them.

    Attributes:
        baseline: the undistilled arm, None without one.
        differences: (arm's place, column key) -> arm minus baseline; a column key is a task's title or `MEAN`.
        controls: (arm's place, control arm's place, column key) -> arm minus its control.
        holm: p-values after Holm's correction, under the same keys.
    """

    student: str
    student_name: str
    name: str
    columns: list[Column]
    arms: list[Arm]
    baseline: Arm | None
    published: list[published.PublishedRow]
    differences: dict[Key, Difference] = field(default_factory=dict)
    controls: dict[Key, Difference] = field(default_factory=dict)
    holm: dict[Key, float] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """Columns of the tables: the tasks, and their mean where there are several."""
        found = [column.task for column in self.columns]
        averaged = len(self.tasks) > 1 and len({column.lower_is_better for column in self.tasks}) == 1
        return [*found, MEAN] if averaged else found

    @property
    def tasks(self) -> list[Column]:
        """Each task's main column: what the mean is taken over."""
        return [column for column in self.columns if not column.beside]

    def scores(self, arm: Arm, key: str) -> dict[int, float]:
        """seed -> score; for `MEAN` the seeds that all tasks have."""
        if key != MEAN:
            return arm.scores(key)
        tables = [arm.scores(column.task) for column in self.tasks]
        seeds = set.intersection(*(set(table) for table in tables))
        return {seed: mean([table[seed] for table in tables]) for seed in sorted(seeds)}

    def summary(self, arm: Arm, key: str) -> Summary | None:
        return summarise(list(self.scores(arm, key).values()), lower_is_better=self.lower_is_better(key))

    def lower_is_better(self, key: str) -> bool:
        return any(
            column.lower_is_better
            for column in self.columns
            if key in (column.task, MEAN) and not (key == MEAN and column.beside)
        )

    @property
    def decimals(self) -> int:
        return max((row.decimals for row in self.published), default=1)


@dataclass
class Line:
    """One row of a table. A cell's lines are separated by a newline; `best` are the columns to set off."""

    label: str
    cells: list[str]
    best: set[int] = field(default_factory=set)


@dataclass
class Section:
    """Rows under a common heading; `published` ones are the paper's."""

    title: str
    lines: list[Line]
    published: bool = False


@dataclass
class Table:
    """What one printed table holds. `heads` are (task, metric)."""

    title: str
    corner: str
    heads: list[tuple[str, str]]
    sections: list[Section]
    notes: list[str] = field(default_factory=list)


# ------------------------------------------------------------------------------------------------------------- groups


def groups(run: Run) -> list[Group]:
    """The run's trials by student and task group, in the order the run lists them."""
    found: dict[tuple[str, str], list[Trial]] = {}
    for trial in run.trials:
        found.setdefault((trial.student, trial.group), []).append(trial)
    return [_group(trials) for trials in found.values()]


def _group(trials: Sequence[Trial]) -> Group:
    first = trials[0]
    columns: dict[str, Column] = {}
    arms: dict[tuple[str, str | None, int], Arm] = {}
    for trial, title in _with_metrics_beside(trials):
        rows = {key: value for key, value in trial.rows.items() if isinstance(value, int)}
        columns.setdefault(trial.task, Column(trial.task, trial.metric, trial.published, rows, title, bool(title)))
        number = 1
        # Two arms of one title (say, with other training settings) must not overwrite each other's seeds.
        while (held := arms.get((trial.method, trial.teacher, number))) and trial.seed in held.trials.get(trial.task, {}):
            number += 1
        key = (trial.method, trial.teacher, number)
        if key not in arms:
            arms[key] = Arm(
                label=trial.method if number == 1 else f"{trial.method} #{number}",
                method=trial.method,
                method_name=trial.method_name,
                teacher=trial.teacher,
                teacher_name=trial.teacher_name,
                manifold=trial.manifold,
                control=trial.control,
                options=trial.options,
            )
        arms[key].trials.setdefault(trial.task, {})[trial.seed] = trial
    teachers = list(dict.fromkeys([None, *(arm.teacher for arm in arms.values())]))
    ordered = sorted(arms.values(), key=lambda arm: (teachers.index(arm.teacher), arm.method_name != "undistilled"))
    wanted = [(column.published, column.metric) for column in columns.values() if column.published]
    rows_found: dict[tuple[str, str, str | None], published.PublishedRow] = {}
    names: list[str | None] = [arm.teacher_name for arm in ordered if arm.teacher_name]
    # Where some of the teachers are the paper's, rows of teachers that did not run would only be in the way.
    for name in [name for name in names if name and published.has_teacher(name)] or names or [None]:
        for row in published.rows_for(first.student_name, wanted, name):
            rows_found.setdefault((row.source, row.label, row.teacher), row)
    group = Group(
        student=first.student,
        student_name=first.student_name,
        name=first.group,
        columns=list(columns.values()),
        arms=ordered,
        baseline=next((arm for arm in ordered if arm.method_name == "undistilled"), None),
        published=list(rows_found.values()),
    )
    _compare(group)
    return group


def _with_metrics_beside(trials: Sequence[Trial]) -> list[tuple[Trial, str]]:
    """The trials, and once more with each further metric that the paper prints of their tasks and that was measured; such a
    one has a task of its own, and the title of the real one beside it."""
    found = [(trial, "") for trial in trials]
    measured = {(trial.task, metric) for trial in trials for metric in trial.scores}
    for trial in trials:
        for metric in published.metrics_beside(trial.published, trial.metric) if trial.published else ():
            if (trial.task, metric) in measured:
                key = f"{trial.task}, {metric_title(metric)}"
                found.append((dataclasses.replace(trial, task=key, metric=metric, score=trial.scores.get(metric)), trial.task))
    return found


def _compare(group: Group) -> None:
    """Fill in differences and controls; each column of each table is one family of tests."""
    for key in group.keys:
        for place, arm in enumerate(group.arms):
            if group.baseline is not None and arm is not group.baseline:
                against = compare(group.scores(arm, key), group.scores(group.baseline, key))
                if against is not None:
                    group.differences[place, key] = against
            for other, control in enumerate(group.arms):
                if _is_control_of(control, arm):
                    against = compare(group.scores(arm, key), group.scores(control, key))
                    if against is not None:
                        group.controls[place, other, key] = against
        for found in (group.differences, group.controls):
            tested = {name: value.p for name, value in found.items() if name[-1] == key and value.p is not None}
            group.holm.update(zip(tested, holm(list(tested.values())), strict=True))


def _is_control_of(control: Arm, arm: Arm) -> bool:
    """The same method, teacher and options, but for what the control changes."""
    if not control.control or arm.control or (control.method_name, control.teacher) != (arm.method_name, arm.teacher):
        return False
    if control.manifold != arm.manifold:
        return False
    if control.options is not None and arm.options is not None:
        return _without_control(control.options) == _without_control(arm.options)
    return _words(control.method) == _words(arm.method)


def _without_control(options: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in options.items() if key != "control"}


def _words(title: str) -> list[str]:
    """A title's words without those that name a control: how arms are matched where their options are not recorded."""
    plain = re.sub(r"\bcontrol[=: ]+(none|shuffled|noise)\b", " ", title.lower())
    return sorted(word for word in re.findall(r"[\w.+-]+=?", plain) if word not in ("shuffled", "noise"))


# ------------------------------------------------------------------------------------------------------------- tables


def tables(group: Group) -> list[Table]:
    """The tables of one group: scores, differences, controls, the student's auxiliary head, the aligner's fit; only those with
    something to say."""
    made = [
        scores_table(group),
        differences_table(group),
        controls_table(group),
        side_table(group, "the student's auxiliary head", lambda trial: trial.auxiliary, quoted="auxiliary"),
        side_table(group, "fit of the training rows by the TS Aligner", lambda trial: trial.aligner_fit, note=FIT),
        side_table(
            group, "fit of the training rows by its auxiliary head", lambda trial: trial.aligner_auxiliary_fit, note=FIT
        ),
    ]
    return [table for table in made if table is not None]


def scores_table(group: Group) -> Table:
    """Methods by tasks: mean ± sd (best) over seeds, the paper's rows of the same student below."""
    keys = group.keys
    marked = _best(group, keys)
    sections = _sections(
        group,
        group.arms,
        lambda place, arm: Line(arm.label, [_score_cell(group, arm, key) for key in keys], marked.get(place, set())),
    )
    sections += _published_sections(group, group.published, keys)
    return Table(_title(group, ""), "method", _heads(group, keys), sections, _score_notes(group))


def differences_table(group: Group) -> Table | None:
    """Arm minus undistilled, paired by seed, with p and Holm's p."""
    arms = [arm for arm in group.arms if arm is not group.baseline]
    if group.baseline is None or not arms or not group.differences:
        return None
    keys = group.keys
    places = {id(arm): place for place, arm in enumerate(group.arms)}

    def line(_: int, arm: Arm) -> Line:
        place = places[id(arm)]
        return Line(arm.label, [_difference_cell(group, group.differences.get((place, key)), (place, key)) for key in keys])

    notes = [_test_note(group.differences)]
    rivals = [arm.label for arm in group.arms if arm.method_name == "undistilled" and arm is not group.baseline]
    if rivals:
        notes.append(f"Compared with '{group.baseline.label}'; the run has other undistilled rows: {', '.join(rivals)}.")
    return Table(
        _title(group, "difference from undistilled"), "method", _heads(group, keys), _sections(group, arms, line), notes
    )


def controls_table(group: Group) -> Table | None:
    """Real teacher minus the same method with a shuffled or noise teacher."""
    controls = [arm for arm in group.arms if arm.control]
    if not controls:
        return None
    keys = group.keys
    pairs = list(dict.fromkeys((int(place), int(other)) for place, other, _ in group.controls))
    if not pairs:
        return Table(
            _title(group, "real teacher minus control"),
            "method",
            [],
            [],
            ["Nothing to compare: no row has a control's options, or the two have no finished seed in common."],
        )
    lines = [
        Line(
            f"{group.arms[place].label} − {group.arms[other].control}",
            [_difference_cell(group, group.controls.get((place, other, key)), (place, other, key)) for key in keys],
        )
        for place, other in pairs
    ]
    ahead = [
        (key, difference)
        for key, difference in group.controls.items()
        if key[-1] != MEAN and (-1 if group.lower_is_better(str(key[-1])) else 1) * difference.mean > 0
    ]
    judged = [key for key in group.controls if key[-1] != MEAN]
    sure = [key for key, _ in ahead if group.holm.get(key, 1.0) < SMALL_P]
    count = f"The real teacher is ahead of its control in {len(ahead)} of {len(judged)}"
    count += f" comparison{'s' if len(judged) != 1 else ''}, with p (Holm) < .05 in {len(sure)}."
    return Table(
        _title(group, "real teacher minus control"),
        "method",
        _heads(group, keys),
        [Section("", lines)],
        [count, _test_note(group.controls)],
    )


def side_table(
    group: Group, title: str, pick: Callable[[Trial], Mapping[str, float]], *, quoted: str | None = None, note: str = ""
) -> Table | None:
    """Scores that a trial has beside its main ones, by the task's metric.

    Args:
        pick: which scores.
        quoted: kind of the paper's rows that measure the same and stand beside them; None where it has none.
        note: said below the table.
    """

    def cell(arm: Arm, column: Column) -> str:
        values = [pick(trial).get(column.metric) for _, trial in sorted(arm.trials.get(column.task, {}).items())]
        summary = summarise([value for value in values if value is not None], lower_is_better=column.lower_is_better)
        return _summary_text(summary, group.decimals) if summary else NOTHING

    keys = [column.task for column in group.columns]
    arms = [arm for arm in group.arms if any(cell(arm, column) != NOTHING for column in group.columns)]
    if not arms:
        return None
    sections = _sections(group, arms, lambda _, arm: Line(arm.label, [cell(arm, column) for column in group.columns]))
    if quoted is not None:
        wanted = [(column.published, column.metric) for column in group.columns if column.published]
        sections += _published_sections(group, published.rows_for(group.student_name, wanted, kind=quoted), keys)
    return Table(_title(group, title), "method", _heads(group, keys), sections, [note] if note else [])


def _title(group: Group, what: str) -> str:
    title = f"{group.name}, student {group.student}"
    return f"{title}: {what}" if what else title


def _heads(group: Group, keys: Iterable[str]) -> list[tuple[str, str]]:
    columns = {column.task: column for column in group.columns}
    return [
        (columns[key].title or key, metric_title(columns[key].metric)) if key in columns else (key, "of tasks") for key in keys
    ]


def metric_title(metric: str) -> str:
    """``mcc`` -> ``Mcc``, as the paper writes it."""
    return _METRIC_TITLES.get(published.metric_name(metric), metric)


def _sections(group: Group, arms: Sequence[Arm], line: Callable[[int, Arm], Line]) -> list[Section]:
    places = {id(arm): place for place, arm in enumerate(group.arms)}
    made: dict[str | None, Section] = {}
    for arm in arms:
        title = f"teacher {arm.teacher}" if arm.teacher else ""
        made.setdefault(arm.teacher, Section(title, [])).lines.append(line(places[id(arm)], arm))
    return list(made.values())


def _published_sections(group: Group, rows: Iterable[published.PublishedRow], keys: Sequence[str]) -> list[Section]:
    names = {column.task: column for column in group.columns}
    made: dict[tuple[str, str | None], Section] = {}
    for row in rows:
        cells = []
        for key in keys:
            if key == MEAN:
                values = [row.values.get(column.published_key) for column in group.tasks]
                known = [value for value in values if value is not None]
                cells.append(f"{mean(known):.{row.decimals}f}" if len(known) == len(values) else NOTHING)
                continue
            value = row.values.get(names[key].published_key)
            cells.append(NOTHING if value is None else f"{value:.{row.decimals}f}")
        title = row.source if row.teacher is None else f"{row.source}: teacher {row.teacher}"
        made.setdefault((row.source, row.teacher), Section(title, [], published=True)).lines.append(Line(row.label, cells))
    return list(made.values())


def _best(group: Group, keys: Sequence[str]) -> dict[int, set[int]]:
    marked: dict[int, set[int]] = {}
    for position, key in enumerate(keys):
        means = {place: found.mean for place, arm in enumerate(group.arms) if (found := group.summary(arm, key))}
        if len(means) < 2:
            continue
        top = min(means.values()) if group.lower_is_better(key) else max(means.values())
        for place, value in means.items():
            if value == top:
                marked.setdefault(place, set()).add(position)
    return marked


def _score_cell(group: Group, arm: Arm, key: str) -> str:
    summary = group.summary(arm, key)
    if key == MEAN:
        planned = len(set.intersection(*(set(arm.trials.get(column.task, {})) for column in group.tasks)))
    else:
        planned = len(arm.trials.get(key, {}))
    if not planned or (summary is None and key == MEAN):
        return NOTHING
    if summary is None:
        statuses = {trial.status for trial in arm.trials[key].values()}
        return next((status for status in _STATUS if status in statuses), "missing")
    text = _summary_text(summary, group.decimals)
    return text if summary.n == planned else f"{text}\n{summary.n} of {planned} seeds"


def _summary_text(summary: Summary, decimals: int) -> str:
    if summary.sd is None:
        return f"{summary.mean:.{decimals}f}"
    return f"{summary.mean:.{decimals}f} ± {summary.sd:.{decimals}f} ({summary.best:.{decimals}f})"


def _difference_cell(group: Group, difference: Difference | None, key: Key) -> str:
    if difference is None:
        return NOTHING
    spread = "" if difference.sd is None else f" ± {difference.sd:.2f}"
    text = f"{signed(difference.mean)}{spread}"
    if difference.p is None:
        return f"{text}\np: {difference.why}"
    return f"{text}\np {p_text(difference.p)}, Holm {p_text(group.holm[key])}"


def signed(value: float) -> str:
    """Two decimals with a sign; a zero has none."""
    text = f"{value:+.2f}".replace("-", "−")
    return "0.00" if text in ("+0.00", "−0.00") else text


def p_text(p: float) -> str:
    """A p-value with three decimals, never shown as zero."""
    if p < 0.001:
        return "<.001"
    return f"{p:.3f}".lstrip("0").replace("1.000", "1")


def _test_note(found: Mapping[Key, Difference]) -> str:
    tested = {key: difference.n for key, difference in found.items() if difference.p is not None}
    if not tested:
        return "Mean ± sd of the differences paired by seed. No p-value: a paired test needs 3 seeds."
    counts = " or ".join(str(count) for count in sorted(set(tested.values())))
    families = Counter(key[-1] for key in tested)
    largest = max(families.values())
    size = f"{largest}" if len(set(families.values())) == 1 else f"up to {largest}"
    family = f", Holm's correction over the {size} tests of a column" if largest > 1 else ""
    return f"Mean ± sd of the differences paired by seed, n = {counts}{family}."


def reading_notes(groups: Sequence[Group]) -> list[str]:
    """What a reader must know of the tests and the controls, once for the whole report."""
    found = [value for group in groups for value in (*group.differences.values(), *group.controls.values())]
    tested = [value for value in found if value.p is not None]
    notes = []
    if tested:
        notes.append(
            "p is from a two-sided paired t-test over the seeds and is not corrected for multiple comparisons; the p after "
            "'Holm' is, over the rows of its column in its table. Seeds vary initialisation and order, not the evaluated "
            "rows, so p speaks of new seeds, not of new data."
        )
        if min(value.n for value in tested) < FEW_SEEDS:
            notes.append("With so few seeds only large and steady effects reach a small p; a large p is no proof of no effect.")
    if any(value.why == "no variance" for value in found):
        notes.append("no variance: every seed has the same difference, so t is undefined.")
    if any(arm.control for group in groups for arm in group.arms):
        notes.append(REGULARISATION)
    return notes


def _score_notes(group: Group) -> list[str]:
    seeds = sorted({seed for arm in group.arms for trials in arm.trials.values() for seed in trials})
    names = ", ".join(str(seed) for seed in seeds)
    notes = [
        f"mean ± sd (best) over seeds {names}; sd with n − 1."
        if len(seeds) > 1
        else f"One seed ({names}): no spread and no test, so a difference here may be chance."
    ]
    rows = [
        f"{column.task} {column.rows['train']} / {column.rows['validation']}"
        for column in group.tasks
        if {"train", "validation"} <= column.rows.keys()
    ]
    if rows:
        notes.append(f"Rows trained on / evaluated on: {'; '.join(rows)}.")
    notes += _precision_notes(group)
    if group.published:
        quoted = {number for row in group.published for number in row.tables}
        text = "The paper's numbers are quoted as printed, from students trained on full training splits"
        if MEAN in group.keys:
            text += "; their mean over these tasks is computed here"
        for number in sorted(number for number in quoted if published.table(number).selection):
            text += f"; Table {number} reports the {published.table(number).selection}, so compare it with the best in brackets"
        notes.append(text + ".")
        if group.student != group.student_name:
            notes.append(f"The paper's rows are for {group.student_name} itself; this run's student is {group.student}.")
    elif any(column.published for column in group.columns):
        notes.append(f"The paper has no row for student {group.student_name} on these tasks.")
    return notes


def _precision_notes(group: Group) -> list[str]:
    """In what the students were trained, and in what they were scored: once for the group, or by arm where arms differ."""
    by_arm = {}
    for arm in group.arms:
        scored = [trial for trials in arm.trials.values() for trial in trials.values() if trial.precision and trial.scored_in]
        by_arm[arm.label] = sorted({f"trained in {trial.precision}, scored in {trial.scored_in}" for trial in scored})
    known = {label: " or ".join(texts) for label, texts in by_arm.items() if texts}
    if not known:
        return []
    where = ", the precision in which the student is exported."
    if len(set(known.values())) == 1:
        (text,) = set(known.values())
        return [text[:1].upper() + text[1:] + where]
    return ["; ".join(f"{label}: {text}" for label, text in known.items()) + where]


def missing_lines(run: Run) -> list[str]:
    """One line for each reason why trials have no score: status, method, task, seeds, reason."""
    found: dict[tuple[str, ...], list[int]] = {}
    for trial in run.trials:
        if trial.score is None:
            teacher = f", teacher {trial.teacher}" if trial.teacher else ""
            key = (trial.status, f"{trial.method}{teacher}, {trial.student}, {trial.task}", trial.reason)
            found.setdefault(key, []).append(trial.seed)
    lines = []
    for (status, what, reason), seeds in found.items():
        plural = "seeds" if len(seeds) > 1 else "seed"
        lines.append(f"{status}: {what}, {plural} {', '.join(str(seed) for seed in seeds)}" + (f": {reason}" if reason else ""))
    return lines


def warning_lines(run: Run) -> list[str]:
    """The trials' warnings, each text once, with how many trials gave it and which first."""
    found: dict[str, list[Trial]] = {}
    for trial in run.trials:
        for text in trial.warnings:
            found.setdefault(text, []).append(trial)
    lines = []
    for text, trials in found.items():
        first = trials[0]
        more = f" and {len(trials) - 1} more" if len(trials) > 1 else ""
        lines.append(f"{first.method}, {first.task}, seed {first.seed}{more}: {text}")
    return lines


def parameter_lines(run: Run) -> list[str]:
    """Parameters of each student and method: the student's own, how many of them are trained where that is a part, and what is
    thrown away after training."""
    found: dict[tuple[str, str], Mapping[str, int]] = {}
    for trial in run.trials:
        if trial.parameters:
            found.setdefault((trial.student, trial.method), trial.parameters)
    lines: dict[str, list[str]] = {}
    for (student, method), parameters in found.items():
        # Of a student that is trained whole, once is enough.
        whole = parameters.get("trained") == parameters.get("student")
        shown = {key: count for key, count in parameters.items() if count and not (whole and key == "trained")}
        text = ", ".join(f"{key} {count:,}" for key, count in shown.items())
        lines.setdefault(f"{student}: {text}", []).append(method)
    return [f"{text} ({'; '.join(methods)})" for text, methods in lines.items()]


def as_plain(difference: Difference | None, adjusted: float | None) -> dict[str, object] | None:
    """A difference for the machine form."""
    if difference is None:
        return None
    data = dataclasses.asdict(difference)
    data["differences"] = dict(zip((str(seed) for seed in difference.seeds), data.pop("values"), strict=True))
    return {**data, "seeds": list(difference.seeds), "p_holm": adjusted}
