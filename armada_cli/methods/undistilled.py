"""The student fine-tuned on the labels alone."""

from __future__ import annotations

from armada_cli.contracts import Batch, Component, Method, NoOptions, StudentOutput, Term
from armada_cli.methods.kinds import ALL


class Undistilled(Method):
    """L = L_T(Y, o_s), or in generation the next-token cross-entropy of the response. Every other method shares this one's
    batches, head and dropout of the same seed."""

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from armada_cli.training.objective import task_loss

        if output.loss is not None:
            return [Term("task", 1.0, output.loss, task=True)]
        return [Term("task", 1.0, task_loss(self.setup.problem.kind, output.logits, batch.labels), task=True)]


CARD = Component(
    "undistilled",
    "The student fine-tuned on the labels alone",
    "armada_cli.methods.undistilled:Undistilled",
    NoOptions,
    ALL | {"masked"},
    formula="L_T(y, z_s)",
)
