"""The training loop: student, method, batches, steps, evaluation, checkpoints. Read it from top to bottom.

Everything random is drawn from a stream that the trial's seed and the step name, so the loop can stop after any step and
go on from its checkpoint to the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from armada_cli import training_log
from armada_cli.contracts import Batch, Method
from armada_cli.errors import Interrupted, TrialFailed
from armada_cli.settings import Train
from armada_cli.training import checkpoint
from armada_cli.training.batching import epoch_batches, steps_per_epoch
from armada_cli.training.cost import OWN
from armada_cli.training.evaluation import Evaluator, Modules, Outcome, Scoring
from armada_cli.training.host import Host
from armada_cli.training.model import RowModel
from armada_cli.training.optimizer import adamw
from armada_cli.training.pull import anchor, measure
from armada_cli.training.scales import Figure
from armada_cli.training.schedule import learning_rate
from armada_cli.training.seeds import reseed

CHECKPOINT_SECONDS = 60.0
"""A killed training loses at most about this much. Time decides when a checkpoint is written, never what is in it."""


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
        self.host, self.folder, self.accelerator = host, host.folder, host.accelerator
        model, training, accelerator = self.model, self.training, self.accelerator

        modules = Modules.of(method)
        self.heads, self.own = modules.heads, modules.own
        self.evaluation = Evaluator(learner, method, modules, scoring, train.select, host)
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
            self.host.progress("training", step + 1, self.steps, f"loss {loss:.3f}")
            done = step + 1
            if inside == per_epoch - 1:
                self._require_finite(done)
                if self.train.evaluate == "epoch" or self.train.select == "best" or done == self.steps:
                    with self._timed("evaluation"):
                        self.evaluation.evaluate(epoch + 1)
                if self.host.keep is not None and self.accelerator.is_main_process:
                    with self._timed("checkpoints"):
                        self.host.keep(epoch + 1)
                self._save(done)
                written = time.monotonic()
            elif time.monotonic() - written > CHECKPOINT_SECONDS:
                self._save(done)
                written = time.monotonic()
            if self.host.stopping():
                self._save(done)
                raise Interrupted
        if not self.evaluation.epochs:
            self.evaluation.evaluate(self.train.epochs)
        return self.evaluation.choose()

    def _step(self, step: int, rows: list[int]) -> float:
        """One optimizer step on the given rows: micro-batches, clipping, the method's own step. Returns the loss."""
        measuring = step % self.train.log_every == 0
        measured: dict[str, list[Figure]] = {}
        total = 0.0
        rate = learning_rate(self.train, self.steps, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        asked = {"hidden_states": self.method.hidden_states, "attentions": self.method.attentions}
        if self.method.tokens:
            asked["tokens"] = True
        micro_batches = self._micro_batches(rows)
        for number, micro in enumerate(micro_batches):
            reseed(self.seed, f"dropout of step {step}.{number}.{self.accelerator.process_index}")
            batch, inputs = self._batch(micro, step, len(micro) / sum(map(len, micro_batches)))
            last = number == len(micro_batches) - 1
            # Gradients are exchanged between processes once, after the last micro-batch.
            with self._unsynchronised(last):
                self.method.before_forward(batch)
                self.host.cost.count(OWN, len(micro))
                with self.accelerator.autocast():
                    output = self.student.forward(self.wrapped, inputs, **asked)
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
        if measuring and self.folder is not None and self.accelerator.is_main_process:
            training_log.append(self.folder, {"step": step, "loss": round(total, 6), "lr": rate, "terms": measured})
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

    # -------------------------------------------------------------------------------------------------- checkpoints

    def _save(self, step: int) -> None:
        if self.folder is None or not self.accelerator.is_main_process:
            return
        with self._timed("checkpoints"):
            extra = {"epochs": self.evaluation.epochs, "seconds": self.seconds, "passes": self.host.cost.passes}
            checkpoint.save(self.folder / "checkpoint", step, self.state, extra, self.evaluation.tensors())

    def _resume(self) -> int:
        """Load the last checkpoint, or let the method prepare itself. Returns the first step to take."""
        loaded = checkpoint.load(self.folder / "checkpoint", self.state) if self.folder is not None else None
        if loaded is None:
            self._cut_log(0)
            with self._timed("pre-training"):
                self.host.progress("pre-training", 0, 1, "")
                self.method.prepare()
            if self.own:
                self._save(0)
            return 0
        step, extra, tensors = loaded
        self.evaluation.restore(extra["epochs"], tensors)
        self.seconds = dict(extra["seconds"])
        self.host.cost.restore(extra.get("passes", {}))
        self._cut_log(step)
        return step

    def _cut_log(self, step: int) -> None:
        if self.folder is not None and self.accelerator.is_main_process:
            training_log.cut(self.folder, step)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def _short(rows: Sequence[int]) -> str:
    shown = ", ".join(str(row) for row in rows[:8])
    return f"{shown}, ... ({len(rows)} rows)" if len(rows) > 8 else shown
