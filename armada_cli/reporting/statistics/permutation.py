"""The paired permutation test: what if each row's outputs had come from the other arm?"""

from __future__ import annotations

import numpy as np

from armada_cli.reporting.statistics.splits import PairedSplit

PERMUTATIONS = 10_000

SWAPS = 2**19
"""Rows of all permutations that are swapped in one step: what fits into a processor's cache, or nearly."""


def permutation_test(split: PairedSplit, *, permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """Two-sided p-value of the paired permutation test of a metric's mean difference over seeds (approximate randomisation,
    Noreen 1989), (b + 1) / (m + 1).

    The two arms' outputs are swapped in a random half of the rows, in the same rows for all seeds; b of m times the difference
    is at least as far from zero as the real one. As rows move whole, it does not matter how seeds depend on each other. The
    level is exact where a row's outputs of the two arms are exchangeable (the arms answer alike), and close to it for many rows
    where only the metric is equal. The trained students are taken as given: the test does not say what other seeds would do.

    Args:
        split: see `splits.pair_arms`. Where the metric is accuracy, `rows.mcnemar_over_seeds` is the same test without chance.
        permutations: m. seed: of the random swaps; equal seeds give equal p-values.

    Raises:
        ValueError: no permutation.
    """
    if permutations < 1:
        raise ValueError("a permutation test needs at least one permutation")
    generator = np.random.default_rng(seed)
    observed = abs(float(split.differences.mean()))
    # Sums in another order differ in their last digits; what ties with the observed difference counts.
    bar = observed - 1e-9 * max(1.0, observed)
    extreme = 0
    rows = len(split.differing)
    step = max(1, SWAPS // max(1, rows))
    for start in range(0, permutations, step):
        size = min(step, permutations - start)
        bits = generator.integers(0, 256, (size, -(-rows // 8)), dtype=np.uint8)
        swaps = np.unpackbits(bits, axis=1, count=rows).astype(bool)
        extreme += int((np.abs(split.swapped(swaps)) >= bar).sum())
    return (extreme + 1) / (permutations + 1)
