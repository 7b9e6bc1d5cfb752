"""Knowledge distillation from a text teacher (Hinton et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass

from armada_cli.contracts import Batch, Choice, Component, Method, Needs, Planned, Setup, StudentOutput, Term, option
from armada_cli.methods.kinds import WITH_LOGITS


@dataclass(frozen=True)
class KDOptions:
    teacher: Choice = option(
        "bert-base", "The text teacher: a student by name, or a mapping with its options", component="student"
    )
    alpha: float = option(0.5, "Weight of the teacher's soft labels", minimum=0, maximum=1)
    temperature: float = option(4.0, "Softens both distributions; the term is scaled by its square", above=0)
    reduction: str = option(
        "batchmean",
        "batchmean: the divergence per example; mean: divided by the number of classes too",
        choices=("batchmean", "mean"),
    )
    teacher_seed: int = option(0, "Seed of the teacher's own trial; every seed of the student shares it", minimum=0)

    def dependencies(self, trial: Planned) -> dict[str, Needs]:
        return {"teacher": Needs(self.teacher, seed=self.teacher_seed)}


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
        from torch.nn import functional

        from armada_cli.training.objective import task_loss

        kind, t = self.setup.problem.kind, self.options.temperature
        z_t = self.teacher_logits[batch.rows].to(output.logits.device)
        z_s = output.logits.float()
        if kind == "regression":
            soft = functional.mse_loss(z_s, z_t)
        elif kind == "multilabel":
            # KL of two Bernoulli distributions: the cross-entropy less the teacher's own entropy.
            p_t = (z_t / t).sigmoid()
            cross = functional.binary_cross_entropy_with_logits(z_s / t, p_t)
            soft = t * t * (cross - functional.binary_cross_entropy_with_logits(z_t / t, p_t))
        else:
            p_s, p_t = (z_s / t).log_softmax(-1), (z_t / t).log_softmax(-1)
            soft = t * t * functional.kl_div(p_s, p_t, log_target=True, reduction="batchmean")
            if self.options.reduction == "mean":
                # Said here, since torch announces that its own "mean" will one day mean "batchmean".
                soft = soft / z_s.shape[-1]
        return [
            Term("task", 1 - self.options.alpha, task_loss(kind, z_s, batch.labels), task=True),
            Term("soft labels", self.options.alpha, soft),
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
)
