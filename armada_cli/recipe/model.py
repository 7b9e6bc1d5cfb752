"""What a recipe says, validated: the records that `plan` turns into trials. Plain values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armada_cli.registry.registered import Registered
from armada_cli.settings import Features, Train

__all__ = ["Choice", "Features", "Recipe", "Train"]


@dataclass(frozen=True)
class Choice:
    """One component as a recipe chose it, one point of a grid.

    Attributes:
        registered: the component and the plugin that brings it.
        options: an instance of the component's options dataclass.
        title: how the report names it: the recipe's ``as``, or the name with the options that differ from their defaults.
        train: training settings given beside it (``train:`` inside a task or a method).
        place: ``file:line:column`` of its name.
        limit: for a task, ``limit:`` given beside it; None when silent.
    """

    registered: Registered
    options: Any
    title: str
    train: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""
    limit: Mapping[str, int] | None = None

    @property
    def name(self) -> str:
        return self.registered.name

    @property
    def needs_teacher(self) -> bool:
        """For a method: whether it reads a teacher's vectors. Its options say so, once for all or by their values."""
        said = getattr(self.options, "needs_teacher", False)
        return bool(said() if callable(said) else said)


@dataclass(frozen=True)
class Recipe:
    """A validated recipe; lists are the points of its grids, in the order they were written.

    Attributes:
        name: the file's stem; runs/<name>/ is its run folder.
        path: the file; text: as given; resolved: as plain data after `extends`, `--set` and short forms.
        limit: rows per split, e.g. ``{"train": 600, "validation": 400}``; a task's own `limit` wins.
    """

    name: str
    path: Path
    text: str
    resolved: Mapping[str, Any]
    students: tuple[Choice, ...]
    teachers: tuple[Choice, ...]
    tasks: tuple[Choice, ...]
    methods: tuple[Choice, ...]
    train: Mapping[str, Any]
    features: Features
    seeds: tuple[int, ...]
    limit: Mapping[str, int] = field(default_factory=dict)
    title: str = ""
    summary: str = ""
