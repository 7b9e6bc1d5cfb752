"""What several seeds say: mean, sd, best, paired differences with Student's t-test, and Holm's correction."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SEEDS_FOR_A_TEST = 3


@dataclass(frozen=True)
class Summary:
    """Scores of one method on one task over n seeds. `sd` has n - 1 in its denominator, and is None for one seed."""

    n: int
    mean: float
    sd: float | None
    best: float


@dataclass(frozen=True)
class Difference:
    """Paired differences (same seed, two arms).

    Attributes:
        n: common seeds; differences: seed -> difference.
        p: two-sided p-value of the paired t-test; None where there is none, and `why` says so.
        p_holm: p after Holm's correction over the family it belongs to, see `correct`.
    """

    n: int
    differences: Mapping[int, float]
    mean: float
    sd: float | None
    p: float | None
    why: str = ""
    p_holm: float | None = None


def summarise(scores: Sequence[float], *, lower_is_better: bool = False) -> Summary | None:
    """Mean, sd (n - 1) and best of the scores; None without any."""
    if not scores:
        return None
    return Summary(len(scores), mean(scores), spread(scores), min(scores) if lower_is_better else max(scores))


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation with n - 1, None for fewer than two values."""
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def compare(arm: Mapping[int, float], base: Mapping[int, float]) -> Difference | None:
    """arm - base over their common seeds (seed -> score); None without a common seed.

    The test is Student's paired t-test, two-sided, n - 1 degrees of freedom. Equal differences have no variance and hence
    no t: the p-value is 1 where they are all zero, and left out otherwise.
    """
    seeds = sorted(arm.keys() & base.keys())
    if not seeds:
        return None
    differences = {seed: arm[seed] - base[seed] for seed in seeds}
    values = list(differences.values())
    p, why = _t_test(values)
    return Difference(len(seeds), differences, mean(values), spread(values), p, why)


def correct(family: Sequence[Difference]) -> list[Difference]:
    """The same differences, those that were tested with Holm's p."""
    adjusted = iter(holm([difference.p for difference in family if difference.p is not None]))
    return [item if item.p is None else dataclasses.replace(item, p_holm=next(adjusted)) for item in family]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Holm 1979), in the order given: they hold for the family as a whole."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def _t_test(values: Sequence[float]) -> tuple[float | None, str]:
    n = len(values)
    if n < SEEDS_FOR_A_TEST:
        return None, f"needs {SEEDS_FOR_A_TEST} seeds"
    centre, sd = mean(values), spread(values)
    # Scores are rounded decimals: what differs by 1e-9 of their size differs by floating point alone.
    noise = 1e-9 * max(1.0, *(abs(value) for value in values))
    if sd is None or sd <= noise:
        if abs(centre) <= noise:
            return 1.0, ""
        return None, "no variance"
    from scipy.special import stdtr  # a tenth of scipy.stats' import time

    t = centre / (sd / math.sqrt(n))
    return float(2 * stdtr(n - 1, -abs(t))), ""
