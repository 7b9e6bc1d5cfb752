"""How good a student is after an epoch of its training, and which epoch's weights it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from armada_cli.contracts import Batch, Method, Task
from armada_cli.direction import lower_is_better
from armada_cli.evaluation import metrics
from armada_cli.held_out import SELECTION
from armada_cli.targets import NONE, Scale
from armada_cli.training import checkpoint
from armada_cli.training.batching import evaluation_batches
from armada_cli.training.host import Host
from armada_cli.training.model import Encoded, RowModel
from armada_cli.training.projection import OrthogonalMap

PREDICTIONS = "predictions"
"""A tensor of checkpoints."""


@dataclass
class Scoring:
    """What the student is scored on.

    Attributes:
        task: scores the outputs.
        validation: the encoded split; without one nothing is scored.
        scale: of a regression's targets: what the student learns is standardised, what is scored is in the user's unit.
        features: h_t of the validation rows, for a student that reads them when it answers.
        selection: the encoded training rows that are held out to choose on; `selection_features` their h_t.
    """

    task: Task
    validation: Encoded | None = None
    scale: Scale = NONE
    features: Tensor | None = None
    selection: Encoded | None = None
    selection_features: Tensor | None = None


@dataclass
class Outcome:
    """What a training gives, all of it a function of the trial's id. `sameness` tells of a student that answers every row
    alike, `selection` has the scores of the rows that are held out, where there are any, `predictions` the outputs on the
    validation split [rows, c]."""

    epochs: list[dict[str, Any]]
    selected: int
    scores: dict[str, float]
    auxiliary: dict[str, float] | None
    sameness: str | None
    orthogonality: float | None
    selection: dict[str, float] | None = None
    predictions: Tensor | None = None


@dataclass
class Modules:
    """The modules that a method brings: trained with the student's optimizer, with its own, and those of inference, which
    act inside the student when it answers; `kept` are those of the first two that are kept beside the student."""

    heads: nn.ModuleDict
    own: Mapping[str, nn.Module]
    inference: nn.ModuleDict
    kept: nn.ModuleDict

    @classmethod
    def of(cls, method: Method) -> Modules:
        return cls(
            nn.ModuleDict(_safe_names(method.student_modules())),
            method.own_modules(),
            nn.ModuleDict(_safe_names(method.inference_modules())),
            nn.ModuleDict(_safe_names(method.kept_modules())),
        )


class Evaluator:
    """Scores of one student, epoch by epoch.

    Args:
        learner: the student with its module.
        method: the objective; modules: what it brings.
        scoring: what the student is scored on.
        select: ``last`` or ``best``, see `Train`.
        host: device, processes and who is told.

    Attributes:
        epochs: a record for each epoch that was looked at.
        best: the trained tensors of the best epoch so far, by name; empty unless `select` is ``best``.
        predictions: the outputs on the validation split [rows, c] of the epoch that counts so far; None before the first.
    """

    def __init__(self, learner: RowModel, method: Method, modules: Modules, scoring: Scoring, select: str, host: Host) -> None:
        self.learner, self.method, self.modules, self.scoring = learner, method, modules, scoring
        self.select, self.host = select, host
        self.epochs: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.predictions: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint must have, beside `epochs`, for `choose` to give the same."""
        known = {} if self.predictions is None else {PREDICTIONS: self.predictions}
        return {f"best/{name}": value for name, value in self.best.items()} | known

    def restore(self, epochs: Sequence[dict[str, Any]], tensors: Mapping[str, Tensor]) -> None:
        """Go on from what a checkpoint has."""
        self.epochs = list(epochs)
        self.best = {name.removeprefix("best/"): value for name, value in tensors.items() if name.startswith("best/")}
        self.predictions = tensors.get(PREDICTIONS)

    @torch.no_grad()
    def outputs(self, split: Encoded, auxiliary: bool = False) -> tuple[Tensor, Tensor | None]:
        """The student's outputs on a split [rows, c], and its auxiliary outputs if asked for and there are any.

        In the precision of its weights, as whoever loads the export has it, whatever the precision of training: bf16's three
        digits would decide between choices that are nearly as good as each other.
        """
        self.learner.module.eval()
        self.modules.inference.eval()
        processes = self.host.accelerator.num_processes
        batches = evaluation_batches(split.lengths)
        logits: list[Tensor | None] = [None] * len(split.rows)
        extra: list[Tensor | None] = [None] * len(split.rows)
        for number, rows in enumerate(batches):
            if number % processes != self.host.accelerator.process_index:
                continue
            inputs = self.learner.inputs(rows, split)
            if self.modules.inference:
                self._announce(rows, inputs, split)
            output = self.learner.student.forward(self.learner.module, inputs)
            aux = self.method.auxiliary(output) if auxiliary else None
            for i, row in enumerate(rows):
                logits[row] = output.logits[i].float().cpu()
                extra[row] = aux[i].float().cpu() if aux is not None else None
            self.host.progress("evaluation", number + 1, len(batches), "")
        self.learner.module.train()
        self.modules.inference.train()
        gathered = [self.scoring.scale.restore(self._gathered(column)) for column in (logits, extra)]
        return gathered[0], gathered[1] if len(gathered[1]) else None

    def _announce(self, rows: list[int], inputs: dict[str, Tensor], split: Encoded) -> None:
        """Tell the method which rows its inference modules are about to see."""
        index = torch.tensor(rows)
        device = self.host.accelerator.device
        name = SELECTION if split is self.scoring.selection else "validation"
        h_t = self.scoring.selection_features if name == SELECTION else self.scoring.features
        labels = split.labels[index].to(device)
        h_t = None if h_t is None else h_t[index].to(device)
        mask = inputs.get("attention_mask")
        self.method.before_forward(Batch(index, labels, h_t, -1, mask=mask, inputs=inputs, split=name))

    def _gathered(self, column: list[Tensor | None]) -> Tensor:
        """One tensor [rows, c] from what each process has of it."""
        known = [value for value in column if value is not None]
        if self.host.accelerator.num_processes == 1:
            return torch.stack(known) if known else torch.empty(0)
        from accelerate.utils import gather_object

        pairs = gather_object([[row, value.tolist()] for row, value in enumerate(column) if value is not None])
        return torch.tensor([value for _, value in sorted(pairs)])

    def evaluate(self, epoch: int) -> None:
        """Score the student on the validation split and on held-out rows, note it, and keep the weights if they are the best so
        far."""
        task, validation = self.scoring.task, self.scoring.validation
        scores: dict[str, float] = {}
        record: dict[str, Any] = {"epoch": epoch, "scores": scores}
        outputs: Tensor | None = None
        if validation is not None:
            outputs, auxiliary = self.outputs(validation, auxiliary=True)
            scores.update(scored(task, outputs, validation.raw_labels))
            if same := metrics.sameness(outputs.numpy(), validation.raw_labels, task.labels()):
                record["sameness"] = same
            if auxiliary is not None:
                record["auxiliary"] = scored(task, auxiliary, validation.raw_labels)
        if self.scoring.selection is not None:
            held_out = self.scoring.selection
            record[SELECTION] = scored(task, self.outputs(held_out)[0], held_out.raw_labels)
        maps = [module for item in self.modules.own.values() for module in item.modules() if isinstance(module, OrthogonalMap)]
        if maps:
            record["orthogonality"] = max(item.defect() for item in maps)
        self.epochs.append(record)
        if self.select != "best":
            self.predictions = outputs
        elif scores and self._best_epoch() is record:
            self.predictions = outputs
            self.best = {name: value.detach().clone() for name, value in self._counting().items()}

    def choose(self) -> Outcome:
        """Choose the epoch that counts; for ``best`` the student and the kept modules get that epoch's weights back."""
        chosen = self.epochs[-1]
        if self.select == "best" and self.scoring.validation is not None:
            chosen = self._best_epoch()
            own = self._counting()
            with torch.no_grad():
                for name, value in self.best.items():
                    own[name].copy_(value)
        defects = [record["orthogonality"] for record in self.epochs if "orthogonality" in record]
        return Outcome(
            self.epochs,
            chosen["epoch"],
            chosen["scores"],
            chosen.get("auxiliary"),
            chosen.get("sameness"),
            max(defects) if defects else None,
            chosen.get(SELECTION),
            self.predictions,
        )

    def _counting(self) -> dict[str, Tensor]:
        """The trained tensors that the student's answers come from, and those of modules that are kept, by name."""
        parts = {"inference": self.modules.inference, "kept": self.modules.kept}
        modules = {
            f"{part}/{name}": value for part, module in parts.items() for name, value in checkpoint.module_state(module).items()
        }
        return checkpoint.module_state(self.learner.module) | modules

    def _best_epoch(self) -> dict[str, Any]:
        """The record of the epoch with the best main score so far, the first of equals: on the rows that are held out to choose
        on, or without them on the validation split."""
        metric = self.scoring.task.metric
        sign = -1 if lower_is_better(metric) else 1
        return max(self.epochs, key=lambda item: sign * item.get(SELECTION, item["scores"])[metric])


def scored(task: Task, outputs: Tensor, labels: Sequence[Any]) -> dict[str, float]:
    """The task's scores as plain floats."""
    return {name: float(value) for name, value in task.score(outputs.numpy(), labels).items()}


def _safe_names(modules: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    return {name.replace(".", "_"): module for name, module in modules.items()}
