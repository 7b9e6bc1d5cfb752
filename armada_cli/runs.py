"""The run folder: where everything lies, written so that a reader never sees half a file.

runs/trials/<id>/    spec.json, log.jsonl, checkpoint/, student/, timings.json, result.json (last, by rename)
runs/<recipe>/       recipe.yaml, resolved.json, run.json, report.{txt,md,json}
runs/features.db     every teacher representation, once
runs/features/       h_t of a task's training split, reduced and standardised
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from armada_cli.files import disk_error, read_json

LOCK = ".lock"


class Runs:
    """The layout of one root folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

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

    def components(self, recipe: str) -> list[Mapping[str, Any]]:
        """The components that a recipe's last run was made of, each with kind, name, distribution and version; none when it
        never ran."""
        run = read_json(self.run(recipe) / "run.json")
        record = run.get("provenance") if isinstance(run, dict) else None
        found = record.get("components") if isinstance(record, dict) else None
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []

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
        """Hold a trial's lock; waits while another process works on it. The kernel frees it when its holder dies.

        Raises:
            UserError: its folder cannot be written.
        """
        with self._lock_file(trial_id) as stream:
            while not _locked(stream):
                time.sleep(0.2)
            yield

    def sweep(self, trial_id: str) -> None:
        """Remove what a killed process left in a trial's folder: halves of files and folders, and what a finished trial no
        longer needs. A trial that another process works on is left alone.

        Raises:
            UserError: its folder cannot be written.
        """
        folder = self.trial(trial_id)
        if not folder.is_dir():
            return
        with self._lock_file(trial_id) as stream:
            if not _locked(stream):
                return
            for half in (*folder.glob(".*"), *folder.glob("checkpoint/.*")):
                if half != folder / LOCK:
                    _remove(half)
            if self.result(trial_id) is not None:
                self.drop_progress(trial_id)

    def drop_progress(self, trial_id: str) -> None:
        """Remove what a trial needed only to go on: its checkpoints and the answers it had noted."""
        folder = self.trial(trial_id)
        _remove(folder / "checkpoint")
        for notes in folder.glob("answers*.part"):
            _remove(notes)

    def _lock_file(self, trial_id: str) -> TextIO:
        folder = self.trial(trial_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return (folder / LOCK).open("w")
        except OSError as error:
            raise disk_error(folder, error) from error


def _locked(stream: TextIO) -> bool:
    """Take the lock, unless somebody has it."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path) -> None:
    """Remove a file or a folder; one that cannot be removed does no harm where it is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
