"""Lists in the cells of a text file: as JSON, Python and NumPy write them."""

from __future__ import annotations

import ast
import re
from typing import Any

from armada_cli.reading import parse_json

QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
ITEM = re.compile(rf"""\s*(?P<item>[bu]?(?:{QUOTED})|[^\s,'"\[\](){{}}][^,'"\[\](){{}}]*)\s*(?P<comma>,?)""", re.DOTALL)
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")


class BrokenList(ValueError):
    """A cell begins as a list does and does not go on as one."""


def parse_list(cell: str) -> list[Any] | None:
    """The items of a cell such as ``["a", "b"]``, ``('a', 'b')``, ``{'a'}``, ``['a' 'b']`` or ``[1 0 1]``; None where the cell
    is an ordinary text. Nothing is evaluated but quoted literals.

    Raises:
        BrokenList: the cell is no whole list, or a list in a list.
    """
    text = cell.strip()
    if text[:5] == "array" and text.endswith(")"):
        text = text[5:].strip()[1:-1].split(", dtype=")[0].strip()
    if text in ("set()", "frozenset()"):
        return []
    if text[:1] not in ("[", "(", "{"):
        return None
    square = text[0] == "["
    closing = {"[": "]", "(": ")", "{": "}"}[text[0]]
    quoted = text[1:].lstrip()[:1] in ("'", '"')
    if not text.endswith(closing):
        if quoted or (square and "]" not in text):
            raise BrokenList
        return None
    if square:
        try:
            items = parse_json(text)
        except ValueError:
            pass
        else:
            if any(isinstance(item, (list, dict)) for item in items):
                raise BrokenList
            return list(items)
    items = _items(text[1:-1])
    if items is None:
        if quoted:
            raise BrokenList
        return None
    # "(none)" and "{x}" are names as good as any; "('a',)" is a tuple.
    if items and not square and not quoted and not (len(items) > 1 and all(not isinstance(item, str) for item in items)):
        return None
    return items


def _items(body: str) -> list[Any] | None:
    """Items between brackets, all separated by commas or, as NumPy prints them, all by spaces."""
    if not body.strip():
        return []
    items: list[Any] = []
    commas: list[bool] = []
    position = 0
    while position < len(body):
        match = ITEM.match(body, position)
        if match is None:
            return None if body[position:].strip() else items
        items.append(match["item"].strip())
        commas.append(bool(match["comma"]))
        position = match.end()
    if any(commas[:-1]) and not all(commas[:-1]):
        return None
    if not any(commas):
        # Without a comma, words that are no numbers are one name: [dark wood].
        words = [word for item in items for word in ([item] if item[-1:] in ("'", '"') else item.split())]
        if all(_literal(word) is not word for word in words):
            items = words
    return [_literal(item) for item in items]


def _literal(item: str) -> Any:
    if item[-1:] in ("'", '"'):
        try:
            value = ast.literal_eval(item)
        except (ValueError, SyntaxError, MemoryError):
            return item
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if item in ("True", "False", "true", "false"):
        return item in ("True", "true")
    if item in ("None", "null"):
        return None
    if NUMBER.fullmatch(item):
        return float(item) if "." in item else int(item)
    return item
