"""RCO: the student follows the teacher's route, from its early epochs to its end (Jin et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

from armada_cli.contracts import Batch, Component, Method, Needs, Planned, Setup, StudentOutput, Term, TopTokens, option
from armada_cli.methods.kinds import WITH_LOGITS
from armada_cli.methods.text_teacher import SoftLabelOptions


@dataclass(frozen=True)
class RCOOptions(SoftLabelOptions):
    anchors: int = option(
        4,
        "k: how many epochs of the teacher are followed, evenly spaced to its end; at most as many as it has",
        minimum=1,
    )

    def dependencies(self, trial: Planned) -> dict[str, Needs]:
        return {"teacher": Needs(self.teacher, seed=self.teacher_seed, epochs=self.anchors > 1)}

    def reads(self, trial: Planned) -> dict[str, tuple[str | TopTokens, ...]]:
        return {"teacher": ("logits",) * min(self.anchors, self.teacher.train.get("epochs", self.anchors))}


def space_anchors(anchors: int, epochs: int) -> list[int]:
    """The teacher's epochs to follow, evenly spaced and the last one among them: 3, 5, 8, 10 are four of 10."""
    anchors = min(anchors, epochs)
    return [(number * epochs * 2 + anchors) // (2 * anchors) for number in range(1, anchors + 1)]


class RCO(Method):
    """L = (1 - a) L_T(Y, z_s) + a T^2 KL(softmax(z_t^j / T) || softmax(z_s / T)), z_t^j the logits of the teacher as it was
    behind its epoch j. The anchors j follow each other, and each has an equal share of the student's steps.

    The last anchor is the finished teacher, so that `anchors: 1` is `kd`; alpha and temperature are `kd`'s by default. The
    student goes on from one anchor to the next under one optimizer and one schedule of the learning rate. There is no official
    code; the abstract was read, and the spacing and the shares are our reading. The paper also has a greedy choice of anchors,
    which is not here.
    """

    def __init__(self, options: object, setup: Setup) -> None:
        super().__init__(options, setup)
        wanted = min(self.options.anchors, setup.steps)
        self.epochs = space_anchors(wanted, setup.epochs("teacher")) if wanted > 1 else []
        # The finished teacher may be its best epoch in the place of its last (`select: best`).
        early = [setup.cached("teacher", "logits", epoch) for epoch in self.epochs[:-1]]
        self.teacher_logits = [*early, setup.cached("teacher", "logits")]

    def anchor_at(self, step: int) -> int:
        """The number of the anchor that the student follows at a step, from 0."""
        return step * len(self.teacher_logits) // self.setup.steps

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from armada_cli.training.objective import soft_labels, task_loss

        kind, options = self.setup.problem.kind, self.options
        z_t = self.teacher_logits[self.anchor_at(batch.step)][batch.rows.cpu()].to(output.logits.device)
        return [
            Term("task", 1 - options.alpha, task_loss(kind, output.logits, batch.labels), task=True),
            Term("soft labels", options.alpha, soft_labels(kind, z_t, output.logits, options.temperature, options.reduction)),
        ]

    def advice(self) -> dict[str, str]:
        return {"soft labels": "try a smaller alpha or temperature"}


CARD = Component(
    "rco",
    "Soft labels of the teacher's earlier epochs first, then of its later ones",
    "armada_cli.methods.rco:RCO",
    RCOOptions,
    WITH_LOGITS,
    reference="Jin et al. 2019, Knowledge Distillation via Route Constrained Optimization",
    formula="(1 - alpha) L_T(y, z_s) + alpha T^2 KL(softmax(z_t^j / T) || softmax(z_s / T)), j the teacher's epochs in turn",
)
