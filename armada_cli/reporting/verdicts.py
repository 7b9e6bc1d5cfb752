"""What can be said of each arm on each task: a verdict against its control and the undistilled student, from the rows that
their students answered."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from armada_cli.reporting.contrasts import Contrasts
from armada_cli.reporting.evidence import Evidence
from armada_cli.reporting.folder import Run
from armada_cli.reporting.groups import Group
from armada_cli.reporting.selection import Arm
from armada_cli.reporting.statistics import SEEDS_FOR_A_TEST
from armada_cli.reporting.tables import Cell, ReportTable, list_heads, make_title, section_by_teacher

if TYPE_CHECKING:
    from armada_cli.reporting.statistics.verdict import Contrast, Verdict

NOTE = (
    "ahead, behind: the difference holds for other rows (a permutation of the rows, exact for accuracy) and for other seeds "
    "and rows (95 % interval), with Holm's correction over the methods of a task. Against its control where a method has one: "
    "only that difference is the teacher's knowledge. docs/statistics.md says what the words mean."
)


WIDTH = 44
"""Columns of a cell at most."""


class Verdicts:
    """The verdicts of a run.

    Args:
        run: whose trials keep predictions; groups: its tables.
    """

    def __init__(self, run: Run, groups: Sequence[Group]) -> None:
        self._evidence = Evidence()
        contrasts = Contrasts(self._evidence, run.folder)
        self._by_arm: dict[tuple[int, str], Verdict] = {}
        for group in groups:
            for column in group.tasks:
                self._judge(group, column.task, contrasts)
        contrasts.keep()

    def _judge(self, group: Group, task: str, contrasts: Contrasts) -> None:
        from armada_cli.reporting.statistics.verdict import Verdict

        base = group.baseline
        others = {} if base is None else {id(arm): (arm, base) for arm in group.arms if arm is not base}
        controls = {id(item.arm): (item.arm, item.base) for item in group.controls}
        undistilled, control = (_compare(pairs, task, contrasts) for pairs in (others, controls))
        for arm in undistilled | control:
            self._by_arm[arm, task] = Verdict(control.get(arm), undistilled.get(arm))

    def of(self, arm: Arm, task: str) -> Verdict | None:
        """None for the undistilled student, for a column that is no task, and where predictions are missing."""
        return self._by_arm.get((id(arm), task))

    def tell_briefly(self, arm: Arm, task: str) -> list[str]:
        """The verdict in few words a line, for the cell of a table: against the undistilled student, and against the control
        where that is another."""
        verdict = self.of(arm, task)
        if verdict is None or verdict.contrast is None:
            return []
        own = verdict.undistilled.outcome if verdict.undistilled else verdict.outcome
        if verdict.control is None or verdict.control.outcome == own:
            return [own]
        return [
            own,
            {"ahead": "ahead of its control", "behind": "behind its control"}.get(verdict.outcome, "not of its control"),
        ]

    def plan(self, arm: Arm, task: str) -> list[str]:
        """For a verdict that cannot be told, a line that says what would show a difference of this size."""
        verdict = self.of(arm, task)
        return [] if verdict is None or verdict.contrast is None else describe_needed(verdict.contrast)

    def explain(self, group: Group) -> list[str]:
        """What a reader of the verdicts must know."""
        judged = [self.of(arm, column.task) for arm in group.arms for column in group.tasks]
        contrasts = [verdict.contrast for verdict in judged if verdict and verdict.contrast]
        lines = [NOTE] if any(contrast.p is not None for contrast in contrasts) else []
        if any(contrast.p is None for contrast in contrasts):
            lines.append(f"A verdict needs {SEEDS_FOR_A_TEST} seeds.")
        lacking = [
            trial for trial in self._evidence.lacking.values() if trial.student == group.student and trial.group == group.name
        ]
        if lacking:
            plural = "s keep" if len(lacking) > 1 else " keeps"
            lines.append(
                f"{len(lacking)} trial{plural} no predictions, and without them there is no verdict: trained by an earlier "
                f"version, or damaged ({lacking[0].id}{', ...' if len(lacking) > 1 else ''}). Remove the result.json of each "
                "and run the recipe again."
            )
        return lines

    def make_table(self, group: Group) -> ReportTable | None:
        """Each arm's verdict in words, with the difference that it is about, its interval, and what would be needed where it
        cannot be told."""
        keys = [column.task for column in group.tasks]
        rows = [(arm, [self._cell(arm, key) for key in keys]) for arm in group.arms]
        rows = [(arm, cells) for arm, cells in rows if any(cell != Cell() for cell in cells)]
        if not rows:
            return None
        title = make_title(group, "verdicts")
        return ReportTable(title, list_heads(group, keys), list(section_by_teacher(rows)), self.explain(group))

    def _cell(self, arm: Arm, task: str) -> Cell:
        verdict = self.of(arm, task)
        if verdict is None or verdict.contrast is None:
            return Cell()
        parts = [*verdict.words.replace(", but", ",\nbut").split("\n"), *verdict.contrast.describe().split("; ")]
        # Tables do not fold their cells, so that no number is cut.
        return Cell(tuple(line.replace("-", "−") for part in parts for line in textwrap.wrap(part, WIDTH)))


def describe_needed(contrast: Contrast) -> list[str]:
    """For a contrast that cannot be told, a line that says what would show a difference of this size."""
    from armada_cli.reporting.statistics.verdict import about

    if contrast.outcome != "cannot tell":
        return []
    if contrast.needed is None:
        return [] if contrast.p is not None else [f"needs {SEEDS_FOR_A_TEST} seeds"]
    ways = [f"{about(contrast.needed.seeds)} seeds"] if contrast.needed.seeds else []
    ways += [f"{about(contrast.needed.rows)} rows"] if contrast.needed.rows else []
    return [f"needs {' or '.join(ways)}"] if ways else []


def _compare(pairs: Mapping[int, tuple[Arm, Arm]], task: str, contrasts: Contrasts) -> dict[int, Contrast]:
    """Number of an arm -> its contrast on a task; one family of tests."""
    from armada_cli.reporting.statistics.verdict import correct_contrasts

    known = {
        number: contrast
        for number, (arm, base) in pairs.items()
        if (contrast := contrasts.compare(arm.trials.get(task, {}), base.trials.get(task, {}))) is not None
    }
    return dict(zip(known, correct_contrasts(list(known.values())), strict=True))
