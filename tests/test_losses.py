"""The manifold losses: Eq. 3, 4 and 5, and how they relate."""

from __future__ import annotations

import math

import pytest
import torch

from armada_cli.losses import CosineOptions, DistanceOptions
from armada_cli.losses.cosine import Cosine
from armada_cli.losses.elementwise import Elementwise
from armada_cli.losses.euclid import Euclid
from armada_cli.registry import catalog

LOSSES = [(Cosine, CosineOptions), (Euclid, DistanceOptions), (Elementwise, DistanceOptions)]


def batch(seed: int, n: int = 6, width: int = 20) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def test_the_three_losses_are_what_their_equations_say_on_two_small_batches() -> None:
    p_ts = torch.tensor([[3.0, 0.0], [1.0, 0.0]])  # centroid (2, 0)
    p_s = torch.tensor([[0.0, 4.0], [0.0, 2.0]])  # centroid (0, 3)
    assert Cosine(CosineOptions())(p_ts, p_s).item() == pytest.approx(1.0)
    assert Cosine(CosineOptions(normalize="none"))(p_ts, p_s + 1).item() == pytest.approx(1 - 2 * 1)
    assert Euclid(DistanceOptions())(p_ts, p_s).item() == pytest.approx(math.sqrt(13))
    assert Elementwise(DistanceOptions())(p_ts, p_s).item() == pytest.approx((5 + math.sqrt(5)) / 2)


@pytest.mark.parametrize("seed", range(25))
def test_proposition_1_orders_elementwise_above_euclid_above_the_scaled_cosine(seed: int) -> None:
    p_ts, p_s = batch(seed), batch(seed + 100) + seed / 10
    elementwise = Elementwise(DistanceOptions())(p_ts, p_s)
    euclid = Euclid(DistanceOptions())(p_ts, p_s)
    cosine = Cosine(CosineOptions())(p_ts, p_s)
    norms = p_ts.mean(0).norm() * p_s.mean(0).norm()
    assert elementwise >= euclid
    assert euclid**2 >= norms * cosine  # the inequality that the proof derives


def test_elementwise_equals_euclid_when_every_row_is_off_by_the_same_vector() -> None:
    p_ts = batch(1)
    p_s = p_ts + batch(2, n=1)
    torch.testing.assert_close(Elementwise(DistanceOptions())(p_ts, p_s), Euclid(DistanceOptions())(p_ts, p_s))


@pytest.mark.parametrize(("loss", "options"), LOSSES)
@pytest.mark.parametrize("normalize", ["none", "centroids", "rows"])
def test_equal_batches_are_at_distance_zero_with_a_finite_gradient(loss: type, options: type, normalize: str) -> None:
    if loss is Cosine and normalize != "centroids":
        pytest.skip("an inner product of equal batches is 0 only for unit centroids")
    p_s = batch(4).requires_grad_()
    value = loss(options(normalize=normalize))(p_s.detach().clone(), p_s)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(p_s.grad).all()


@pytest.mark.parametrize(("loss", "options"), LOSSES)
@pytest.mark.parametrize("normalize", ["none", "centroids", "rows"])
def test_gradients_are_right_in_double_precision(loss: type, options: type, normalize: str) -> None:
    p_ts, p_s = batch(5, 4, 5).double(), batch(6, 4, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss(options(normalize=normalize))(p_ts, p), (p_s,))


@pytest.mark.parametrize(("loss", "options"), LOSSES)
@pytest.mark.parametrize("normalize", ["centroids", "rows"])
def test_normalised_losses_do_not_see_the_scale_of_the_projections(loss: type, options: type, normalize: str) -> None:
    p_ts, p_s = batch(7), batch(8) + 0.5
    value = loss(options(normalize=normalize))
    torch.testing.assert_close(value(p_ts, p_s), value(10 * p_ts, 0.1 * p_s))


def test_the_gradient_of_euclid_does_not_fade_near_the_target() -> None:
    """Why a weight of 1 can drown the task's loss: the pull is as strong at distance 0.001 as at 10."""
    norms = []
    for distance in (10.0, 0.001):
        p_s = torch.zeros(4, 3).requires_grad_()
        Euclid(DistanceOptions())(torch.full((4, 3), distance), p_s).backward()
        norms.append(p_s.grad.norm().item())
    assert norms[0] == pytest.approx(norms[1])


@pytest.mark.parametrize(("loss", "options"), LOSSES)
def test_batches_of_different_shapes_are_refused_instead_of_broadcast(loss: type, options: type) -> None:
    with pytest.raises(ValueError, match="different shapes"):
        loss(options())(batch(1, n=1), batch(2, n=4))


def test_a_batch_of_zeros_gives_numbers_and_no_nan() -> None:
    zeros = torch.zeros(3, 4, requires_grad=True)
    for loss, options in LOSSES:
        for normalize in ("none", "centroids", "rows"):
            value = loss(options(normalize=normalize))(torch.zeros(3, 4), zeros)
            (gradient,) = torch.autograd.grad(value, zeros)
            assert torch.isfinite(value)
            assert torch.isfinite(gradient).all()


def test_the_losses_come_through_the_catalog_like_everybody_elses() -> None:
    assert catalog.current().names("loss") == ["cosine", "elementwise", "euclid"]
    assert catalog.current().find("loss", "cosine").component.load() is Cosine
