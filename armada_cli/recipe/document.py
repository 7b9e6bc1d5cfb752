"""YAML text -> a tree of plain values that know where they stand.

PyYAML's safe composer finds the structure and the positions; the values are made here, because its YAML 1.1 rules read
``1e-4`` as text, ``no`` as a boolean, ``010`` as eight and ``12:30`` as 750, and let the second of two equal keys win.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from armada_cli.reading import encoding_fault
from armada_cli.recipe.tree import INVALID, Entry, Items, Node, Place, Report, Scalar, Source, Table

MAX_VALUES = 5_000
"""Of a whole recipe, keys not counted. Aliases of aliases grow exponentially."""

MAX_DEPTH = 20
"""Lists and mappings inside each other. A recipe needs four, a component that names others a few more."""

MAX_TEXT = 20_000
"""Characters of one value."""

MAX_DIGITS = 300
"""Characters of a number. Beyond some thousands, Python refuses to read or to write it."""

_PLAIN = "armada:plain"
_QUOTED = "tag:yaml.org,2002:str"
_STRUCTURE = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}

_LARGEST = 2**63
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"([-+]?)0+([0-9]+)")
_UNDERSCORES = re.compile(r"[-+]?[0-9]+(_[0-9]+)+")
_RADIX = re.compile(r"[-+]?0([xX]_*[0-9a-fA-F][0-9a-fA-F_]*|o_*[0-7][0-7_]*|b_*[01][01_]*)")
_LIKE_A_NUMBER = re.compile(r"[-+]?(0[xXob][0-9a-fA-F_]+|\.?[0-9][0-9_.]*([eE][-+]?[0-9_]+)?)")
_FORBIDDEN = re.compile("[\0\ud800-\udfff]")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


_TOO_DEEP = (f"lists and mappings are nested more than {MAX_DEPTH} deep", "A recipe needs four levels")


class _TooLarge(Exception):
    """Raised at the node that is one too many, or one too deep."""

    def __init__(self, mark: yaml.Mark, what: str, hint: str) -> None:
        self.mark = mark
        super().__init__(what, hint)


class _Composer(yaml.SafeLoader):
    """Composes nodes without guessing at scalars: a plain one and a quoted one are told apart, nothing else. Depth and count
    are limited here, where PyYAML calls itself for each level."""

    def __init__(self, text: str) -> None:
        self.depth = self.count = 0
        super().__init__(text)

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        self.count += 1
        if self.depth > MAX_DEPTH + 1:  # the innermost value is no level of its own
            raise _TooLarge(self.peek_event().start_mark, *_TOO_DEEP)
        if self.count > 2 * MAX_VALUES:  # keys are nodes too
            what = f"the recipe holds more than {MAX_VALUES} values"
            raise _TooLarge(self.peek_event().start_mark, what, "Make several recipes of it")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def fetch_flow_collection_start(self, token: Any) -> None:
        # The scanner looks a thousand characters ahead, and at each goes through all the brackets that are open.
        if self.flow_level >= MAX_DEPTH:
            raise _TooLarge(self.get_mark(), *_TOO_DEEP)
        super().fetch_flow_collection_start(token)

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _QUOTED
        return super().resolve(kind, value, implicit)


def parse(source: Source, report: Report) -> Node | None:
    """The text's tree, or None when it has none worth checking (every reason has been reported)."""
    try:
        composer = _Composer(source.text)
    except yaml.reader.ReaderError as error:
        _report_character(source, error, report)
        return None
    try:
        root = composer.get_node() if composer.check_node() else None
        if root is not None and composer.check_node():
            mark = composer.peek_event().start_mark
            report(source.place(mark.line, mark.column, ""), "a second document begins here", "Keep one recipe in one file")
            return None
        if root is None:
            if source.numbered:
                report(source.place(0, 0, ""), "the file is empty", "`armada list recipes` names recipes to start from")
                return None
            return Scalar(None, source.place(0, 0, ""))
        return _Builder(source, report).build(root)
    except yaml.MarkedYAMLError as error:
        _report_syntax(source, error, report)
    except _TooLarge as error:
        report(source.place(error.mark.line, error.mark.column, ""), *error.args)
    except (ValueError, OverflowError):  # of a character or a version that has no number, which PyYAML does not expect
        mark = composer.get_mark()
        report(source.place(mark.line, mark.column, ""), "not YAML: an escape or a version that does not exist", "Remove it")
    finally:
        composer.dispose()
    return None


