"""Label smoothing (Szegedy et al. 2016): the control for what soft labels give without a teacher's knowledge."""

from __future__ import annotations

from dataclasses import dataclass

from armada_cli.contracts import Batch, Component, Method, StudentOutput, Term, option
from armada_cli.methods.kinds import WITH_LOGITS


@dataclass(frozen=True)
class LabelSmoothingOptions:
    alpha: float = option(0.1, "Weight of the uniform soft labels against the labels", minimum=0, maximum=1)
    temperature: float = option(1.0, "Softens the student's distribution, as in kd; 1 is plain label smoothing", above=0)


class LabelSmoothing(Method):
    """L = (1 - a) L_T(Y, z_s) + a T^2 KL(u || softmax(z_s / T)), u uniform over the classes.

    That is `kd` of a teacher that finds every answer as likely as any other: with kd's alpha and temperature it pulls as hard
    and knows nothing. Its gradient at temperature 1 is that of a cross-entropy whose target gives alpha to all classes alike
    (checked against torch's ``label_smoothing``). For regression the teacher always answers the mean of the training rows'
    targets; for multi-label tasks it gives each class one half.
    """

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        import torch

        from armada_cli.training.objective import soft_labels, task_loss

        kind, options, z_s = self.setup.problem.kind, self.options, output.logits
        return [
            Term("task", 1 - options.alpha, task_loss(kind, z_s, batch.labels), task=True),
            Term("soft labels", options.alpha, soft_labels(kind, torch.zeros_like(z_s), z_s, options.temperature)),
        ]

    def advice(self) -> dict[str, str]:
        return {"soft labels": "try a smaller alpha or temperature"}


CARD = Component(
    "label-smoothing",
    "Soft labels that give every class the same share: the control for soft labels without knowledge",
    "armada_cli.methods.label_smoothing:LabelSmoothing",
    LabelSmoothingOptions,
    WITH_LOGITS,
    reference="Szegedy et al. 2016, section 7",
    formula="(1 - alpha) L_T(y, z_s) + alpha T^2 KL(uniform || softmax(z_s / T))",
)
