"""How hard each loss term pulls on the student: the norm of its gradient at h'_s."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from armada_cli.contracts import StudentOutput, Term
from armada_cli.training.scales import INNER, NOT_FINITE, UNKNOWN, Figure


def anchor(output: StudentOutput) -> Tensor:
    """Where gradients are measured: what the student names, or the last layer's output for a method that pools by itself and
    for a student whose h_s does not lie between its input and its output, or h'_s as it is handed out."""
    if output.anchor is not None:
        return output.anchor
    return output.pooled if output.hidden_states is None else output.hidden_states[-1]


def measure(terms: Sequence[Term], at: Tensor) -> dict[str, list[Figure]]:
    """For each term its weighted value and the norm of its gradient at the tensor `at`.

    A gradient that autograd calls unused is `UNKNOWN`, not 0: the term reaches the student by another way than through `at`;
    where the term says that it does, it is `INNER`. A term that needs no gradient at all is a constant and pulls with 0.
    """
    measured: dict[str, list[Figure]] = {}
    for term in terms:
        weighted = term.weight * term.value
        norm: Figure = 0.0
        if weighted.requires_grad:
            gradient = torch.autograd.grad(weighted, at, retain_graph=True, allow_unused=True)[0]
            unused = INNER if term.inner else UNKNOWN
            norm = unused if gradient is None else _figure(float(gradient.float().norm()))
        measured[term.name] = [_figure(float(weighted.detach())), norm]
    return measured


def _figure(value: float) -> Figure:
    """Six significant digits. JSON has no NaN, and a number in its place would be taken for one."""
    return float(f"{value:.6g}") if math.isfinite(value) else NOT_FINITE
