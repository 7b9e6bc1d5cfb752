"""One trial from its spec to its result: load, train, evaluate, export. Runs in a worker process, or under
`accelerate launch` in several."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor

from armada_cli.contracts import Environment, Loss, Method, Problem, Setup, Split, Student, Task, fingerprint
from armada_cli.devices import pick_trial_device
from armada_cli.digests import write_digests
from armada_cli.errors import TrialFailed, UserError
from armada_cli.escaping import escape_for_terminal, escape_line
from armada_cli.evaluation import generation
from armada_cli.execution.judgement import require_rows
from armada_cli.execution.outputs import read_outputs, write_outputs
from armada_cli.execution.unchanged import describe_change
from armada_cli.features.prepare import load_prepared
from armada_cli.files import (
    as_json,
    disk_error,
    read_json,
    remove,
    replace_folder,
    telling_disk_errors,
    write_bytes_atomic,
    write_json,
)
from armada_cli.launch import Launch, read_launch, settle_environment
from armada_cli.registry import catalog as catalogs
from armada_cli.registry.choosing import as_choice
from armada_cli.registry.registered import Registered
from armada_cli.registry.restore import restore
from armada_cli.runs import EVALUATED, RESULT, SPEC, STUDENT, Runs
from armada_cli.settings import Train
from armada_cli.targets import NONE, Scale, read_rest, scale_of, write_rest
from armada_cli.training import scales
from armada_cli.training.batching import steps_per_epoch
from armada_cli.training.loop import Encoded, Loop, learning_rate, read_log, scored
from armada_cli.training.precision import held_in
from armada_cli.training.processes import gather_rows, processes
from armada_cli.training.seeds import drawn_from, stream

Progress = Callable[[str, int, int, str], None]

FINISHED = (SPEC, "log.jsonl", "timings.json", "answers.jsonl", STUDENT)
"""What a finished trial's digests tell of, beside its result."""


