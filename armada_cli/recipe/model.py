"""What a recipe says, validated: the records that `plan` turns into trials. Plain values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armada_cli.contracts import Choice
from armada_cli.settings import Features, SelectOn, Train

__all__ = ["Choice", "Features", "Recipe", "SelectOn", "Train"]


@dataclass(frozen=True)
class Recipe:
    """A validated recipe; lists are the points of its grids, in the order they were written.

    Attributes:
        name: the file's stem; runs/<name>/ is its run folder.
        path: the file; text: as given; resolved: as plain data after `extends`, `--set` and short forms.
        limit: rows per split, e.g. ``{"train": 600, "validation": 400}``; a task's own `limit` wins.
        select_on: what the points of a method's grid are compared on; None compares nothing.
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
    select_on: SelectOn | None = None

    @property
    def held_out(self) -> float | None:
        """The share of the training rows that is held out."""
        return None if self.select_on is None else self.select_on.rows
