"""The training loop: student, method, batches, steps, evaluation, checkpoints. Read it from top to bottom.

Everything random is drawn from a stream that the trial's seed and the step name, so the loop can stop after any step and
go on from its checkpoint to the same bits.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from armada_cli.contracts import Batch, Method, Task
from armada_cli.direction import lower_is_better
from armada_cli.errors import Interrupted, TrialFailed
from armada_cli.evaluation import metrics
from armada_cli.files import disk_error, write_atomic
from armada_cli.reading import parse_json
from armada_cli.settings import Train
from armada_cli.targets import NONE, Scale
from armada_cli.training import checkpoint
from armada_cli.training.batching import epoch_batches, evaluation_batches, steps_per_epoch
from armada_cli.training.model import Encoded, RowModel
from armada_cli.training.optimizer import adamw
from armada_cli.training.projection import OrthogonalMap
from armada_cli.training.pull import anchor, measure
from armada_cli.training.scales import Figure
from armada_cli.training.seeds import reseed

CHECKPOINT_SECONDS = 60.0
"""A killed training loses at most about this much. Time decides when a checkpoint is written, never what is in it."""


@dataclass
class Scoring:
    """What the student is scored on.

    Attributes:
        task: scores the outputs.
        validation: the encoded split; without one nothing is scored.
        scale: of a regression's targets: what the student learns is standardised, what is scored is in the user's unit.
    """

    task: Task
    validation: Encoded | None = None
    scale: Scale = NONE


@dataclass
class Host:
    """What surrounds a training.

    Attributes:
        accelerator: device, precision and processes.
        folder: the trial's folder; ``checkpoint/`` and ``log.jsonl`` are written there. None writes nothing.
        progress: called with (stage, done, total, note).
        stopping: asked after every step; true ends the training behind a checkpoint with `Interrupted`.
        keep: called with the number of an epoch that has ended, before its checkpoint is written; None keeps no epochs.
    """

    accelerator: Accelerator
    folder: Path | None = None
    progress: Callable[[str, int, int, str], None] = lambda *_: None
    stopping: Callable[[], bool] = lambda: False
    keep: Callable[[int], None] | None = None


@dataclass
class Outcome:
    """What a training gives, all of it a function of the trial's id. `sameness` tells of a student that answers every row
    alike."""

    epochs: list[dict[str, Any]] = field(default_factory=list)
    selected: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    auxiliary: dict[str, float] | None = None
    sameness: str | None = None
    orthogonality: float | None = None


class Loop:
    """One trial's training.

    Args:
        learner: the student with its module and the encoded training split.
        method: the objective.
        scoring: what the student is scored on.
        features: h_t [rows, 128] of the training split, or None.
        train: resolved settings (see `Train`); `precision` is float32 or bf16.
        seed: the trial's seed.
        host: folder, device and who is told.
    """

    def __init__(
        self,
        learner: RowModel,
        method: Method,
        scoring: Scoring,
        features: Tensor | None,
        train: Train,
        seed: int,
        host: Host,
    ) -> None:
        self.learner, self.student, self.model, self.training = learner, learner.student, learner.module, learner.encoded
        self.method, self.features, self.train, self.seed = method, features, train, seed
        self.task, self.validation, self.scale = scoring.task, scoring.validation, scoring.scale
        self.host, self.folder, self.accelerator = host, host.folder, host.accelerator
        self.progress, self.stopping = host.progress, host.stopping
        model, training, accelerator = self.model, self.training, self.accelerator

        self.heads = nn.ModuleDict(_safe_names(method.student_modules()))
        self.own = method.own_modules()
        self.inference = nn.ModuleDict(_safe_names(method.inference_modules()))
        self.trainable = [p for p in [*model.parameters(), *self.heads.parameters()] if p.requires_grad]
        self.optimizer = adamw([*model.parameters(), *self.heads.parameters()], train.lr, train.weight_decay)
        self.steps = train.epochs * steps_per_epoch(len(training.rows), train.batch_size)
        self.state = checkpoint.State(
            {"student": model, "heads": self.heads, **{f"own {name}": item for name, item in self.own.items()}},
            {"student": self.optimizer, **{f"own {name}": item for name, item in method.optimizers().items()}},
        )
        # DistributedDataParallel averages the student's gradients while the backward pass runs.
        self.wrapped = accelerator.prepare_model(model) if accelerator.num_processes > 1 else model
        # It also puts autocast around the model's own forward pass, evaluations included; the loop does so in training alone.
        accelerator.unwrap_model(self.wrapped, keep_fp32_wrapper=False)
        self.outcome = Outcome()
        self.best: dict[str, Tensor] = {}
        self.seconds: dict[str, float] = {}

    # ----------------------------------------------------------------------------------------------------- training

    def run(self) -> Outcome:
        """Train to the end, from the last checkpoint if there is one.

        Raises:
            TrialFailed: the loss is not finite; the last good checkpoint stays.
            Interrupted: `stopping` said so.
        """
        start = self._resume()
        per_epoch = self.steps // max(self.train.epochs, 1)
        written = time.monotonic()
        batches: list[list[int]] = []
        self.model.train()
        for step in range(start, self.steps):
            epoch, inside = divmod(step, per_epoch)
            if inside == 0 or not batches:
                batches = epoch_batches(self.training.lengths, self.train.batch_size, self.seed, epoch)
            with self._timed("training"):
                loss = self._step(step, batches[inside])
            self.progress("training", step + 1, self.steps, f"loss {loss:.3f}")
            done = step + 1
            if inside == per_epoch - 1:
                self._require_finite(done)
                if self.train.evaluate == "epoch" or self.train.select == "best" or done == self.steps:
                    with self._timed("evaluation"):
                        self._evaluate(epoch + 1)
                if self.host.keep is not None and self.accelerator.is_main_process:
                    with self._timed("checkpoints"):
                        self.host.keep(epoch + 1)
                self._save(done)
                written = time.monotonic()
            elif time.monotonic() - written > CHECKPOINT_SECONDS:
                self._save(done)
                written = time.monotonic()
            if self.stopping():
                self._save(done)
                raise Interrupted
        if not self.outcome.epochs:
            self._evaluate(self.train.epochs)
        self._select()
        return self.outcome

    def _step(self, step: int, rows: list[int]) -> float:
        """One optimizer step on the given rows: micro-batches, clipping, the method's own step. Returns the loss."""
        measuring = step % self.train.log_every == 0
        measured: dict[str, list[Figure]] = {}
        total = 0.0
        rate = self.learning_rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        micro_batches = self._micro_batches(rows)
        for number, micro in enumerate(micro_batches):
            reseed(self.seed, f"dropout of step {step}.{number}.{self.accelerator.process_index}")
            batch, inputs = self._batch(micro, step, len(micro) / sum(map(len, micro_batches)))
            last = number == len(micro_batches) - 1
            # Gradients are exchanged between processes once, after the last micro-batch.
            with self._unsynchronised(last):
                self.method.before_forward(batch)
                with self.accelerator.autocast():
                    output = self.student.forward(
                        self.wrapped, inputs, hidden_states=self.method.hidden_states, attentions=self.method.attentions
                    )
                terms = self.method.terms(batch, output)
                if measuring and self.accelerator.is_main_process:
                    measured.update(measure(terms, anchor(output)))
                loss = sum((term.weight * term.value for term in terms), torch.zeros((), device=batch.labels.device))
                self.accelerator.backward(loss * batch.share)
            total += float(loss.detach()) * batch.share
        if self.accelerator.num_processes > 1:
            # All of them must come to the same verdict: one that stopped alone would leave the others waiting.
            total = float(self.accelerator.reduce(torch.tensor(total, device=self.accelerator.device), "mean"))
        if not math.isfinite(total):
            raise TrialFailed(
                f"the loss became {total} at step {step + 1} of {self.steps}, on training rows {_short(rows)}; "
                f"the checkpoint before it is kept. Try a lower lr"
            )
        self._average(self.heads, *self.own.values())
        if self.train.clip:
            self.accelerator.clip_grad_norm_(self.trainable, self.train.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.method.after_step(step)
        if measuring:
            self._log({"step": step, "loss": round(total, 6), "lr": rate, "terms": measured})
        return total

    def _require_finite(self, done: int) -> None:
        """A step can break the weights without any loss telling: they are looked at before they are scored and kept."""
        for name, value in self.model.named_parameters():
            if value.requires_grad and not bool(torch.isfinite(value).all()):
                raise TrialFailed(
                    f"the student's weights are not finite after step {done} of {self.steps} ({name}); "
                    f"the checkpoint before it is kept. Try a lower lr"
                )

    def _micro_batches(self, rows: list[int]) -> list[list[int]]:
        """This process's share of a batch, in `accumulation` parts of nearly equal size."""
        processes = self.accelerator.num_processes
        if processes > 1:
            # Every process needs a row: a short batch begins again at its start.
            rows = [rows[i % len(rows)] for i in range(math.ceil(len(rows) / processes) * processes)]
            rows = rows[self.accelerator.process_index :: processes]
        parts = min(self.train.accumulation, len(rows))
        return [rows[len(rows) * i // parts : len(rows) * (i + 1) // parts] for i in range(parts)]

    def _batch(self, rows: list[int], step: int, share: float) -> tuple[Batch, dict[str, Tensor]]:
        device = self.accelerator.device
        inputs = self.learner.inputs(rows)
        index = torch.tensor(rows)
        h_t = self.features[index].to(device) if self.features is not None else None
        labels = self.training.labels[index].to(device)
        return Batch(index, labels, h_t, step, share, inputs.get("attention_mask"), inputs), inputs

    @contextmanager
    def _unsynchronised(self, last: bool) -> Iterator[None]:
        if last or self.accelerator.num_processes == 1:
            yield
        else:
            with self.wrapped.no_sync():  # type: ignore[operator]
                yield

    def _average(self, *modules: nn.Module) -> None:
        """Mean of the gradients over processes, for what DistributedDataParallel does not wrap."""
        if self.accelerator.num_processes == 1:
            return
        for module in modules:
            for parameter in module.parameters():
                if parameter.grad is not None:
                    parameter.grad = self.accelerator.reduce(parameter.grad, "mean")

    def learning_rate(self, step: int) -> float:
        """The student's rate at a step: a linear rise over the warm-up, then the schedule."""
        return learning_rate(self.train, self.steps, step)

    # --------------------------------------------------------------------------------------------------- evaluation

    @torch.no_grad()
    def outputs(self, split: Encoded, auxiliary: bool = False) -> tuple[Tensor, Tensor | None]:
        """The student's outputs on a split [rows, c], and its auxiliary outputs if asked for and there are any.

        In the precision of its weights, as whoever loads the export has it, whatever the precision of training: bf16's three
        digits would decide between choices that are nearly as good as each other.
        """
        self.model.eval()
        self.inference.eval()
        processes = self.accelerator.num_processes
        batches = evaluation_batches(split.lengths)
        logits: list[Tensor | None] = [None] * len(split.rows)
        extra: list[Tensor | None] = [None] * len(split.rows)
        for number, rows in enumerate(batches):
            if number % processes != self.accelerator.process_index:
                continue
            inputs = self.learner.inputs(rows, split)
            if self.inference:
                self._announce(rows, inputs, split)
            output = self.student.forward(self.model, inputs)
            aux = self.method.auxiliary(output) if auxiliary else None
            for i, row in enumerate(rows):
                logits[row] = output.logits[i].float().cpu()
                extra[row] = aux[i].float().cpu() if aux is not None else None
            self.progress("evaluation", number + 1, len(batches), "")
        self.model.train()
        self.inference.train()
        gathered = [self.scale.restore(self._gathered(column)) for column in (logits, extra)]
        return gathered[0], gathered[1] if len(gathered[1]) else None

    def _announce(self, rows: list[int], inputs: dict[str, Tensor], split: Encoded) -> None:
        """Tell the method which rows its inference modules are about to see."""
        index = torch.tensor(rows)
        labels = split.labels[index].to(self.accelerator.device)
        mask = inputs.get("attention_mask")
        self.method.before_forward(Batch(index, labels, None, -1, mask=mask, inputs=inputs, split="validation"))

    def _gathered(self, column: list[Tensor | None]) -> Tensor:
        """One tensor [rows, c] from what each process has of it."""
        known = [value for value in column if value is not None]
        if self.accelerator.num_processes == 1:
            return torch.stack(known) if known else torch.empty(0)
        from accelerate.utils import gather_object

        pairs = gather_object([[row, value.tolist()] for row, value in enumerate(column) if value is not None])
        return torch.tensor([value for _, value in sorted(pairs)])

    def _evaluate(self, epoch: int) -> None:
        """Score the student on the validation split, note it, and keep the weights if they are the best so far."""
        scores: dict[str, float] = {}
        record: dict[str, Any] = {"epoch": epoch, "scores": scores}
        if self.validation is not None:
            outputs, auxiliary = self.outputs(self.validation, auxiliary=True)
            scores.update(scored(self.task, outputs, self.validation.raw_labels))
            if same := metrics.sameness(outputs.numpy(), self.validation.raw_labels, self.task.labels()):
                record["sameness"] = same
            if auxiliary is not None:
                record["auxiliary"] = scored(self.task, auxiliary, self.validation.raw_labels)
        maps = [module for item in self.own.values() for module in item.modules() if isinstance(module, OrthogonalMap)]
        if maps:
            record["orthogonality"] = max(item.defect() for item in maps)
        self.outcome.epochs.append(record)
        if self.train.select == "best" and scores and self._best_epoch() is record:
            self.best = {name: value.detach().clone() for name, value in self._answering().items()}

    def _select(self) -> None:
        """Choose the epoch that counts; for ``best`` the student gets that epoch's weights back."""
        epochs = self.outcome.epochs
        chosen = epochs[-1]
        if self.train.select == "best" and self.validation is not None:
            chosen = self._best_epoch()
            own = self._answering()
            with torch.no_grad():
                for name, value in self.best.items():
                    own[name].copy_(value)
        self.outcome.selected = chosen["epoch"]
        self.outcome.scores = chosen["scores"]
        self.outcome.auxiliary = chosen.get("auxiliary")
        self.outcome.sameness = chosen.get("sameness")
        defects = [item["orthogonality"] for item in epochs if "orthogonality" in item]
        self.outcome.orthogonality = max(defects) if defects else None

    def _answering(self) -> dict[str, Tensor]:
        """The trained tensors that the student's answers come from, by name."""
        modules = {f"inference/{name}": value for name, value in checkpoint.module_state(self.inference).items()}
        return checkpoint.module_state(self.model) | modules

    def _best_epoch(self) -> dict[str, Any]:
        """The record of the epoch with the best main score so far, the first of equals."""
        metric = self.task.metric
        sign = -1 if lower_is_better(metric) else 1
        return max(self.outcome.epochs, key=lambda item: sign * item["scores"][metric])

    # -------------------------------------------------------------------------------------------------- checkpoints

    def _save(self, step: int) -> None:
        if self.folder is None or not self.accelerator.is_main_process:
            return
        with self._timed("checkpoints"):
            extra = {"epochs": self.outcome.epochs, "seconds": self.seconds}
            checkpoint.save(self.folder / "checkpoint", step, self.state, extra, self.best)

    def _resume(self) -> int:
        """Load the last checkpoint, or let the method prepare itself. Returns the first step to take."""
        found = checkpoint.load(self.folder / "checkpoint", self.state) if self.folder is not None else None
        if found is None:
            self._cut_log(0)
            with self._timed("pre-training"):
                self.progress("pre-training", 0, 1, "")
                self.method.prepare()
            if self.own:
                self._save(0)
            return 0
        step, extra, self.best = found
        self.outcome.epochs = list(extra["epochs"])
        self.seconds = dict(extra["seconds"])
        self._cut_log(step)
        return step

    def _log(self, record: dict[str, Any]) -> None:
        if self.folder is not None and self.accelerator.is_main_process:
            path = self.folder / "log.jsonl"
            try:
                with path.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(record) + "\n")
            except OSError as error:
                raise disk_error(path, error) from error

    def _cut_log(self, step: int) -> None:
        """Drop what was logged after the checkpoint: those steps are taken again."""
        if self.folder is None or not self.accelerator.is_main_process:
            return
        kept = [json.dumps(record) + "\n" for record in read_log(self.folder) if record["step"] < step]
        write_atomic(self.folder / "log.jsonl", "".join(kept))

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def learning_rate(train: Train, steps: int, step: int) -> float:
    """The rate at a step of `steps`: a linear rise over the warm-up share, then linear or cosine decay, or none."""
    rise = int(train.warmup * steps)
    if step < rise:
        return train.lr * (step + 1) / (rise + 1)
    part = (step - rise) / max(1, steps - rise)
    if train.schedule == "linear":
        return train.lr * (1 - part)
    if train.schedule == "cosine":
        return train.lr * 0.5 * (1 + math.cos(math.pi * part))
    return train.lr


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The records of ``log.jsonl`` up to the first line that is none: a crash cuts the last one off, and behind damage nothing
    is certain. The log only tells of a training, so what is lost costs nothing but its figures."""
    records = []
    try:
        lines = (folder / "log.jsonl").read_bytes().split(b"\n")
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


def scored(task: Task, outputs: Tensor, labels: Sequence[Any]) -> dict[str, float]:
    """The task's scores as plain floats."""
    return {name: float(value) for name, value in task.score(outputs.numpy(), labels).items()}


def _safe_names(modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    return {name.replace(".", "_"): module for name, module in modules.items()}


def _short(rows: Sequence[int]) -> str:
    shown = ", ".join(str(row) for row in rows[:8])
    return f"{shown}, ... ({len(rows)} rows)" if len(rows) > 8 else shown
