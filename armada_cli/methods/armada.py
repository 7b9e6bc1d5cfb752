"""ARMADA: the student and a TS Aligner trained together (section 3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from armada_cli.contracts import (
    Batch,
    Choice,
    Component,
    Environment,
    Method,
    Setup,
    StudentOutput,
    Term,
    option,
)
from armada_cli.methods.kinds import ALL
from armada_cli.registry.choosing import as_choice

if TYPE_CHECKING:
    from torch import Tensor, nn

    from armada_cli.training.aligner import AlignerOutput

USUAL_RATE = 3e-3
"""Learning rate of the aligner where neither the recipe nor the task says one (appendix C, GLUE)."""


@dataclass(frozen=True)
class ArmadaOptions:
    """Names and defaults are the paper's (section 3, appendix C)."""

    needs_teacher: ClassVar[bool] = True

    manifold: Choice = option("euclid", "The manifold loss: cosine, euclid, elementwise, or any loss plugin", component="loss")
    alpha: float = option(
        0.5, "Weight of logit matching against the task's own loss (Eq. 2); in generation it is 0", minimum=0, maximum=1
    )
    beta: float = option(1.0, "Weight of the manifold loss", minimum=0)
    gamma: float = option(1.0, "Weight of the auxiliary outputs' losses", minimum=0)
    tau: float = option(5.0, "Temperature of logit matching (Eq. 2)", above=0)
    normalize: str | None = option(
        None,
        "Scaling of projections in the manifold loss; null: the loss's own default",
        choices=("none", "centroids", "rows", None),
    )
    hidden: int = option(896, "Width h of the TS Aligner; 896 makes it the paper's 0.8M parameters", minimum=1)
    aligner: str = option("trained", "frozen: random and never trained (Figure 9)", choices=("trained", "frozen"))
    aligner_lr: float | None = option(None, "Learning rate of the TS Aligner; null: what the task suggests, or 0.003", above=0)
    aligner_epochs: int = option(3, "Passes of the aligner's pre-training", minimum=0)
    aligner_manifold: bool = option(False, "Add beta x manifold to the aligner's loss too, as Table 1 reads")
    projection: str = option(
        "trained", "P_ts and P_s: trained on the Stiefel manifold, or fixed as drawn", choices=("trained", "fixed")
    )
    projection_every: int = option(
        1, "Steps whose gradients are gathered for one update of P_ts and P_s; more than 1 slows them down", minimum=1
    )
    pooling: str = option(
        "pooler",
        "What is projected as h'_s: the model's pooler, the first token, or the mean over tokens",
        choices=("pooler", "cls", "mean"),
    )
    noise: float = option(
        0.0,
        "Standard deviation of Gaussian noise on h_t wherever the aligner reads it, drawn once per example (Figure 10)",
        minimum=0,
    )
    noise_redrawn: bool = option(False, "Draw the noise anew at every step, in place of once per example")

    def smoke(self, folder: Path) -> ArmadaOptions:
        return replace(self, aligner_epochs=min(self.aligner_epochs, 1))

    def problems(self, environment: Environment) -> Iterable[str]:
        if self.normalize is not None and not hasattr(self.manifold.options, "normalize"):
            yield f"normalize: loss {self.manifold.name!r} has no such option"


