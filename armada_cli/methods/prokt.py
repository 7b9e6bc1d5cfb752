"""ProKT: a teacher that is still learning stays near its student (Shi et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from armada_cli.contracts import Batch, Choice, Component, Method, Setup, StudentOutput, Term, option
from armada_cli.methods.kinds import WITH_LOGITS

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class ProKTOptions:
    teacher: Choice = option(
        "bert-base",
        "The teacher, which begins from pre-trained weights: a student by name, or a mapping with its options",
        component="student",
    )
    teacher_lr: float | None = option(None, "Learning rate of the teacher; null: the student's", above=0)
    strength: float = option(
        0.4, "lambda: weight of the student's answers against the labels in the teacher's loss", minimum=0, maximum=1
    )
    zero_heads: bool = option(True, "Both output layers begin with zeros, so that the two agree at first")


class ProKT(Method):
    """On every batch, first the teacher: L_t = (1 - l) L_T(y, z_t) + l KL(sg p_s || p_t), one step; then the student, from the
    teacher that has moved: L_s = KL(sg p_t || p_s), without labels. p = softmax(z) at temperature 1, sg is a constant, and the
    divergence is per example. Targets are of networks in `eval` mode; those that learn are in training mode.

    With accumulation the teacher gathers its gradient over the micro-batches of a step and moves behind them: the student's
    targets are then of the teacher before that step.

    Both begin from pre-trained weights, with zeros in the output layer: the student's head is another one than that of other
    methods of the seed, unless `zero_heads` is false. For regression the divergence is the squared distance of the two
    predictions (the official code fails there), for multi-label tasks the binary divergence per class.

    Sources: the official code (wxsh1213/prokt_text, run_glue_milestone.py) for order, losses, modes and zeroed heads; it has
    the rates 1e-4 and 3e-5 of student and teacher for batches of 256 on MNLI, no weight decay and no warm-up, which here are
    the trial's settings. Of the paper the abstract alone was seen, so there is no variant of it. Its code's Lagrangian form of
    l and its alignment of hidden states are left out.

    Cost of a step against plain fine-tuning, for a teacher of twice the student's depth: 4.
    """

    def __init__(self, options: Any, setup: Setup) -> None:
        from torch import nn

        from armada_cli.training.companion import Companion, output_layer

        super().__init__(options, setup)
        self.teacher = Companion(setup.fresh(options.teacher, "teacher"), setup, options.teacher_lr)
        self.gathering = False
        """Whether the teacher holds gradients of micro-batches that it has not moved on."""
        if options.zero_heads:
            outputs = 1 if setup.problem.kind == "multiple-choice" else setup.problem.outputs
            for module in (self.teacher.module, setup.student.module):
                for parameter in output_layer(module, outputs).parameters():
                    nn.init.zeros_(parameter)

    def own_modules(self) -> dict[str, nn.Module]:
        return {"teacher": self.teacher.module}

    def optimizers(self) -> dict[str, Any]:
        return {"teacher": self.teacher.adam}

    def teacher_loss(self, z_t: Tensor, z_s: Tensor, labels: Tensor) -> Tensor:
        """L_t, in which z_s is a constant."""
        from armada_cli.training.objective import soft_labels, task_loss

        kind, strength = self.setup.problem.kind, self.options.strength
        return (1 - strength) * task_loss(kind, z_t, labels) + strength * soft_labels(kind, z_s.detach(), z_t)

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from armada_cli.training.companion import logits_without_dropout
        from armada_cli.training.objective import soft_labels

        z_s = logits_without_dropout(self.setup.student, batch.rows)
        (batch.share * self.teacher_loss(self.teacher.model(batch.rows).logits, z_s, batch.labels)).backward()
        if batch.share == 1:
            self.teacher.step(batch.step, average=True)
        else:
            self.gathering = True
        z_t = logits_without_dropout(self.teacher.model, batch.rows)
        # The student has no other term: there is nothing that this one could outweigh.
        return [Term("soft labels", 1.0, soft_labels(self.setup.problem.kind, z_t, output.logits), task=True)]

    def after_step(self, step: int) -> None:
        if self.gathering:
            self.teacher.step(step)
            self.gathering = False


CARD = Component(
    "prokt",
    "ProKT: a teacher that learns in step with the student and stays near it",
    "armada_cli.methods.prokt:ProKT",
    ProKTOptions,
    WITH_LOGITS,
    reference="Shi et al. 2021, Follow Your Path",
    formula="KL(softmax(z_t) || softmax(z_s)); teacher: (1 - lambda) L_T(y, z_t) + lambda KL(softmax(z_s) || softmax(z_t))",
)
