"""The finished student of a trial, as a folder of its own: found, copied, or its adapter folded into the weights."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armada_cli import targets
from armada_cli.contracts import Environment
from armada_cli.errors import UserError
from armada_cli.escaping import escape_line
from armada_cli.execution.modules import list_modules
from armada_cli.files import expand, make_readable, read_json, telling_disk_errors, unfinished_folder
from armada_cli.models.weights import read_metadata
from armada_cli.registry.registered import did_you_mean
from armada_cli.registry.restore import restore
from armada_cli.reporting.folder import read_run
from armada_cli.runs import EVALUATED, INFERENCE, RESULT, SPEC, STUDENT, Runs, is_spec

SHORTEST_ID = 4
"""Digits of a trial's id that name it, at least."""


@dataclass
class Candidate:
    """A trained student.

    Attributes:
        id: of the trial that trained it; spec: what that trial was.
        student, task, method: titles; names: what else they may be called by.
        scores: the tasks it was scored on, as ``name value``.
    """

    id: str
    folder: Path
    spec: dict[str, Any]
    student: str
    method: str
    seed: int
    tasks: list[str]
    names: dict[str, set[str]]
    scores: list[str]

    def row(self) -> list[str]:
        """Columns of a table: id, student, method, seed, scores."""
        return [self.id[:8], self.student, self.method, str(self.seed), ", ".join(self.scores)]


WITHOUT_AUTO_CLASS = ("VisualBert",)
"""Families whose models transformers finds by the name of their class alone."""

COLUMNS = ("trial", "student", "method", "seed", "scores")


def find_trial(word: str, root: Path) -> Candidate | None:
    """The trial that a folder or the beginning of an id names; None when it is neither.

    Raises:
        UserError: several trials begin so.
    """
    folder = expand(word)
    if (folder / "spec.json").is_file():
        return _candidate(folder.resolve().name, folder.resolve().parents[1])
    if len(word) < SHORTEST_ID or not set(word) <= set("0123456789abcdef"):
        return None
    ids = [path.parent.name for path in (root / "trials").glob(f"{word}*/spec.json")]
    if len(ids) > 1:
        raise UserError(f"{len(ids)} trials in {root} begin with {word!r}", "Write more of its digits")
    return _candidate(ids[0], root) if ids else None


def candidates(run: Path) -> list[Candidate]:
    """The trained students of a run folder, in the run's order. What only scores a student counts for the trial that trained
    it.

    Raises:
        UserError: no run folder, or no trial of it is finished.
    """
    by_id: dict[str, Candidate] = {}
    read = read_run(run)
    root = run.resolve().parent
    for trial in read.trials:
        if trial.score is None:
            continue
        candidate = _candidate(trial.id, root)
        candidate = by_id.setdefault(candidate.id, candidate)
        candidate.student, candidate.method = trial.student, trial.method
        candidate.names["student"] |= {trial.student, trial.student_name}
        candidate.names["method"] |= {trial.method, trial.method_name}
        candidate.names["task"].add(trial.task)
        candidate.tasks.append(trial.task)
        candidate.scores.append(f"{trial.task} {trial.score:.1f}")
    if not by_id:
        raise UserError(f"no trial of {run} is finished", "Run its recipe: the same command goes on where it stopped")
    return list(by_id.values())


def chosen(
    trials: Iterable[Candidate], *, trial: str | None = None, seed: int | None = None, **names: str | None
) -> list[Candidate]:
    """Those that fit: by the beginning of the id, the seed, and the names of student, task and method.

    Raises:
        UserError: none does; it says what there is.
    """
    left = list(trials)
    if trial is not None:
        left = _kept(left, [item for item in left if item.id.startswith(trial)], "trial", trial, (item.id[:8] for item in left))
    for kind, wanted in names.items():
        if wanted is not None:
            there = {name for item in left for name in item.names[kind]}
            left = _kept(left, [item for item in left if wanted in item.names[kind]], kind, wanted, there)
    if seed is not None:
        left = _kept(left, [item for item in left if item.seed == seed], "seed", str(seed), (str(item.seed) for item in left))
    return left


def _kept(before: list[Candidate], after: list[Candidate], kind: str, wanted: str, there: Iterable[str]) -> list[Candidate]:
    if after:
        return after
    known = sorted(set(there))
    hint = did_you_mean(wanted, known) or f"there is {', '.join(known[:12])}"
    raise UserError(f"no finished trial of {kind} {wanted!r} among the {len(before)}", hint)