def decode(data: bytes, file: str, folder: Path, report: Report) -> Source | None:
    """Bytes -> text, or None when they are not UTF-8."""
    fault = encoding_fault(data)
    if fault:
        report(Source(file, "", folder).place(0, 0, ""), *fault)
        return None
    try:
        return Source(file, data.decode("utf-8-sig"), folder)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", errors="replace").removeprefix("\ufeff")
        line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
        offending = "".join(f"\\x{byte:02x}" for byte in data[error.start : error.start + 1])
        report(Source(file, "", folder).place(line, column, offending), "the file is not UTF-8", "Save it as UTF-8")
        return None


class _Builder:
    """Composed nodes -> `Node`s."""

    def __init__(self, source: Source, report: Report) -> None:
        self.source = source
        self.report = report
        self.open: set[int] = set()
        self.count = 0

    def place(self, node: yaml.Node) -> Place:
        if isinstance(node, yaml.ScalarNode):
            text = node.value
        else:
            text = self.source.text[node.start_mark.index : min(node.end_mark.index, node.start_mark.index + 200)]
        return self.source.place(node.start_mark.line, node.start_mark.column, text)

    def build(self, node: yaml.Node) -> Node:
        place = self.place(node)
        self.count += 1
        if self.count == MAX_VALUES:
            self.report(place, f"the recipe holds more than {MAX_VALUES} values, those of its aliases included", "Write less")
        if self.count >= MAX_VALUES:
            return Scalar(INVALID, place)
        if id(node) in self.open:
            self.report(place, "an alias contains itself", "Write the values out")
            return Scalar(INVALID, place)
        if node.tag not in _STRUCTURE and node.tag not in (_PLAIN, _QUOTED):
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self.report(place, f"a recipe has no tags, here {tag}", "Remove it; text is written in quotes")
            return Scalar(INVALID, place)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, place)
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return Items(tuple(self.build(item) for item in node.value), place)
            return self.table(node, place)
        finally:
            self.open.discard(id(node))

    def scalar(self, node: yaml.ScalarNode, place: Place) -> Scalar:
        if len(node.value) > MAX_TEXT:
            self.report(place, f"a value of {len(node.value)} characters", f"Keep it below {MAX_TEXT}")
            return Scalar(INVALID, place)
        if fault := _FORBIDDEN.search(node.value):
            self.report(place, f"a character that no text may hold, {fault[0]!r}", "Remove it")
            return Scalar(INVALID, place)
        if node.tag == _QUOTED:
            return Scalar(node.value, place)
        try:
            return Scalar(plain_scalar(node.value), place)
        except ValueError as error:
            message, suggestion = error.args
            self.report(place, message, suggestion)
            return Scalar(INVALID, place)

    def table(self, node: yaml.Node, place: Place) -> Table:
        entries: dict[str, Entry] = {}
        merged: list[Table] = []
        for key_node, value_node in node.value:
            key_place = self.place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.report(key_place, "a key must be a word", "Put text with brackets in quotes")
                continue
            key = key_node.value
            if key == "<<" and key_node.tag == _PLAIN:
                merged += self.merge_sources(value_node)
                continue
            if key == "" and key_node.tag == _PLAIN:
                self.report(key_place, "a key is missing before ':'", "Write `key: value`")
                continue
            value = self.build(value_node)
            if key in entries:
                first = entries[key].key.line
                seen = f" (first on line {first})" if first else ""
                self.report(key_place, f"this key is given twice{seen}", "Keep one of them")
                continue
            entries[key] = Entry(key_place, value)
        for table in merged:
            for key, entry in table.entries.items():
                entries.setdefault(key, entry)
        return Table(entries, place)

    def merge_sources(self, node: yaml.Node) -> Iterator[Table]:
        built = self.build(node)
        for item in built.items if isinstance(built, Items) else (built,):
            if isinstance(item, Table):
                yield item
            elif not (isinstance(item, Scalar) and item.value is INVALID):
                self.report(item.place, "<<: takes a mapping or a list of mappings", "Name an anchor, as in `<<: *shared`")


