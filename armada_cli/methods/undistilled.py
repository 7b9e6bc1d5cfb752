"""The student fine-tuned on the labels alone."""

from __future__ import annotations

from armada_cli.contracts import Batch, Method, StudentOutput, Term
from armada_cli.training.objective import task_loss


class Undistilled(Method):
    """L = L_T(Y, o_s). Every other method shares this one's batches, head and dropout of the same seed."""

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        return [Term("task", 1.0, task_loss(self.setup.problem.kind, output.logits, batch.labels), task=True)]
