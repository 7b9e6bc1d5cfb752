"""Eq. 4."""

from __future__ import annotations

from torch import Tensor

from armada_cli.contracts import Loss
from armada_cli.losses.normalisation import check_pair, scaled


class Euclid(Loss):
    """``|| mean p_ts - mean p_s ||_2``. Not squared: its gradient has unit length at any distance, near or far.

    At most `Elementwise` on the same batch (Proposition 1).
    """

    def __call__(self, p_ts: Tensor, p_s: Tensor) -> Tensor:
        """p_ts, p_s: [n, 768] -> scalar."""
        check_pair(p_ts, p_s)
        how = self.options.normalize
        return (scaled(p_ts, how).mean(0) - scaled(p_s, how).mean(0)).norm()
