"""Two runs side by side, arm by arm: scores of both, their difference, and a verdict on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from armada_cli.reporting.contrasts import Contrasts
from armada_cli.reporting.evidence import Evidence
from armada_cli.reporting.folder import Run
from armada_cli.reporting.groups import Group, make_groups
from armada_cli.reporting.selection import Arm
from armada_cli.reporting.statistics import compare
from armada_cli.reporting.tables import Cell, ReportTable, list_heads, make_score_cell, section_by_teacher, signed
from armada_cli.reporting.verdicts import describe_needed


@dataclass(frozen=True)
class Pair:
    """One arm in both runs."""

    first: Arm
    second: Arm


def compare_runs(first: Run, second: Run) -> tuple[list[ReportTable], list[str]]:
    """A table for each student and group of tasks that both runs have, and lines about what only one of them has.

    Arms belong together when title, teacher and control agree; trials when they have the same seed and the same rows.
    """
    tables, alone = [], []
    others = {(group.student, group.name): group for group in make_groups(second)}
    for group in make_groups(first):
        other = others.pop((group.student, group.name), None)
        if other is None:
            alone.append(f"Only {first.name}: {group.name}, student {group.student}.")
            continue
        pairs, lonely = _pair_arms(group, other)
        alone += [f"Only {first.name if arm in group.arms else second.name}: {arm.label}, {group.name}." for arm in lonely]
        if pairs:
            tables.append(_make_table(group, other, pairs, (first.name, second.name)))
    alone += [f"Only {second.name}: {group.name}, student {group.student}." for group in others.values()]
    if not tables:
        alone.insert(0, "The two runs have no method of one student on one group of tasks in common.")
    return tables, alone


def _pair_arms(group: Group, other: Group) -> tuple[list[Pair], list[Arm]]:
    """Arms of both groups, and those that are in one alone."""
    known = {_key(arm): arm for arm in other.arms}
    pairs = [Pair(arm, known.pop(_key(arm))) for arm in group.arms if _key(arm) in known]
    return pairs, [*(arm for arm in group.arms if not any(arm is pair.first for pair in pairs)), *known.values()]


def _key(arm: Arm) -> tuple[str, str | None, str | None]:
    return arm.label, arm.first.teacher, arm.first.control


def _make_table(group: Group, other: Group, pairs: Sequence[Pair], names: tuple[str, str]) -> ReportTable:
    tasks = {column.task for column in other.tasks}
    columns = [column for column in group.tasks if column.task in tasks]
    cells: dict[int, list[Cell]] = {place: [] for place in range(len(pairs))}
    contrasts = Contrasts(Evidence())
    for column in columns:
        for place, cell in enumerate(_compare_column(group, other, pairs, column.task, contrasts)):
            cells[place].append(cell)
    rows = [(pair.first, cells[place]) for place, pair in enumerate(pairs)]
    notes = [
        f"Above {names[0]}, below it {names[1]} and the difference of the second from the first. ahead, behind: as in a "
        "report, with Holm's correction over the rows of a column; docs/statistics.md says what the words mean."
    ]
    title = f"{group.name}, student {group.student}: {names[1]} minus {names[0]}"
    return ReportTable(title, list_heads(group, [column.task for column in columns]), list(section_by_teacher(rows)), notes)


def _compare_column(group: Group, other: Group, pairs: Sequence[Pair], task: str, contrasts: Contrasts) -> Iterator[Cell]:
    from armada_cli.reporting.statistics.verdict import correct_contrasts

    made = [
        None if _are_same(pair, task) else contrasts.compare(pair.second.trials.get(task, {}), pair.first.trials.get(task, {}))
        for pair in pairs
    ]
    corrected = iter(correct_contrasts([contrast for contrast in made if contrast is not None]))
    for pair, contrast in zip(pairs, made, strict=True):
        lines = [*make_score_cell(group, pair.first, task).lines, *make_score_cell(other, pair.second, task).lines]
        difference = compare(other.scores(pair.second, task), group.scores(pair.first, task))
        told = None if contrast is None else next(corrected)
        if _are_same(pair, task):
            lines.append("the same trials")
        elif difference is not None:
            words = [] if told is None else [told.outcome, *describe_needed(told)]
            lines += [f"{signed(difference.mean)} {words[0] if words else ''}".rstrip(), *words[1:]]
        yield Cell(tuple(lines))


def _are_same(pair: Pair, task: str) -> bool:
    """Whether both runs have the very trials, as they do where nothing was changed."""
    first, second = ({trial.id for trial in arm.trials.get(task, {}).values()} for arm in (pair.first, pair.second))
    return bool(first) and first == second
