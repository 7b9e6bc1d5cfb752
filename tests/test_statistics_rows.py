"""Exact McNemar tests, against scipy, statsmodels and sums over every pattern of signs."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binomtest

from armada_cli.reporting.statistics.rows import mcnemar, mcnemar_over_seeds


def answers(only_arm: int, only_base: int, both: int = 0, neither: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Answers [n] of two arms with these numbers of rows."""
    arm = [True] * only_arm + [False] * only_base + [True] * both + [False] * neither
    base = [False] * only_arm + [True] * only_base + [True] * both + [False] * neither
    return np.array(arm), np.array(base)


def by_enumeration(arm: np.ndarray, base: np.ndarray) -> Fraction:
    """The same p from every one of the 2^n ways to swap rows between the arms [seeds, n]."""
    sums = arm.astype(int).sum(axis=0) - base.astype(int).sum(axis=0)
    extreme = [abs(sum(s * k for s, k in zip(signs, sums, strict=True))) >= abs(sums.sum()) for signs in _signs(len(sums))]
    return Fraction(sum(extreme), len(extreme))


def _signs(n: int) -> list[tuple[int, ...]]:
    return list(itertools.product((1, -1), repeat=n))


@pytest.mark.parametrize(("only_arm", "only_base"), [(12, 3), (3, 12), (5, 5), (0, 7), (1, 0), (140, 95), (700, 500)])
def test_one_seed_is_the_binomial_test_of_the_rows_that_one_arm_alone_has_right(only_arm: int, only_base: int) -> None:
    contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
    tested = mcnemar(*answers(only_arm, only_base, both=30, neither=8))
    assert (tested.only_arm, tested.only_base, tested.rows, tested.seeds) == (only_arm, only_base, only_arm + only_base + 38, 1)
    assert tested.p == pytest.approx(binomtest(only_arm, only_arm + only_base).pvalue, rel=1e-9)
    assert tested.p == pytest.approx(contingency.mcnemar([[30, only_arm], [only_base, 8]], exact=True).pvalue, rel=1e-9)


def test_arms_that_answer_alike_have_p_one() -> None:
    assert mcnemar(*answers(0, 0, both=5, neither=3)).p == 1.0
    right = np.array([[True, False, True], [True, True, False]])
    assert mcnemar_over_seeds(right, right).p == 1.0


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("case", range(4))
def test_several_seeds_are_the_sum_over_every_way_to_swap_rows(seeds: int, case: int) -> None:
    generator = np.random.default_rng(case)
    arm, base = generator.random((seeds, 11)) < 0.5 + 0.1 * case, generator.random((seeds, 11)) < 0.5
    assert mcnemar_over_seeds(arm, base).p == pytest.approx(float(by_enumeration(arm, base)), abs=1e-12)


def test_a_seed_that_repeats_another_adds_no_evidence() -> None:
    """Counts added over seeds would make 12 against 3 rows three times as many."""
    arm, base = answers(12, 3, both=50)
    once, thrice = mcnemar(arm, base), mcnemar_over_seeds(np.tile(arm, (3, 1)), np.tile(base, (3, 1)))
    assert (thrice.only_arm, thrice.only_base) == (36, 9)
    assert thrice.p == pytest.approx(once.p, rel=1e-9)


def test_an_overwhelming_difference_has_a_tiny_p_and_not_rounding_noise() -> None:
    arm, base = answers(900, 10, both=90)
    assert 0 < mcnemar_over_seeds(np.tile(arm, (2, 1)), np.tile(base, (2, 1))).p < 1e-14


def test_ten_thousand_rows_and_ten_seeds_are_exact_too() -> None:
    generator = np.random.default_rng(0)
    arm, base = generator.random((10, 10_000)) < 0.803, generator.random((10, 10_000)) < 0.8
    tested = mcnemar_over_seeds(arm, base)
    sums = arm.sum(axis=0) - base.sum(axis=0).astype(int)
    z = abs(sums.sum()) / np.sqrt((sums**2).sum())
    from scipy.stats import norm

    assert tested.p == pytest.approx(2 * norm.sf(z), rel=0.02), "for so many rows the normal distribution is near"


def test_seeds_that_share_their_hard_rows_keep_the_level() -> None:
    """The rows are hard or easy for all seeds and both arms alike, and each arm has rows of its own."""
    generator = np.random.default_rng(1)
    rejected = 0
    for _ in range(1000):
        hard = generator.normal(size=(1, 1, 200)) + 0.7 * generator.normal(size=(2, 1, 200))
        right = hard + 0.5 * generator.normal(size=(2, 3, 200)) > -0.7
        rejected += mcnemar_over_seeds(*right).p <= 0.05
    assert 0.025 <= rejected / 1000 <= 0.06


@pytest.mark.parametrize(
    ("arm", "base"), [([True, False], [True]), ([], []), ([[True, False]], [[True, False]]), ([True], [[True]])]
)
def test_answers_that_cannot_be_paired_are_refused(arm: list[bool], base: list[bool]) -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        mcnemar(arm, base)
    with pytest.raises(ValueError, match="cannot be paired"):
        mcnemar_over_seeds(np.array(arm)[None][:0], np.array(base)[None][:0])
