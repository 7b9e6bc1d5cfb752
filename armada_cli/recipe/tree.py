"""A recipe as a tree of plain values that know where they stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias


class Invalid:
    """Stands for a value whose problem has been reported, so that it is not complained of twice."""

    def __repr__(self) -> str:
        return "INVALID"


INVALID = Invalid()


@dataclass(frozen=True)
class Place:
    """Where something stands.

    Attributes:
        file: the file as the user would type it, or ``--set KEY=VALUE``.
        line, column: counted from 1; 0 for an override.
        text: the offending text, on one line and cut to a readable length.
        folder: what relative paths written here are relative to.
    """

    file: str
    line: int
    column: int
    text: str = ""
    folder: Path = field(default_factory=Path)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True)
class Scalar:
    """One value: bool, int, float, str, None, or `INVALID`."""

    value: Any
    place: Place


@dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True)
class Entry:
    """One key of a mapping, and what it holds."""

    key: Place
    node: Node


@dataclass(frozen=True)
class Table:
    """A mapping, in written order."""

    entries: dict[str, Entry]
    place: Place

    def get(self, key: str) -> Node | None:
        """The value of `key`; None when it is absent or null."""
        entry = self.entries.get(key)
        if entry is None or (isinstance(entry.node, Scalar) and entry.node.value is None):
            return None
        return entry.node


Node: TypeAlias = Scalar | Items | Table


Report: TypeAlias = Callable[[Place, str, str], None]
"""Takes place, message and suggestion of a problem."""


def plain(node: Node) -> Any:
    """The tree as dictionaries, lists and scalars."""
    if isinstance(node, Table):
        return {key: plain(entry.node) for key, entry in node.entries.items()}
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return node.value


@dataclass(frozen=True)
class Source:
    """A text and what to call it. ``numbered`` is False for an override, which has no lines."""

    file: str
    text: str
    folder: Path
    numbered: bool = True

    def place(self, line: int, column: int, text: str) -> Place:
        """`line` and `column` as PyYAML counts them, from 0."""
        if not self.numbered:
            return Place(self.file, 0, 0, shorten(text), self.folder)
        return Place(self.file, line + 1, column + 1, shorten(text), self.folder)


def without_text(node: Node) -> Node:
    """The same tree; a message about it does not quote what is written there."""
    place = replace(node.place, text="")
    if isinstance(node, Table):
        entries = {key: Entry(replace(entry.key, text=""), without_text(entry.node)) for key, entry in node.entries.items()}
        return Table(entries, place)
    if isinstance(node, Items):
        return Items(tuple(without_text(item) for item in node.items), place)
    return Scalar(node.value, place)


def shorten(text: str, limit: int = 60) -> str:
    """On one line, control characters made visible, cut to `limit` characters."""
    line = " ".join(text[: 20 * limit].split())
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)
    return line if len(line) <= limit and len(text) <= 20 * limit else line[: limit - 1] + "…"
