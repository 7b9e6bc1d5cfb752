"""A toy of every kind of task, and a toy student that can learn it within a second: what a method is tried on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from armada_cli.contracts import Environment, NoOptions, Problem, Student, StudentOutput, Task, TokenOutput
from armada_cli.training.model import Encoded, RowModel

ROWS, TOKENS, VOCABULARY, HIDDEN, LAYERS, FEATURES = 24, 6, 16, 24, 2, 128
OUTPUTS = {"classification": 3, "regression": 1, "multilabel": 4, "multiple-choice": 2, "generation": 0, "masked": 0}


def problem_of(kind: str) -> Problem:
    names = tuple(f"label {number}" for number in range(OUTPUTS[kind]))
    return Problem(kind, OUTPUTS[kind], names, TOKENS, "float32")


def draw_rows(kind: str, seed: int = 0) -> Encoded:
    """Rows whose labels can be told from their tokens."""
    chance = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, VOCABULARY, (ROWS, TOKENS), generator=chance)
    labels: Tensor
    if kind == "classification":
        labels = torch.arange(ROWS) % 3
        tokens[:, 1] = labels + 1
    elif kind == "regression":
        labels = (torch.arange(ROWS) % 3).float() - 1
        tokens[:, 1] = torch.arange(ROWS) % 3 + 1
    elif kind == "multilabel":
        labels = torch.stack([(tokens == 4 + number).any(1) for number in range(4)], 1).float()
    elif kind == "multiple-choice":
        tokens = torch.randint(4, VOCABULARY, (ROWS, 2, TOKENS), generator=chance)
        labels = torch.arange(ROWS) % 2
        tokens[torch.arange(ROWS), labels, 2] = 1
    else:
        labels = torch.zeros(ROWS)
        tokens[:, 3:] = (tokens[:, :3] + 1) % VOCABULARY
    rows = [{"input_ids": row.tolist(), "attention_mask": torch.ones_like(row).tolist()} for row in tokens]
    raw = [tuple(int(value) for value in row) for row in labels.tolist()] if labels.ndim == 2 else labels.tolist()
    return Encoded(rows, [TOKENS] * ROWS, labels, raw)


def draw_features(labels: Tensor, seed: int = 0) -> Tensor:
    """h_t [rows, 128] of unit variance, from which labels can partly be told."""
    chance = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(labels), FEATURES, generator=chance)
    known = labels.float().reshape(len(labels), -1)
    return noise + 0.5 * known @ torch.randn(known.shape[1], FEATURES, generator=chance)


class ToyModel(nn.Module):
    """Embedding, layers and the mean over tokens; a head, or a layer back onto the vocabulary."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, HIDDEN)
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.Tanh()) for _ in range(LAYERS)])
        width = (
            VOCABULARY
            if problem.kind in ("generation", "masked")
            else 1
            if problem.kind == "multiple-choice"
            else problem.outputs
        )
        self.head = nn.Linear(HIDDEN, width)

    def forward(self, tokens: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The states [..., tokens, d] of the embeddings and the layers; what one head of each layer would attend to, which no
        layer uses."""
        states = [self.embedding(tokens)]
        weights = []
        for layer in self.layers:
            scores = (states[-1] @ states[-1].transpose(-1, -2)).unsqueeze(-3)
            weights.append(torch.softmax(scores, -1))
            states.append(layer(states[-1]))
        return states, weights


class ToyStudent(Student):
    """A student with everything a method may look at, on rows that are numbers already."""

    own_pooler = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(NoOptions(), Environment())
        self.problem = problem

    def build(self, problem: Problem, weights: Path | None = None, *, new_head: bool = False) -> nn.Module:
        return ToyModel(problem)

    def encode(self, texts: Sequence[tuple[str, ...]], problem: Problem) -> list[dict[str, Any]]:
        raise NotImplementedError("a toy reads numbers")

    def pad(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        return {name: torch.tensor([row[name] for row in examples]) for name in examples[0]}

    def forward(
        self,
        model: nn.Module,
        batch: Mapping[str, Tensor],
        hidden_states: bool = False,
        attentions: bool = False,
        tokens: bool = False,
    ) -> StudentOutput:
        assert isinstance(model, ToyModel)
        states, attended = model(batch["input_ids"])
        last, weights = states[-1], tuple(attended) if attentions else None
        pooled = last.mean(-2)
        if self.problem.kind in ("generation", "masked"):
            # Each token of the second half is told by the one three places before it.
            said, wanted = model.head(last[:, :3]), batch["input_ids"][:, 3:]
            losses = functional.cross_entropy(said.transpose(1, 2), wanted, reduction="none")
            counted = torch.stack([losses.sum(1), torch.full_like(losses[:, 0], losses.shape[1])], 1)
            logits = said.new_empty(0) if self.problem.kind == "generation" else counted
            said_to = None
            if tokens and self.problem.kind == "generation":
                rows = torch.arange(len(wanted)).repeat_interleave(wanted.shape[1])
                said_to = TokenOutput(said.flatten(0, 1), wanted.flatten(), rows)
            return StudentOutput(logits, pooled, tuple(states), losses.mean(), attentions=weights, tokens=said_to)
        logits = model.head(pooled)
        logits = logits.squeeze(-1) if self.problem.kind == "multiple-choice" else logits
        return StudentOutput(logits, pooled, tuple(states), attentions=weights)

    def save(self, model: nn.Module, problem: Problem, folder: Path) -> None:
        raise NotImplementedError("a toy is not kept")

    def vocabulary(self) -> str:
        return "toy"


def toy_model(kind: str, seed: int, own_pooler: bool = True) -> RowModel:
    """A toy student with a module and rows for a kind of task."""
    problem = problem_of(kind)
    student = ToyStudent(problem)
    student.own_pooler = own_pooler
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RowModel(student, student.build(problem), draw_rows(kind), torch.device("cpu"))


class Unscored(Task):
    """Stands where a loop expects a task; without a validation split nothing is scored."""

    def split(self, name: str) -> Any:
        raise NotImplementedError

    def labels(self) -> Sequence[str]:
        return ()

    def score(self, outputs: Any, labels: Sequence[Any]) -> dict[str, float]:
        return {"none": 0.0}

    @property
    def metric(self) -> str:
        return "none"
