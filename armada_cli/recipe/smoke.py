"""`--smoke`: run a recipe with tiny random models and a few rows, through the same plugins and the same code.

Each component makes its own tiny options (``smoke`` of its options class, see `contracts.Component`). Packages that a tiny
component does not need are not required. A teacher that cannot work without its packages is replaced, and the run says so.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armada_cli.contracts import Environment, NoOptions, Teacher, TeacherInput
from armada_cli.files import remove
from armada_cli.recipe.model import Choice, Recipe, SelectOn
from armada_cli.runs import Runs

if TYPE_CHECKING:
    import numpy as np

ROWS = {"train": 12, "validation": 4}
"""Rows of a split in a smoke run."""

SELECTED = 4
"""Training rows of them that are held out where the recipe has a ``select_on``."""

TRAIN = {"epochs": 1, "batch_size": 4, "accumulation": 1, "log_every": 1}
"""Training settings of a smoke run, whatever the recipe says."""

WIDTH = 32
"""Numbers in a vector of a stand-in."""


def prepare(environment: Environment, recipe: str) -> Environment:
    """The environment of a recipe's smoke run: a root of its own, emptied, so that nothing old can pass for new.

    Raises:
        UserError: the root has no name of its own, lies elsewhere or cannot be emptied.
    """
    root = Runs(environment.runs).smoke(recipe)
    remove(root, environment.runs, must=True)
    return dataclasses.replace(environment, runs=root)


class Shrinker:
    """Makes choices tiny.

    Attributes:
        folder: where tiny checkpoints and rows are written; kept from one smoke run to the next.
        substitutes: teachers that something stands in for, with the packages they lack.
    """

    def __init__(self, folder: Path) -> None:
        # Absolute: a place that does not read as a path is a name of the hub.
        self.folder = folder.absolute()
        self.substitutes: dict[str, list[str]] = {}
        self._made: list[Choice] = []

    def __call__(self, choice: Choice) -> Choice:
        """The same component, tiny, with the components that its options name. One without a ``smoke`` of its own stays as it
        is, and so does what has been made tiny before."""
        if choice in self._made:
            return choice
        tiny = self._shrink(choice)
        self._made.append(tiny)
        return tiny

    def _shrink(self, choice: Choice) -> Choice:
        registered, options = choice.registered, choice.options
        missing = registered.component.missing_packages()
        if registered.kind == "teacher" and missing:
            self.substitutes[registered.name] = missing
            card = dataclasses.replace(
                registered.component, target="armada_cli.recipe.smoke:StandIn", options=NoOptions, requires=(), extra=None
            )
            return dataclasses.replace(choice, registered=dataclasses.replace(registered, component=card), options=NoOptions())
        if hasattr(options, "smoke"):
            options = options.smoke(self.folder / f"{registered.kind}-{registered.name}")
            if missing:
                card = dataclasses.replace(registered.component, requires=(), extra=None)
                registered = dataclasses.replace(registered, component=card)
        parts = {
            item.name: self._part(getattr(options, item.name))
            for item in dataclasses.fields(options)
            if item.metadata.get("component")
        }
        options = dataclasses.replace(options, **parts) if parts else options
        train = {name: value for name, value in choice.train.items() if name not in TRAIN}
        limit = None if choice.limit is None else _few(choice.limit)
        # a random model has no answers yet: where one is taken as it is, the tiny one is trained
        return dataclasses.replace(choice, registered=registered, options=options, train=train, limit=limit, given=False)

    def _part(self, value: Any) -> Any:
        """A component that an option names, or several."""
        if isinstance(value, tuple):
            return tuple(self._part(item) for item in value)
        return self(value) if isinstance(value, Choice) else value

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with every component tiny, one seed, one epoch and few rows. Grids stay whole."""
        made: dict[str, Any] = {
            kind: tuple(self(choice) for choice in getattr(recipe, kind))
            for kind in ("students", "teachers", "tasks", "methods")
        }
        few: dict[str, Any] = {"seeds": recipe.seeds[:1], "limit": _few(recipe.limit)}
        if recipe.select_on is not None:
            few["select_on"] = SelectOn(SELECTED / ROWS["train"])
        return dataclasses.replace(recipe, train={**recipe.train, **TRAIN}, **few, **made)


def _few(limit: Mapping[str, int]) -> dict[str, int]:
    return {split: min(rows, limit.get(split, rows)) for split, rows in ROWS.items()}


class StandIn(Teacher):
    """Random vectors, one and the same for one and the same input, in the place of a teacher whose packages are not here."""

    def represent(self, inputs: Sequence[TeacherInput]) -> np.ndarray:
        import numpy as np

        seeds = [int.from_bytes(hashlib.sha256(str(value).encode()).digest()[:8], "big") for value in inputs]
        return np.stack([np.random.default_rng(seed).standard_normal(WIDTH, dtype=np.float32) for seed in seeds])
