"""The run folder: where everything lies, written so that a reader never sees half a file.

    runs/trials/<id>/    spec.json, log.jsonl, checkpoint/, student/, timings.json, result.json (last, by rename)
    runs/<recipe>/       recipe.yaml, resolved.json, run.json, report.{txt,md,json}
    runs/features.db     every teacher representation, once
    runs/features/       h_t of a task's training split, reduced and standardised
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from armada_cli.errors import UserError


def write_atomic(path: Path, text: str) -> None:
    """Write a file so that it is either the old one or the whole new one, whatever happens in between.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            temporary = Path(stream.name)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise disk_error(path, error) from error


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` of readable JSON with sorted keys: equal values are equal bytes."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any | None:
    """The value, or None when the file is missing or damaged (it will be made again)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def disk_error(path: Path, error: OSError) -> UserError:
    """An operating system's refusal, as one line."""
    reason = error.strerror or str(error)
    return UserError(f"cannot write {path}: {reason}", "Free some space, or name another place with --runs")


class Runs:
    """The layout of one root folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def store(self) -> Path:
        return self.root / "features.db"

    @property
    def features(self) -> Path:
        return self.root / "features"

    def run(self, recipe: str) -> Path:
        return self.root / recipe

    def trial(self, trial_id: str) -> Path:
        return self.root / "trials" / trial_id

    def result(self, trial_id: str) -> dict[str, Any] | None:
        """The result of a finished trial; None when it is unfinished or its file damaged."""
        value = read_json(self.trial(trial_id) / "result.json")
        return value if isinstance(value, dict) and value.get("id") == trial_id and "scores" in value else None

    def make(self) -> None:
        """Create the root.

        Raises:
            UserError: it cannot be created or written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root) as probe:
                probe.write(b"armada")
        except OSError as error:
            raise disk_error(self.root, error) from error

    @contextlib.contextmanager
    def lock(self, trial_id: str) -> Iterator[None]:
        """Hold a trial's lock; waits while another process works on it. The kernel frees it when its holder dies."""
        folder = self.trial(trial_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stream = (folder / ".lock").open("w")
        except OSError as error:
            raise disk_error(folder, error) from error
        with stream:
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.2)
            yield


def replace_folder(source: Path, target: Path) -> None:
    """Put a complete folder in the place of another."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(source, target)
    shutil.rmtree(old, ignore_errors=True)
