"""What several processes of one training tell each other beside the gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def processes() -> int:
    """How many processes train together; 1 outside of `accelerate launch`."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, [n, ...] -> [processes n, ...], in the same order in each.

    A loss over a whole batch that is no mean over its rows (a distance of centroids) is not the mean of what its parts give.
    It is computed on gathered rows, alike in every process. The loop averages the processes' gradients, each of which knows its
    own rows alone, so what flows back is multiplied by their number: the average is the gradient of the whole batch.

    Every process must call this with as many rows.
    """
    return rows if processes() == 1 else _Gather.apply(rows)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count, ctx.own = len(rows), distributed.get_rank()
        found = [torch.empty_like(rows) for _ in range(processes())]
        distributed.all_gather(found, rows.contiguous())
        return torch.cat(found)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        return gradient[ctx.own * ctx.count : (ctx.own + 1) * ctx.count] * processes()
