"""`extends` and `--set`: how one tree is laid over another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from armada_cli.errors import UserError
from armada_cli.files import expand
from armada_cli.reading import open_file
from armada_cli.recipe.document import decode, parse
from armada_cli.recipe.problems import Problems, RecipeErrors
from armada_cli.recipe.shipped import SUFFIXES, shipped_recipes
from armada_cli.recipe.tree import INVALID, Entry, Items, Node, Place, Scalar, Source, Table, shorten
from armada_cli.registry.registered import did_you_mean

MAX_BYTES = 1 << 18
MAX_CHAIN = 10
"""Recipes that extend each other, one the next."""

MAX_PARTS = 10
"""Words between the points of an override's key."""

_INDEX = re.compile(r"[0-9]{1,6}")

COMPONENT_KEYS = ("student", "teacher", "tasks", "methods")


def read_file(path: Path, problems: Problems) -> tuple[str, Table | None]:
    """The file's text and its tree with everything it extends underneath; None after a problem.

    Raises:
        UserError: the file cannot be read.
    """
    return _read(path, problems, ())


def _read(path: Path, problems: Problems, chain: tuple[Path, ...]) -> tuple[str, Table | None]:
    file = _shown(path)
    try:
        with open_file(path) as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}", "Check its permissions") from error
    if len(data) > MAX_BYTES:
        raise UserError(f"{file} is larger than {MAX_BYTES >> 10} kB", "Is it a recipe?")
    source = decode(data, file, path.absolute().parent, problems.add)
    root = parse(source, problems.add) if source else None
    if source is None or root is None:
        return "", None
    if not isinstance(root, Table):
        kind = "a list" if isinstance(root, Items) else "a single value"
        problems.add(root.place, f"a recipe is a mapping, this is {kind}", "Begin with `student: NAME`")
        return source.text, None
    return source.text, _extend(root, path, problems, (*chain, path.resolve()))


def _extend(root: Table, path: Path, problems: Problems, chain: tuple[Path, ...]) -> Table:
    entry = root.entries.get("extends")
    own = Table({key: value for key, value in root.entries.items() if key != "extends"}, root.place)
    if entry is None or (isinstance(entry.node, Scalar) and entry.node.value is None):
        return own
    base = _base(entry, path, problems, chain)
    # without its base the recipe is not complete, and what it misses is not its fault: `extends` stays as a sign of that
    return merge(base, own) if base else root


def _base(entry: Entry, path: Path, problems: Problems, chain: tuple[Path, ...]) -> Table | None:
    """The tree of the recipe that `entry` names; None after a problem."""
    if not isinstance(entry.node, Scalar) or not isinstance(entry.node.value, str):
        if not (isinstance(entry.node, Scalar) and entry.node.value is INVALID):
            problems.add(entry.node.place, "extends must be the name of one recipe", "Write `extends: other.yaml`")
        return None
    base = _find_base(entry.node.value, path.absolute().parent)
    if base is None:
        near = did_you_mean(entry.node.value, [*shipped_recipes(), *_neighbours(path)])
        problems.add(
            entry.node.place,
            "there is no recipe to extend",
            near or "`armada list recipes` shows the names",
        )
        return None
    if base.resolve() in chain:
        circle = " -> ".join(_shown(step) for step in (*chain[chain.index(base.resolve()) :], base))
        problems.add(entry.node.place, f"recipes extend each other in a circle, {circle}", "Remove one `extends`")
        return None
    if len(chain) >= MAX_CHAIN:
        problems.add(entry.node.place, f"more than {MAX_CHAIN} recipes extend each other, one the next", "Copy the first one")
        return None
    try:
        _, under = _read(base, problems, chain)
    except RecipeErrors:
        raise
    except UserError as error:
        problems.add(entry.node.place, error.what, error.hint)
        return None
    return under


def _find_base(name: str, folder: Path) -> Path | None:
    try:
        path = folder / expand(name)
        if path.is_file():
            return without_parents(path)
    except (OSError, ValueError, UserError):  # too long for a name, or the home folder of nobody
        return None
    return shipped_recipes().get(name) or shipped_recipes().get(Path(name).stem if Path(name).name == name else "")


