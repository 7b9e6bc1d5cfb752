"""What several tasks say together of each arm: the probability of improvement, mean ranks, and the paper's t-test."""

from __future__ import annotations

from armada_cli.reporting.groups import Group
from armada_cli.reporting.selection import Arm
from armada_cli.reporting.statistics import mean
from armada_cli.reporting.tables import Cell, ReportTable, make_title, p_text, section_by_teacher

HEADS = [("improvement", "probability"), ("mean rank", "1 is best"), ("t over tasks", "p, one-sided")]

NOTE = (
    "improvement: the probability that a run of the method beats an undistilled one on a task drawn from these, with its 95 % "
    "interval. t over tasks: the one-sided test as the paper makes it, which takes tasks for independent and alike; no verdict "
    "uses it."
)


def make_over_tasks_table(group: Group) -> ReportTable | None:
    """Each arm against the undistilled student over the tasks; None where there are fewer than two, or nothing to compare
    with."""
    if group.baseline is None or len(group.tasks) < 2:
        return None
    ranks, note = _rank(group)
    rows = [(arm, _cells(group, arm, ranks)) for arm in group.arms if arm is not group.baseline]
    rows = [(arm, cells) for arm, cells in rows if cells[0] != Cell()]
    if not rows:
        return None
    place = slice(0, 3) if ranks else slice(0, 3, 2)
    rows = [(arm, cells[place]) for arm, cells in rows]
    title = make_title(group, "over all tasks")
    return ReportTable(title, HEADS[place], list(section_by_teacher(rows)), [NOTE, *note])


def _cells(group: Group, arm: Arm, ranks: dict[int, float]) -> list[Cell]:
    from armada_cli.reporting.statistics.tasks import improvement, one_sided_t

    assert group.baseline is not None
    own, base, lower = [], [], []
    for column in group.tasks:
        sides = [group.scores(item, column.task) for item in (arm, group.baseline)]
        seeds = sorted(sides[0].keys() & sides[1].keys())
        if not seeds:
            return [Cell(), Cell(), Cell()]
        own.append([sides[0][seed] for seed in seeds])
        base.append([sides[1][seed] for seed in seeds])
        lower.append(column.lower_is_better)
    better = improvement(own, base, lower_is_better=lower)
    bounds = "" if better.low is None or better.high is None else f" ({better.low:.2f} to {better.high:.2f})"
    signs = [-1 if flag else 1 for flag in lower]
    test = one_sided_t([sign * (mean(one) - mean(other)) for sign, one, other in zip(signs, own, base, strict=True)])
    return [
        Cell((f"{better.probability:.2f}{bounds}",)),
        Cell((f"{ranks[id(arm)]:.1f}",)) if id(arm) in ranks else Cell(),
        Cell((f"{test.t:.2f}".replace("-", "−"), f"p {p_text(test.p)}")) if test else Cell(),
    ]


def _rank(group: Group) -> tuple[dict[int, float], list[str]]:
    """Number of an arm -> its mean rank, with a line about Friedman's test; both empty where tasks or arms are too few."""
    from armada_cli.reporting.statistics.tasks import friedman

    table = [[group.summary(arm, column.task) for arm in group.arms] for column in group.tasks]
    whole = [place for place in range(len(group.arms)) if all(row[place] is not None for row in table)]
    scores = [[summary.mean for place in whole if (summary := row[place]) is not None] for row in table]
    test = friedman(scores, lower_is_better=[column.lower_is_better for column in group.tasks]) if whole else None
    if test is None:
        return {}, []
    ranks = {id(group.arms[place]): rank for place, rank in zip(whole, test.mean_ranks, strict=True)}
    return ranks, [f"Friedman's test that all {len(whole)} methods rank alike over {len(table)} tasks: p {p_text(test.p)}."]
