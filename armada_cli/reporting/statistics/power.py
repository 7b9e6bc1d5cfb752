"""How likely a difference is to be seen, and how many seeds or rows would be needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from armada_cli.reporting.statistics.intervals import CONFIDENCE, Components, degrees_of_freedom

POWER = 0.80
MOST_SEEDS = 1_000
MOST_ROWS = 10_000_000
QUANTILES = 500


@dataclass(frozen=True)
class Needed:
    """What would show a difference of the size that was seen with a probability of 80 %.

    Attributes:
        seeds: with the rows there are; None where 1,000 are not enough, since rows bring too much.
        rows: with the seeds there are; None where 10,000,000 are not enough, since seeds bring too much.
    """

    seeds: int | None
    rows: int | None


def power(difference: float, components: Components, *, seeds: int | None = None, rows: int | None = None) -> float:
    """Probability that the interval of `intervals.bound` lies on the right side of 0 when the true difference is this one.

    The variance between seeds is a multiple of chi-squared with S - 1 degrees of freedom and independent of the mean, so the
    power is a mean over its quantiles. The components are taken as true: those of 3 seeds are themselves uncertain, and so is
    the power.

    Args:
        difference: the true difference, in the metric's unit. components: see `intervals.vary`.
        seeds, rows: of the experiment, by default those of `components`. Variances that rows bring fall as 1 / rows.

    Raises:
        ValueError: fewer than two seeds or rows.
    """
    from scipy.special import gammaincinv, ndtr, stdtrit

    seeds, rows = seeds or components.seeds, rows or components.rows
    if seeds < 2 or rows < 2:
        raise ValueError("power needs two seeds and two rows at least")
    fewer = components.rows / rows
    expected, shared = components.of_seeds + components.own * fewer, components.shared * fewer
    error = math.sqrt(expected / seeds + shared)
    if not error:
        return float(difference != 0)
    quantiles = (np.arange(QUANTILES) + 0.5) / QUANTILES
    between = expected * 2.0 * gammaincinv((seeds - 1) / 2.0, quantiles) / (seeds - 1)
    degrees = degrees_of_freedom(seeds, rows, between, shared)
    half = stdtrit(degrees, 0.5 + CONFIDENCE / 2) * np.sqrt(between / seeds + shared)
    return float(ndtr((abs(difference) - half) / error).mean())


def plan(components: Components) -> Needed:
    """The seeds, or the rows, with which a difference of this size would be seen with 80 % power.

    The size is the one that was seen, and it is an estimate too: a small true difference that chance made large looks cheaper
    than it is. It is a figure to plan the next experiment by, no statement on this one.
    """
    size = abs(components.difference)
    return Needed(
        _least(lambda seeds: power(size, components, seeds=seeds), max(components.seeds, 2), MOST_SEEDS),
        _least(lambda rows: power(size, components, rows=rows), components.rows, MOST_ROWS),
    )


def _least(power_of: Callable[[int], float], start: int, most: int) -> int | None:
    """The smallest number from start to most whose power suffices, None without one; power rises with the number."""
    if power_of(most) < POWER:
        return None
    low, high = start - 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= POWER else (middle, high)
    return high
