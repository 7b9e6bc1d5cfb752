"""What is printed after a run: one table for a student and a group of tasks, with each score, its difference from the
undistilled student, and what can be said of it."""

from __future__ import annotations

import dataclasses

from armada_cli.reporting import notes
from armada_cli.reporting.groups import Group
from armada_cli.reporting.selection import Arm
from armada_cli.reporting.tables import (
    Cell,
    ReportTable,
    TableRow,
    list_heads,
    list_published,
    list_sources,
    make_score_cell,
    make_title,
    section_by_teacher,
    signed,
)
from armada_cli.reporting.verdicts import Verdicts


def make_summary(group: Group, verdicts: Verdicts) -> ReportTable:
    """The group's table: of a single task the score, the difference and the verdict side by side, of several tasks the last two
    below each score."""
    if len(group.keys) == 1:
        return _summarise_task(group, verdicts)
    keys = group.keys
    rows = [(arm, [_with_verdict(group, verdicts, arm, key) for key in keys]) for arm in group.arms]
    sections = [*section_by_teacher(rows), *list_sources(group, keys), *list_published(group, group.published, keys)]
    return ReportTable(
        make_title(group), list_heads(group, keys), sections, [*notes.describe_rows(group), *verdicts.explain(group)]
    )


def _summarise_task(group: Group, verdicts: Verdicts) -> ReportTable:
    (key,) = group.keys
    rows = [
        (arm, [make_score_cell(group, arm, key), Cell((difference,)), _verdict_cell(verdicts, arm, key)])
        if (difference := _difference(group, arm, key))
        else (arm, [make_score_cell(group, arm, key), Cell(), Cell()])
        for arm in group.arms
    ]
    beside = [
        dataclasses.replace(section, rows=[TableRow(row.label, [*row.cells, Cell(), Cell()]) for row in section.rows])
        for section in (*list_sources(group, [key]), *list_published(group, group.published, [key]))
    ]
    heads = [*list_heads(group, [key]), ("difference", "from undistilled"), ("verdict", "")]
    return ReportTable(
        make_title(group), heads, [*section_by_teacher(rows), *beside], [*notes.describe_rows(group), *verdicts.explain(group)]
    )


def _verdict_cell(verdicts: Verdicts, arm: Arm, key: str) -> Cell:
    lines = [*verdicts.tell_briefly(arm, key), *verdicts.plan(arm, key)]
    return Cell(tuple(lines)) if lines else Cell()


def _with_verdict(group: Group, verdicts: Verdicts, arm: Arm, key: str) -> Cell:
    cell = make_score_cell(group, arm, key)
    difference = _difference(group, arm, key)
    if not difference:
        return cell
    first, *more = verdicts.tell_briefly(arm, key) or [""]
    return Cell((*cell.lines, f"{difference} {first}".rstrip(), *more), cell.best)


def _difference(group: Group, arm: Arm, key: str) -> str:
    """Signed, from the undistilled student; empty for that one, and without seeds in common."""
    difference = group.difference(arm, key)
    return "" if difference is None else signed(difference.mean)
