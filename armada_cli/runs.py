"""The run folder: where everything lies, written so that a reader never sees half a file.

runs/trials/<id>/    spec.json, log.jsonl, checkpoint/, student/, predictions.safetensors, heads.safetensors,
                     aligner.safetensors, timings.json, digests.json, result.json (last)
runs/<recipe>/       recipe.yaml, resolved.json, run.json, report.{txt,md,json}
runs/features.db     every teacher representation, once
runs/features/       h_t of a task's training split, reduced and standardised
runs/outputs/<id>/   what the student of a trial gives for the rows of others, computed once: <key>/values.npy, digests.json
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO, TypeGuard

from armada_cli.digests import DamagedDigests, differences, load_checked_json, read_digests
from armada_cli.errors import UserError
from armada_cli.files import disk_error, read_json, remove, require_inside, sweep_halves
from armada_cli.models import weights
from armada_cli.run_names import RUN_FILES, is_reserved, refuse_folder_name, require_run_name

LOCK = ".lock"
SPEC, RESULT, STUDENT, ANSWERS = "spec.json", "result.json", "student", "answers.jsonl"

EPOCHS = "epochs"
"""In a trial's folder: the student of each epoch, by its number from 1; only where another trial needs them."""

INFERENCE = "inference.safetensors"
"""In a student's folder: the modules of its method that it needs for its answers."""

HEADS = "heads.safetensors"
"""In a trial's folder: the small modules that were trained with the student and are no part of its answers."""

EVALUATED = "evaluated"
"""The role of the trial whose student a trial scores on another task, without training it."""


