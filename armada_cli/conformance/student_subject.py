"""A student with its model for each kind of task, and what it is shown."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from armada_cli.conformance.asking import NotAsked, quoted
from armada_cli.conformance.problems import OUTPUTS
from armada_cli.conformance.subject import Subject
from armada_cli.contracts import TASK_KINDS, Problem, StudentOutput
from armada_cli.errors import UserError
from armada_cli.models.tiny import SENTENCES
from armada_cli.training.seeds import drawn_from

ROWS = 4


LENGTH = 48
"""Tokens of an input at most; some of the rows are longer with a tokenizer of letters."""


TOLERANCE = 1e-4
"""Outputs count as equal when they differ by at most this, absolutely and as a share."""


class StudentSubject(Subject):
    """A student, its model for each kind of task, and rows for it."""

    @functools.cached_property
    def kinds(self) -> dict[str, str]:
        """Kind of task -> why the student cannot do it; empty for those that it can."""
        reasons = {}
        for kind in TASK_KINDS:
            if kind == "generation" and "decoder" not in self.card.provides:
                reasons[kind] = "it is an encoder"
                continue
            try:
                self.build(kind)
                reasons[kind] = ""
            except UserError as error:
                reasons[kind] = quoted(error, named=False)
        return reasons

    @property
    def able(self) -> list[str]:
        _ = self.first
        able = [kind for kind, why in self.kinds.items() if not why]
        if not able:
            raise NotAsked("It can be built for no kind of task, see above")
        return able

    def problem(self, kind: str) -> Problem:
        names = tuple(f"label {number}" for number in range(OUTPUTS[kind]))
        return Problem(kind, OUTPUTS[kind], names, LENGTH)

    def build(self, kind: str, weights: Path | None = None, seed: int = 0) -> nn.Module:
        with self.at_work(), drawn_from(seed, "student head"):
            return self.first.build(self.problem(kind), weights)

    @functools.cached_property
    def models(self) -> dict[str, nn.Module]:
        """A model for each kind, its trainable weights moved a little as by training."""
        models = {}
        for kind in self.able:
            model = self.build(kind)
            chance = torch.Generator().manual_seed(3)
            with torch.no_grad():
                for weight in model.parameters():
                    if weight.requires_grad:
                        weight.add_(0.02 * torch.randn(weight.shape, generator=chance).to(weight))
            models[kind] = model.eval()
        return models

    def texts(self, kind: str) -> list[tuple[str, ...]]:
        """Four rows of unequal length."""
        s = SENTENCES
        if kind == "multiple-choice":
            return [(s[number], s[number + 4], "Perhaps.") for number in range(ROWS)]
        if kind == "generation":
            return [(s[number] * (1 + number % 2), f"{s[number + 4]}") for number in range(ROWS)]
        return [(s[0],), (f"{s[1]} {s[2]}",), ("Rain.",), (s[3],)]

    def labels(self, kind: str) -> Tensor:
        if kind == "regression":
            return torch.tensor([0.0, 1.0, 2.0, 0.5])
        if kind == "multilabel":
            return torch.eye(4)
        return torch.tensor([0, 1, 0, 1])

    def batch(self, kind: str, texts: Sequence[tuple[str, ...]] | None = None) -> dict[str, Tensor]:
        rows = list(texts or self.texts(kind))
        with self.at_work():
            return self.first.pad(self.first.encode(rows, self.problem(kind)))

    def forward(
        self, model: nn.Module, batch: dict[str, Tensor], hidden_states: bool = False, attentions: bool = False, **more: bool
    ) -> StudentOutput:
        with self.at_work():
            return self.first.forward(model, batch, hidden_states=hidden_states, attentions=attentions, **more)

    @functools.cached_property
    def exports(self) -> dict[str, Path]:
        """What the student saves of each model."""
        folders = {}
        for kind, model in self.models.items():
            folders[kind] = self.folder / f"export-{kind}"
            with self.at_work():
                self.first.save(model, self.problem(kind), folders[kind])
        return folders


def answer_of(output: StudentOutput) -> Tensor:
    """What two outputs are compared by: the loss of a kind that has one, else the logits."""
    return output.loss.reshape(1) if output.loss is not None else output.logits
