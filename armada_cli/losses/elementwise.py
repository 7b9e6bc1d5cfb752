"""Eq. 5."""

from __future__ import annotations

from torch import Tensor

from armada_cli.contracts import Loss
from armada_cli.losses.normalisation import check_pair, scaled


class Elementwise(Loss):
    """``mean_i || p_ts_i - p_s_i ||_2``: every student row is pulled to its own teacher row, the strongest of the three
    (Proposition 1)."""

    def __call__(self, p_ts: Tensor, p_s: Tensor) -> Tensor:
        """p_ts, p_s: [n, 768] -> scalar."""
        check_pair(p_ts, p_s)
        how = self.options.normalize
        return (scaled(p_ts, how) - scaled(p_s, how)).norm(dim=1).mean()
