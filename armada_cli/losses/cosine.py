"""Eq. 3."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from armada_cli.contracts import Loss
from armada_cli.losses.normalisation import check_pair, scaled


class Cosine(Loss):
    """``1 - <mean p_ts, mean p_s>``, in [0, 2] when the centroids are normalised, unbounded below as printed.

    The least of the three regularisations (Proposition 1). Related: `Euclid` sees the centroids' lengths as well.

        >>> Cosine(CosineOptions())(p, p)
        tensor(0.)
    """

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.minimum = 0.0 if options.normalize == "centroids" else None

    def __call__(self, p_ts: Tensor, p_s: Tensor) -> Tensor:
        """p_ts, p_s: [n, 768] -> scalar."""
        check_pair(p_ts, p_s)
        how = self.options.normalize
        return 1 - scaled(p_ts, how).mean(0) @ scaled(p_s, how).mean(0)