class Armada(Method):
    """The aligner's loss is L_t = L_T(Y, o_ts) + gamma L_T(Y, o_aux_ts) (Eq. 1), the student's
    L_s = L_s1 + gamma L_s2 + beta L_manifold(p_ts, p_s) (Eq. 2 for L_s1 and L_s2; Eq. 3, 4 or 5). What comes from the
    aligner is detached inside L_s. On every batch each of the two takes one step ("online distillation", appendix C).

    In generation the aligner has no token outputs to match: alpha is 0, both of its heads reconstruct h_t, and so does the
    student's auxiliary head from p_s (mean squared errors; section 4 names the aligner's, the student's is ours).

    Several teachers that are kept apart (`Setup.parts`) have an aligner each. Every term that an aligner enters is then the
    mean over the aligners (ours: the paper has single teachers).
    """

    student_side = frozenset({"P_s"})

    def __init__(self, options: Any, setup: Setup) -> None:
        from torch import nn

        from armada_cli.training.aligner import PROJECTION, StudentHeads, TSAligner
        from armada_cli.training.noise import InputNoise
        from armada_cli.training.optimizer import adamw
        from armada_cli.training.projection import StiefelOptimizer
        from armada_cli.training.seeds import drawn_from

        super().__init__(options, setup)
        problem = setup.problem
        if setup.features is None or setup.feature_width is None:
            raise ValueError("armada needs a teacher's features")
        self.reconstructs = problem.kind == "generation"
        self.widths = list(setup.parts) or [setup.feature_width]
        with drawn_from(setup.seed, "aligner"):
            self.aligners = [
                TSAligner(width, options.hidden, width if self.reconstructs else problem.outputs, PROJECTION).to(setup.device)
                for width in self.widths
            ]
        self.modules = nn.ModuleList(self.aligners)
        with drawn_from(setup.seed, "extra heads"):
            outputs = setup.feature_width if self.reconstructs else problem.outputs
            per_choice = problem.kind == "multiple-choice"
            self.heads = StudentHeads(setup.hidden, outputs, PROJECTION, per_choice, setup.own_pooler).to(setup.device)
        self.manifold = setup.losses(self._loss_choice())
        self.trained = options.aligner == "trained"
        self.modules.requires_grad_(self.trained)
        moving = options.projection == "trained"
        self.heads.P.weight.requires_grad_(moving)
        for aligner in self.aligners:
            aligner.P.weight.requires_grad_(moving and self.trained)
        self.hidden_states = options.pooling != "pooler"
        self.noise = InputNoise(options.noise, setup.features, setup.seed, options.noise_redrawn) if options.noise else None

        self.rate = USUAL_RATE if options.aligner_lr is None else options.aligner_lr
        rest = [p for name, p in self.modules.named_parameters() if not name.endswith("P.weight")]
        self.adam = adamw(rest, self.rate, setup.train.weight_decay) if self.trained else None
        every = options.projection_every
        maps = [aligner.P for aligner in self.aligners]
        self.stiefel_ts = StiefelOptimizer(maps, every) if moving and self.trained else None
        self.stiefel_s = StiefelOptimizer([self.heads.P], every) if moving else None

    def _loss_choice(self) -> Choice:
        """The manifold loss with the method's own `normalize`, unless the loss was given one."""
        manifold = as_choice("loss", self.options.manifold)
        default = getattr(type(manifold.options), "normalize", None)
        if self.options.normalize is None or getattr(manifold.options, "normalize", None) != default:
            return manifold
        return replace(manifold, options=replace(manifold.options, normalize=self.options.normalize))

    def student_modules(self) -> dict[str, nn.Module]:
        return self.heads.trained_with_student()

    def own_modules(self) -> dict[str, nn.Module]:
        return {"aligner": self.modules, "P_s": self.heads.P}

    def kept_modules(self) -> dict[str, nn.Module]:
        return {**self.student_modules(), **self.own_modules()}

    def optimizers(self) -> dict[str, Any]:
        optimizers = {"aligner": self.adam, "P_ts": self.stiefel_ts, "P_s": self.stiefel_s}
        return {name: getattr(item, "adam", item) for name, item in optimizers.items() if item is not None}

    # ------------------------------------------------------------------------------------------------ the aligners

    def _read(self, h_t: Tensor, rows: Tensor, when: str) -> Tensor:
        """What the aligner reads of h_t [n, width]: the vectors as they are, or with their noise."""
        return h_t if self.noise is None else self.noise.added(h_t, rows, when)

    def align(self, h_t: Tensor) -> list[AlignerOutput]:
        """h_t [n, width] -> what each aligner makes of its part."""
        parts = h_t.split(self.widths, dim=-1)
        return [aligner(part) for aligner, part in zip(self.aligners, parts, strict=True)]

    def aligner_loss(self, outputs: list[AlignerOutput], h_t: Tensor, labels: Tensor) -> Tensor:
        """L_t = L_T(Y, o_ts) + gamma L_T(Y, o_aux_ts) (Eq. 1 and section 3.3), the mean over the aligners. In generation
        L_T is the mean squared error against the aligner's part of h_t."""
        values = []
        for output, part in zip(outputs, h_t.split(self.widths, dim=-1), strict=True):
            values.append(
                self._task_loss(output.o, part, labels) + self.options.gamma * self._task_loss(output.aux, part, labels)
            )
        return _mean(values)

    def _task_loss(self, output: Tensor, h_t: Tensor, labels: Tensor) -> Tensor:
        from torch.nn.functional import mse_loss

        from armada_cli.training.objective import task_loss

        return mse_loss(output, h_t) if self.reconstructs else task_loss(self.setup.problem.kind, output, labels)

    def prepare(self) -> None:
        """Pre-trains the aligner on h_t and the labels, or on h_t alone (step 2 of the curriculum)."""
        import torch

        from armada_cli.training.seeds import stream

        features, train = self.setup.features, self.setup.train
        if not self.trained or features is None:
            return
        order = torch.Generator().manual_seed(stream(self.setup.seed, "order of the aligner's pre-training"))
        for epoch in range(self.options.aligner_epochs):
            for rows in torch.randperm(len(features), generator=order).split(train.batch_size):
                h_t = self._read(features[rows], rows, f"pre-training epoch {epoch}")
                self.aligner_loss(self.align(h_t), h_t, self.setup.labels[rows]).backward()
                self._step_aligner()

    def own_outputs(self) -> dict[str, Tensor]:
        import torch

        if self.reconstructs or self.setup.features is None:
            return {}
        features = self.setup.features
        with torch.no_grad():
            outputs = self.align(self._read(features, torch.arange(len(features)), "scores"))
        return {
            "aligner": _mean([output.o for output in outputs]),
            "aligner auxiliary": _mean([output.aux for output in outputs]),
        }

    def auxiliary(self, output: StudentOutput) -> Tensor | None:
        if self.reconstructs or self.options.pooling != "pooler":
            return None
        return self.heads(output.pooled.float())[1]

    def _step_aligner(self) -> None:
        if self.adam is None:
            return
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        if self.stiefel_ts:
            self.stiefel_ts.step(self.rate)

    # ------------------------------------------------------------------------------------------------- the student

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        options = self.options
        assert batch.features is not None
        h_t = self._read(batch.features, batch.rows, f"step {batch.step}")
        aligned = self.align(h_t)
        p_s, aux_s = self.heads(self._pooled(batch, output))

        if self.trained:
            loss = self.aligner_loss(aligned, h_t, batch.labels)
            if options.aligner_manifold:
                loss = loss + options.beta * self._manifold(aligned, p_s.detach())
            (batch.share * loss).backward()

        aligned = [t.detached() for t in aligned]
        manifold = Term("manifold", options.beta, self._manifold(aligned, p_s))
        if self.reconstructs:
            terms = self._generation_terms(output, aux_s, h_t)
        else:
            terms = self._output_terms(batch, output, aux_s, aligned)
        return [term for term in [*terms, manifold] if term.weight]

    def _manifold(self, aligned: list[AlignerOutput], p_s: Tensor) -> Tensor:
        """L_manifold (Eq. 3, 4 or 5) over the whole batch, wherever its rows are."""
        p_s = self.setup.gather(p_s)
        return _mean([self.manifold(self.setup.gather(t.p), p_s) for t in aligned])

    def _output_terms(self, batch: Batch, output: StudentOutput, aux_s: Tensor, aligned: list[AlignerOutput]) -> list[Term]:
        """L_s1 (Eq. 2) and gamma L_s2, the same on the auxiliary outputs."""
        from armada_cli.training.objective import logit_matching, task_loss

        kind, a, gamma, tau = self.setup.problem.kind, self.options.alpha, self.options.gamma, self.options.tau
        matching = _mean([logit_matching(kind, t.o, output.logits, tau) for t in aligned])
        matching_aux = _mean([logit_matching(kind, t.aux, aux_s, tau) for t in aligned])
        return [
            Term("task", 1 - a, task_loss(kind, output.logits, batch.labels), task=True),
            Term("output", a, matching),
            Term("auxiliary task", gamma * (1 - a), task_loss(kind, aux_s, batch.labels)),
            Term("auxiliary output", gamma * a, matching_aux),
        ]

    def _generation_terms(self, output: StudentOutput, aux_s: Tensor, h_t: Tensor) -> list[Term]:
        """Next-token cross-entropy of the response, and gamma times the reconstruction of h_t from p_s."""
        from torch.nn.functional import mse_loss

        assert output.loss is not None
        return [
            Term("task", 1.0, output.loss, task=True),
            Term("auxiliary reconstruction", self.options.gamma, mse_loss(aux_s, h_t)),
        ]

    def _pooled(self, batch: Batch, output: StudentOutput) -> Tensor:
        """h'_s, [n, d] (or [n, choices, d]), as `pooling` names it."""
        if self.options.pooling == "pooler":
            return output.pooled.float()
        assert output.hidden_states is not None
        last = output.hidden_states[-1].float()
        if self.options.pooling == "cls":
            return last[..., 0, :]
        assert batch.mask is not None
        mask = batch.mask.unsqueeze(-1).to(last.dtype)
        return (last * mask).sum(-2) / mask.sum(-2)

    def after_step(self, step: int) -> None:
        self._step_aligner()
        if self.stiefel_s:
            self.stiefel_s.step(self.setup.learning_rate(step))

    def advice(self) -> dict[str, str]:
        gamma = f"try gamma {{{self.options.gamma} / ratio}}"
        return {
            "manifold": f"try beta {{{self.options.beta} / ratio}}, or normalize: rows",
            "output": "try a smaller alpha or another tau",
            "auxiliary task": gamma,
            "auxiliary output": gamma,
            "auxiliary reconstruction": gamma,
        }


def _mean(values: list[Tensor]) -> Tensor:
    """The mean of tensors of one shape; a single one as it is, to the bit."""
    import torch

    return values[0] if len(values) == 1 else torch.stack(values).mean(0)


CARD = Component(
    "armada",
    "Cross-modal distillation through a TS Aligner: outputs, manifold, auxiliary outputs",
    "armada_cli.methods.armada:Armada",
    ArmadaOptions,
    ALL,
    revision=2,
    reference="ARMADA, section 3, Eq. 1-5",
    formula="L_s1(alpha, tau) + gamma L_s2(alpha, tau) + beta L_manifold(p_ts, p_s)",
)
