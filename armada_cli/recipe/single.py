"""One component outside of a recipe, checked as strictly as in one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from armada_cli.contracts import Choice, Environment
from armada_cli.recipe.components import read_components
from armada_cli.recipe.document import parse
from armada_cli.recipe.points import Context
from armada_cli.recipe.problems import Problems
from armada_cli.recipe.tree import Source
from armada_cli.registry.catalog import current


def read_choice(value: Mapping[str, Any], kind: str, environment: Environment) -> Choice:
    """The choice that a mapping with a name and options stands for, checked as strictly as a recipe.

    Raises:
        RecipeErrors: every problem with it.
    """
    problems = Problems()
    text = yaml.safe_dump(json.loads(json.dumps(value, default=str)), allow_unicode=True, sort_keys=False)
    node = parse(Source("options", text, Path.cwd()), problems.add)
    points, _ = read_components(node, kind, kind, Context(current(), environment, problems, {}))
    if len(points) > 1:
        problems.add(points[0].place, f"one {kind} is wanted, this is a grid of {len(points)}")
    problems.raise_if_any()
    return points[0].choice
