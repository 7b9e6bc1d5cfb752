"""A student that can be asked for its outputs on training rows: the one that is trained, a finished one, or a peer."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from armada_cli.contracts import Model, Problem, Split, Student, StudentOutput
from armada_cli.targets import NONE, Scale


@dataclass
class Encoded:
    """A split as the student reads it: tokenised rows, their lengths in tokens, the labels as one tensor."""

    rows: list[dict[str, Any]]
    lengths: list[int]
    labels: Tensor
    raw_labels: Sequence[Any]


def encode(student: Student, problem: Problem, split: Split) -> Encoded:
    """Tokenise a split once."""
    rows: list[dict[str, Any]] = student.encode(split.texts, problem)
    if problem.kind == "multiple-choice":
        choices: list[list[list[int]]] = [row["input_ids"] for row in rows]
        lengths = [max(map(len, row)) * len(row) for row in choices]
    else:
        lengths = [len(row["input_ids"]) for row in rows]
    if problem.kind in ("generation", "masked"):
        return Encoded(rows, lengths, torch.zeros(len(rows)), split.labels)
    kind = torch.long if problem.kind in ("classification", "multiple-choice") else torch.float32
    return Encoded(rows, lengths, torch.tensor(list(split.labels), dtype=kind), split.labels)


class RowModel(Model):
    """The host's `Model`.

    Args:
        student, module: what was built.
        encoded: the training split as this student reads it, or a function that makes it when it is first asked for.
        device: of the module.
        precision: ``bf16`` runs under autocast.
        unit: what turns the module's answers into standardised targets; see `unit_of`.
        count: told how many rows go forward.
    """

    def __init__(
        self,
        student: Student,
        module: nn.Module,
        encoded: Encoded | Callable[[], Encoded],
        device: torch.device,
        precision: str = "float32",
        unit: Scale = NONE,
        count: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.student, self.module, self.device = student, module, device
        self.precision, self.unit = precision, unit
        self._count = count
        self._encoded = encoded
        self.source: Sequence[int] | None = None
        """For each row the one that is read in its place, under the control ``shuffled``."""

    @functools.cached_property
    def encoded(self) -> Encoded:
        """The training split as this student reads it."""
        return self._encoded if isinstance(self._encoded, Encoded) else self._encoded()

    def inputs(self, rows: Sequence[int], encoded: Encoded | None = None) -> dict[str, Tensor]:
        """The padded inputs of training rows, or of rows of another split, on the module's device."""
        known = (encoded or self.encoded).rows
        return {name: value.to(self.device) for name, value in self.student.pad([known[row] for row in rows]).items()}

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision that the model is trained in."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def __call__(
        self,
        rows: Tensor | Sequence[int],
        *,
        hidden_states: bool = False,
        attentions: bool = False,
        tokens: bool = False,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> StudentOutput:
        asked_for = rows.tolist() if isinstance(rows, Tensor) else list(rows)
        inputs = self.inputs(asked_for if self.source is None else [self.source[row] for row in asked_for])
        if tokens and self.source is not None:
            raise ValueError("tokens of rows that are exchanged cannot be compared; keep them (`Setup.cached_tokens`)")
        self._count(len(rows))
        asked = {"hidden_states": hidden_states, "attentions": attentions} | ({"tokens": True} if tokens else {})
        with self.autocast():
            if parameters is None:
                output = self.student.forward(self.module, inputs, **asked)
            else:
                output = self._run_with(parameters, inputs, asked)
        if attentions and (not output.attentions or any(layer is None for layer in output.attentions)):
            raise ValueError("this student was not built to give attentions; the method's class says `attentions = True`")
        if self.unit != NONE:
            output.logits = output.logits.float() * self.unit.factor + self.unit.shift
        return output

    def _run_with(
        self, parameters: Mapping[str, Tensor], inputs: Mapping[str, Tensor], asked: Mapping[str, bool]
    ) -> StudentOutput:
        if any(getattr(part, "gradient_checkpointing", False) for part in self.module.modules()):
            raise ValueError("a student with gradient_checkpointing cannot run with other parameters than its own")
        call = _Call(self.student, self.module)
        named = {f"module.{name}": value for name, value in parameters.items()}
        with sdpa_kernel(SDPBackend.MATH):  # torch's fast kernels have no second derivative
            return torch.func.functional_call(call, named, (inputs,), dict(asked))


class _Call(nn.Module):
    """A student's forward pass as a module's, for `functional_call`."""

    def __init__(self, student: Student, module: nn.Module) -> None:
        super().__init__()
        self.student, self.module = student, module

    def forward(self, inputs: Mapping[str, Tensor], **asked: bool) -> StudentOutput:
        return self.student.forward(self.module, inputs, **asked)


def unit_of(rest: Scale, scale: Scale) -> Scale:
    """What turns the answers of an exported student into targets that are standardised with `scale`, where `rest` is still to
    be applied to them to be in the user's unit."""
    return Scale(rest.factor / scale.factor, (rest.shift - scale.shift) / scale.factor)
