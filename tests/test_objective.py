"""Eq. 2, term by term, against what a hand computes."""

from __future__ import annotations

import math

import pytest
import torch

from armada_cli.training.objective import logit_matching, phi, task_loss


def test_logit_matching_is_a_norm_per_example_and_then_the_mean() -> None:
    o_ts, o_s = torch.tensor([[5.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 5.0], [0.0, 0.0]])
    p = 1 / (1 + math.exp(-1))  # softmax of (1, 0)
    expected = (math.sqrt(2) * (2 * p - 1) + 0) / 2
    assert logit_matching("classification", o_ts, o_s, tau=5.0).item() == pytest.approx(expected)


def test_regression_compares_the_outputs_themselves() -> None:
    value = logit_matching("regression", torch.tensor([[4.0], [1.0]]), torch.tensor([[2.0], [1.0]]), tau=2.0)
    assert value.item() == pytest.approx(0.5)


def test_multilabel_outputs_do_not_compete() -> None:
    probabilities = phi("multilabel", torch.tensor([[100.0, 100.0, -100.0]]), tau=1.0)
    torch.testing.assert_close(probabilities, torch.tensor([[1.0, 1.0, 0.0]]))


def test_logit_matching_has_a_finite_gradient_where_both_agree() -> None:
    o_s = torch.randn(3, 2, requires_grad=True)
    logit_matching("classification", o_s.detach().clone(), o_s, 5.0).backward()
    assert torch.isfinite(o_s.grad).all()


@pytest.mark.parametrize(
    ("kind", "outputs", "labels", "expected"),
    [
        ("classification", [[0.0, 0.0]], torch.tensor([1]), math.log(2)),
        ("multiple-choice", [[0.0, 0.0, 0.0]], torch.tensor([1]), math.log(3)),
        ("regression", [[3.0], [1.0]], torch.tensor([1.0, 1.0]), 2.0),
        ("multilabel", [[0.0, 0.0]], torch.tensor([[1.0, 0.0]]), math.log(2)),
    ],
)
def test_the_tasks_own_loss(kind: str, outputs: list[list[float]], labels: torch.Tensor, expected: float) -> None:
    assert task_loss(kind, torch.tensor(outputs), labels).item() == pytest.approx(expected)
