"""A run as JSON: everything the report knows, every seed's value included."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from armada_cli.escaping import dump_json
from armada_cli.reporting.contrasts import as_plain
from armada_cli.reporting.folder import Run
from armada_cli.reporting.groups import Group, make_groups
from armada_cli.reporting.provenance import sum_timings
from armada_cli.reporting.selection import Arm, Search
from armada_cli.reporting.statistics import Difference, Summary
from armada_cli.reporting.verdicts import Verdicts

if TYPE_CHECKING:
    from armada_cli.reporting.statistics.verdict import Verdict

FORMAT = 2
"""Rises when a key changes its name or its meaning."""

_CLOCKS = ("wall", "cpu", "stages")


def render_json(run: Run, encoding: str | None = "utf-8") -> str:
    """One object; ``timings`` alone differs between equal runs.

    Args:
        encoding: of where it goes; what that lacks is escaped.
    """
    groups = make_groups(run)
    verdicts = Verdicts(run, groups)
    trials = [{key: value for key, value in dataclasses.asdict(trial).items() if key != "folder"} for trial in run.trials]
    clocks = [{clock: trial.pop(clock) for clock in _CLOCKS} for trial in trials]
    content = {
        "format": FORMAT,
        "run": {"recipe": run.name, "title": run.title, "summary": run.summary, "smoke": run.smoke, "command": run.command}
        | ({} if run.held_out is None else {"held_out": run.held_out}),
        "groups": [_describe_group(group, verdicts) for group in groups],
        "trials": trials,
        "provenance": dict(run.provenance),
        "timings": {
            **sum_timings(run),
            "by_trial": {trial["id"]: clock for trial, clock in zip(trials, clocks, strict=True)},
        },
    }
    return dump_json(content, indent=2, encoding=encoding) + "\n"


def _describe_group(group: Group, verdicts: Verdicts) -> dict[str, Any]:
    return {
        "student": group.student,
        "student_name": group.student_name,
        "group": group.name,
        "columns": [dataclasses.asdict(column) for column in group.columns],
        "mean_over_tasks": group.mean_key if group.mean_key in group.keys else None,
        "methods": [_describe_arm(group, arm, verdicts) for arm in group.arms],
        "sources": [
            {"label": arm.label, "scores": {key: {"seeds": group.scores(arm, key)} for key in group.keys}}
            for arm in group.sources
        ],
        "controls": [
            {
                "method": comparison.arm.label,
                "control": comparison.base.label,
                "column": key,
                "difference": dataclasses.asdict(difference),
            }
            for comparison in group.controls
            for key, difference in comparison.differences.items()
        ],
        "published": [dataclasses.asdict(row) for row in group.published],
    }


def _describe_arm(group: Group, arm: Arm, verdicts: Verdicts) -> dict[str, Any]:
    tasks = {column.task for column in group.columns}
    return {
        "label": arm.label,
        "method": arm.first.method_name,
        "teacher": arm.first.teacher,
        "teacher_name": arm.first.teacher_name,
        "components": dict(arm.first.components),
        "control": arm.first.control,
        "baseline": arm is group.baseline,
        "search": None if arm.search is None else _describe_search(arm.search),
        "scores": {
            key: {
                "seeds": group.scores(arm, key),
                **(_plain(group.summary(arm, key)) or {"n": 0, "mean": None, "sd": None, "best": None}),
                **({"missing": {trial.seed: trial.status for trial in arm.missing(key)}} if key in tasks else {}),
                "difference": _plain(group.difference(arm, key)),
                "verdict": _describe_verdict(verdicts.of(arm, key)),
            }
            for key in group.keys
        },
    }


def _describe_verdict(verdict: Verdict | None) -> dict[str, Any] | None:
    """The words, and the contrasts that they are made of."""
    if verdict is None:
        return None
    contrasts = {"control": verdict.control, "undistilled": verdict.undistilled}
    return {"words": verdict.words, "outcome": verdict.outcome} | {
        name: None if contrast is None else as_plain(contrast) for name, contrast in contrasts.items()
    }


def _describe_search(search: Search) -> dict[str, Any]:
    """What was tried, by the titles of the points, and which of them was chosen for each task."""
    return {
        "title": search.title,
        "points": [point.method for point in search.points],
        "axes": dict(search.axes),
        "chosen": {task: dataclasses.asdict(choice) for task, choice in search.chosen.items()},
    }


def _plain(value: Summary | Difference | None) -> dict[str, Any] | None:
    return None if value is None else dataclasses.asdict(value)
