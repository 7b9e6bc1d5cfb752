"""Rows of JSON files: an object a line, or one array of objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from armada_cli.errors import UserError
from armada_cli.reading import encoding_fault, open_file, parse_json, read_bytes


def file_rows(path: Path, columns: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The rows of one file: a JSON array of objects (``.json``), or an object a line.

    Raises:
        UserError: the file cannot be read, is damaged, holds no row, or a row lacks one of `columns`.
    """
    wanted = tuple(columns)
    table = _array(path) if path.suffix == ".json" else [row for _, row in read_lines(path)]
    if not table:
        raise UserError(f"{path}: no row in it", "Copy the file again")
    for number, row in enumerate(table):
        if any(name not in row for name in wanted):
            check_columns(file_place(path, number), row, wanted)
    return table


def file_place(path: Path, row: int) -> str:
    """The place of a row (from 0) of `file_rows` for an error message: ``file:line``, or ``file, row 3`` of an array."""
    if path.suffix != ".json":
        for number, (line, _) in enumerate(read_lines(path)):
            if number == row:
                return f"{path}:{line}"
    return f"{path}, row {row + 1}"


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers from 1 and objects; blank lines are passed over."""
    again = "The file is damaged or no JSONL: copy it again"
    try:
        with open_file(path) as stream:
            for number, line in enumerate(stream, start=1):
                fault = encoding_fault(line) if number == 1 else None
                if fault:
                    raise UserError(f"{path}: {fault[0]}", fault[1])
                if not line.strip():
                    continue
                try:
                    row = parse_json(line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip())
                except UnicodeDecodeError as error:
                    raise UserError(f"{path}:{number}: byte 0x{line[error.start]:02x} is not UTF-8", again) from None
                except ValueError as error:
                    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                    raise UserError(f"{path}:{number}: not a JSON object ({reason})", again) from None
                if not isinstance(row, dict):
                    raise UserError(f"{path}:{number}: a JSON {_json_type(row)}, not an object", again)
                yield number, row
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", "Check the file and its permissions") from None


def read_text(path: Path, again: str, also: str = "") -> str:
    """The text of a whole file, which must be UTF-8.

    Args:
        again: what to do about a damaged file; also: what else to do about one in another encoding.

    Raises:
        UserError: it cannot be read, or is no such text.
    """
    try:
        content = read_bytes(path)
        if fault := encoding_fault(content):
            raise UserError(f"{path}: {fault[0]}", fault[1] + also)
        return content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", "Check the file and its permissions") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte 0x{error.object[error.start]:02x} at {error.start} is not UTF-8", again) from None


def _array(path: Path) -> list[dict[str, Any]]:
    again = "The file is damaged or no JSON array: copy it again"
    try:
        table = parse_json(read_text(path, again))
    except ValueError as error:
        reason = f"{error.msg}, line {error.lineno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"{path}: not JSON ({reason})", again) from None
    if not isinstance(table, list):
        raise UserError(f"{path}: a JSON {_json_type(table)}, not an array of objects", again)
    for number, row in enumerate(table):
        if not isinstance(row, dict):
            raise UserError(f"{path}, row {number + 1}: a JSON {_json_type(row)}, not an object", again)
    return table


def _json_type(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def check_columns(place: str, row: Mapping[str, Any], wanted: Sequence[str]) -> None:
    """Raises: UserError, for a row that lacks one of the columns."""
    missing = [name for name in wanted if name not in row]
    if missing:
        names = " and ".join(repr(name) for name in missing)
        there = ", ".join(repr(name) for name in row)
        raise UserError(f"{place}: no column {names}; there are {there}", "A mirror keeps the hub's own column names")
