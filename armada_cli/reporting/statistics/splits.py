"""Two arms on the rows of one split: their metric as it is, with rows swapped between them, and with rows left out.

Outputs are float [seeds, n, c], of each seed what the functions of `armada_cli.evaluation.metrics` take: logits of a student,
its prediction with c = 1, or sums and numbers of tokens (perplexity). Metrics of generated text take [seeds, n], each row's own
score (`row_features.MEANS`). Labels are n class numbers, n floats or 0/1 [n, c]. Seed s of one arm is paired with seed s of the
other, and all seeds have the same rows in the same order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from armada_cli.reporting.statistics.row_features import MEANS, RowMetric, correlation, flatten_alike, row_metric

Metric = str | Callable[[np.ndarray, np.ndarray], float]
"""A metric of `armada_cli.evaluation.metrics` by its name, or any function of outputs [n, ...] and labels."""

GROUPS = 2000
"""Rows are left out one by one up to here, and in this many groups of a split with more."""

GROUPS_OF_RANKS = 500
"""The same for rank correlations, which are sorted anew for each group."""

GROUPS_OF_A_FUNCTION = 200
"""The same for a metric that is any function, which is called twice per group and seed."""

CHUNK = 2**22
"""Numbers that an intermediate array may have, about 32 MB."""


class PairedSplit(ABC):
    """Two arms and the labels of their common rows.

    Attributes:
        arm, base: the metric of each seed, [seeds].
        differing: numbers of the rows that change something when they are swapped, in order.
    """

    groups = GROUPS

    def __init__(self, arm: np.ndarray, base: np.ndarray, labels: np.ndarray) -> None:
        self.outputs = (arm, base)
        self.labels = labels
        self.seeds, self.rows = arm.shape[:2]
        self.differing = np.arange(self.rows)
        everything = np.ones((1, self.rows))
        self.arm, self.base = (self.weighted(side, everything)[0] for side in (0, 1))

    @property
    def differences(self) -> np.ndarray:
        """Arm minus base for each seed, [seeds]."""
        return self.arm - self.base

    @abstractmethod
    def weighted(self, side: int, weights: np.ndarray) -> np.ndarray:
        """The metric of each seed with rows weighted.

        Args:
            side: 0 for the arm, 1 for the base.
            weights: how often each row counts, whole numbers [m, n].

        Returns:
            [m, seeds].
        """

    @abstractmethod
    def swapped(self, swaps: np.ndarray) -> np.ndarray:
        """Differences after the two arms' outputs were swapped in some rows, the same rows in all seeds.

        Args:
            swaps: bool [m, rows that differ], whether each of `differing` is swapped.

        Returns:
            [m], mean over seeds of arm minus base.
        """

    def left_out(self, side: int, groups: int) -> np.ndarray:
        """The metric of each seed without each group of rows in turn, [groups, seeds]; row i is in group i modulo groups."""
        member = np.arange(self.rows) % groups
        step = max(1, CHUNK // self.rows)
        parts = [np.arange(start, min(start + step, groups)) for start in range(0, groups, step)]
        return np.concatenate([self.weighted(side, (member != part[:, None]).astype(float)) for part in parts])

    def row_covariance(self) -> np.ndarray:
        """Covariance of the seeds' differences that comes from the choice of the rows, [seeds, seeds], by the jackknife.

        Each row is left out once (each group of rows, of a large split). It estimates how the differences of these students
        would vary and covary over other samples of as many rows.
        """
        groups = min(self.rows, self.groups)
        kept = self.rows - np.bincount(np.arange(self.rows) % groups, minlength=groups)
        without = self.left_out(0, groups) - self.left_out(1, groups)
        influences = (self.differences - without) * kept[:, None] / self.rows
        centred = influences - influences.mean(axis=0)
        return np.asarray(centred.T @ centred * (groups / (groups - 1)))


class _SummedSplit(PairedSplit):
    """A metric of sums over rows."""

    def __init__(self, metric: RowMetric, arm: np.ndarray, base: np.ndarray, labels: np.ndarray) -> None:
        # Both arms at once: features may be centred, and rows of the two are to be mixed.
        both = metric.features(np.concatenate([arm, base]), labels)
        self.value = metric.value
        self.count = both.shape[2]
        # [n, seeds * features] of either side
        self.flat = [side.transpose(1, 0, 2).reshape(len(labels), -1) for side in np.split(both, 2)]
        super().__init__(arm, base, labels)
        # Arms mostly agree on a row's class, and then its swap is no work.
        self.differing = np.flatnonzero((self.flat[0] != self.flat[1]).any(axis=1))

    def weighted(self, side: int, weights: np.ndarray) -> np.ndarray:
        return self.value((weights @ self.flat[side]).reshape(len(weights), -1, self.count))

    def left_out(self, side: int, groups: int) -> np.ndarray:
        rows = self.flat[side]
        grouped = np.zeros((groups, rows.shape[1]))
        for start in range(0, self.rows, groups):
            block = rows[start : start + groups]
            grouped[: len(block)] += block
        return self.value((rows.sum(axis=0) - grouped).reshape(groups, -1, self.count))

    def swapped(self, swaps: np.ndarray) -> np.ndarray:
        arm, base = self.flat
        moved = swaps.astype(float) @ (base - arm)[self.differing]
        shape = (len(swaps), -1, self.count)
        with_swaps = self.value((arm.sum(axis=0) + moved).reshape(shape)) - self.value(
            (base.sum(axis=0) - moved).reshape(shape)
        )
        return np.asarray(with_swaps.mean(axis=1))


class _RankedSplit(PairedSplit):
    """Spearman's correlation."""

    groups = GROUPS_OF_RANKS

    def __init__(self, arm: np.ndarray, base: np.ndarray, labels: np.ndarray) -> None:
        flat = flatten_alike(np.concatenate([arm, base])[:, :, 0])
        super().__init__(flat[: len(arm)], flat[len(arm) :], labels)

    def weighted(self, side: int, weights: np.ndarray) -> np.ndarray:
        labels = _ranks(self.labels, weights)
        return np.stack([_correlate(weights, _ranks(seed, weights), labels) for seed in self.outputs[side]], axis=1)

    def swapped(self, swaps: np.ndarray) -> np.ndarray:
        labels = _ranks(self.labels, np.ones((1, self.rows)))[0] - (self.rows + 1) / 2
        if not labels.any():
            return np.zeros(len(swaps))
        return np.mean([_swap_ranks(*pair, labels, swaps) for pair in zip(*self.outputs, strict=True)], axis=0)