def export(
    candidate: Candidate, output: Path, environment: Environment, *, merge: bool = False, with_heads: bool = False
) -> None:
    """Copy a trained student to `output`, or write it there with its adapter folded into the weights.

    Args:
        with_heads: the modules too that its method trained beside it (`Method.kept_modules`).

    Raises:
        UserError: there is something at `output`, or nothing to export.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is not empty" if output.is_dir() else f"{output} is a file", "Name a new folder")
    source = candidate.folder / STUDENT
    again = f"Remove {candidate.folder / RESULT} and run the recipe again: it is trained anew"
    if not source.is_dir():
        raise UserError(f"trial {candidate.id} has no student in {candidate.folder}", again)
    if damage := Runs(candidate.folder.parents[1]).damage(candidate.id):
        raise UserError(f"the student of trial {candidate.id} is damaged ({candidate.folder / damage})", again)
    kept = list_modules(candidate.folder) if with_heads else []
    if with_heads and not kept:
        raise UserError(
            f"trial {candidate.id} kept no heads: method {candidate.method} has none, or it was trained by an earlier version",
            f"Leave --with-heads out. {again}",
        )
    with telling_disk_errors(output), unfinished_folder(output) as unfinished:
        student = unfinished / STUDENT
        if merge:
            _merge(candidate, source, student, environment)
        else:
            shutil.copytree(source, student)
        for name in kept:
            shutil.copy(candidate.folder / name, student / name)
        make_readable(student)
        os.replace(student, output)


def _merge(candidate: Candidate, source: Path, target: Path, environment: Environment) -> None:
    """Through the student's own plugin: it knows which weights its adapter belongs to."""
    from armada_cli.execution.assemble import make

    build = candidate.spec["build"]["student"]
    registered, options = restore("student", build, environment, any_version=True)
    make(registered, options, environment).merge(source, target)
    targets.write_rest(target, targets.read_rest(source))


def loading(folder: Path) -> list[str]:
    """Lines of Python that load an exported folder, with the libraries it was made for and without this project; one more where
    its answers are not yet in the user's unit, or where modules of its method belong to it."""
    return [*_loading(folder), *_restoring(targets.read_rest(folder)), *_needing(folder)]


def _needing(folder: Path) -> list[str]:
    if not (folder / INFERENCE).exists():
        return []
    teacher = read_metadata(folder / INFERENCE).get("teacher")
    vectors = f" and vectors of the teacher {escape_line(teacher)}" if teacher else ""
    return [f"# not yet the whole student: it answers as it was scored with the modules in {INFERENCE}{vectors}, within armada"]


def _restoring(rest: targets.Scale) -> list[str]:
    if rest == targets.NONE:
        return []
    times = "" if rest.factor == 1 else f" * {rest.factor!r}"
    return [f"prediction = model(**tokenizer(text, return_tensors='pt')).logits{times} + {rest.shift!r}"]


def _loading(folder: Path) -> list[str]:
    config = read_json(folder / "config.json") or {}
    adapter = read_json(folder / "adapter_config.json")
    architecture = str((config.get("architectures") or [""])[0])
    place = json.dumps(str(folder))
    if adapter is not None:
        kind = "CausalLM" if adapter.get("task_type") == "CAUSAL_LM" else "SequenceClassification"
        more = "" if kind == "CausalLM" else f", num_labels={_labels(config)}, pad_token_id={config.get('pad_token_id')}"
        imports = f"from peft import AutoPeftModelFor{kind}; from transformers import AutoTokenizer"
        return [imports, _call(f"AutoPeftModelFor{kind}.from_pretrained({place}{more}, trust_remote_code=False)", place)]
    kinds = {
        "ForCausalLM": "CausalLM",
        "LMHeadModel": "CausalLM",
        "ForMultipleChoice": "MultipleChoice",
        "ForMaskedLM": "MaskedLM",
    }
    if architecture.startswith(WITHOUT_AUTO_CLASS):
        imports = f"from transformers import AutoTokenizer, {architecture}"
        return [imports, _call(f"{architecture}.from_pretrained({place})", place)]
    kind = next((kind for end, kind in kinds.items() if architecture.endswith(end)), "SequenceClassification")
    imports = f"from transformers import AutoModelFor{kind}, AutoTokenizer"
    return [imports, _call(f"AutoModelFor{kind}.from_pretrained({place}, trust_remote_code=False)", place)]


def _call(model: str, place: str) -> str:
    return f"model, tokenizer = {model}, AutoTokenizer.from_pretrained({place}, trust_remote_code=False)"


def _labels(config: dict[str, Any]) -> int:
    """transformers writes the number of labels down only as their names, and two of them not at all."""
    return len(config.get("id2label") or (0, 1))


def _candidate(trial_id: str, root: Path, scored_by: str | None = None) -> Candidate:
    """A trial, or the one whose student it scores.

    Args:
        scored_by: the trial that scores this one's student.
    """
    runs = Runs(root)
    spec = read_json(runs.trial(trial_id) / SPEC)
    if not is_spec(spec):
        raise UserError(
            f"{runs.trial(trial_id) / SPEC} is missing or damaged", "Remove the trial's folder and run the recipe again"
        )
    if trained := spec["depends"].get(EVALUATED):
        if scored_by is not None:
            raise UserError(
                f"{runs.trial(trial_id) / SPEC} is damaged: what trial {scored_by} scores is no training",
                "Remove the trial's folder and run the recipe again",
            )
        return _candidate(trained, root, scored_by=trial_id)
    build = spec["build"]
    names = {kind: {build[kind]["name"]} for kind in ("student", "task", "method")}
    titles = {kind: build[kind]["name"] for kind in names}
    return Candidate(
        trial_id, runs.trial(trial_id), spec, titles["student"], titles["method"], int(spec["seed"]), [], names, []
    )
