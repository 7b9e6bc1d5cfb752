"""Orthogonal maps stay orthogonal, at the aligner's learning rate and beyond."""

from __future__ import annotations

import pytest
import torch

from armada_cli.methods.armada import ArmadaOptions
from armada_cli.methods.parameter_matched import ParameterMatchedOptions
from armada_cli.training.aligner import StudentHeads, TSAligner
from armada_cli.training.projection import TOLERANCE, OrthogonalMap, StiefelOptimizer

SHAPES = [(24, 10), (10, 24), (16, 16)]


@pytest.mark.parametrize(("d", "m"), SHAPES)
def test_a_map_is_drawn_orthogonal(d: int, m: int) -> None:
    assert OrthogonalMap(d, m).defect() < 1e-5


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize(("d", "m"), SHAPES)
def test_it_is_orthogonal_after_every_single_step_at_the_aligners_rate(d: int, m: int, every: int) -> None:
    torch.manual_seed(0)
    item = OrthogonalMap(d, m)
    optimizer = StiefelOptimizer([item], every)
    target, x = torch.randn(32, m), torch.randn(32, d)
    for _ in range(40):
        ((item(x) - target) ** 2).mean().backward()
        optimizer.step(3e-3)
        assert item.defect() < TOLERANCE


def test_training_moves_it_towards_a_rotation_that_fits() -> None:
    torch.manual_seed(0)
    item, wanted = OrthogonalMap(12, 12), OrthogonalMap(12, 12)
    with torch.no_grad():  # the same component of the orthogonal group: no path leads from a rotation to a reflection
        wanted.weight.copy_(item.weight)
        wanted.weight.add_(0.3 * torch.randn(12, 12))
        wanted.retract()
    optimizer, x = StiefelOptimizer([item], 1), torch.randn(64, 12)
    losses = []
    for _ in range(300):
        loss = ((item(x) - wanted(x)) ** 2).mean()
        loss.backward()
        losses.append(loss.item())
        optimizer.step(3e-3)
    assert losses[-1] < losses[0] / 20


def test_between_two_moves_gradients_are_gathered_and_the_map_stands_still() -> None:
    item = OrthogonalMap(6, 4)
    optimizer = StiefelOptimizer([item], 3)
    before = item.weight.detach().clone()
    for _ in range(2):
        item(torch.randn(5, 6)).sum().backward()
        optimizer.step(1e-2)
        assert torch.equal(item.weight, before)
    item(torch.randn(5, 6)).sum().backward()
    optimizer.step(1e-2)
    assert not torch.equal(item.weight, before)
    assert item.weight.grad is None


def test_a_move_is_made_on_the_mean_of_the_gathered_gradients() -> None:
    item = OrthogonalMap(6, 4)
    optimizer = StiefelOptimizer([item], 3)
    taken: list[torch.Tensor] = []
    optimizer.adam.register_step_pre_hook(lambda *_: taken.append(item.weight.grad.clone()))
    inputs = [torch.randn(5, 6) for _ in range(3)]
    for x in inputs:
        item(x).sum().backward()
        optimizer.step(1e-2)
    mean = torch.stack(inputs).sum(1).mean(0)  # the sum's gradient has the inputs' sum in every row
    torch.testing.assert_close(taken, [mean.expand(4, 6)])


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e4])
def test_a_matrix_far_off_is_brought_back(scale: float) -> None:
    """Singular values from 0.05 to 30: what no first AdamW step exceeds."""
    item = OrthogonalMap(20, 12)
    u, _, v = torch.linalg.svd(torch.randn(12, 20), full_matrices=False)
    with torch.no_grad():
        item.weight.copy_(scale * u @ torch.diag(torch.logspace(-1.3, 1.5, 12)) @ v)
    item.retract()
    assert item.defect() < TOLERANCE


@pytest.mark.parametrize(("d", "m"), [(200, 150), (150, 200), (130, 130), (64, 64)])
def test_retraction_by_panels_is_the_qr_retraction_of_the_whole_matrix(d: int, m: int) -> None:
    """Sizes of several panels, the last one not full, at the size of the aligner's first step."""
    torch.manual_seed(0)
    item = OrthogonalMap(d, m)
    with torch.no_grad():
        item.weight.add_(3e-3 * torch.sign(torch.randn(m, d)))
    tall = item.weight.detach().double() if m >= d else item.weight.detach().double().T
    q, r = torch.linalg.qr(tall)
    frame = q * torch.sign(r.diagonal())
    item.retract()
    torch.testing.assert_close(item.weight.detach().double(), frame if m >= d else frame.T, atol=1e-6, rtol=0)


def test_by_default_a_map_moves_on_every_step() -> None:
    """Gathering gradients would slow it down: Adam divides by their size."""
    assert ArmadaOptions().projection_every == 1
    assert ParameterMatchedOptions().projection_every == 1
    torch.manual_seed(0)
    item, x = OrthogonalMap(6, 4), torch.randn(5, 6)
    optimizer = StiefelOptimizer([item])
    for _ in range(3):
        before = item.weight.detach().clone()
        item(x).square().sum().backward()
        item(x).sum().backward()
        optimizer.step(1e-2)
        assert (item.weight.detach() - before).abs().max() > 1e-3


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_matrix_that_is_not_finite_stays_not_finite(broken: float) -> None:
    """The loop names a loss that is not finite; a retraction must not hide it behind a frame of no meaning."""
    item = OrthogonalMap(8, 5)
    with torch.no_grad():
        item.weight[2, 3] = broken
    item.retract()
    assert not torch.isfinite(item.weight).all()


def test_a_matrix_without_full_rank_still_comes_back_orthogonal() -> None:
    item = OrthogonalMap(8, 5)
    with torch.no_grad():
        item.weight[1] = item.weight[0]
    item.retract()
    assert item.defect() < TOLERANCE


def test_retraction_leaves_an_orthogonal_matrix_where_it_is() -> None:
    item = OrthogonalMap(30, 18)
    before = item.weight.detach().clone()
    item.retract()
    torch.testing.assert_close(item.weight.detach(), before, atol=1e-5, rtol=0)


def test_the_aligner_has_the_papers_size_and_shapes() -> None:
    aligner = TSAligner(128, 896, 2, 768)
    output = aligner(torch.randn(5, 128))
    assert [list(part.shape) for part in (output.o, output.p, output.aux)] == [[5, 2], [5, 768], [5, 2]]
    assert 0.79e6 < sum(p.numel() for p in aligner.parameters()) < 0.82e6


def test_multiple_choice_heads_answer_per_choice_and_project_the_question_once() -> None:
    heads = StudentHeads(d=12, outputs=3, projection=8, per_choice=True)
    pooled = torch.randn(4, 3, 12)
    p, aux = heads(pooled)
    assert list(p.shape) == [4, 8]
    assert list(aux.shape) == [4, 3]
    torch.testing.assert_close(p, heads.P(pooled.mean(1)))  # of all its choices, and not of one