def run_trial(
    spec: Mapping[str, Any],
    environment: Environment,
    progress: Progress = lambda *_: None,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train what `spec` says (see `plan.Trial.spec`), unless its result is there already. Returns the result.

    Raises:
        TrialFailed, UserError: one line that says why.
        Interrupted: `stopping` became true; a checkpoint is written.
    """
    runs = Runs(environment.runs)
    if processes() > 1:
        return _Trial(spec, environment, runs, progress, stopping).run()
    with runs.lock(spec["id"]):
        result = runs.result(spec["id"], scored=spec["evaluate"])
        if result is not None and runs.damage(spec["id"], spec.get("keep", ())) is None:
            return result  # another process has made it meanwhile
        return _Trial(spec, environment, runs, progress, stopping).run()


class _Trial:
    """The pieces of one trial while it runs."""

    def __init__(
        self, spec: Mapping[str, Any], environment: Environment, runs: Runs, progress: Progress, stopping: Callable[[], bool]
    ) -> None:
        self.spec, self.environment, self.runs = spec, environment, runs
        self.progress, self.stopping = progress, stopping
        self.folder = runs.trial(spec["id"])
        self.train = Train(**spec["train"])
        self.catalog = catalogs.current()
        self.accelerator = make_accelerator(self.train, environment)

    def run(self) -> dict[str, Any]:
        started, cpu = time.perf_counter(), time.process_time()
        with_log = self.accelerator.is_main_process
        if with_log:
            write_json(self.folder / SPEC, dict(self.spec))
        self.progress("loading", 0, 1, "")

        if EVALUATED in self.spec["depends"]:
            return self._evaluate_only(started, cpu)
        task, training = self._task(), self._split("train")
        problem = problem_of(task, self.train)
        validation = self._split("validation") if self.spec["evaluate"] else None
        student = self._student(self.spec["build"]["student"])
        with drawn_from(self.spec["seed"], "student head"):
            model = student.build(problem)
        model.to(self.accelerator.device)
        encoded = encode(student, problem, training), None if validation is None else encode(student, problem, validation)
        scale = NONE
        if problem.kind == "regression":
            scale = scale_of(training.labels)
            # From the labels themselves: float32 would have rounded them before they are standardised.
            encoded[0].labels = scale.standardise(torch.tensor([float(y) for y in training.labels], dtype=torch.float64))
        features = self._features(len(training))
        steps = self.train.epochs * steps_per_epoch(len(training), self.train.batch_size)
        method = self._method(problem, student, model, encoded[0], features, steps, training, scale)
        parameters = count_parameters(model, method)
        loop = Loop(
            student=student,
            model=model,
            method=method,
            training=encoded[0],
            validation=encoded[1],
            features=features,
            task=task,
            train=self.train,
            seed=self.spec["seed"],
            folder=self.folder,
            accelerator=self.accelerator,
            progress=self.progress,
            stopping=self.stopping,
            scale=scale,
        )
        self._require_unchanged()  # before a checkpoint stands under the trial's id
        outcome = loop.run()
        records = read_log(self.folder)
        own = {name: scale.restore(outputs.cpu()) for name, outputs in method.own_outputs().items()}
        fits = {name: scored(task, outputs, training.labels) for name, outputs in own.items()}
        result = {
            "id": self.spec["id"],
            "metric": task.metric,
            "scores": outcome.scores,
            "epochs": outcome.epochs,
            "selected": outcome.selected,
            "auxiliary": outcome.auxiliary,
            "fits": fits,
            "orthogonality": outcome.orthogonality,
            "parameters": parameters,
            "steps": steps,
            "rows": {"train": len(training), "validation": 0 if validation is None else len(validation)},
            "precision": self.train.precision,
            "scored_in": held_in(model),
            "terms": scales.summary(records),
            "plugins": self.spec.get("plugins", {}),
            "warnings": [
                *getattr(task, "notes", ()),
                *self.spec.get("notes", ()),
                *([note] if (note := scale.note()) else []),
                *([outcome.sameness] if outcome.sameness else []),
                *scales.warnings(records, method.advice()),
            ],
        }
        self._require_unchanged()
        if with_log:
            self.progress("export", 0, 1, "")
            self._export(student, model, problem, scale)
            rate = steps * self.train.batch_size / max(loop.seconds.get("training", 0.0), 1e-9)
            self._finish(result, started, cpu, loop.seconds, {"examples_per_second": rate})
        self.accelerator.wait_for_everyone()
        return result

    def _evaluate_only(self, started: float, cpu: float) -> dict[str, Any]:
        """Scores the student of another trial on this one's task."""
        trained = self.spec["depends"][EVALUATED]
        task, split = self._task(), self._split("validation")
        other = self.runs.result(trained) or {}
        student, model = self._finished(trained)
        self._require_unchanged()  # before answers are noted under the trial's id
        seconds = time.perf_counter()
        evaluation = generation.evaluate(
            student,
            model,
            task,
            split,
            batch_size=self.train.evaluation_batch,
            accelerator=self.accelerator,
            notes=self.folder / "answers.part",
            progress=self.progress,
            stopping=self.stopping,
        )
        several = len(evaluation.by_seed) > 1
        result = {
            "id": self.spec["id"],
            "metric": task.metric,
            "scores": evaluation.scores,
            "by_seed": {str(seed): value for seed, value in evaluation.by_seed.items()} if several else None,
            "trained": trained,
            "parameters": other.get("parameters"),
            "rows": {"validation": len(split)},
            "precision": self.train.precision,
            "scored_in": held_in(model),
            "plugins": self.spec.get("plugins", {}),
            "warnings": [*getattr(task, "notes", ()), *other.get("warnings", ())],
        }
        self._require_unchanged()
        if self.accelerator.is_main_process:
            generation.save_answers(self.folder / "answers.jsonl", evaluation, split)
            self._finish(result, started, cpu, {"evaluation": time.perf_counter() - seconds}, {})
        self.accelerator.wait_for_everyone()
        return result

    def _require_unchanged(self) -> None:
        """Compare what was read with what the trial's id stands for. All processes come to one verdict.

        Raises:
            TrialFailed: it changed; nothing may be kept under this id.
        """
        verdict = [describe_change(self.spec, self.environment) if self.accelerator.is_main_process else None]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(verdict)
        if verdict[0]:
            raise TrialFailed(f"{verdict[0]}; nothing is kept of this trial. Run the recipe again: it is planned anew")

    def _finish(
        self, result: Mapping[str, Any], started: float, cpu: float, stages: Mapping[str, float], more: Mapping[str, Any]
    ) -> None:
        """Write the result, last, and drop what was needed to go on."""
        wall, processor = time.perf_counter() - started, time.process_time() - cpu
        write_json(self.folder / "timings.json", {"wall": wall, "cpu": processor, "stages": dict(stages), **more})
        content = as_json(dict(result))
        try:
            write_digests(self.folder, FINISHED, {RESULT: content})
        except OSError as error:
            raise disk_error(self.folder, error) from error
        write_bytes_atomic(self.folder / RESULT, content)
        self.runs.drop_progress(self.spec["id"])

    # ------------------------------------------------------------------------------------------------------- pieces

    def _task(self) -> Task:
        if not hasattr(self, "_made_task"):
            registered, options = restore("task", self.spec["build"]["task"], self.environment)
            self._made_task: Task = made(registered, options, self.environment)
        return self._made_task

    def _split(self, name: str) -> Split:
        split = self._task().sample(name, self.spec["limit"].get(name))
        require_rows(self.spec["build"]["task"]["name"], name, len(split))
        return split

    def _student(self, build: Mapping[str, Any]) -> Student:
        registered, options = restore("student", build, self.environment)
        return made(registered, options, self.environment)

    def _features(self, rows: int) -> Tensor | None:
        """h_t [rows, 128] after the control that the recipe asks for; an ensemble's members stand side by side."""
        if self.spec["features"] is None:
            return None
        from armada_cli.features import controls

        parts = []
        for key in self.spec["features"]:
            part = load_prepared(self.runs.features / f"{key}.safetensors")
            if len(part) != rows:
                raise UserError(
                    f"the features in {key}.safetensors have {len(part)} rows, the training split has {rows}",
                    "Remove the file; it is made again",
                )
            parts.append(part)
        features = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        control = self.spec["control"]
        features = controls.take_away(features, control, stream(self.spec["seed"], f"{control} teacher"))
        return torch.from_numpy(features.copy())

    def _method(
        self,
        problem: Problem,
        student: Student,
        model: torch.nn.Module,
        training: Encoded,
        features: Tensor | None,
        steps: int,
        split: Split,
        scale: Scale,
    ) -> Method:
        registered, options = restore("method", self.spec["build"]["method"], self.environment)
        device = self.accelerator.device
        probe = {name: value.to(device) for name, value in student.pad(training.rows[:1]).items()}
        model.eval()
        with torch.no_grad():
            hidden = student.forward(model, probe).pooled.shape[-1]
        setup = Setup(
            problem=problem,
            hidden=hidden,
            feature_width=None if features is None else features.shape[1],
            features=None if features is None else features.to(device),
            labels=training.labels.to(device),
            seed=self.spec["seed"],
            train=self.train,
            losses=self._loss,
            stream=lambda name: stream(self.spec["seed"], name),
            student_outputs=lambda role: self._dependency_outputs(role, problem, split, scale),
            steps=steps,
            learning_rate=lambda step: learning_rate(self.train, steps, step),
            device=device,
            own_pooler=student.own_pooler,
            parts=tuple(self.spec.get("parts") or ()),
            gather=gather_rows,
        )
        return made(registered, options, setup)

    def _loss(self, choice: Any) -> Loss:
        """A loss, by its choice, its name, or a mapping with its options."""
        chosen = as_choice("loss", choice)
        return made(chosen.registered, chosen.options)

    def _dependency_outputs(self, role: str, problem: Problem, split: Split, scale: Scale) -> Tensor:
        """Logits [rows, c] of a finished trial's student on this trial's training split; computed once and kept beside it. For
        regression in the unit of this trial's labels."""
        logits = self._stored_outputs(role, problem, split)
        return scale.standardise(logits) if problem.kind == "regression" else logits

    def _stored_outputs(self, role: str, problem: Problem, split: Split) -> Tensor:
        other = self.spec["depends"][role]
        key = fingerprint([list(map(list, split.texts)), self.train.max_length])
        path = self.runs.trial(other) / f"outputs-{key}.safetensors"
        with self.runs.lock(other):  # several trials may build on it, side by side
            logits = read_outputs(path, (len(split), problem.outputs))
            if logits is None:
                logits = self._outputs_of(other, problem, split)
                write_outputs(path, logits)
        return logits

    def _outputs_of(self, trial: str, problem: Problem, split: Split) -> Tensor:
        self.progress("text teacher", 0, 1, "")
        student, model = self._finished(trial, problem)
        encoded = encode(student, problem, split)
        logits = torch.empty(len(split), problem.outputs)
        with torch.no_grad():
            for start in range(0, len(split), 32):
                rows = range(start, min(start + 32, len(split)))
                inputs = {k: v.to(self.accelerator.device) for k, v in student.pad([encoded.rows[r] for r in rows]).items()}
                logits[start : rows.stop] = student.forward(model, inputs).logits.float().cpu()
        return read_rest(self.runs.trial(trial) / STUDENT).restore(logits)

    def _finished(self, trial: str, problem: Problem | None = None) -> tuple[Student, torch.nn.Module]:
        """The exported student of a finished trial and its model, ready to be asked."""
        folder = self.runs.trial(trial)
        if damage := self.runs.damage(trial):
            raise TrialFailed(
                f"the trial that it builds on has lost its student ({folder / damage}); the same command makes it again"
            )
        spec: Mapping[str, Any] = read_json(folder / SPEC) or {}
        student = self._student(spec["build"]["student"])
        trained = Train(**spec["train"])
        # Its weights are held as they were when it was scored itself, whatever the precision of this trial.
        problem = (
            problem_of(self._task(), trained) if problem is None else dataclasses.replace(problem, precision=trained.precision)
        )
        model = student.build(problem, weights=folder / STUDENT).to(self.accelerator.device)
        return student, model.eval()

    def _export(self, student: Student, model: torch.nn.Module, problem: Problem, scale: Scale) -> None:
        temporary = self.folder / ".student.new"
        remove(temporary, self.folder)
        try:
            with telling_disk_errors(self.folder / STUDENT):
                rest = NONE if scale == NONE else student.fold(model, scale)
                student.save(model, problem, temporary)
                write_rest(temporary, rest)
        except UserError:
            remove(temporary, self.folder)
            raise
        replace_folder(temporary, self.folder / STUDENT)
        self.runs.drop_outputs(self.spec["id"])


def made(registered: Registered, *arguments: Any) -> Any:
    """A component's class, imported and called.

    Raises:
        TrialFailed: whatever the plugin's own code raises, with its name.
    """
    try:
        return registered.component.load()(*arguments)
    except (UserError, TrialFailed):
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise TrialFailed(
            f"{registered.kind} {registered.name!r} (plugin {registered.distribution} {registered.version}) cannot be made: "
            f"{type(error).__name__}: {text}"
        ) from error


def count_parameters(model: torch.nn.Module, method: Method) -> dict[str, Any]:
    """Parameters of the student, how many of them are trained, of the extra heads that are thrown away, and of each module of
    the method's own."""
    student = list(model.parameters())
    return {
        "student": sum(p.numel() for p in student),
        "trained": sum(p.numel() for p in student if p.requires_grad),
        "heads": sum(p.numel() for module in method.student_modules().values() for p in module.parameters()),
        "own": {role: sum(p.numel() for p in module.parameters()) for role, module in method.own_modules().items()},
    }


def problem_of(task: Task, train: Train) -> Problem:
    """What a student must know of a task."""
    labels = () if task.kind == "generation" else tuple(task.labels())
    outputs = 1 if task.kind == "regression" else len(labels)
    return Problem(task.kind, outputs, labels, train.max_length, train.precision)


def encode(student: Student, problem: Problem, split: Split) -> Encoded:
    """Tokenise a split once."""
    rows: list[dict[str, Any]] = student.encode(split.texts, problem)
    if problem.kind == "multiple-choice":
        choices: list[list[list[int]]] = [row["input_ids"] for row in rows]
        lengths = [max(map(len, row)) * len(row) for row in choices]
    else:
        lengths = [len(row["input_ids"]) for row in rows]
    if problem.kind == "generation":
        return Encoded(rows, lengths, torch.zeros(len(rows)), split.labels)
    kind = torch.long if problem.kind in ("classification", "multiple-choice") else torch.float32
    return Encoded(rows, lengths, torch.tensor(list(split.labels), dtype=kind), split.labels)


def make_accelerator(train: Train, environment: Environment) -> Accelerator:
    """Device, precision and processes. On CPU a trial has one thread, so that its bits do not depend on the core count.

    accelerate takes the device from a variable alone, and several processes from what a launcher left in the shell; so the
    environment is settled around its making. Several processes are those that have met (`training.processes.meet`).
    """
    precision = "bf16" if train.precision == "bf16" else "no"
    launch = read_launch() if processes() > 1 else Launch()
    device = torch.device(pick_trial_device(environment, launch))
    state = PartialState._shared_state
    if state and (state.get("device") != device or AcceleratorState._shared_state.get("_mixed_precision") != precision):
        # It is the process's own and final otherwise; the next trial may want another.
        AcceleratorState._reset_state(reset_partial_state=True)
    with settle_environment(ACCELERATE_TORCH_DEVICE=str(device)):
        accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=precision)
    if device.type == "cpu":
        torch.set_num_threads(1)
    elif device.type == "cuda":
        torch.cuda.set_device(device)  # what says "cuda" alone means this one
    return accelerator


def failure_line(error: BaseException, folder: Path) -> str:
    """One line for a trial that failed; the traceback of an unexpected error goes to ``error.txt`` in its folder."""
    plugins_own = isinstance(error, TrialFailed) and error.__cause__ is not None
    if isinstance(error, (UserError, TrialFailed)) and not plugins_own:
        return escape_line(error)
    text = escape_line(error) if plugins_own else f"{type(error).__name__}: {escape_line(error)[:200]}"
    try:
        (folder / "error.txt").write_text(escape_for_terminal("".join(traceback.format_exception(error))), encoding="utf-8")
        where = f" (traceback in {folder / 'error.txt'})"
    except OSError:
        where = ""
    return f"{text}{where}"