class _FunctionSplit(PairedSplit):
    """Any function of outputs and labels."""

    groups = GROUPS_OF_A_FUNCTION

    def __init__(
        self, function: Callable[[np.ndarray, np.ndarray], float], arm: np.ndarray, base: np.ndarray, labels: np.ndarray
    ) -> None:
        self.function = function
        super().__init__(arm, base, labels)

    def weighted(self, side: int, weights: np.ndarray) -> np.ndarray:
        rows = [np.repeat(np.arange(self.rows), line.astype(int)) for line in weights]
        return np.array([[self.function(seed[row], self.labels[row]) for seed in self.outputs[side]] for row in rows])

    def swapped(self, swaps: np.ndarray) -> np.ndarray:
        arm, base = self.outputs
        differences = []
        for line in swaps:
            mask = line.reshape(1, -1, *[1] * (arm.ndim - 2))
            pairs = zip(np.where(mask, base, arm), np.where(mask, arm, base), strict=True)
            differences.append(
                np.mean([self.function(one, self.labels) - self.function(other, self.labels) for one, other in pairs])
            )
        return np.array(differences)


def pair_arms(arm: ArrayLike, base: ArrayLike, labels: ArrayLike, metric: Metric) -> PairedSplit:
    """Two arms on the same rows, ready to be resampled.

    Args:
        arm, base: outputs, [seeds, n, c] or [seeds, n]; see this module's docstring.
        labels: [n] or [n, c]; metrics of generated text and perplexity need none but their number.
        metric: a name, or a function of outputs and labels of one seed.

    Raises:
        ValueError: shapes do not belong together, fewer than two rows, an output that is NaN or infinite, or an unknown metric.
    """
    outputs, other, true = np.asarray(arm, dtype=float), np.asarray(base, dtype=float), np.asarray(labels)
    dimensions = 2 if metric in MEANS else 3
    if outputs.shape != other.shape or outputs.ndim not in ((2, 3) if callable(metric) else (dimensions,)):
        raise ValueError(f"outputs of shapes {outputs.shape} and {other.shape} cannot be compared by {metric}")
    if outputs.shape[0] < 1 or outputs.shape[1] < 2 or outputs.shape[1] != len(true):
        raise ValueError(
            f"outputs {outputs.shape} do not belong to {len(true)} labels; expected one seed and two rows at least"
        )
    if not (np.isfinite(outputs).all() and np.isfinite(other).all()):
        raise ValueError("an output is NaN or infinite")
    if metric == "f1" and (true.ndim == 2 or outputs.shape[2] > 2):
        raise ValueError("f1 is for two classes; use macro_f1 or micro_f1")
    if callable(metric):
        return _FunctionSplit(metric, outputs, other, true)
    if metric == "spearman":
        return _RankedSplit(outputs, other, true.astype(float))
    summed = row_metric(metric, true)
    if summed is None:
        raise ValueError(f"no metric is called {metric!r}; give a function of outputs and labels instead")
    return _SummedSplit(summed, outputs, other, true)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Ranks of values [n], each counted as often as weights [m, n] say, with the mean rank for ties: [m, n]."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.searchsorted(ordered, values, side="left")
    behind = np.searchsorted(ordered, values, side="right")
    below = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights[:, order], axis=1)], axis=1)
    return (below[:, first] + below[:, behind] + 1.0) / 2.0


