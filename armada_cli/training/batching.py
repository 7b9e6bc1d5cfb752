"""Which examples make a batch: of similar length, in an order that the seed fixes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from armada_cli.training.seeds import stream

POOL = 50
"""Batches that are drawn together and sorted by length. More means less padding and less chance in the batches."""


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Row numbers of every batch of one epoch, each row once; the last pool may hold one smaller batch.

    The rows are shuffled, cut into pools of `POOL` batches, sorted by length inside a pool, cut into batches, and the
    batches shuffled again: lengths stay mixed over the epoch while a batch hardly needs padding.
    """
    generator = torch.Generator().manual_seed(stream(seed, f"order of epoch {epoch}"))
    order = torch.randperm(len(lengths), generator=generator).tolist()
    batches: list[list[int]] = []
    for start in range(0, len(order), batch_size * POOL):
        pool = sorted(order[start : start + batch_size * POOL], key=lambda row: lengths[row])
        batches += [pool[cut : cut + batch_size] for cut in range(0, len(pool), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """How many batches `epoch_batches` makes."""
    pool = batch_size * POOL
    full, rest = divmod(rows, pool)
    return full * POOL + -(-rest // batch_size)


def evaluation_batches(lengths: Sequence[int], tokens: int = 4096) -> list[list[int]]:
    """Every row once, longest first, at most `tokens` padded tokens a batch: out of memory shows at the start."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
