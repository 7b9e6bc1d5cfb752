"""The core's own components, registered through the same hooks as everybody's: losses, methods, and the ensemble of
teachers."""

from __future__ import annotations

from armada_cli import ensemble, losses, methods
from armada_cli.contracts import Component
from armada_cli.registry.hookspecs import hookimpl


@hookimpl
def armada_losses() -> list[Component]:
    return losses.CARDS


@hookimpl
def armada_methods() -> list[Component]:
    return methods.CARDS


@hookimpl
def armada_teachers() -> list[Component]:
    return ensemble.CARDS