def _swap_ranks(arm: np.ndarray, base: np.ndarray, labels: np.ndarray, swaps: np.ndarray) -> np.ndarray:
    """Spearman's correlation of one arm less the other's, [m], after swaps [m, n] of their predictions [n].

    The predictions of both are sorted once; a rank is then the number of those at or below it that the arm has.

    Args:
        labels: their centred ranks, [n].
    """
    rows = len(arm)
    values = np.concatenate([arm, base])
    order = np.argsort(values, kind="stable")
    ordered, label = values[order], labels[order % rows]
    # Resamples lie along the second axis: whole lines are copied and added, which is far faster than columns.
    of_arm = (swaps.T[order % rows] ^ (order < rows)[:, None]).astype(float)
    counts = np.concatenate([np.zeros((1, len(swaps))), np.cumsum(of_arm, axis=0)])
    first, behind = (np.searchsorted(ordered, ordered, side=side)[:, None] for side in ("left", "right"))
    tied = bool((behind - first > 1).any())
    ranks = (counts[first[:, 0]] + counts[behind[:, 0]] + 1.0) / 2.0 if tied else counts[:-1] + (of_arm + 1.0) / 2.0
    total, zero = np.full(len(swaps), float(rows)), np.zeros(len(swaps))
    spread = np.full(len(swaps), (rows**3 - rows) / 12.0)
    correlations = []
    # A rank among the base's predictions: all at or below it, less those of the arm.
    for weight, rank in ((of_arm, ranks), (1.0 - of_arm, (first + behind) / 2.0 + 1.0 - ranks)):
        xx = np.einsum("nm,nm,nm->m", weight, rank - (rows + 1) / 2, rank - (rows + 1) / 2) if tied else spread
        correlations.append(correlation(total, zero, zero, xx, zero + labels @ labels, label @ (weight * rank)))
    return correlations[0] - correlations[1]


def _correlate(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation in percent of x and y, [m, n], weighted by [m, n]: [m]."""
    total = weights.sum(axis=1)
    middle = (total[:, None] + 1.0) / 2.0  # the mean rank
    x, y = x - middle, y - middle
    zero = np.zeros_like(total)
    xx, yy, xy = (np.einsum("mn,mn,mn->m", weights, one, other) for one, other in ((x, x), (y, y), (x, y)))
    return correlation(total, zero, zero, xx, yy, xy)
