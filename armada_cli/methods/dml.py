"""Deep mutual learning: two students teach each other (Zhang et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from armada_cli.contracts import Batch, Choice, Component, Method, Setup, StudentOutput, Term, option
from armada_cli.methods.kinds import WITH_LOGITS

if TYPE_CHECKING:
    from torch import Tensor, nn

SMOOTHING = 0.1
"""Label smoothing of the official code (scripts/train_dml*.sh)."""


@dataclass(frozen=True)
class DMLOptions:
    peer: Choice | None = option(
        None,
        "The other network: a student by name, or a mapping with its options; null: a twin of the student with another head",
        component="student",
    )
    peer_lr: float | None = option(None, "Learning rate of the peer; null: the student's", above=0)
    order: str = option(
        "in-turn",
        "in-turn: the peer learns from the student that has just moved; at-once: both move on each other's old outputs",
        choices=("in-turn", "at-once"),
    )
    variant: str = option(
        "paper",
        "official: smoothed labels (0.1) for classes and, in turn, rows of its own for the peer's step",
        choices=("paper", "official"),
    )


class DML(Method):
    """Both networks are trained from the start: L_1 = L_T(y, z_1) + KL(p_2 || p_1) and L_2 = L_T(y, z_2) + KL(p_1 || p_2), with
    p = softmax(z) at temperature 1 and the divergence per example. What the other one says is a constant. The trial's student
    is the first network; the peer is dropped at the end, however good it is.

    ``in-turn``: the student moves first, against the peer as it is, then the peer, against the student as it has become; with
    accumulation that is behind all micro-batches. The peer's rows are the student's own (``paper``), or as many others, drawn
    anew at every step from a stream of their own (``official``, where each network has a fresh batch). ``at-once``: both learn
    from one forward pass each on one batch, as re-implementations do. Targets are of the networks in training mode, with
    dropout.

    For regression the divergence is the squared distance of the two predictions, for multi-label tasks the binary divergence
    per class; neither has smoothed labels.

    Sources: the official code (YingZhangDUT/Deep-Mutual-Learning, train_models.py) for the order, the fresh batches, the
    direction of both divergences and the smoothing. The paper's text was not at hand: that it uses one batch for both networks
    (its Algorithm 1), and that it divides by the number of peers, which is 1 here, is from memory. Nothing says which peer a
    language model had in ARMADA's tables: a twin is our reading ("student models guide each other").

    Cost of a step against plain fine-tuning: 2 with a twin at once, 2.3 in turn.
    """

    def __init__(self, options: Any, setup: Setup) -> None:
        from armada_cli.training.companion import Companion

        super().__init__(options, setup)
        self.peer = Companion(setup.fresh(options.peer, "peer"), setup, options.peer_lr)
        self.in_turn = options.order == "in-turn"
        self.waiting: list[tuple[Tensor, Tensor, float]] = []
        """Micro-batches of this step on which the peer has yet to learn: rows, labels, share."""

    def own_modules(self) -> dict[str, nn.Module]:
        return {"peer": self.peer.module}

    def optimizers(self) -> dict[str, Any]:
        return {"peer": self.peer.adam}

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        import torch

        if self.in_turn:
            with torch.no_grad():
                z_2 = self.peer.model(batch.rows).logits
            self.waiting.append((batch.rows, batch.labels, batch.share))
        else:
            z_2 = self.peer.model(batch.rows).logits
            (batch.share * self.loss(z_2, output.logits, batch.labels)).backward()
        task, mutual = self.addends(output.logits, z_2, batch.labels)
        return [Term("task", 1.0, task, task=True), Term("peer", 1.0, mutual)]

    def after_step(self, step: int) -> None:
        import torch

        for number, (rows, labels, share) in enumerate(self.waiting):
            if self.options.variant == "official":
                rows = self.drawn_rows(len(rows), step, number)
                labels = self.setup.labels[rows.to(self.setup.labels.device)]
            with torch.no_grad():
                z_1 = self.setup.student(rows).logits
            (share * self.loss(self.peer.model(rows).logits, z_1, labels)).backward()
        self.waiting.clear()
        self.peer.step(step, average=self.in_turn)

    def addends(self, own: Tensor, other: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """L_T(y, own) and KL(other || own), where `other` is a constant."""
        from torch.nn.functional import cross_entropy

        from armada_cli.training.objective import soft_labels, task_loss

        kind = self.setup.problem.kind
        if self.options.variant == "official" and kind in ("classification", "multiple-choice"):
            task = cross_entropy(own.float(), labels, label_smoothing=SMOOTHING)
        else:
            task = task_loss(kind, own, labels)
        return task, soft_labels(kind, other.detach(), own)

    def loss(self, own: Tensor, other: Tensor, labels: Tensor) -> Tensor:
        task, mutual = self.addends(own, other, labels)
        return task + mutual

    def drawn_rows(self, count: int, step: int, number: int) -> Tensor:
        """Rows for the peer's step alone, [count]."""
        import torch

        from armada_cli.training.processes import this_process

        name = f"the peer's rows of step {step}.{number}.{this_process()}"
        chance = torch.Generator().manual_seed(self.setup.stream(name))
        return torch.randperm(len(self.setup.labels), generator=chance)[:count]

    def advice(self) -> dict[str, str]:
        return {"peer": "the two networks disagree; try a smaller lr"}


CARD = Component(
    "dml",
    "Deep mutual learning: the student and a peer, trained in step, each on the other's outputs",
    "armada_cli.methods.dml:DML",
    DMLOptions,
    WITH_LOGITS,
    reference="Zhang et al. 2018, Deep Mutual Learning",
    formula="L_T(y, z_s) + KL(softmax(z_peer) || softmax(z_s)), and the peer the other way round",
)
