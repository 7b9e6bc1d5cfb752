"""The hooks a plugin can implement. Each takes nothing and returns a list of cards (`armada_cli.Component`)."""

from __future__ import annotations

import pluggy

from armada_cli.contracts import Component

PROJECT = "armada"
"""Name of the pluggy project and of the entry point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def armada_teachers() -> list[Component]:  # type: ignore[empty-body]
    """Frozen models that turn a text into a representation."""


@hookspec
def armada_students() -> list[Component]:  # type: ignore[empty-body]
    """Language models that can be trained and distilled."""


@hookspec
def armada_tasks() -> list[Component]:  # type: ignore[empty-body]
    """Labelled text with a metric."""


@hookspec
def armada_losses() -> list[Component]:  # type: ignore[empty-body]
    """Distances between two batches of manifold projections."""


@hookspec
def armada_methods() -> list[Component]:  # type: ignore[empty-body]
    """Objectives with their curriculum, baselines included."""


HOOKS = {
    "teacher": "armada_teachers",
    "student": "armada_students",
    "task": "armada_tasks",
    "loss": "armada_losses",
    "method": "armada_methods",
}
