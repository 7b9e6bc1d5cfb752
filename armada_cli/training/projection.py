"""P_ts and P_s: linear maps that stay orthogonal while they are trained (section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

TOLERANCE = 1e-4
"""Largest entry of |W W^T - 1| (or W^T W) that counts as orthogonal."""


class OrthogonalMap(nn.Module):
    """x [n, d] -> x W^T [n, m], with orthonormal rows (m <= d) or columns (m > d). No bias: the map is a rotation into,
    or onto, the shared manifold."""

    def __init__(self, d: int, m: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(m, d))
        nn.init.orthogonal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight)

    @torch.no_grad()
    def retract(self) -> None:
        """Back to the manifold after an optimizer step, by Cholesky-QR: a frame whose first k vectors span what the first k of
        the given matrix did, for every k. It is not the nearest frame, which would be the polar factor.

        After the first AdamW step at the aligner's rate the singular values lie between 0.45 and 2.7; Newton-Schulz
        diverges there, Cholesky-QR is exact to 1e-6. A matrix too bad for it (not positive definite in float32, or still
        off afterwards) goes through a Householder QR with the signs put right.
        """
        tall = self.weight if self.weight.shape[0] >= self.weight.shape[1] else self.weight.T
        factor, info = torch.linalg.cholesky_ex(tall.T @ tall)
        if int(info) == 0:
            frame = torch.linalg.solve_triangular(factor, tall.T, upper=False).T
            if _probe(frame) > TOLERANCE / 10:
                frame = _householder(tall)
        else:
            frame = _householder(tall)
        self.weight.copy_(frame if self.weight.shape[0] >= self.weight.shape[1] else frame.T)

    @torch.no_grad()
    def defect(self) -> float:
        """Largest entry of |W^T W - 1| (of the smaller side)."""
        return _defect(self.weight if self.weight.shape[0] >= self.weight.shape[1] else self.weight.T)


def _defect(tall: Tensor) -> float:
    gram = tall.T @ tall
    gram.diagonal().sub_(1)
    return float(gram.abs().max())


def _probe(tall: Tensor) -> float:
    """Largest entry of |W^T W x - x| for four fixed unit-scale vectors x: what `_defect` finds, for a hundredth of its cost
    (a Gram matrix would take as long as the retraction)."""
    x = torch.randn(tall.shape[1], 4, generator=torch.Generator().manual_seed(0)).to(tall)
    return float((tall.T @ (tall @ x) - x).abs().max())


def _householder(tall: Tensor) -> Tensor:
    q, r = torch.linalg.qr(tall)
    signs = torch.where(r.diagonal() < 0, -1.0, 1.0)
    return q * signs


class StiefelOptimizer:
    """Moves orthogonal maps once every `every` steps, on the mean of the gradients gathered since, then retracts them.

    A retraction costs as much as a tenth of a small student's training step; gathering spreads it out while the maps are
    orthogonal at every single step (they do not move in between).
    """

    def __init__(self, maps: Sequence[OrthogonalMap], every: int) -> None:
        self.maps = list(maps)
        self.every = every
        self.adam = torch.optim.Adam([item.weight for item in self.maps], lr=0.0)
        # In the group, so that a checkpoint of the optimizer holds it.
        self.adam.param_groups[0]["gathered"] = 0

    def step(self, lr: float) -> None:
        """One training step has left its gradient in ``weight.grad``; move if enough have been gathered.

        Args:
            lr: the rate of the modules the maps belong to, at this step.
        """
        group = self.adam.param_groups[0]
        group["gathered"] += 1
        if group["gathered"] < self.every:
            return
        for item in self.maps:
            if item.weight.grad is not None:
                item.weight.grad.div_(group["gathered"])
        group["lr"], group["gathered"] = lr, 0
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        for item in self.maps:
            item.retract()
