"""The data of a plan, read and judged before anything starts: no model is loaded and no teacher is asked before every row is
known to be usable. `armada check` and `armada run` judge alike.

Reading a table of 200,000 rows takes seconds, so a good verdict is kept in the user's cache, under the task's identity (which
holds the content of its files), its options and limits, and the version of this judgement. A bad one is not: the user is about
to mend what it is about.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armada_cli.contracts import JSON, Environment, Split, TeacherInput, fingerprint
from armada_cli.errors import UserError, name_error
from armada_cli.execution.unchanged import require_unchanged_choice
from armada_cli.features.identity import input_hashes
from armada_cli.files import cache_folder, read_json, write_bytes_atomic, write_json
from armada_cli.held_out import split_of, take_part
from armada_cli.plan.trials import FeatureJob, Plan, Trial
from armada_cli.recipe.model import Choice
from armada_cli.registry.restore import write_options
from armada_cli.runs import EVALUATED

VERSION = 1
"""Part of what a verdict is kept under; raised when rows are judged differently."""

SHOWN = 3
"""Faults of one split that are told."""


class DataErrors(UserError):
    """All problems of a plan's data; one line each, and a last line that counts them."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([*(f"armada: {line}" for line in problems), f"{len(problems)} problems"]))


@dataclass
class Verdict:
    """What reading the data has told.

    Attributes:
        notes: lines that tasks want the user to see though nothing stops.
        hashes: a feature job's key -> the hashes of its inputs, in row order; no entry where the data are not at hand.
        rows: a trial's id -> how many rows it trains on; no entry where the data are not at hand.
    """

    notes: list[str] = field(default_factory=list)
    hashes: dict[str, list[bytes]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)


@dataclass
class _Part:
    """What trials read of one task: its splits with their limits, and the feature jobs that show the rows of one of them to a
    teacher (`shown`); `trials` are the ids of those that read it, `held_out` the share of the training rows
    that they hold out."""

    task: Choice
    splits: dict[str, int | None]
    shown: str = "train"
    held_out: float | None = None
    trials: list[str] = field(default_factory=list)
    jobs: dict[str, FeatureJob] = field(default_factory=dict)


def judge(plan: Plan, environment: Environment, trials: Iterable[Trial] | None = None, *, fetch: bool = False) -> Verdict:
    """Read and judge what `trials` (all of the plan by default) will read.

    Args:
        fetch: data that are not on this machine are fetched; otherwise they are passed over.

    Raises:
        UserError: something is wrong with the data, one line; `DataErrors` for several.
    """
    verdict = Verdict()
    problems: list[str] = []
    for part in _parts(plan.everything if trials is None else trials):
        if _at_hand(part.task, environment) or fetch:
            problems += _judge(part, plan, environment, verdict)
    problems = list(dict.fromkeys(problems))
    verdict.notes = list(dict.fromkeys(verdict.notes))
    if len(problems) > 1:
        raise DataErrors(problems)
    if problems:
        raise UserError(problems[0])
    return verdict


def require_rows(task: Choice | str, name: str, rows: int) -> None:
    """Raises UserError: a split has no rows."""
    if not rows:
        word = "training" if name == "train" else name
        title = task if isinstance(task, str) else task.name
        raise UserError(f"task {title}: the {word} split has no rows", "Raise its limit or check the data")


def _parts(trials: Iterable[Trial]) -> list[_Part]:
    parts: dict[tuple[int, str], _Part] = {}

    def part(trial: Trial, splits: Mapping[str, int | None], shown: str = "train") -> _Part:
        own = {"shown": shown, "splits": {name: [limit] for name, limit in splits.items()}, "held_out": [trial.held_out]}
        return parts.setdefault((id(trial.task), fingerprint(own)), _Part(trial.task, dict(splits), shown, trial.held_out))

    for trial in trials:
        names = [trial.split] if EVALUATED in trial.depends else ["train", *(["validation"] if trial.evaluate else [])]
        found = part(trial, {name: trial.limit.get(name) for name in names})
        found.trials.append(trial.id)
        if trial.features is not None:
            found.jobs |= {job.key: job for job in trial.features.each}
        for shown in (trial.seen, trial.selected):
            if shown is not None:
                name = split_of(shown.rows)
                part(trial, {name: trial.limit.get(name)}, shown.rows).jobs |= {job.key: job for job in shown.each}
    return list(parts.values())


