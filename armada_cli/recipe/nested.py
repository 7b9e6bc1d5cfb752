"""A component that an option names (a method's text teacher), checked as strictly as one that the recipe names itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armada_cli.contracts import Environment
from armada_cli.recipe.components import Context, read_components
from armada_cli.recipe.document import Entry, Items, Node, Place, Scalar, Table, shorten
from armada_cli.recipe.model import Choice
from armada_cli.recipe.problems import Problems
from armada_cli.recipe.values import show
from armada_cli.registry.catalog import Catalog


def read_nested(
    value: Any, kind: str, label: str, place: str, folder: Path, catalog: Catalog, environment: Environment
) -> Choice:
    """The choice that `value`, a name or a mapping with a name and options, stands for.

    Args:
        label: what messages call it; place: where the component stands that has it as an option.
        folder: what relative paths are relative to.

    Raises:
        RecipeErrors: every problem with it.
    """
    problems = Problems()
    points, _ = read_components(_node(value, place, folder), kind, label, Context(catalog, environment, problems, {}))
    if len(points) > 1:
        problems.add(_place(value, place, folder), f"{label} must be one {kind}, this is a grid of {len(points)}")
    problems.raise_if_any()
    return points[0].choice


def _place(value: Any, place: str, folder: Path) -> Place:
    return Place(place, 0, 0, shorten(show(value)), folder)


def _node(value: Any, place: str, folder: Path) -> Node:
    """Plain data as the tree it came from; all of it stands at one place."""
    own = _place(value, place, folder)
    if isinstance(value, Mapping):
        entries = {str(key): Entry(_place(key, place, folder), _node(item, place, folder)) for key, item in value.items()}
        return Table(entries, own)
    if isinstance(value, (list, tuple)):
        return Items(tuple(_node(item, place, folder) for item in value), own)
    return Scalar(value, own)
