"""A group -> its tables, as plain text cells: what to show. How a table looks is the business of the format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from armada_cli.reporting import notes, published
from armada_cli.reporting.folder import TrialRecord
from armada_cli.reporting.groups import Group, TaskColumn
from armada_cli.reporting.selection import Arm
from armada_cli.reporting.statistics import Difference, Summary, mean, summarise

CORNER = "method"
"""What the rows are: the head of the column of labels."""


NOTHING = "–"
"""A cell without a value."""


@dataclass(frozen=True)
class Cell:
    """`best`: the first line is set off, being the best mean of its column."""

    lines: tuple[str, ...] = (NOTHING,)
    best: bool = False


@dataclass(frozen=True)
class TableRow:
    label: str
    cells: list[Cell]


@dataclass(frozen=True)
class Section:
    """Rows under a common heading; `published` ones are the paper's."""

    title: str
    rows: list[TableRow]
    published: bool = False


@dataclass(frozen=True)
class ReportTable:
    """What one printed table holds. `heads` are (task, metric)."""

    title: str
    heads: list[tuple[str, str]] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def make_tables(group: Group) -> list[ReportTable]:
    """The tables of one group: scores, differences, controls, the student's auxiliary head, the fit of each model of a method's
    own; only those with something to say."""
    roles = dict.fromkeys(
        role for arm in group.arms for by_seed in arm.trials.values() for trial in by_seed.values() for role in trial.fits
    )
    tables = [
        _scores(group),
        _differences(group),
        _controls(group),
        _side_scores(group, "the student's auxiliary head", lambda trial: trial.auxiliary, quoted="auxiliary"),
        *(_fits(group, role) for role in roles),
    ]
    return [table for table in tables if table is not None]


def _scores(group: Group) -> ReportTable:
    """Methods by tasks: mean ± sd (best) over seeds, the paper's rows of the same student below."""
    rows = ((arm, [make_score_cell(group, arm, key) for key in group.keys]) for arm in group.arms)
    sections = [
        *section_by_teacher(rows),
        *list_sources(group, group.keys),
        *list_published(group, group.published, group.keys),
    ]
    return ReportTable(make_title(group), list_heads(group, group.keys), sections, notes.describe_scores(group))


def _differences(group: Group) -> ReportTable | None:
    """Arm minus undistilled, paired by seed, with p and Holm's p."""
    if group.baseline is None or not group.differences:
        return None
    rows = (
        (arm, [_difference_cell(group.difference(arm, key)) for key in group.keys])
        for arm in group.arms
        if arm is not group.baseline
    )
    title = make_title(group, "difference from undistilled")
    return ReportTable(title, list_heads(group, group.keys), list(section_by_teacher(rows)), notes.describe_differences(group))


def _controls(group: Group) -> ReportTable | None:
    """Real teacher minus the same method with a shuffled or noise teacher."""
    if not any(arm.first.control for arm in group.arms):
        return None
    title = make_title(group, "real teacher minus control")
    if not group.controls:
        return ReportTable(title, notes=[notes.NO_CONTROLS])
    rows = [
        TableRow(
            f"{comparison.arm.label} − {comparison.base.first.control}",
            [_difference_cell(comparison.differences.get(key)) for key in group.keys],
        )
        for comparison in group.controls
    ]
    return ReportTable(title, list_heads(group, group.keys), [Section("", rows)], notes.describe_controls(group))


def _fits(group: Group, role: str) -> ReportTable | None:
    title = f"fit of the training rows: {role}"
    return _side_scores(
        group, title, lambda trial: trial.fits.get(role, {}), note=f"{notes.FITS} {published.FITS.get(role, '')}".rstrip()
    )


def _side_scores(
    group: Group, title: str, pick: Callable[[TrialRecord], Mapping[str, float]], *, quoted: str | None = None, note: str = ""
) -> ReportTable | None:
    """Scores that a trial has beside its main ones, by the task's metric.

    Args:
        pick: which scores.
        quoted: kind of the paper's rows that measure the same and stand beside them; None where it has none.
        note: said below the table.
    """

    def make_cell(arm: Arm, column: TaskColumn) -> Cell:
        values = [pick(trial).get(column.metric) for _, trial in sorted(arm.trials.get(column.task, {}).items())]
        summary = summarise([value for value in values if value is not None], lower_is_better=column.lower_is_better)
        return Cell((summary_text(summary, group.decimals),)) if summary else Cell()

    rows = [(arm, [make_cell(arm, column) for column in group.columns]) for arm in group.arms]
    rows = [(arm, cells) for arm, cells in rows if any(cell != Cell() for cell in cells)]
    if not rows:
        return None
    keys = [column.task for column in group.columns]
    sections = list(section_by_teacher(rows))
    if quoted is not None:
        wanted = [(column.published, column.metric) for column in group.columns if column.published]
        sections += list_published(group, published.rows_for(group.student_name, wanted, kind=quoted), keys)
    return ReportTable(make_title(group, title), list_heads(group, keys), sections, [note] if note else [])


