"""One trial from its spec to its result: load, train, evaluate, export. Runs in a worker process, or under
`accelerate launch` in several."""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Module

from armada_cli.contracts import Choice, Decoding, Environment, Method, Problem, Setup, Split, Student
from armada_cli.digests import write_digests
from armada_cli.errors import TrialFailed, UserError
from armada_cli.escaping import escape_for_terminal, escape_line
from armada_cli.evaluation import generation
from armada_cli.execution.assemble import Parts, count_parameters, make, make_accelerator, problem_of
from armada_cli.execution.dependencies import START, Dependencies
from armada_cli.execution.modules import write_modules
from armada_cli.execution.unchanged import describe_change
from armada_cli.files import (
    as_json,
    disk_error,
    remove,
    replace_folder,
    telling_disk_errors,
    write_bytes_atomic,
    write_json,
)
from armada_cli.held_out import SELECTION
from armada_cli.models import architectures
from armada_cli.models.given import order_labels, reorder_outputs
from armada_cli.models.pretrained import PretrainedStudent
from armada_cli.predictions import PREDICTIONS, write_predictions
from armada_cli.runs import ANSWERS, EPOCHS, EVALUATED, INFERENCE, RESULT, SPEC, STUDENT, Runs
from armada_cli.targets import NONE, Scale, read_rest, scale_of, write_rest
from armada_cli.training import scales
from armada_cli.training.batching import steps_per_epoch
from armada_cli.training.cost import FRESH, OWN, Cost, peak_memory, reset_peak_memory
from armada_cli.training.evaluation import Outcome, Scoring, scored
from armada_cli.training.host import Host
from armada_cli.training.loop import Loop
from armada_cli.training.model import RowModel, encode
from armada_cli.training.precision import held_in
from armada_cli.training.processes import gather_rows, processes
from armada_cli.training.schedule import learning_rate
from armada_cli.training.seeds import drawn_from, stream
from armada_cli.training_log import read_log

Progress = Callable[[str, int, int, str], None]

