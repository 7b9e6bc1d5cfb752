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
        """Back to the manifold after an optimizer step: the Q of W = QR with a positive diagonal of R (columns for m >= d,
        rows otherwise), the usual QR retraction of the Stiefel manifold.

        After the first Adam step at the aligner's rate the singular values lie between 0.45 and 2.7; Newton-Schulz
        diverges there, Cholesky-QR is exact to 1e-6. A matrix too bad for it (not positive definite in float32, or still
        off afterwards) goes through a Householder QR with the signs put right.
        """
        wide = self.weight.shape[0] < self.weight.shape[1]
        rows = self.weight.detach() if wide else self.weight.T
        frame = rows.clone(memory_format=torch.contiguous_format)
        if not _orthonormalise(frame):
            frame = _householder(rows.T).T
        self.weight.copy_(frame if wide else frame.T)

    @torch.no_grad()
    def defect(self) -> float:
        """Largest entry of |W^T W - 1| (of the smaller side)."""
        return _defect(self.weight if self.weight.shape[0] >= self.weight.shape[1] else self.weight.T)


def _defect(tall: Tensor) -> float:
    gram = tall.T @ tall
    gram.diagonal().sub_(1)
    return float(gram.abs().max())


PANEL = 64
"""Rows that are orthonormalised together on a CPU. 48 to 96 are equally fast; one panel of all rows takes 1.6 times as long,
most of it inside LAPACK's Cholesky factorisation and triangular solve."""


def _orthonormalise(rows: Tensor) -> bool:
    """Makes the rows of a contiguous [n, w] matrix (n <= w) orthonormal, in place: Cholesky-QR by panels.

    Each panel is orthonormalised by the Cholesky factor of its own Gram matrix and then taken out of the rows behind it
    (block Gram-Schmidt, in the modified order). In exact arithmetic this is the Cholesky-QR of the whole matrix; it needs
    half of its arithmetic, nearly all of it in matrix products. A GPU starts many small operations slowly, so there all rows
    are one panel.

    Returns:
        whether the result is orthonormal to a tenth of `TOLERANCE`; if not, `rows` is of no use.
    """
    n = rows.shape[0]
    panel = PANEL if rows.device.type == "cpu" else n
    failed = torch.zeros((), dtype=torch.int32, device=rows.device)
    for start in range(0, n, panel):
        part, rest = rows[start : start + panel], rows[start + panel :]
        factor, info = torch.linalg.cholesky_ex(part @ part.T)
        failed |= info
        identity = torch.eye(len(part), dtype=rows.dtype, device=rows.device)
        part.copy_(torch.linalg.solve_triangular(factor, identity, upper=False) @ part)
        if len(rest):
            rest.addmm_(rest @ part.T, part, alpha=-1)
    # One question to the device: each would wait for it.
    return bool((failed == 0) & (_probe(rows) <= TOLERANCE / 10))


def _probe(rows: Tensor) -> Tensor:
    """Largest entry of |W W^T x - x| for one fixed vector x of normal numbers: what `_defect` finds, for a hundredth of its
    cost (a Gram matrix would take as long as the retraction). NaN where W has one."""
    x = torch.randn(rows.shape[0], generator=torch.Generator().manual_seed(0)).to(rows)
    return (rows @ (rows.T @ x) - x).abs().max()


def _householder(tall: Tensor) -> Tensor:
    # On the CPU: rare, and not every accelerator has a QR.
    q, r = torch.linalg.qr(tall.cpu())
    signs = torch.where(r.diagonal() < 0, -1.0, 1.0)
    return (q * signs).to(tall.device)


class StiefelOptimizer:
    """Moves orthogonal maps with Adam and retracts them, on every step or on every `every`-th.

    More than one gathers gradients and moves on their mean. That is another training and not the same one made faster: Adam
    divides a gradient by its size, so the maps move at 1/`every` of the rate.
    """

    def __init__(self, maps: Sequence[OrthogonalMap], every: int = 1) -> None:
        self.maps = list(maps)
        self.every = every
        self.adam = torch.optim.Adam([item.weight for item in self.maps], lr=0.0, fused=True)
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
        if self.every > 1:
            for item in self.maps:
                if item.weight.grad is not None:
                    item.weight.grad.div_(group["gathered"])
        group["lr"], group["gathered"] = lr, 0
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        for item in self.maps:
            item.retract()