def make_title(group: Group, what: str = "") -> str:
    """The head of one of the group's tables."""
    title = f"{group.name}, student {group.student}"
    return f"{title}: {what}" if what else title


def list_heads(group: Group, keys: Iterable[str]) -> list[tuple[str, str]]:
    """(task, metric) of the group's columns of these keys."""
    columns = {column.task: column for column in group.columns}
    return [
        (columns[key].title or key, published.metric_title(columns[key].metric)) if key in columns else (key, "of tasks")
        for key in keys
    ]


def section_by_teacher(rows: Iterable[tuple[Arm, list[Cell]]]) -> Iterable[Section]:
    """The rows under their teachers."""
    sections: dict[str | None, Section] = {}
    for arm, cells in rows:
        teacher = arm.first.teacher
        section = sections.setdefault(teacher, Section(f"teacher {teacher}" if teacher else "", []))
        section.rows.append(TableRow(arm.label, cells))
    return sections.values()


def list_sources(group: Group, keys: Sequence[str]) -> list[Section]:
    """The models that the arms learn from, on the group's columns of these keys."""
    if not group.sources:
        return []
    rows = [TableRow(arm.label, [make_score_cell(group, arm, key) for key in keys]) for arm in group.sources]
    return [Section("models that they learn from", rows)]


def list_published(group: Group, rows: Iterable[published.PublishedRow], keys: Sequence[str]) -> Iterator[Section]:
    """The paper's rows, with a cell for each of the group's columns of these keys."""
    columns = {column.task: column for column in group.columns}
    sections: dict[tuple[str, str | None], Section] = {}
    for row in rows:
        cells = []
        for key in keys:
            averaged = group.tasks if key == group.mean_key else [columns[key]]
            values = [row.values[column.published_key] for column in averaged if column.published_key in row.values]
            cells.append(Cell((f"{mean(values):.{row.decimals}f}",)) if len(values) == len(averaged) else Cell())
        title = row.source if row.teacher is None else f"{row.source}: teacher {row.teacher}"
        section = sections.setdefault((row.source, row.teacher), Section(title, [], published=True))
        section.rows.append(TableRow(row.label, cells))
    yield from sections.values()


def make_score_cell(group: Group, arm: Arm, key: str) -> Cell:
    """Mean ± sd (best), with the number of seeds where some have no score; the state of the trials where none has."""
    summary = group.summary(arm, key)
    tasks = [column.task for column in group.tasks] if key == group.mean_key else [key]
    planned = len(set.intersection(*(set(arm.trials.get(task, {})) for task in tasks)))
    if not planned or (summary is None and key == group.mean_key):
        return Cell()
    if summary is None:
        statuses = {trial.status for trial in arm.trials[key].values()}
        return Cell((next((status for status in ("failed", "damaged", "pending") if status in statuses), "missing"),))
    lines = [summary_text(summary, group.decimals)]
    if summary.n < planned:
        lines.append(f"{summary.n} of {planned} seeds")
    if unread := notes.unread_share(arm, key):
        lines.append(f"{unread} unread")
    return Cell(tuple(lines), _is_best(group, summary, key))


def _is_best(group: Group, summary: Summary, key: str) -> bool:
    means = [other.mean for arm in group.arms if (other := group.summary(arm, key))]
    return len(means) > 1 and summary.mean == (min if group.lower_is_better(key) else max)(means)


def _difference_cell(difference: Difference | None) -> Cell:
    if difference is None:
        return Cell()
    spread = "" if difference.sd is None else f" ± {difference.sd:.2f}"
    tested = (
        f"p: {difference.why}"
        if difference.p is None or difference.p_holm is None
        else f"p {p_text(difference.p)}, Holm {p_text(difference.p_holm)}"
    )
    return Cell((signed(difference.mean) + spread, tested))


def summary_text(summary: Summary, decimals: int) -> str:
    if summary.sd is None:
        return f"{summary.mean:.{decimals}f}"
    return f"{summary.mean:.{decimals}f} ± {summary.sd:.{decimals}f} ({summary.best:.{decimals}f})"


def signed(value: float) -> str:
    """Two decimals with a sign; a zero has none."""
    text = f"{value:+.2f}".replace("-", "−")
    return "0.00" if text in ("+0.00", "−0.00") else text


def p_text(p: float) -> str:
    """A p-value with three decimals, never shown as zero."""
    if p < 0.001:
        return "<.001"
    return f"{p:.3f}".lstrip("0").replace("1.000", "1")
