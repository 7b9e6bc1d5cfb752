"""The core's own components, registered through the same hooks as everybody's: the losses and the methods."""

from __future__ import annotations

from armada_cli import losses, methods
from armada_cli.contracts import Component
from armada_cli.hookspecs import hookimpl


@hookimpl
def armada_losses() -> list[Component]:
    return losses.CARDS


@hookimpl
def armada_methods() -> list[Component]:
    return methods.CARDS