FINISHED = (SPEC, "log.jsonl", "timings.json", ANSWERS, PREDICTIONS, STUDENT, EPOCHS)
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
        self.parts = Parts(spec, environment)
        self.train = self.parts.train
        self.accelerator = make_accelerator(self.train, environment)
        self.cost = Cost()
        self.warnings: list[str] = []
        self.kept: list[str] = []
        self.dependencies = Dependencies(self.parts, runs, self.accelerator.device, progress, self.cost)

    def run(self) -> dict[str, Any]:
        started, cpu = time.perf_counter(), time.process_time()
        reset_peak_memory(self.accelerator.device)
        if self.accelerator.is_main_process:
            write_json(self.folder / SPEC, dict(self.spec))
        self.progress("loading", 0, 1, "")
        if EVALUATED in self.spec["depends"]:
            return self._evaluate_only(started, cpu)
        return self._train(started, cpu)

    def _train(self, started: float, cpu: float) -> dict[str, Any]:
        parts, task, training = self.parts, self.parts.task, self._read_training()
        problem = problem_of(task, self.train, attentions=parts.method_class.attentions)
        validation = parts.read_split("validation") if self.spec["evaluate"] else None
        learner, scale = self._make_learner(problem, training)
        scoring = Scoring(task, scale=scale)
        if validation is not None:
            scoring.validation = encode(learner.student, problem, validation)
            scoring.features = parts.read_seen(len(validation))
        selection = parts.read_split(SELECTION) if validation is not None and "held_out" in self.spec else None
        if selection is not None:
            scoring.selection = encode(learner.student, problem, selection)
            scoring.selection_features = parts.read_seen(len(selection), SELECTION)
        features = parts.read_features(len(training))
        method = self._make_method(learner, problem, features, training, scale)
        parameters = count_parameters(learner.module, method)
        kept = "epochs" in self.spec.get("keep", ())
        host = Host(
            self.accelerator,
            self.folder,
            self.progress,
            self.stopping,
            functools.partial(self._keep_epoch, learner, problem, scale, method) if kept else None,
            self.cost,
        )
        loop = Loop(learner, method, scoring, features, self.train, self.spec["seed"], host)
        self._require_unchanged()  # before a checkpoint stands under the trial's id
        outcome = loop.run()
        result = self._describe(outcome, method, training, scale) | {
            "parameters": parameters | {"teachers": self._teacher_parameters(method)},
            "steps": loop.steps,
            "passes": {kind: rows * self.accelerator.num_processes for kind, rows in sorted(self.cost.passes.items())},
            "rows": {
                "train": len(training),
                "validation": 0 if validation is None else len(validation),
                **({} if selection is None else {SELECTION: len(selection)}),
            },
            "scored_in": held_in(learner.module),
        }
        self._require_unchanged()
        if self.accelerator.is_main_process:
            self.progress("export", 0, 1, "")
            self._export(learner, problem, scale, method)
            if outcome.predictions is not None and validation is not None:
                write_predictions(self.folder, outcome.predictions.numpy(), validation.labels)
            self.kept = write_modules(self.folder, method)
            rate = loop.steps * self.train.batch_size / max(loop.seconds.get("training", 0.0), 1e-9)
            self._finish(result, started, cpu, loop.seconds, {"examples_per_second": rate})
        self.accelerator.wait_for_everyone()
        return result

    def _describe(self, outcome: Outcome, method: Method, training: Split, scale: Scale) -> dict[str, Any]:
        """The part of a training's result that tells what came out of it."""
        task, records = self.parts.task, read_log(self.folder)
        own = {name: scale.restore(outputs.cpu()) for name, outputs in method.own_outputs().items()}
        fits = {name: scored(task, outputs, training.labels) for name, outputs in own.items()}
        inference = method.inference_modules()
        also = f" and the teacher {self._teacher}, whose vectors it reads when it answers" if self._teacher else ""
        return {
            "id": self.spec["id"],
            "metric": task.metric,
            "scores": outcome.scores,
            **({} if outcome.selection is None else {"selection": outcome.selection}),
            "epochs": outcome.epochs,
            "selected": outcome.selected,
            "auxiliary": outcome.auxiliary,
            "fits": fits,
            "orthogonality": outcome.orthogonality,
            "precision": self.train.precision,
            "terms": scales.summary(records),
            "plugins": self.spec.get("plugins", {}),
            **({"needs_armada": True} if inference else {}),
            **({"needs_teacher": self._teacher} if inference and self._teacher else {}),
            "warnings": [
                *getattr(task, "notes", ()),
                *self.spec.get("notes", ()),
                *([note] if (note := scale.note()) else []),
                *self.warnings,
                *([outcome.sameness] if outcome.sameness else []),
                *(
                    [f"the exported student needs armada{also}: {', '.join(inference)} of its method is a part of it"]
                    if inference
                    else []
                ),
                *scales.warnings(records, method.advice()),
            ],
        }

    @property
    def _teacher(self) -> str | None:
        """The teacher that the student needs when it answers, if any."""
        return str(self.spec["build"]["teacher"]["name"]) if self.spec.get("seen") else None

    def _evaluate_only(self, started: float, cpu: float) -> dict[str, Any]:
        """Scores the student of another trial on this one's task; on the training prompts where the spec says so, for the
        answers."""
        trained = self.spec["depends"][EVALUATED]
        task, split = self.parts.task, self.parts.read_split(self.spec.get("split", "validation"))
        other = self.runs.result(trained) or {}
        student, model, _ = self.dependencies.load(trained, problem_of(task, self.train))
        self._require_unchanged()  # before answers are noted under the trial's id
        seconds = time.perf_counter()
        evaluation = generation.evaluate(
            student,
            model,
            task,
            split,
            decoding=_decoding(self.spec),
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
            "steps": other.get("steps"),
            "passes": other.get("passes"),
            "rows": {self.spec.get("split", "validation"): len(split)},
            "precision": self.train.precision,
            "scored_in": held_in(model),
            "plugins": self.spec.get("plugins", {}),
            "warnings": [*getattr(task, "notes", ()), *other.get("warnings", ())],
        }
        self._require_unchanged()
        if self.accelerator.is_main_process:
            generation.save_answers(self.folder / ANSWERS, evaluation, split)
            if evaluation.rows is not None:
                write_predictions(self.folder, np.array(evaluation.rows)[:, None], None)
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
        timings = {"wall": wall, "cpu": processor, "stages": dict(stages), **more}
        write_json(self.folder / "timings.json", timings | {"peak_memory": peak_memory(self.accelerator.device)})
        content = as_json(dict(result))
        try:
            write_digests(self.folder, [*FINISHED, *self.kept], {RESULT: content})
        except OSError as error:
            raise disk_error(self.folder, error) from error
        write_bytes_atomic(self.folder / RESULT, content)
        self.runs.drop_progress(self.spec["id"])

    # ------------------------------------------------------------------------------------------------------- pieces

    def _teacher_parameters(self, method: Method) -> dict[str, int]:
        """Parameters that were trained on the teacher's side, by role: in the trials that this one learns from (one that it
        began from is none), and in its own training."""
        own = {role: module for role, module in method.own_modules().items() if role not in method.student_side}
        trained = {role: sum(p.numel() for p in module.parameters() if p.requires_grad) for role, module in own.items()}
        for role, trial in self.spec["depends"].items():
            if role == START:
                continue
            known = (self.runs.result(trial, scored=False) or {}).get("parameters", {})
            trained[role] = int(known.get("trained", 0))
            trained |= {f"{name} of {role}": int(count) for name, count in known.get("teachers", {}).items()}
        return trained

    def _read_training(self) -> Split:
        """The rows that the student learns from: the task's, or what the method makes of them."""
        task_rows = self.parts.read_split("train")
        registered, options = self.parts.method
        split = self.parts.method_class.training(options, task_rows, self.dependencies.answers(len(task_rows)))
        if not isinstance(split, Split) or not len(split):
            raise TrialFailed(
                f"method {registered.name!r} gives no training rows: training() must return a Split that has some"
            )
        return split

    def _make_learner(self, problem: Problem, training: Split) -> tuple[RowModel, Scale]:
        """The student that is trained, and the scale of its targets."""
        student = self.parts.make_student(self.spec["build"]["student"])
        count = functools.partial(self.cost.count, OWN)
        if self.spec.get("given"):
            model, unit = self._take_given(student, problem)
            device = self.accelerator.device
            encoded = encode(student, problem, training)
            return RowModel(student, model.to(device), encoded, device, self.train.precision, count=count), unit
        with drawn_from(self.spec["seed"], "student head"):
            begins = START in self.spec["depends"]
            model = self.dependencies.begin(START, student, problem)[0] if begins else student.build(problem)
        model.to(self.accelerator.device)
        encoded, scale = encode(student, problem, training), NONE
        if problem.kind == "regression":
            scale = scale_of(training.labels)
            # From the labels themselves: float32 would have rounded them before they are standardised.
            encoded.labels = scale.standardise(torch.tensor([float(y) for y in training.labels], dtype=torch.float64))
        return RowModel(student, model, encoded, self.accelerator.device, self.train.precision, count=count), scale

    def _take_given(self, student: Student, problem: Problem) -> tuple[Module, Scale]:
        """A model that exists already, with its outputs in the task's order, and what makes its answers those in the user's
        unit.

        Raises:
            UserError: it has no head for the task, or one with other outputs.
        """
        place, revision = student.options.model, getattr(student.options, "revision", None)
        source = Path(student.loadable() if isinstance(student, PretrainedStudent) else place)
        order, warning = order_labels(architectures.read_config(str(source), revision), problem, place)
        model = student.build(problem, weights=source)
        if order is not None:
            reorder_outputs(model, order)
        self.warnings += [warning] if warning else []
        return model, read_rest(source)

    def _make_method(
        self, learner: RowModel, problem: Problem, features: Tensor | None, training: Split, scale: Scale
    ) -> Method:
        device, encoded = self.accelerator.device, learner.encoded
        steps = self.train.epochs * steps_per_epoch(len(training), self.train.batch_size)
        learner.module.eval()
        with torch.no_grad():
            hidden = learner.student.forward(learner.module, learner.inputs([0])).pooled.shape[-1]

        def fresh(choice: Choice | None, name: str, start: str | None = None) -> RowModel:
            peer = learner.student if choice is None else make(choice.registered, choice.options, self.environment)
            with drawn_from(self.spec["seed"], name):
                if start is None:
                    model, unit = peer.build(problem), NONE
                else:
                    model, unit = self.dependencies.begin(start, peer, problem, scale)
            rows = functools.partial(encode, peer, problem, training)
            count = functools.partial(self.cost.count, FRESH)
            return RowModel(peer, model.to(device).train(), rows, device, self.train.precision, unit, count)

        setup = Setup(
            problem=problem,
            hidden=hidden,
            feature_width=None if features is None else features.shape[1],
            features=None if features is None else features.to(device),
            labels=encoded.labels.to(device),
            seed=self.spec["seed"],
            train=self.train,
            losses=self.parts.make_loss,
            stream=lambda name: stream(self.spec["seed"], name),
            steps=steps,
            learning_rate=lambda step: learning_rate(self.train, steps, step),
            device=device,
            own_pooler=learner.student.own_pooler,
            parts=tuple(self.spec.get("parts") or ()),
            gather=gather_rows,
            student=learner,
            finished=lambda role, epoch=None: self.dependencies.finished(role, epoch, training, problem.attentions, scale),
            fresh=fresh,
            layers=lambda role: self.dependencies.layers(role, training),
            epochs=self.dependencies.epochs,
            cached=lambda role, what, epoch=None: self.dependencies.outputs(role, what, training, scale, epoch),
            cached_tokens=lambda role, asked: self.dependencies.token_outputs(role, asked, training, learner.student),
        )
        registered, options = self.parts.method
        return make(registered, options, setup)

    def _export(self, learner: RowModel, problem: Problem, scale: Scale, method: Method) -> None:
        """Write the student in the user's unit, with the modules of its method that it needs for its answers."""
        with telling_disk_errors(self.folder / STUDENT):
            rest = NONE if scale == NONE else learner.student.fold(learner.module, scale)
        self._write_student(STUDENT, learner, problem, rest, method)
        self.runs.drop_outputs(self.spec["id"])

    def _keep_epoch(self, learner: RowModel, problem: Problem, scale: Scale, method: Method, epoch: int) -> None:
        """Write the student as it is after an epoch. Folding the scale into it would change what is trained on, so all of the
        scale is noted beside it."""
        self._write_student(f"{EPOCHS}/{epoch}", learner, problem, scale, method)

    def _write_student(self, name: str, learner: RowModel, problem: Problem, rest: Scale, method: Method) -> None:
        target, temporary = self.folder / name, self.folder / f".{name.replace('/', '-')}.new"
        remove(temporary, self.folder)
        try:
            with telling_disk_errors(target):
                learner.student.save(learner.module, problem, temporary)
                write_rest(temporary, rest)
                if tensors := {
                    f"{title}/{key}": value.detach().cpu().contiguous()
                    for title, module in method.inference_modules().items()
                    for key, value in module.state_dict().items()
                }:
                    save_file(tensors, temporary / INFERENCE, {"teacher": self._teacher} if self._teacher else None)
                target.parent.mkdir(exist_ok=True)
        except UserError:
            remove(temporary, self.folder)
            raise
        replace_folder(temporary, target)


def _decoding(spec: Mapping[str, Any]) -> Decoding | None:
    """How a trial that only answers does so, where its spec says it."""
    said = spec.get("decoding")
    return None if said is None else Decoding(**{**said, "seeds": tuple(said["seeds"])})


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
