"""The points of a recipe's grids: which of them are the same, and which can be trained together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from armada_cli.contracts import TASK_KINDS, Choice, Environment
from armada_cli.recipe.problems import Problems
from armada_cli.recipe.tree import Node, Place
from armada_cli.recipe.values import show
from armada_cli.registry.catalog import Catalog


@dataclass(frozen=True)
class Context:
    """What the reading of one recipe shares. ``train``: the recipe's own training settings, already checked."""

    catalog: Catalog
    environment: Environment
    problems: Problems
    train: Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """A choice with what is needed to speak about it: its place, its origin in the recipe, where its options stand."""

    choice: Choice
    place: Place
    nodes: Mapping[str, Node]

    def of_entry(self, number: int) -> Point:
        """The same, as what the entry of that number in its list stands for."""
        grid = self.choice.grid
        assert grid is not None
        return dataclasses.replace(self, choice=dataclasses.replace(self.choice, grid=dataclasses.replace(grid, entry=number)))


def keep_distinct(points: list[Point], kind: str, problems: Problems) -> list[Point]:
    """Reports choices that are the same, and different ones that would share a title."""
    seen: dict[str, Point] = {}
    fresh: list[Point] = []
    for point in points:
        choice = point.choice
        limit = sorted((choice.limit or {}).items())
        settings = sorted(choice.train.items()), sorted(choice.features.items())
        key = repr((choice.registered.origin, choice.name, choice.options, settings, limit))
        if key in seen:
            first = seen[key].choice.place
            problems.add(point.place, f"the same {kind} as at {first}", "Remove one of them", snippet=choice.title)
            continue
        seen[key] = point
        fresh.append(point)
    counts: dict[str, int] = {}
    for point in fresh:
        counts[point.choice.title] = counts.get(point.choice.title, 0) + 1
    titles: dict[str, Point] = {}
    distinct: list[Point] = []
    for point in fresh:
        choice = point.choice
        if counts[choice.title] > 1 and (choice.limit or choice.train):
            words = " ".join(f"{key}={show(value)}" for key, value in {**choice.train, **(choice.limit or {})}.items())
            choice = dataclasses.replace(choice, title=f"{choice.title} {words}")
        if choice.title in titles:
            first = titles[choice.title].choice.place
            problems.add(
                point.place, f"two {kind}s have one title, the other at {first}", "Give one an `as:`", snippet=choice.title
            )
            continue
        titles[choice.title] = point
        distinct.append(dataclasses.replace(point, choice=choice))
    return distinct


def check_selection(tasks: list[Point], problems: Problems) -> None:
    """Reports tasks for which nothing can be chosen on held-out training rows."""
    for task in tasks:
        registered = task.choice.registered
        try:
            kind = registered.component.kind(task.choice.options)
        except Exception:  # told by `check_combinations`
            continue
        if kind == "generation":
            what = f"select_on is not for task {task.choice.name!r}, which is scored on answers alone ({kind})"
            problems.add(task.place, what, "Make a recipe of its own for such tasks", snippet="")


def check_combinations(
    students: list[Point], teachers: list[Point], tasks: list[Point], methods: list[Point], problems: Problems
) -> None:
    """Reports what cannot be trained together, before anything is loaded."""
    kinds: dict[int, str] = {}
    for number, task in enumerate(tasks):
        registered = task.choice.registered
        try:
            kinds[number] = registered.component.kind(task.choice.options)
        except Exception as error:
            problems.add(
                task.place, f"plugin {registered.plugin!r} of {registered.distribution} cannot tell the task's kind: {error}"
            )
    for method in methods:
        able = set(method.choice.registered.component.provides) & set(TASK_KINDS)
        for number, kind in kinds.items():
            if able and kind not in able:
                problems.add(
                    method.place,
                    f"method {method.choice.name!r} cannot train task {tasks[number].choice.name!r} ({kind})",
                    f"It trains {', '.join(item for item in TASK_KINDS if item in able)}",
                    snippet=method.place.text,
                )
        if not teachers and method.choice.needs_teacher:
            hint = "Add `teacher: NAME`; `armada list teachers` shows the names"
            problems.add(method.place, f"method {method.choice.name!r} needs a teacher, the recipe has none", hint)
    for student in students:
        for number, kind in kinds.items():
            if unable := student.choice.unable(kind):
                why, hint = unable
                what = f"student {student.choice.name!r} {why} and cannot do task {tasks[number].choice.name!r} ({kind})"
                problems.add(student.place, what, hint)
