"""Gaussian noise on what the TS Aligner reads: the teacher's vectors in a worse quality (Figures 10 to 12)."""

from __future__ import annotations

import torch
from torch import Tensor

from armada_cli.training.seeds import stream


class InputNoise:
    """sigma times N(0, 1) for every number of h_t.

    By default an example's noise is drawn once, so the aligner sees one worse vector of it wherever it is read: in
    pre-training, in joint training and in its scores. With `redrawn` it is drawn anew each time. Either way it depends on the
    seed and on the example's row, and neither on the other rows of its batch nor on the number of processes.

    Args:
        sigma: standard deviation; h_t has unit variance by default.
        features: h_t of the training split, [rows, width]. The noise is drawn on the CPU, so that it is the same everywhere.
        seed: the trial's.
    """

    def __init__(self, sigma: float, features: Tensor, seed: int, redrawn: bool) -> None:
        self.sigma, self.width, self.seed = sigma, features.shape[1], seed
        self.drawn: Tensor | None = None
        if not redrawn:
            generator = torch.Generator().manual_seed(stream(seed, "noise of the aligner's inputs"))
            self.drawn = sigma * torch.randn(features.shape, generator=generator).to(features.device)

    def added(self, h_t: Tensor, rows: Tensor, when: str) -> Tensor:
        """h_t [n, width] of the given rows [n] with their noise. `when` names the draw where it is a new one each time."""
        if self.drawn is not None:
            return h_t + self.drawn[rows.to(self.drawn.device)]
        drawn = torch.empty(len(rows), self.width)
        for place, row in enumerate(rows.tolist()):
            generator = torch.Generator().manual_seed(stream(self.seed, f"noise of row {row}, {when}"))
            drawn[place] = torch.randn(self.width, generator=generator)
        return h_t + self.sigma * drawn.to(h_t.device)