def plain_scalar(text: str) -> Any:
    """The value of an unquoted word.

    Raises:
        ValueError(message, suggestion): a number written in a way that two readers would read differently.
    """
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if len(text) > MAX_DIGITS:
        if _LIKE_A_NUMBER.fullmatch(text):
            raise ValueError("the number is too large", "Write a smaller one, or put it in quotes")
        return text
    if _INTEGER.fullmatch(text):
        if abs(int(text)) >= _LARGEST:
            raise ValueError("the number is too large", "Write a smaller one, or put it in quotes")
        return int(text)
    if match := _LEADING_ZERO.fullmatch(text):
        decimal = match[1].removeprefix("+") + match[2]
        raise ValueError("a number with a leading zero", f"Write {decimal}, or '{text}' in quotes")
    if _UNDERSCORES.fullmatch(text):
        raise ValueError("a number with underscores", f"Write {text.replace('_', '')}, or '{text}' in quotes")
    if _RADIX.fullmatch(text):
        raise ValueError("a number that is not decimal", f"Write {int(text.replace('_', ''), 0)}, or '{text}' in quotes")
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("not a finite number", f"Write a number, or '{text}' in quotes")
    if _FLOAT.fullmatch(text):
        value = float(text)
        if not math.isfinite(value):
            raise ValueError("the number is too large", "Write a smaller one, or put it in quotes")
        return value
    return text


def _report_character(source: Source, error: yaml.reader.ReaderError, report: Report) -> None:
    before = source.text[: error.position]
    line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
    shown = f"\\x{ord(error.character):02x}" if isinstance(error.character, str) else f"\\x{error.character:02x}"
    report(source.place(line, column, shown), "a character that YAML does not allow", "Remove it; is this a text file?")


_ADVICE = (
    ("\\t", "Indent with spaces, not tabs"),
    ("cannot start any token", "Put the text in quotes"),
    ("mapping values are not allowed", "Check the indentation; text with ': ' in it needs quotes"),
    ("expected <block end>", "Check the indentation of this line"),
    ("could not find expected ':'", "Write `key: value`, with a space after the colon"),
    ("undefined alias", "Define it before its use as `&name`; text that begins with * needs quotes"),
    ("quoted scalar", "Close the quotes"),
    ("expected ',' or", "Close the bracket, or put a comma between two values"),
)


def _report_syntax(source: Source, error: yaml.MarkedYAMLError, report: Report) -> None:
    mark = error.problem_mark or error.context_mark
    what = error.problem or error.context or "it cannot be read"
    detail = f"{error.context or ''} {what}"
    advice = next((advice for sign, advice in _ADVICE if sign in detail), "Check this line and the one before it")
    lines = source.text.splitlines()
    line, column = (mark.line, mark.column) if mark else (0, 0)
    if "quoted scalar" in detail and error.context_mark:
        line, column = error.context_mark.line, error.context_mark.column
        what = "quotes that are not closed"
    if advice == _ADVICE[0][1]:
        what = "a tab where only spaces may stand"
    elif what == "expected <block end>, but found '<block mapping start>'":
        what = "this line is indented differently from its neighbours"
    text = lines[line].strip() if line < len(lines) else ""
    report(source.place(line, column, text), f"not YAML: {' '.join(what.split())}", advice)