def _at_hand(task: Choice, environment: Environment) -> bool:
    """Whether the rows can be read here and now."""
    if any(part.registered.component.missing_packages() for part in task.everything()):
        return False
    return not (hasattr(task.options, "downloads") and list(task.options.downloads(environment)))


# ------------------------------------------------------------------------------------------------------------- one task


def _judge(part: _Part, plan: Plan, environment: Environment, verdict: Verdict) -> list[str]:
    """The problems of one task's data, and of its teachers with them; notes and hashes go into the verdict."""
    place = cache_folder() / "judged" / fingerprint(_key(part, plan, environment), 32)
    reader = _Reader(part, environment)
    known = _recall(place, wanted=bool(part.jobs))
    if known is None:
        problems = list(reader.problems())
        if problems:
            return problems
        hashes: list[bytes] = []
        if part.jobs:
            try:
                hashes = input_hashes(reader.inputs())
            except UserError as error:
                return [str(error)]
        known = reader.notes, hashes, reader.trained
        # A verdict over edited rows would be remembered as one over those that were planned.
        require_unchanged_choice("task", part.task, plan.identity(part.task, environment), environment)
        _keep(place, *known, with_hashes=bool(part.jobs))
    notes, hashes, rows = known
    verdict.notes += notes
    if "train" in part.splits:
        verdict.rows |= dict.fromkeys(part.trials, rows)
    problems = []
    for job in part.jobs.values():
        verdict.hashes[job.key] = hashes
        problems += _unanswerable(job, hashes, reader, environment)
    return problems


def _key(part: _Part, plan: Plan, environment: Environment) -> JSON:
    """Names and places are in it beside the contents, since a note may speak of them."""
    return {
        "version": VERSION,
        "task": plan.identity(part.task, environment),
        "options": write_options(part.task.options),
        "data": str(environment.data),
        "splits": dict(part.splits),
        **({} if part.held_out is None else {"held_out": part.held_out}),
    }


def _recall(place: Path, *, wanted: bool) -> tuple[list[str], list[bytes], int] | None:
    """Notes, hashes and the number of training rows of an earlier verdict."""
    stored = read_json(place.with_suffix(".json"))
    if not isinstance(stored, dict):
        return None
    notes, rows = stored.get("notes"), stored.get("rows")
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes) or not isinstance(rows, int):
        return None
    if not wanted:
        return notes, [], rows
    try:
        packed = place.with_suffix(".inputs").read_bytes()
    except OSError:
        return None
    # What a crash of the machine left of a file would be taken for the hashes of other texts.
    if len(packed) % 32 or stored.get("inputs") != hashlib.sha256(packed).hexdigest():
        return None
    return notes, [packed[start : start + 32] for start in range(0, len(packed), 32)], rows


def _keep(place: Path, notes: list[str], hashes: list[bytes], rows: int, *, with_hashes: bool) -> None:
    stored: dict[str, Any] = {"notes": notes, "rows": rows}
    with contextlib.suppress(UserError):
        if with_hashes:
            packed = b"".join(hashes)
            stored["inputs"] = hashlib.sha256(packed).hexdigest()
            write_bytes_atomic(place.with_suffix(".inputs"), packed)
        write_json(place.with_suffix(".json"), stored)


