"""Recipe file -> `Recipe`: reads the file and what it extends, lays the overrides on top, and reports every problem at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from armada_cli.contracts import Environment
from armada_cli.errors import one_line
from armada_cli.recipe.components import option_of_methods, read_components, read_limit
from armada_cli.recipe.inherit import apply_overrides, read_file
from armada_cli.recipe.keys import read_settings
from armada_cli.recipe.model import Features, Recipe, SelectOn, Train
from armada_cli.recipe.points import Context, check_combinations, check_selection
from armada_cli.recipe.problems import Problems
from armada_cli.recipe.shipped import find_recipe
from armada_cli.recipe.tree import INVALID, Items, Node, Scalar, Table
from armada_cli.recipe.values import read
from armada_cli.registry.catalog import Catalog
from armada_cli.registry.registered import did_you_mean
from armada_cli.run_names import require_run_name
from armada_cli.runs import Runs

KEYS = (
    *("extends", "title", "summary", "student", "teacher", "tasks", "methods"),
    *("train", "features", "seeds", "limit", "select_on"),
)
REQUIRED = {"student": "Add `student: NAME`", "tasks": "Add `tasks: [NAME]`", "methods": "Add `methods: [NAME]`"}
DEFAULT_SEEDS = (0,)
MAX_SEEDS = 1_000
MAX_SEED = 2**32 - 1


def load_recipe(path_or_name: str, catalog: Catalog, environment: Environment, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path_or_name: a YAML file, or the name of a recipe that comes with armada.
        overrides: ``key.path=value`` each, as after ``--set``; laid over the file and what it extends.

    Raises:
        RecipeErrors: all that is wrong with it, with file, line and column.
        UserError: there is no such recipe, it cannot be read, or its name cannot be that of a run.
    """
    path = find_recipe(path_or_name)
    require_run_name(path.stem, "Rename the recipe's file")
    problems = Problems()
    text, root = read_file(path, problems)
    if root is None:
        problems.raise_if_any()
        raise AssertionError("a file without a tree has a problem")
    root = apply_overrides(root, overrides, problems)
    _check_keys(root, problems)
    train = _read_plain(root.get("train"), Train, "train", problems, option_of_methods(catalog))
    features = _read_plain(root.get("features"), Features, "features", problems)
    seeds = _read_seeds(root.get("seeds"), problems)
    limit = read_limit(root.get("limit"), "limit", problems) or {}
    select_on = _read_select_on(root.get("select_on"), problems)
    catalog.former = Runs(environment.runs).components(path.stem)
    context = Context(catalog, environment, problems, train)
    students, student_data = read_components(root.get("student"), "student", "student", context)
    teachers, teacher_data = read_components(root.get("teacher"), "teacher", "teacher", context)
    tasks, task_data = read_components(root.get("tasks"), "task", "tasks", context)
    methods, method_data = read_components(root.get("methods"), "method", "methods", context)
    # a teacher that is written but wrong is its own problem, not the method's
    if root.get("teacher") is None or teachers:
        check_combinations(students, teachers, tasks, methods, problems)
    if select_on is not None:
        check_selection(tasks, problems)
    words = {key: _read_words(root.get(key), key, problems) for key in ("title", "summary")}
    problems.raise_if_any()
    resolved: dict[str, Any] = {key: value for key, value in words.items() if value}
    components = {"student": student_data, "teacher": teacher_data, "tasks": task_data, "methods": method_data}
    resolved |= {key: value for key, value in components.items() if value}
    resolved |= {"train": train, "features": dataclasses.asdict(Features(**features)), "seeds": list(seeds), "limit": limit}
    if select_on is not None:
        resolved["select_on"] = dataclasses.asdict(select_on)
    return Recipe(
        name=path.stem,
        path=path,
        text=text,
        resolved=resolved,
        students=tuple(point.choice for point in students),
        teachers=tuple(point.choice for point in teachers),
        tasks=tuple(point.choice for point in tasks),
        methods=tuple(point.choice for point in methods),
        train=train,
        features=Features(**features),
        seeds=seeds,
        limit=limit,
        title=words["title"],
        summary=words["summary"],
        select_on=select_on,
    )