def without_parents(path: Path) -> Path:
    """The same path without ``..``; links behind the last ``..`` stay as they are."""
    last = max((number for number, part in enumerate(path.parts) if part == ".."), default=-1)
    return Path(*path.parts[: last + 1]).resolve().joinpath(*path.parts[last + 1 :]) if last >= 0 else path


def _neighbours(path: Path) -> list[str]:
    return [
        item.name for item in sorted(path.absolute().parent.glob("*")) if item.suffix in SUFFIXES and item.name != path.name
    ]


def _shown(path: Path) -> str:
    """The shortest way to write the path from here."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def merge(under: Table, over: Table) -> Table:
    """`over` laid on `under`: mappings merge key by key, everything else is replaced. A mapping that names another
    component replaces the one below, whose options would be foreign to it."""
    entries = dict(under.entries)
    for key, entry in over.entries.items():
        below = entries.get(key)
        node = entry.node
        if below and isinstance(below.node, Table) and isinstance(node, Table) and not _renames(below.node, node):
            node = merge(below.node, node)
        entries[key] = Entry(entry.key, node)
    return Table(entries, over.place)


def _renames(under: Table, over: Table) -> bool:
    first, second = under.get("name"), over.get("name")
    return isinstance(first, Scalar) and isinstance(second, Scalar) and first.value != second.value


def apply_overrides(root: Table, overrides: Sequence[str], problems: Problems) -> Table:
    """Each ``key.path=value`` in turn; the value is read as YAML, paths in it are relative to the working directory."""
    for override in overrides:
        label = f"--set {shorten(override, 120)}"
        here = Place(label, 0, 0, "", Path.cwd())
        key, sign, text = override.partition("=")
        parts = [part.strip() for part in key.split(".", MAX_PARTS)]
        if not sign or not all(parts):
            problems.add(here, "an override is KEY=VALUE", "For example --set train.epochs=1")
            continue
        if len(parts) > MAX_PARTS:
            problems.add(here, f"an override's key has at most {MAX_PARTS} parts", "For example --set train.epochs=1")
            continue
        if parts[0] == "extends":
            problems.add(here, "extends cannot be overridden", "Copy the recipe, and extend the other one")
            continue
        value = parse(Source(label, text, Path.cwd(), numbered=False), problems.add)
        if value is not None:
            changed = _assign(root, parts, 0, value, label, problems)
            root = changed if isinstance(changed, Table) else root
    return root


def _assign(node: Node | None, parts: list[str], depth: int, value: Node, label: str, problems: Problems) -> Node:
    if depth == len(parts):
        return value
    part, path = parts[depth], shorten(".".join(parts[:depth]))
    here = Place(label, 0, 0, shorten(part), Path.cwd())
    is_index = _INDEX.fullmatch(part) is not None
    if node is None or (isinstance(node, Scalar) and node.value is None):
        node = Table({}, here)
    if isinstance(node, Scalar) and isinstance(node.value, str) and _is_component(parts[:depth]) and not is_index:
        # the short form, about to get its first option
        node = Table({"name": Entry(node.place, node)}, node.place)
    if is_index and depth == 1 and parts[0] in COMPONENT_KEYS and not isinstance(node, Items):
        node = Items((node,), node.place)
    if isinstance(node, Items):
        if not is_index:
            problems.add(here, f"{path} is a list", f"Name one of its entries by number, as in {path}.0.{shorten(part)}")
            return node
        index = int(part)
        if index >= len(node.items):
            problems.add(here, f"{path} has no such entry", f"They are numbered 0 to {len(node.items) - 1}")
            return node
        inner = _assign(node.items[index], parts, depth + 1, value, label, problems)
        return Items((*node.items[:index], inner, *node.items[index + 1 :]), node.place)
    if isinstance(node, Table):
        below = node.entries.get(part)
        inner = _assign(below.node if below else None, parts, depth + 1, value, label, problems)
        return Table({**node.entries, part: Entry(here, inner)}, node.place)
    if node.value is not INVALID:
        problems.add(here, f"{path} is a value and has no parts", f"Set it whole: --set {path}=VALUE")
    return node


def _is_component(parts: list[str]) -> bool:
    if len(parts) == 1:
        return parts[0] in COMPONENT_KEYS
    return len(parts) == 2 and parts[0] in COMPONENT_KEYS and _INDEX.fullmatch(parts[1]) is not None