class _Reader:
    """Reads a task's splits, once."""

    def __init__(self, part: _Part, environment: Environment) -> None:
        self.part, self.environment = part, environment
        self.splits: dict[str, Split] = {}
        self.notes: list[str] = []
        self.trained = 0

    def problems(self) -> Iterator[str]:
        """What is wrong with the rows; nothing where they are well, and then `splits` and `notes` are filled in."""
        registered = self.part.task.registered
        who = f"task {registered.name} (plugin {registered.distribution} {registered.version})"
        try:
            task = registered.component.load()(self.part.task.options, self.environment)
        except UserError as error:
            yield str(error)
            return
        except Exception as error:
            yield f"{who} cannot be made: {name_error(error, 200)}"
            return
        for name, limit in self.part.splits.items():
            try:
                self.splits[name] = split = task.sample(name, limit)
                require_rows(self.part.task, name, len(split))
                if name == "train":
                    self.trained = len(take_part(split, name, self.part.held_out))
                classes = 0 if task.kind in ("generation", "multiple-choice") else len(task.labels())
            except UserError as error:
                yield str(error)
                continue
            except Exception as error:
                hint = f"`armada verify task {registered.name}` asks it alone"
                yield f"{who} cannot read its {name} rows: {name_error(error, 200)}. {hint}"
                continue
            for fault in _faults(task.kind, split, classes, name):
                yield f"task {self.part.task.name}: {fault}"
        self.notes = [str(note) for note in getattr(task, "notes", ())]

    def inputs(self) -> Sequence[TeacherInput]:
        """What the teacher is shown of the rows."""
        name = split_of(self.part.shown)
        if name not in self.splits:
            problem = next(self.problems(), None)
            if problem:
                raise UserError(problem)
        return take_part(self.splits[name], self.part.shown, self.part.held_out).teacher_inputs


def _faults(kind: str, split: Split, classes: int, name: str) -> Iterator[str]:
    """What no training or score could be made of, whatever the task has let through."""
    if not len(split.texts) == len(split.labels) == len(split.teacher_inputs):
        yield (
            f"its {name} split has {len(split.texts)} texts, {len(split.labels)} labels and {len(split.teacher_inputs)} inputs "
            "for a teacher; they are columns of one length"
        )
        return
    if kind == "regression":
        wrong = [row for row, label in enumerate(split.labels) if not _finite(label)]
        yield from _rows_of(wrong, split, name, "not a finite number. Fill the number in, or remove the row")
        if not wrong and name == "train" and min(split.labels) == max(split.labels):
            yield (
                f"all {len(split)} training rows have the target {float(split.labels[0]):g}: there is nothing to predict. Add "
                "rows, raise the limit, or name another column"
            )
    elif kind == "classification":
        wrong = [row for row, label in enumerate(split.labels) if not 0 <= int(label) < classes]
        yield from _rows_of(wrong, split, name, f"not a class number from 0 to {classes - 1}")


def _rows_of(rows: Sequence[int], split: Split, name: str, what: str) -> Iterator[str]:
    for row in rows[:SHOWN]:
        yield f"row {row + 1} of its {name} split has the label {split.labels[row]!r:.60}, {what}"
    if len(rows) > SHOWN:
        yield f"{len(rows)} rows of its {name} split have such a label"


def _finite(label: Any) -> bool:
    try:
        return math.isfinite(float(label))
    except (TypeError, ValueError):
        return False


# -------------------------------------------------------------------------------------------------------------- teachers


def _unanswerable(job: FeatureJob, hashes: Sequence[bytes], reader: _Reader, environment: Environment) -> list[str]:
    """What a teacher that looks its answers up says of inputs that it does not have."""
    registered, options = job.teacher.registered, job.teacher.options
    if not hasattr(options, "unanswerable") or registered.component.missing_packages():
        return []
    asked = [VERSION, dict(job.identity), write_options(options), hashlib.sha256(b"".join(hashes)).hexdigest()]
    place = cache_folder() / "judged" / f"{fingerprint(asked, 32)}.json"
    if read_json(place) == {"answers": True}:
        return []
    try:
        problems = [str(line) for line in options.unanswerable(reader.inputs(), environment)]
    except UserError as error:
        return [str(error)]
    if not problems:
        with contextlib.suppress(UserError):
            write_json(place, {"answers": True})
    return problems
