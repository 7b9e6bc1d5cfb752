"""Continuation-KD: the teacher's logits are scaled up from small ones, and the labels take over (Jafari et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from armada_cli.contracts import Batch, Component, Method, Setup, StudentOutput, Term, option
from armada_cli.methods.kinds import WITH_LOGITS
from armada_cli.methods.text_teacher import TextTeacherOptions

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ContinuationKDOptions(TextTeacherOptions):
    steepness: int = option(
        10, "T_max: the teacher's logits begin at a T_max-th of their size; at most the number of epochs counts", minimum=1
    )
    margin: float = option(0.1, "m: squared distances below m phi cost nothing", minimum=0)
    labels: str = option(
        "glue",
        "psi, the weight of the labels: glue: rises to 1/2 in two thirds of the epochs, then 1; "
        "cv: rises to 1 in three quarters; step: 0 for two thirds, then 1 (Annealing-KD)",
        choices=("glue", "cv", "step"),
    )
    distance: str = option(
        "sum", "Squared differences of the logits: their sum over the outputs, or mean", choices=("sum", "mean")
    )
    hinge: str = option(
        "example", "The margin is taken off each example's distance, or off the batch's", choices=("example", "batch")
    )


def teacher_scale(epoch: int, epochs: int, steepness: int) -> float:
    """phi(i) = 1 - (T - 1) / T_max (Eq. 4 and algorithm 1): T falls from T_max by one every floor(n / T_max) epochs.

    The algorithm's T passes 1 where the epochs outlast it; it is held there. With fewer epochs than T_max (ours: the paper has
    30 and 10) T_max is the number of epochs, so that the teacher is seen whole at the end.

    Args:
        epoch: i, from 1; epochs: n.
    """
    largest = min(steepness, epochs)
    temperature = max(1, largest - epoch // (epochs // largest))
    return 1 - (temperature - 1) / largest


def label_weight(epoch: int, epochs: int, schedule: str) -> float:
    """psi(i): Eq. 7 and 8, where n = 30 has i / 40 up to epoch 20 and 1 behind it (glue), and n = 200 has i / 150 up to 1
    (cv), for any number of epochs. The text's psi(1) = 0 does not agree with its equation, which is followed."""
    if schedule == "cv":
        return min(1.0, epoch / (0.75 * epochs))
    if epoch > max(1, 2 * epochs // 3):
        return 1.0
    return 0.0 if schedule == "step" else epoch / (4 * epochs / 3)


def bounded_distance(
    z_t: Tensor, z_s: Tensor, phi: float, margin: float, distance: str = "sum", hinge: str = "example"
) -> Tensor:
    """max(0, ||z_s - phi z_t||^2 - m phi) (Eq. 5), the mean over the batch. z_t, z_s: [n, c] -> scalar."""
    squares = (z_s.float() - phi * z_t.float()).square()
    values = squares.sum(-1) if distance == "sum" else squares.mean(-1)
    if hinge == "batch":
        values = values.mean()
    return (values - margin * phi).relu().mean()


class ContinuationKD(Method):
    """L = psi(i) L_T(Y, z_s) + (1 - psi(i)) max(0, ||z_s - phi(i) z_t||^2 - m phi(i)), i the epoch (Eq. 3 to 5).

    Defaults and schedules are those for GLUE in the full text (arXiv 2212.05998), which was read; there is no code. Not told
    there: the value of m (0.1 is ours; try 0, 0.1, 0.5, 1), whether the norm is a sum or a mean, and whether the margin is an
    example's or a batch's: options each. The paper trains 30 epochs and keeps the best; `margin: 0` with `labels: step` is
    Annealing-KD. Regression compares the standardised predictions, multiple choice the logits of a row's choices.
    """

    def __init__(self, options: object, setup: Setup) -> None:
        super().__init__(options, setup)
        self.teacher_logits = setup.cached("teacher", "logits")

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from armada_cli.training.objective import task_loss

        options, epochs = self.options, self.setup.train.epochs
        epoch = 1 + batch.step * epochs // self.setup.steps
        phi, psi = teacher_scale(epoch, epochs, options.steepness), label_weight(epoch, epochs, options.labels)
        z_t = self.teacher_logits[batch.rows.cpu()].to(output.logits.device)
        distance = bounded_distance(z_t, output.logits, phi, options.margin, options.distance, options.hinge)
        return [
            Term("task", psi, task_loss(self.setup.problem.kind, output.logits, batch.labels), task=True),
            Term("teacher's logits", 1 - psi, distance),
        ]

    def advice(self) -> dict[str, str]:
        return {"teacher's logits": "try distance: mean, or a larger margin"}


CARD = Component(
    "continuation-kd",
    "The teacher's logits scaled up over the epochs, then the labels alone",
    "armada_cli.methods.continuation_kd:ContinuationKD",
    ContinuationKDOptions,
    WITH_LOGITS,
    reference="Jafari et al. 2022, Continuation KD (arXiv 2212.05998)",
    formula="psi(i) L_T(y, z_s) + (1 - psi(i)) max(0, ||z_s - phi(i) z_t||^2 - m phi(i)), i the epoch",
)
