"""``log.jsonl``: the loss, its terms and the rate of some steps, a JSON record a line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armada_cli.files import disk_error, write_atomic
from armada_cli.reading import parse_json

LOG = "log.jsonl"


def append(folder: Path, record: Mapping[str, Any]) -> None:
    """Add a record.

    Raises:
        UserError: the disk does not take it.
    """
    path = folder / LOG
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
    except OSError as error:
        raise disk_error(path, error) from error


def cut(folder: Path, step: int) -> None:
    """Drop what was logged at a step or behind it: a training that goes on from its checkpoint takes those steps again."""
    kept = [json.dumps(record) + "\n" for record in read_log(folder) if record["step"] < step]
    write_atomic(folder / LOG, "".join(kept))


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The records of ``log.jsonl`` up to the first line that is none: a crash cuts the last one off, and behind damage nothing
    is certain. The log only tells of a training, so what is lost costs nothing but its figures."""
    records = []
    try:
        lines = (folder / LOG).read_bytes().split(b"\n")
    except OSError:
        return []
    for line in lines:
        try:
            record = parse_json(line)
        except ValueError:
            break
        if not _is_record(record):
            break
        records.append(record)
    return records


def _is_record(record: Any) -> bool:
    """Whether it is of the form that `Loop` logs: a step, and for each term its value and gradient, finite or a word."""
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        return False
    terms = record.get("terms", {})
    return isinstance(terms, dict) and all(
        isinstance(pair, list) and len(pair) == 2 and all(_is_figure(figure) for figure in pair) for pair in terms.values()
    )


def _is_figure(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, (int, float)) and math.isfinite(value))
