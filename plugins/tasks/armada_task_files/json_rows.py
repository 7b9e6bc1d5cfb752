"""Rows of JSON, an object a line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from armada_cli import UserError
from armada_cli.reading import parse_json
from armada_task_files.columns import Rows, find_repeated, no_column
from armada_task_files.faults import Faults


def read_objects(
    path: str, stream: Iterable[str], columns: Sequence[str], faults: Faults
) -> Iterator[tuple[int, dict[str, Any]]]:
    keys: list[str] = []
    hook = _pairs(keys)
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line.rstrip(), hook)
        except ValueError as error:
            if number == 1 and line.lstrip().startswith("["):
                raise UserError(f"{path}:1: the file is one JSON list", "Write one object a line") from None
            faults.add(number, *_json_fault(line.rstrip(), error))
            continue
        if not isinstance(row, dict):
            kind = "list" if isinstance(row, list) else type(row).__name__
            faults.add(number, f"a JSON {kind}, not an object", 'Write each line as {"text": ..., "label": ...}')
            continue
        if len(keys) > len(row) and (twice := find_repeated(keys, columns)):
            faults.add(number, f"the key {twice[0]!r} stands there twice", "Give each key a name of its own")
            continue
        yield number, row


def _pairs(keys: list[str]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """A hook that leaves the keys of the outermost object in `keys`: json calls it for inner objects first."""

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys[:] = [name for name, _ in pairs]
        return dict(pairs)

    return build


def _json_fault(line: str, error: Exception) -> tuple[str, str]:
    """What a line that is not JSON has instead, where that can be told."""
    whole = "Write one whole JSON object a line"
    if not isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error})", whole
    # Python 3.13 points at the comma, earlier versions at the bracket.
    comma = len(line[: error.pos].rstrip()) - 1 if line[error.pos : error.pos + 1] in ("}", "]") else error.pos
    if line[comma : comma + 1] == "," and line[comma + 1 :].lstrip()[:1] in ("}", "]"):
        return f"not JSON at column {comma + 1}: a comma before a closing bracket", "Remove the comma behind the last entry"
    if line[error.pos : error.pos + 1] == "'":
        return f"not JSON at column {error.colno}: single quotes", "Write texts in double quotes, as json.dumps does"
    return f"not JSON at column {error.colno}", whole


def check_keys(path: str, number: int, row: dict[str, Any], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in row]
    if missing:
        raise no_column(f"{path}:{number}", missing, list(row))


def read_jsonl(path: str, stream: Iterable[str], columns: Sequence[str], faults: Faults) -> Rows:
    first = True
    for number, row in read_objects(path, stream, columns, faults):
        if first:
            # The first row stands for the header: a name missing there is a wrong option rather than a bad row.
            check_keys(path, number, row, columns)
        missing = [name for name in columns if name not in row]
        if missing:
            faults.add(
                number, f"no key {missing[0]!r}", f"Give every line the keys {', '.join(repr(name) for name in columns)}"
            )
            continue
        first = False
        yield number, tuple([row[name] for name in columns])
