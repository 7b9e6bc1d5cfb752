"""A component as somebody chose it: the plugin that brings it, and its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from armada_cli.contracts.component import Component


@dataclass(frozen=True)
class Registered:
    """A component together with where it came from."""

    kind: str
    component: Component
    plugin: str
    distribution: str
    version: str

    @property
    def name(self) -> str:
        """What a recipe calls it."""
        return self.component.name

    @property
    def origin(self) -> dict[str, str]:
        """Who ships it, as an identity and a result say it."""
        return {"distribution": self.distribution, "version": self.version, "plugin": self.plugin}


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
        features: for a method, ``features:`` given beside it: how it is shown the teacher's vectors.
    """

    registered: Registered
    options: Any
    title: str = ""
    train: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""
    limit: Mapping[str, int] | None = None
    features: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What a recipe calls the component."""
        return self.registered.name

    @property
    def needs_teacher(self) -> bool:
        """For a method: whether it reads a teacher's vectors. Its options say so, once for all or by their values."""
        said = getattr(self.options, "needs_teacher", False)
        return bool(said() if callable(said) else said)
