"""A component as somebody chose it: the plugin that brings it, and its options."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from armada_cli.contracts.component import JSON, Component, Environment


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


def asks(options: Any, name: str, default: bool = False) -> bool:
    """What a method's options say of it: a class attribute once for all, or a method by their values."""
    said = getattr(options, name, default)
    return bool(said() if callable(said) else said)


@dataclass(frozen=True)
class GridPoint:
    """Where a choice stands among those that one entry of a recipe stands for.

    Attributes:
        entry: number of the entry in its list, from 0.
        title: how a report names the entry.
        values: what was given several values, options and training settings -> this point's, as it was written.
    """

    entry: int
    title: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """One component as a recipe chose it, one point of a grid.

    Attributes:
        registered: the component and the plugin that brings it.
        options: an instance of the component's options dataclass.
        title: how the report names it: the recipe's ``as``, or the name with the options that differ from their defaults.
        train: training settings given beside it (``train:`` inside a student, a task or a method).
        place: ``file:line:column`` of its name.
        limit: for a task, ``limit:`` given beside it; None when silent.
        features: for a method that needs a teacher, ``features:`` beside it: how it is shown the teacher's vectors
            (`armada_cli.settings.MethodFeatures`), what differs from the usual.
        grid: which grid of the recipe it is a point of.
        given: for a text teacher, whether the model is taken as it is (``from`` in a recipe) and nothing is trained.
    """

    registered: Registered
    options: Any
    title: str = field(default="", compare=False)
    train: Mapping[str, Any] = field(default_factory=dict)
    place: str = field(default="", compare=False, repr=False)
    limit: Mapping[str, int] | None = None
    features: Mapping[str, Any] = field(default_factory=dict)
    grid: GridPoint | None = field(default=None, compare=False)
    given: bool = False

    @property
    def name(self) -> str:
        """What a recipe calls the component."""
        return self.registered.name

    @property
    def needs_teacher(self) -> bool:
        """For a method: whether it, or a trial that it builds on, reads a teacher's vectors."""
        return asks(self.options, "needs_teacher")

    @property
    def reads_features(self) -> bool:
        """For a method: whether its own trial reads a teacher's vectors."""
        return self.needs_teacher and asks(self.options, "reads_features", True)

    @property
    def controls(self) -> tuple[str, ...]:
        """For a method: what may be put in the place of what its teacher knows (`armada_cli.settings.MethodFeatures`)."""
        return ("shuffled", "noise") if self.needs_teacher else tuple(getattr(self.options, "controls", ()))

    @property
    def features_at_inference(self) -> bool:
        """For a method: whether its student reads the teacher's vectors when it answers, too."""
        return self.reads_features and asks(self.options, "features_at_inference")

    def unable(self, kind: str) -> tuple[str, str] | None:
        """For a student: what keeps it from learning tasks of a kind, as words behind its name, and what to do; None where
        nothing does, as far as its card and its options tell."""
        provides = self.registered.component.provides
        if kind == "generation" and "decoder" not in provides:
            return "is an encoder", "Name a decoder; `armada list students` shows which are"
        if kind == "masked" and "decoder" in provides and "encoder" not in provides:
            return "is a decoder", "Name an encoder; `armada list students` shows which are"
        why = self.options.cannot_learn(kind) if hasattr(self.options, "cannot_learn") else None
        if not why:
            return None
        what, _, hint = why.partition("; ")
        return what, hint

    def identity(self, environment: Environment, *, training: bool = False) -> dict[str, JSON]:
        """Everything about this choice that can change an output, computed from the files as they are now, with the plugin that
        brings it.

        Args:
            training: without what concerns evaluation alone.
        """
        own = self.registered.component.identity(self.options, environment, training=training)
        return {**own, "plugin": self.registered.origin}

    def parts(self) -> Iterator[tuple[str, Choice]]:
        """The components that its options name: the option's name and the choice; for a list its number is added."""
        for item in dataclasses.fields(self.options):
            if item.metadata.get("component"):
                value = getattr(self.options, item.name)
                if isinstance(value, Choice):
                    yield item.name, value
                elif isinstance(value, tuple):
                    yield from ((f"{item.name} {number}", part) for number, part in enumerate(value, start=1))

    def everything(self) -> Iterator[Choice]:
        """It, and all components below it."""
        yield self
        for _, part in self.parts():
            yield from part.everything()
