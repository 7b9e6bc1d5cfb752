"""A whole runs folder compared with what was written into it. Reads every byte and writes nothing."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from armada_cli.digests import FILE, DamagedDigests, Digests, difference, read_digests
from armada_cli.errors import UserError
from armada_cli.features.prepare import load_prepared
from armada_cli.features.progress import show_progress
from armada_cli.features.store import FeatureStore
from armada_cli.files import read_json
from armada_cli.models import weights
from armada_cli.reporting.folder import read_run
from armada_cli.run_names import STORE
from armada_cli.runs import EVALUATED, LOCK, RESULT, SPEC, STUDENT, Runs, is_spec


@dataclass
class Findings:
    """What was seen.

    Attributes:
        damages: one line each; notes: lines about what could not be judged.
        trials, checkpoints, files, vectors: how many were looked at.
    """

    damages: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    trials: int = 0
    checkpoints: int = 0
    files: int = 0
    vectors: int = 0


def verify_runs(root: Path, *, progress: bool = True) -> Findings:
    """Check trials with their students and checkpoints, outputs of students, run folders, prepared features and the store.

    Raises:
        UserError: no runs folder is there.
    """
    from armada_cli.execution.outputs import damage_of_outputs

    runs = Runs(root)
    if not root.is_dir():
        raise UserError(f"there is no folder {root}", "Name the folder of runs, or give --runs")
    if not (runs.trials.is_dir() or (root / STORE).exists() or runs.features.is_dir()):
        raise UserError(f"{root} is no folder of runs: it has no trials and no features", "Name one that `armada run` made")
    findings = Findings()
    trials = sorted(path for path in runs.trials.glob("*") if path.is_dir() and not path.name.startswith("."))
    prepared = sorted(runs.features.glob("*.safetensors"))
    outputs = sorted(runs.outputs.glob("[!.]*/[!.]*/"))
    records = sorted(root.glob("*/run.json"))
    with show_progress("verifying", len(trials) + len(prepared) + len(outputs) + len(records), enabled=progress) as bar:
        for folder in trials:
            if _is_worked_on(folder):
                findings.notes.append(f"{folder}: passed over, a process works on it")
            else:
                findings.trials += 1
                findings.damages += [f"{folder / line}" for line in _trial(runs, folder, findings)]
            bar.advance(1, computed=1)
        for path in prepared:
            findings.files += 1
            findings.damages += _complaints(load_prepared, path)
            bar.advance(1, computed=1)
        for folder in outputs:
            findings.files += 1
            if complaint := damage_of_outputs(folder):
                findings.damages.append(f"{folder}/{complaint}")
            bar.advance(1, computed=1)
        for path in records:
            findings.files += 1
            findings.damages += _complaints(read_run, path.parent)
            bar.advance(1, computed=1)
    findings.damages += _store(root / STORE, findings)
    return findings


def _is_worked_on(folder: Path) -> bool:
    try:
        with (folder / LOCK).open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _trial(runs: Runs, folder: Path, findings: Findings) -> Iterator[str]:
    """What is damaged of one trial, as its path below the trial's folder and what is wrong."""
    from armada_cli.evaluation.generation import read_notes

    finished = (folder / RESULT).exists()
    yield from _finished(runs, folder, findings) if finished else _unfinished(folder)
    for checkpoint in sorted(folder.glob("checkpoint/step-*")):
        findings.checkpoints += 1
        name = checkpoint.relative_to(folder).as_posix()
        yield from _compared(checkpoint, f"{name}/", findings)
    for notes in sorted(folder.glob("answers*.part")):
        findings.files += 1
        if not read_notes(notes)[1]:
            yield f"{notes.name} is damaged"


def _finished(runs: Runs, folder: Path, findings: Findings) -> Iterator[str]:
    yield from _compared(folder, "", findings)
    if (folder / FILE).exists():
        return
    spec = read_json(folder / SPEC)
    if runs.result(folder.name) is None:
        yield f"{RESULT} is damaged"
    if not is_spec(spec):
        yield f"{SPEC} is missing or damaged"
    elif EVALUATED not in spec["depends"]:
        if not (folder / STUDENT).is_dir():
            yield f"{STUDENT} is missing"
        elif complaint := weights.damage(folder / STUDENT):
            yield f"{STUDENT}/{complaint}"


def _unfinished(folder: Path) -> Iterator[str]:
    if (folder / SPEC).exists() and not is_spec(read_json(folder / SPEC)):
        yield f"{SPEC} is damaged"


def _compared(folder: Path, above: str, findings: Findings) -> Iterator[str]:
    """The files of a folder that differ from its digests."""
    digests: Digests | None
    try:
        digests = read_digests(folder)
    except DamagedDigests as error:
        yield f"{above}{error}"
        return
    if digests is None:
        findings.notes.append(f"{folder}: no digest, an earlier version made it; only what shows by itself was checked")
        return
    for name, entry in sorted(digests.items()):
        findings.files += 1
        if complaint := difference(folder / name, entry):
            yield f"{above}{name} {complaint}"


def _store(path: Path, findings: Findings) -> Iterator[str]:
    if not path.exists():
        return
    try:
        with FeatureStore(path, frozen=True) as store:
            if store.is_empty_file():
                yield f"{path} is empty"
                return
            for entry in store.entries():
                if not entry.sound:
                    yield f"{path}: the description of {entry.teacher} {entry.key} is damaged"
                good, damaged = store.verify(entry.key)
                findings.vectors += good + len(damaged)
                if damaged:
                    yield f"{path}: {len(damaged)} of {good + len(damaged)} vectors of {entry.teacher} {entry.key} are damaged"
    except UserError as error:
        yield error.what


def _complaints(read: Callable[[Path], object], path: Path) -> list[str]:
    try:
        read(path)
    except UserError as error:
        return [error.what]
    return []
