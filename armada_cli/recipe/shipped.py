"""Recipes by name: those that travel with armada, and the user's own files."""

from __future__ import annotations

import re
from pathlib import Path

from armada_cli.errors import UserError
from armada_cli.files import expand
from armada_cli.registry.registered import did_you_mean

SUFFIXES = (".yaml", ".yml")


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of every recipe that comes with armada, by name. A file whose name begins with ``_`` is a shared part for
    `extends`, not a recipe."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "recipes", package.parent / "recipes"):
        if folder.is_dir():
            files = sorted(item for item in folder.iterdir() if item.suffix in SUFFIXES)
            return {item.stem: item for item in files if not item.name.startswith(("_", "."))}
    return {}


def find_shipped(name: str) -> Path:
    """The file of a recipe that comes with armada, by its name (``llama8b_instruct``; its file name will do too).

    Raises:
        UserError: there is none of this name; the nearest names are in the hint.
    """
    shipped = shipped_recipes()
    path = shipped.get(name) or shipped.get(name.removesuffix(Path(name).suffix) if name.endswith(SUFFIXES) else name)
    if path is None:
        raise UserError(f"armada brings no recipe {name!r}", did_you_mean(name, list(shipped)) or ALL)
    return path


def reproduces(path: Path) -> str:
    """What of the paper a recipe's opening comment says it reproduces: ``Table 12``, ``Figure 3``; empty where it is silent."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.startswith("#"):
            break
        key, _, value = line.removeprefix("#").partition(":")
        if key.strip().lower() == "reproduces":
            return re.split(r"[.,:;(]", value)[0].strip()
    return ""


def find_recipe(path_or_name: str) -> Path:
    """The file that a user means.

    Raises:
        UserError: there is no such file or name; the nearest names are in the hint.
    """
    shipped = shipped_recipes()
    try:
        path = expand(path_or_name)
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:
        raise UserError(f"{path_or_name!r} cannot be the name of a recipe: {error}", ALL) from error
    if is_folder and path_or_name not in shipped:
        raise UserError(f"{path_or_name} is a folder, not a recipe", "Name a YAML file in it")
    if exists and not is_folder:
        return path
    if path_or_name in shipped:
        return shipped[path_or_name]
    if path.parent != Path() or path.suffix in SUFFIXES:
        folder = path.parent
        known = [str(item) for item in sorted(folder.glob("*")) if item.suffix in SUFFIXES] if folder.is_dir() else []
        known += [path.stem] if path.stem in shipped and path.parent == Path() else []
        hint = did_you_mean(path_or_name, known)
        if not hint and not folder.is_dir():
            hint = f"there is no folder {str(folder)!r}"
        raise UserError(f"there is no recipe file {path_or_name!r}", hint or ALL)
    own = {item.stem: item.name for item in sorted(Path().glob("*")) if item.suffix in SUFFIXES}
    hint = did_you_mean(path_or_name, list(dict.fromkeys([*shipped, *own])))
    for stem, name in own.items():
        if stem not in shipped:
            hint = hint.replace(f"'{stem}'", f"'{name}'")
    raise UserError(f"unknown recipe {path_or_name!r}", hint or ALL)


ALL = "`armada list recipes` shows what there is"