def describe_recipe(path: Path) -> dict[str, str]:
    """Title and summary of a recipe file, for lists; empty where it has none or cannot be read."""
    problems = Problems()
    _, root = read_file(path, problems)
    texts = {}
    for key in ("title", "summary"):
        node = root.get(key) if root else None
        texts[key] = one_line(node.value) if isinstance(node, Scalar) and node.value is not INVALID else ""
    return texts


def _check_keys(root: Table, problems: Problems) -> None:
    for key, entry in root.entries.items():
        if key in KEYS:
            continue
        word, colon, _ = key.partition(":")
        near = did_you_mean(word if colon else key, KEYS)
        problems.add(entry.key, "unknown key", near or f"known are {', '.join(KEYS)}")
    if "extends" in root.entries:
        return
    for key, hint in REQUIRED.items():
        if root.get(key) is None and not _is_suspected(key, problems):
            place = root.entries[key].key if key in root.entries else root.place
            problems.add(place, f"{key} is missing", hint, snippet="")


def _is_suspected(key: str, problems: Problems) -> bool:
    """Whether an unknown key has been taken for a misspelling of this one already."""
    return any(problem.message == "unknown key" and f"'{key}'" in problem.suggestion for problem in problems.noted)


def _read_plain(
    node: Node | None,
    options: type,
    label: str,
    problems: Problems,
    elsewhere: Callable[[str, Node], str] = lambda key, node: "",
) -> dict[str, Any]:
    """A mapping without grids, checked against a dataclass: the keys that were written."""
    if node is None or (isinstance(node, Scalar) and node.value is INVALID):
        return {}
    if not isinstance(node, Table):
        known = ", ".join(item.name for item in dataclasses.fields(options))
        problems.add(node.place, f"{label} must be a mapping", f"Its keys are {known}")
        return {}
    settings = read_settings(node, options, label, problems, grid=False, elsewhere=elsewhere)
    return {values[0].key: values[0].value for values in settings or []}


def _read_select_on(node: Node | None, problems: Problems) -> SelectOn | None:
    if node is None or (isinstance(node, Scalar) and node.value is INVALID):
        return None
    if not isinstance(node, Table):
        problems.add(node.place, "select_on must be a mapping", "For example `select_on: {rows: 0.1}`")
        return None
    settings = read_settings(node, SelectOn, "select_on", problems, grid=False)
    return None if settings is None else SelectOn(**{values[0].key: values[0].value for values in settings})


def _read_seeds(node: Node | None, problems: Problems) -> tuple[int, ...]:
    if node is None or (isinstance(node, Scalar) and node.value is INVALID):
        return DEFAULT_SEEDS
    if not isinstance(node, Items):
        if isinstance(node, Table) or type(node.value) is not int:
            problems.add(
                node.place, "seeds must be a whole number or a list of them", "For example `seeds: 3` or `seeds: [0, 1, 2]`"
            )
            return DEFAULT_SEEDS
        count = read(node, int, "seeds", {"minimum": 1, "maximum": MAX_SEEDS}, problems, "Name the number of seeds")
        return DEFAULT_SEEDS if count is INVALID else tuple(range(count))
    if not node.items:
        problems.add(node.place, "seeds is an empty list", "Name at least one seed")
    seeds: list[int] = []
    for number, item in enumerate(node.items):
        seed = read(
            item, int, f"seeds.{number}", {"minimum": 0, "maximum": MAX_SEED}, problems, "For example `seeds: [0, 1, 2]`"
        )
        if seed is INVALID:
            continue
        if seed in seeds:
            problems.add(item.place, "this seed is given twice", "Remove one of them")
        seeds.append(seed)
    return tuple(seeds)


def _read_words(node: Node | None, label: str, problems: Problems) -> str:
    if node is None:
        return ""
    value = read(node, str, label, {}, problems)
    return "" if value is INVALID else value
