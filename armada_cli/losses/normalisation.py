"""How projections are scaled before a manifold loss looks at them."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize as unit

SMALLEST = 1e-12
"""A norm below this counts as this, so that a zero vector stays zero instead of becoming NaN."""


def scaled(p: Tensor, how: str) -> Tensor:
    """p: [n, 768] -> [n, 768].

    ``none`` leaves p alone, ``rows`` gives every projection unit length, ``centroids`` divides the batch by the norm of its
    centroid, so that the centroid has unit length and the rows keep their spread.

    Raises:
        ValueError: another word, or p is not a matrix with at least one row.
    """
    if p.ndim != 2 or p.shape[0] == 0:
        raise ValueError(f"projections must be [n, width] with n >= 1, got {list(p.shape)}")
    if how == "none":
        return p
    if how == "rows":
        return unit(p, dim=1, eps=SMALLEST)
    if how == "centroids":
        return p / p.mean(0).norm().clamp_min(SMALLEST)
    raise ValueError(f"unknown normalisation {how!r}")


def check_pair(p_ts: Tensor, p_s: Tensor) -> None:
    """Raises ValueError unless both are matrices of one shape: broadcasting would silently compare the wrong rows."""
    if p_ts.shape != p_s.shape:
        raise ValueError(f"projections of different shapes: p_ts {list(p_ts.shape)}, p_s {list(p_s.shape)}")