def is_spec(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether a value has what is read of a ``spec.json``."""
    kinds = {"build": dict, "train": dict, "depends": dict, "seed": int}
    if not isinstance(value, dict) or not all(isinstance(value.get(name), kind) for name, kind in kinds.items()):
        return False
    parts = [value["build"].get(kind) for kind in ("student", "task", "method")]
    return all(isinstance(part, dict) and {"name", "options"} <= set(part) for part in parts)


class Runs:
    """The layout of one root folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def features(self) -> Path:
        return self.root / "features"

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"

    @property
    def trials(self) -> Path:
        return self.root / "trials"

    def run(self, recipe: str) -> Path:
        """The folder of a recipe's run.

        Raises:
            UserError: no folder of the runs may be called so.
        """
        require_run_name(recipe, "Rename the recipe's file")
        return self.root / recipe

    def smoke(self, recipe: str) -> Path:
        """The root of a recipe's smoke runs.

        Raises:
            UserError: as `run`.
        """
        require_run_name(recipe, "Rename the recipe's file")
        return self.root / "smoke" / recipe

    @property
    def tiny(self) -> Path:
        """Where the tiny checkpoints and rows of smoke runs lie; no recipe can have its name."""
        return self.root / "smoke" / ".tiny"

    def trial(self, trial_id: str) -> Path:
        """The folder of a trial.

        Raises:
            UserError: this is no trial's id; some come from files that anybody may have written.
        """
        reason = refuse_folder_name(trial_id)
        if reason:
            raise UserError(f"{trial_id!r} cannot be the id of a trial: {reason}", "Run the recipe again")
        return self.trials / trial_id

    def require_foreign(self, output: Path) -> None:
        """Refuse to write what a user asked for over, or among, what these runs are made of.

        Raises:
            UserError: `output` is a file or a folder of the runs, or the folder that holds them.
        """
        root = os.path.realpath(self.root)
        place = os.path.join(os.path.realpath(output.parent), output.name)
        if any(os.path.commonpath((root, path)) == path for path in (place, os.path.realpath(output))):
            raise UserError(f"{output} is the folder of runs, or holds it", "Name another place")
        for path in (place, os.path.realpath(output)):  # a link is replaced where it lies, or written through
            if os.path.commonpath((root, path)) != root:
                continue
            first, *rest = Path(path).relative_to(root).parts
            if is_reserved(first) or (len(rest) == 1 and rest[0] in RUN_FILES):
                raise UserError(f"{output} belongs to the runs in {self.root}", "Name a place outside of them")

    def result(self, trial_id: str, *, scored: bool = False) -> dict[str, Any] | None:
        """The result of a finished trial; None when it is unfinished or its file damaged.

        Args:
            scored: the trial has a score of its own; one that only trains for others to evaluate has none.
        """
        try:
            value = load_checked_json(self.trial(trial_id), RESULT)
        except (OSError, ValueError):
            return None
        if not isinstance(value, dict) or value.get("id") != trial_id:
            return None
        if not isinstance(value.get("metric"), str) or not isinstance(value.get("scores"), dict):
            return None
        score = value["scores"].get(value["metric"])
        finite = isinstance(score, (int, float)) and math.isfinite(score)
        return value if finite or not scored else None

    def damage(self, trial_id: str, keep: Iterable[str] = ()) -> str | None:
        """What is missing or damaged of a finished trial that others build on: of what it was, and of its student where it
        has one. None when all is as it was written. Reads every byte; a trial of an earlier version has no digests, and there
        only what shows by itself does.

        Args:
            keep: what else is wanted of it: ``epochs``, the students of all epochs. A trial that was made when nobody wanted
                them lacks them.
        """
        folder = self.trial(trial_id)
        spec = read_json(folder / SPEC)
        if EPOCHS in keep and is_spec(spec):
            for epoch in range(1, int(spec["train"]["epochs"]) + 1):
                if not any((folder / EPOCHS / str(epoch)).glob("*")):
                    return f"{EPOCHS}/{epoch} is missing"
        try:
            digests = read_digests(folder)
        except DamagedDigests as error:
            return str(error)
        if digests is not None:
            parts = [SPEC, *(name for name in (STUDENT, EPOCHS) if any(item.startswith(f"{name}/") for item in digests))]
            parts += [ANSWERS] * (ANSWERS in digests)
            return next(differences(folder, digests, parts), None)
        if not is_spec(spec):
            return f"{SPEC} is missing or damaged"
        if EVALUATED in spec["depends"]:
            return None
        if not any((folder / STUDENT).glob("*")):
            return f"{STUDENT} is missing"
        complaint = weights.damage(folder / STUDENT)
        return f"{STUDENT}/{complaint}" if complaint else None

    def components(self, recipe: str) -> list[Mapping[str, Any]]:
        """The components that a recipe's last run was made of, each with kind, name, distribution and version; none when it
        never ran."""
        run = read_json(self.run(recipe) / "run.json")
        record = run.get("provenance") if isinstance(run, dict) else None
        components = record.get("components") if isinstance(record, dict) else None
        return [item for item in components if isinstance(item, dict)] if isinstance(components, list) else []

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
        with self._lock_file(self.trial(trial_id)) as stream:
            _wait_for(stream)
            yield

    @contextlib.contextmanager
    def lock_outputs(self, trial_id: str) -> Iterator[Path]:
        """Hold the lock of what a trial's student has given for the rows of others, as `lock`; the folder of it."""
        folder = self._outputs_of(trial_id)
        with self._lock_file(folder) as stream:
            _wait_for(stream)
            yield folder

    def _outputs_of(self, trial_id: str) -> Path:
        return self.outputs / self.trial(trial_id).name

    def sweep_unfinished(self, recipe: str) -> None:
        """Remove the halves of files that killed processes left in a recipe's folder and among the prepared features."""
        sweep_halves(self.run(recipe), RUN_FILES)
        sweep_halves(self.features)

    def sweep(self, trial_id: str, *, finished: bool) -> None:
        """Remove what a killed process left in a trial's folder: halves of files and folders, and what a finished trial no
        longer needs. A trial that another process works on is left alone.

        Args:
            finished: nothing of it will be made again; a result alone does not tell that.

        Raises:
            UserError: its folder cannot be written.
        """
        self._sweep_outputs(trial_id)
        folder = self.trial(trial_id)
        if not folder.is_dir():
            return
        with self._lock_file(folder) as stream:
            if not _locked(stream):
                return
            for half in (*folder.glob(".*"), *folder.glob("checkpoint/.*")):
                if half != folder / LOCK:
                    remove(half, self.trials)
            if finished and self.result(trial_id) is not None:
                self.drop_progress(trial_id)

    def drop_progress(self, trial_id: str) -> None:
        """Remove what a trial needed only to go on: its checkpoints and the answers it had noted."""
        folder = self.trial(trial_id)
        remove(folder / "checkpoint", self.trials)
        for notes in folder.glob("answers*.part"):
            remove(notes, self.trials)

    def drop_outputs(self, trial_id: str) -> None:
        """Remove what a trial's student has given: another one takes its place."""
        if self._outputs_of(trial_id).is_dir():
            with self.lock_outputs(trial_id) as folder:
                for outputs in folder.glob("[!.]*"):
                    remove(outputs, self.outputs)

    def sizes_of_outputs(self) -> dict[str, int]:
        """Trial -> bytes of what its student has given for the rows of others, of those that gave something."""
        sizes = {}
        for folder in sorted(self.outputs.glob("[!.]*/")):
            sizes[folder.name] = sum(path.stat().st_size for path in folder.glob("[!.]*/*") if path.is_file())
        return {trial: size for trial, size in sizes.items() if size}

    def _sweep_outputs(self, trial_id: str) -> None:
        folder = self._outputs_of(trial_id)
        if not folder.is_dir():
            return
        with self._lock_file(folder) as stream:
            if _locked(stream):
                for half in folder.glob(".*"):
                    if half != folder / LOCK:
                        remove(half, self.outputs)

    def _lock_file(self, folder: Path) -> TextIO:
        require_inside(folder / LOCK, folder.parent)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return (folder / LOCK).open("a")
        except OSError as error:
            raise disk_error(folder, error) from error


def _wait_for(stream: TextIO) -> None:
    while not _locked(stream):
        time.sleep(0.2)


def _locked(stream: TextIO) -> bool:
    """Take the lock, unless somebody has it."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
