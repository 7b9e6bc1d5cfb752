"""Whose a run's folder is: the first recipe that ran under its name. Another of the same name would replace its report.

``origin.json`` says where the recipe lies, as seen from the runs folder, so that a project may be moved as a whole; or, of a
recipe that comes with armada, its name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from armada_cli.errors import UserError
from armada_cli.files import read_json, require_inside, write_json
from armada_cli.recipe.model import Recipe
from armada_cli.recipe.shipped import shipped_recipes
from armada_cli.run_names import RUN_FILES
from armada_cli.runs import Runs

ORIGIN = "origin.json"


def require_own_folder(recipe: Recipe, runs: Runs) -> None:
    """Refuse to write into the run folder of another recipe, or into a folder that is no run's.

    Raises:
        UserError: whose it is, and what to do.
    """
    folder = runs.run(recipe.name)
    require_inside(folder / ORIGIN, runs.root)
    origin = read_json(folder / ORIGIN)
    if not isinstance(origin, dict):
        _require_empty(recipe, folder)
        return
    here = origin_of(recipe, runs)
    if origin == here:
        return
    rename = f"Rename {recipe.path}, or choose another folder of runs with --runs"
    if isinstance(origin.get("shipped"), str):
        if origin["shipped"] in shipped_recipes():
            raise UserError(f"{folder} holds the run of the recipe {origin['shipped']!r} that comes with armada", rename)
        place = origin["shipped"]
    else:
        place = os.path.normpath(os.path.join(os.path.realpath(runs.root), str(origin.get("file"))))
        if _is_same(Path(place), recipe.path):
            return
        if os.path.isfile(place):
            raise UserError(f"{folder} holds the run of another recipe of this name, {place}", rename)
    if _text_of(folder) != recipe.text:
        raise UserError(
            f"{folder} holds the run of {place}, which is gone and had another text",
            f"If that was this recipe, remove {folder} (finished trials lie elsewhere and are kept); if not, rename this one",
        )


def note_origin(recipe: Recipe, runs: Runs) -> None:
    """Write down whose the folder is, before anything else is written into it.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    path, origin = runs.run(recipe.name) / ORIGIN, origin_of(recipe, runs)
    if read_json(path) != origin:
        write_json(path, origin)


def origin_of(recipe: Recipe, runs: Runs) -> dict[str, Any]:
    """Where a recipe lies: its name if it comes with armada, or its place as seen from the runs folder."""
    # What a link leads to may be shared by recipes that lie beside different data: only the folder is resolved.
    place = os.path.join(os.path.realpath(recipe.path.absolute().parent), recipe.path.name)
    shipped = shipped_recipes().get(recipe.name)
    if shipped is not None and os.path.realpath(place) == os.path.realpath(shipped):
        return {"shipped": recipe.name}
    return {"file": Path(os.path.relpath(place, os.path.realpath(runs.root))).as_posix()}


def _is_same(place: Path, path: Path) -> bool:
    """Whether two places are one file in one folder, whatever the ways to it are called."""
    try:
        return place.samefile(path) and place.parent.samefile(path.absolute().parent)
    except (OSError, ValueError):
        return False


def _text_of(folder: Path) -> str | None:
    try:
        return (folder / "recipe.yaml").read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _require_empty(recipe: Recipe, folder: Path) -> None:
    """A folder without an origin is an earlier version's run, was never written whole, or is somebody's own."""
    if (folder / "run.json").is_file() or _text_of(folder) == recipe.text:
        return
    taken = [name for name in RUN_FILES if os.path.lexists(folder / name)]
    if taken:
        raise UserError(
            f"{folder} is no run's folder and holds a {taken[0]} that would be written over",
            f"Rename {recipe.path}, or choose another folder of runs with --runs",
        )
