"""What a run's folder tells of the run: ``run.json``, and what changed since it was written, a line each in ``changes.jsonl``.

``run.json`` lists every trial and has megabytes where there are thousands, so it is written when a run begins and when it ends;
in between a trial that ends costs one line. A line tells the new state of one trial, so that its order and its repetition do
not matter, and one that a kill cut short is passed over. Each ``run.json`` that expects lines names its ``changes``, and they
name it: lines that an earlier run left behind count for nothing.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from armada_cli.files import disk_error, remove, write_json
from armada_cli.reading import load_json, open_file, parse_json

RECORD = "run.json"
CHANGES = "changes.jsonl"


class RunRecord:
    """Writes the record of one run.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._name = ""

    def begin(self, record: Mapping[str, Any]) -> None:
        """Write the whole record of a run whose trials are about to end, one by one.

        Raises:
            UserError: the disk is full, or the folder cannot be written.
        """
        self._name = uuid.uuid4().hex
        write_json(self.folder / RECORD, {**record, "changes": self._name})
        remove(self.folder / CHANGES, self.folder)

    def change(self, trial: str, status: str, reason: str = "", metric: str = "") -> None:
        """Note that a trial is ``done`` or ``failed``; costs the same however many there are.

        Raises:
            UserError: as `begin`.
        """
        line = {"changes": self._name, "id": trial, "status": status, "reason": reason} | ({"metric": metric} if metric else {})
        path = self.folder / CHANGES
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            with os.fdopen(descriptor, "wb") as stream:
                # A line end in front: half a line that a full disk left does not spoil this one.
                stream.write(b"\n" + json.dumps(line).encode() + b"\n")
                stream.flush()
                os.fsync(descriptor)
        except OSError as error:
            raise disk_error(path, error) from error

    def end(self, record: Mapping[str, Any]) -> None:
        """Write the whole record, and no lines more.

        Raises:
            UserError: as `begin`.
        """
        write_json(self.folder / RECORD, dict(record))
        remove(self.folder / CHANGES, self.folder)


def read_record(folder: Path) -> Any:
    """The value of ``run.json``, with what changed since it was written.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is damaged.
    """
    record = load_json(folder / RECORD)
    name = record.get("changes") if isinstance(record, dict) else None
    if isinstance(name, str) and name:
        _apply(record, _read_changes(folder / CHANGES, name))
    return record


def _read_changes(path: Path, name: str) -> dict[str, dict[str, Any]]:
    """Trial id -> its last readable line among those that belong to the record called `name`."""
    changes: dict[str, dict[str, Any]] = {}
    try:
        with open_file(path) as stream:
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return changes
    for line in lines:
        try:
            change = parse_json(line)
        except ValueError:
            continue
        if isinstance(change, dict) and change.get("changes") == name and isinstance(change.get("id"), str):
            changes[change["id"]] = change
    return changes


def _apply(record: dict[str, Any], changes: Mapping[str, Mapping[str, Any]]) -> None:
    for key in ("trials", "dependencies"):
        for entry in record[key] if isinstance(record.get(key), list) else ():
            change = changes.get(str(entry.get("id"))) if isinstance(entry, dict) else None
            if change:
                entry |= {name: change[name] for name in ("status", "reason", "metric") if name in change}
