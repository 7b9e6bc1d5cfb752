"""Knowledge distillation from a text teacher (Hinton et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass

from armada_cli.contracts import Batch, Component, Method, Setup, StudentOutput, Term, option
from armada_cli.methods.kinds import WITH_LOGITS
from armada_cli.methods.text_teacher import REDUCTIONS, TextTeacherOptions


@dataclass(frozen=True)
class KDOptions(TextTeacherOptions):
    alpha: float = option(0.5, "Weight of the teacher's soft labels", minimum=0, maximum=1)
    temperature: float = option(4.0, "Softens both distributions; the term is scaled by its square", above=0)
    reduction: str = option(
        "batchmean",
        "batchmean: the divergence per example; mean: divided by the number of classes too",
        choices=REDUCTIONS,
    )


class KD(Method):
    """L = (1 - a) L_T(Y, z_s) + a T^2 KL(softmax(z_t / T) || softmax(z_s / T)).

    The teacher is a finished trial of its own; its logits on the training split are computed once, without dropout, and
    kept for all its students. For regression the second term is the squared distance of the two predictions, for multi-label
    tasks the binary divergence per class.
    """

    def __init__(self, options: object, setup: Setup) -> None:
        super().__init__(options, setup)
        self.teacher_logits = setup.cached("teacher", "logits")

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from armada_cli.training.objective import soft_labels, task_loss

        kind, options = self.setup.problem.kind, self.options
        z_t = self.teacher_logits[batch.rows].to(output.logits.device)
        return [
            Term("task", 1 - options.alpha, task_loss(kind, output.logits, batch.labels), task=True),
            Term("soft labels", options.alpha, soft_labels(kind, z_t, output.logits, options.temperature, options.reduction)),
        ]

    def advice(self) -> dict[str, str]:
        return {"soft labels": "try a smaller alpha or temperature"}


CARD = Component(
    "kd",
    "Soft labels of a larger language model trained on the same task",
    "armada_cli.methods.kd:KD",
    KDOptions,
    WITH_LOGITS,
    reference="Hinton et al. 2015",
    formula="(1 - alpha) L_T(y, z_s) + alpha T^2 KL(softmax(z_t / T) || softmax(z_s / T))",
)
