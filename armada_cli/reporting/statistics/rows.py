"""Two arms compared row by row on right and wrong answers: exact McNemar tests, for one seed and over several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Discordance:
    """Answers of two arms to the same rows.

    Attributes:
        only_arm, only_base: answers that only the arm, or only the base, has right, counted over all seeds.
        rows: rows compared; seeds: pairs of students compared on each of them.
        p: two-sided, exact.
    """

    only_arm: int
    only_base: int
    rows: int
    seeds: int
    p: float


def mcnemar(arm: ArrayLike, base: ArrayLike) -> Discordance:
    """Exact McNemar test of one seed (McNemar 1947): the binomial test of the rows that one arm alone has right.

    Two-sided, without the mid-p correction, so its level is at most the nominal one. It says whether these two trained
    students differ on rows like these; other seeds may differ otherwise.

    Args:
        arm, base: bool [n], whether the answer to each row is right; the same rows in the same order.

    Raises:
        ValueError: shapes differ, or there is no row.
    """
    right, other = _paired(arm, base, 1)
    return _sign_flip(right[None], other[None])


def mcnemar_over_seeds(arm: ArrayLike, base: ArrayLike) -> Discordance:
    """Exact McNemar test of several seeds on the same rows; with one seed it is `mcnemar`.

    Every seed is evaluated on the same rows, so p-values of single seeds depend on each other, and adding their counts would
    count a row several times. Here the row is the unit. Its value is the sum over seeds of (arm right) - (base right), and the
    test flips the signs of whole rows: under the hypothesis that swapping the two arms' answers to a row, in all seeds at
    once, changes nothing, each of the 2^rows sign patterns is equally likely, however seeds depend on each other. The
    distribution of the sum is convolved exactly. Where the arms are equally accurate but not exchangeable row by row, the
    level holds for many rows (the flipped sum has the variance of the real one), not exactly.

    The students are taken as given: the test does not say what other seeds would do (`intervals` does).

    Args:
        arm, base: bool [seeds, n], whether an answer is right.

    Raises:
        ValueError: shapes differ, or there is no seed or no row.
    """
    return _sign_flip(*_paired(arm, base, 2))


def _paired(arm: ArrayLike, base: ArrayLike, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    right, other = np.asarray(arm, dtype=bool), np.asarray(base, dtype=bool)
    if right.shape != other.shape or right.ndim != dimensions or not right.size:
        shape = "[n]" if dimensions == 1 else "[seeds, n]"
        raise ValueError(f"answers of shapes {right.shape} and {other.shape} cannot be paired; expected twice {shape}, n > 0")
    return right, other


def _sign_flip(arm: np.ndarray, base: np.ndarray) -> Discordance:
    seeds, rows = arm.shape
    sums = arm.sum(axis=0, dtype=np.int64) - base.sum(axis=0, dtype=np.int64)
    counts = np.bincount(np.abs(sums), minlength=seeds + 1)
    return Discordance(
        int((arm & ~base).sum()), int((base & ~arm).sum()), rows, seeds, _two_sided(counts, abs(int(sums.sum())))
    )


def _two_sided(counts: np.ndarray, observed: int) -> float:
    """P(|S| >= observed), S the sum over sizes k of counts[k] fair and independent signs times k.

    The probabilities of S are the inverse Fourier transform of its characteristic function, the product of cos(k t)^counts[k].
    """
    from scipy.special import bdtr

    signs = int(counts[1:].sum())
    if not observed:
        return 1.0
    if signs == counts[1]:
        return min(1.0, 2.0 * float(bdtr((signs - observed) // 2, signs, 0.5)))
    largest = int((counts * np.arange(len(counts))).sum())
    period = 2 * largest + 1
    angles = 2.0 * np.pi * np.arange(period // 2 + 1) / period
    characteristic = np.ones_like(angles)
    for size in range(1, len(counts)):
        characteristic *= np.cos(size * angles) ** counts[size]
    probabilities = np.fft.irfft(characteristic, period)  # of 0, 1, ..., largest, -largest, ..., -1
    p = 2.0 * float(probabilities[observed : largest + 1].sum())
    # Sums near 1e-16 are rounding noise: no p-value is below that of the rarest pattern and its mirror image.
    return min(1.0, max(p, 2.0 ** (1 - signs)))
