"""ARMADA's extra heads without its teacher: the control for what additional parameters and an additional loss give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from armada_cli.contracts import Batch, Component, Method, Setup, StudentOutput, Term, option
from armada_cli.methods.kinds import WITH_LOGITS

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class ParameterMatchedOptions:
    gamma: float = option(1.0, "Weight of the auxiliary output's task loss", minimum=0)
    projection: str = option("trained", "P_s: trained on the Stiefel manifold, or fixed as drawn", choices=("trained", "fixed"))
    projection_every: int = option(
        1, "Steps whose gradients are gathered for one update of P_s; more than 1 slows it down", minimum=1
    )


class ParameterMatched(Method):
    """L = L_T(Y, o_s) + gamma L_T(Y, o_aux_s), with P_s and O_aux_s as `Armada` has them, drawn from the same stream."""

    student_side = frozenset({"P_s"})

    def __init__(self, options: object, setup: Setup) -> None:
        from armada_cli.training.aligner import PROJECTION, StudentHeads
        from armada_cli.training.projection import StiefelOptimizer
        from armada_cli.training.seeds import drawn_from

        super().__init__(options, setup)
        with drawn_from(setup.seed, "extra heads"):
            per_choice = setup.problem.kind == "multiple-choice"
            heads = StudentHeads(setup.hidden, setup.problem.outputs, PROJECTION, per_choice, setup.own_pooler)
            self.heads = heads.to(setup.device)
        trained = self.options.projection == "trained"
        self.heads.P.weight.requires_grad_(trained)
        self.stiefel = StiefelOptimizer([self.heads.P], self.options.projection_every) if trained else None

    def student_modules(self) -> dict[str, nn.Module]:
        return self.heads.trained_with_student()

    def own_modules(self) -> dict[str, nn.Module]:
        return {"P_s": self.heads.P}

    def kept_modules(self) -> dict[str, nn.Module]:
        return {**self.student_modules(), **self.own_modules()}

    def optimizers(self) -> dict[str, object]:
        return {"stiefel": self.stiefel.adam} if self.stiefel else {}

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from armada_cli.training.objective import task_loss

        kind = self.setup.problem.kind
        _, aux = self.heads(output.pooled.float())
        return [
            Term("task", 1.0, task_loss(kind, output.logits, batch.labels), task=True),
            Term("auxiliary task", self.options.gamma, task_loss(kind, aux, batch.labels)),
        ]

    def auxiliary(self, output: StudentOutput) -> Tensor | None:
        return self.heads(output.pooled.float())[1]

    def after_step(self, step: int) -> None:
        if self.stiefel:
            self.stiefel.step(self.setup.learning_rate(step))

    def advice(self) -> dict[str, str]:
        return {"auxiliary task": f"try gamma {{{self.options.gamma} / ratio}}"}


CARD = Component(
    "parameter-matched",
    "The student with ARMADA's extra heads and no teacher: what the parameters alone give",
    "armada_cli.methods.parameter_matched:ParameterMatched",
    ParameterMatchedOptions,
    WITH_LOGITS,
    formula="L_T(y, z_s) + gamma L_T(y, o_aux_s)",
)
