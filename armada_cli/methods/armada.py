"""ARMADA: the student and a TS Aligner trained together (section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from armada_cli.contracts import Batch, Method, Setup, StudentOutput, Term
from armada_cli.methods import PROJECTION
from armada_cli.training.aligner import AlignerOutput, StudentHeads, TSAligner
from armada_cli.training.objective import logit_matching, task_loss
from armada_cli.training.projection import StiefelOptimizer
from armada_cli.training.seeds import drawn_from, stream


class Armada(Method):
    """The aligner's loss is L_t = L_T(Y, o_ts) + gamma L_T(Y, o_aux_ts) (Eq. 1), the student's
    L_s = L_s1 + gamma L_s2 + beta L_manifold(p_ts, p_s) (Eq. 2 for L_s1 and L_s2; Eq. 3, 4 or 5). What comes from the
    aligner is detached inside L_s. On every batch each of the two takes one step ("online distillation", appendix C).
    """

    def __init__(self, options: Any, setup: Setup) -> None:
        super().__init__(options, setup)
        problem = setup.problem
        if setup.features is None or setup.feature_width is None:
            raise ValueError("armada needs a teacher's features")
        with drawn_from(setup.seed, "aligner"):
            self.aligner = TSAligner(setup.feature_width, options.hidden, problem.outputs, PROJECTION).to(setup.device)
        with drawn_from(setup.seed, "extra heads"):
            self.heads = StudentHeads(setup.hidden, problem.outputs, PROJECTION, problem.kind == "multiple-choice").to(
                setup.device
            )
        self.manifold = setup.losses(self._loss_choice())
        self.trained = options.aligner == "trained"
        self.aligner.requires_grad_(self.trained)
        moving = options.projection == "trained"
        self.heads.P.weight.requires_grad_(moving)
        self.aligner.P.weight.requires_grad_(moving and self.trained)
        self.hidden_states = options.pooling != "pooler"

        rest = [p for name, p in self.aligner.named_parameters() if name != "P.weight"]
        self.adam = (
            torch.optim.AdamW(rest, lr=setup.train.aligner_lr, weight_decay=setup.train.weight_decay, fused=True)
            if self.trained
            else None
        )
        every = options.projection_every
        self.stiefel_ts = StiefelOptimizer([self.aligner.P], every) if moving and self.trained else None
        self.stiefel_s = StiefelOptimizer([self.heads.P], every) if moving else None

    def _loss_choice(self) -> dict[str, Any]:
        """The manifold loss as a mapping, with the method's own `normalize` unless the loss was given one."""
        manifold = self.options.manifold
        choice = dict(manifold) if isinstance(manifold, Mapping) else {"name": manifold}
        if self.options.normalize is not None:
            choice.setdefault("normalize", self.options.normalize)
        return choice

    def student_modules(self) -> dict[str, nn.Module]:
        return {"O_aux_s": self.heads.O_aux}

    def own_modules(self) -> dict[str, nn.Module]:
        return {"aligner": self.aligner, "P_s": self.heads.P}

    def optimizers(self) -> dict[str, Any]:
        found = {"aligner": self.adam, "P_ts": self.stiefel_ts, "P_s": self.stiefel_s}
        return {name: getattr(item, "adam", item) for name, item in found.items() if item is not None}

    # ------------------------------------------------------------------------------------------------- the aligner

    def aligner_loss(self, output: AlignerOutput, labels: Tensor) -> Tensor:
        """L_t = L_T(Y, o_ts) + gamma L_T(Y, o_aux_ts) (Eq. 1 and section 3.3)."""
        kind = self.setup.problem.kind
        return task_loss(kind, output.o, labels) + self.options.gamma * task_loss(kind, output.aux, labels)

    def prepare(self) -> None:
        """Pre-trains the aligner on h_t and the labels (step 2 of the curriculum)."""
        features, train = self.setup.features, self.setup.train
        if not self.trained or features is None:
            return
        order = torch.Generator().manual_seed(stream(self.setup.seed, "order of the aligner's pre-training"))
        for _ in range(train.aligner_epochs):
            for rows in torch.randperm(len(features), generator=order).split(train.batch_size):
                self.aligner_loss(self.aligner(features[rows]), self.setup.labels[rows]).backward()
                self._step_aligner()

    @torch.no_grad()
    def own_outputs(self) -> dict[str, Tensor]:
        output = self.aligner(self.setup.features)
        return {"aligner": output.o, "aligner auxiliary": output.aux}

    def auxiliary(self, output: StudentOutput) -> Tensor | None:
        return self.heads(output.pooled.float())[1] if self.options.pooling == "pooler" else None

    def _step_aligner(self) -> None:
        if self.adam is None:
            return
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        if self.stiefel_ts:
            self.stiefel_ts.step(self.setup.train.aligner_lr)

    # ------------------------------------------------------------------------------------------------- the student

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        kind, options = self.setup.problem.kind, self.options
        assert batch.features is not None
        h_t = batch.features
        if options.noise:
            generator = torch.Generator().manual_seed(stream(self.setup.seed, f"noise of step {batch.step}"))
            h_t = h_t + options.noise * torch.randn(h_t.shape, generator=generator).to(h_t.device)
        t = self.aligner(h_t)
        p_s, aux_s = self.heads(self._pooled(batch, output))

        if self.trained:
            loss = self.aligner_loss(t, batch.labels)
            if options.aligner_manifold:
                loss = loss + options.beta * self.manifold(t.p, p_s.detach())
            (batch.share * loss).backward()

        t = t.detached()
        a, gamma, tau = options.alpha, options.gamma, options.tau
        found = [
            Term("task", 1 - a, task_loss(kind, output.logits, batch.labels), task=True),
            Term("output", a, logit_matching(kind, t.o, output.logits, tau)),
            Term("auxiliary task", gamma * (1 - a), task_loss(kind, aux_s, batch.labels)),
            Term("auxiliary output", gamma * a, logit_matching(kind, t.aux, aux_s, tau)),
            Term("manifold", options.beta, self.manifold(t.p, p_s)),
        ]
        return [term for term in found if term.weight]

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
