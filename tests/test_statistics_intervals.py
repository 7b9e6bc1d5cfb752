"""The interval of a difference over seeds and rows: by hand, and how often it covers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from simulated_arms import KINDS, Students, as_outputs, components_of

from armada_cli.reporting.statistics.intervals import Components, bound, degrees_of_freedom, vary
from armada_cli.reporting.statistics.splits import pair_arms

CELLS = [(seeds, rows) for seeds in (3, 5, 10) for rows in (200, 700, 2000)]
"""Seeds and rows that the interval is promised for."""


def coverage(students: Students, seeds: int, rows: int, runs: int, seed: int = 0) -> float:
    """Share of the runs whose interval has the true difference in it."""
    generator = np.random.default_rng([seed, seeds, rows])
    covered = 0
    step = max(1, 400_000 // (seeds * rows))
    for start in range(0, runs, step):
        for components in components_of(students.answer(generator, min(step, runs - start), seeds, rows)):
            interval = bound(components)
            covered += interval.low <= 100 * students.difference <= interval.high
    return covered / runs


def test_the_components_of_accuracies_are_those_of_means() -> None:
    answers = Students(difference=0.03).answer(np.random.default_rng(0), 3, 4, 300)
    labels = np.random.default_rng(1).integers(0, 2, 300)
    for run, expected in zip(answers, components_of(answers), strict=True):
        components = vary(pair_arms(*as_outputs(run, labels), labels, "accuracy"))
        assert components is not None
        assert (components.seeds, components.rows) == (4, 300)
        for name in ("difference", "between", "of_rows", "shared"):
            assert getattr(components, name) == pytest.approx(getattr(expected, name), rel=1e-5)


def test_rows_of_a_large_split_are_left_out_in_groups_with_nearly_the_same_variance() -> None:
    answers = Students(arm_row=0.8).answer(np.random.default_rng(0), 1, 3, 30_001)
    labels = np.zeros(30_001, dtype=int)
    components = vary(pair_arms(*as_outputs(answers[0], labels), labels, "accuracy"))
    (expected,) = components_of(answers)
    assert components is not None
    assert components.of_rows == pytest.approx(expected.of_rows, rel=0.1)
    assert components.shared == pytest.approx(expected.shared, rel=0.1)


def test_an_interval_by_hand() -> None:
    # Differences 1, 2, 3 of seeds: between = 1; with shared = 1/3 the variance is 1/3 + 1/3, and S shared / between = 1:
    # 2 + 1 * 1 = 3 degrees of freedom, whose t is 3.1824.
    interval = bound(Components(2.0, 3, 500, 1.0, 0.5, 1 / 3))
    assert interval.error == pytest.approx(math.sqrt(2 / 3))
    assert interval.degrees == pytest.approx(3.0)
    assert (interval.low, interval.high) == pytest.approx(
        (2 - 3.18245 * interval.error, 2 + 3.18245 * interval.error), rel=1e-5
    )
    from scipy.stats import t

    assert interval.p == pytest.approx(2 * t.sf(2 / interval.error, 3))


def test_where_rows_are_all_alike_it_is_students_interval_over_seeds() -> None:
    from scipy.stats import ttest_rel

    arm, base = [80.1, 81.4, 79.9, 80.8], [79.0, 80.9, 79.7, 79.1]
    differences = np.subtract(arm, base)
    interval = bound(Components(differences.mean(), 4, 1000, differences.var(ddof=1), 0.0, 0.0))
    expected = ttest_rel(arm, base).confidence_interval()
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.p == pytest.approx(ttest_rel(arm, base).pvalue)


def test_the_interval_leaves_zero_out_exactly_where_its_p_is_small() -> None:
    for difference in np.linspace(0, 6, 61):
        interval = bound(Components(difference, 5, 300, 2.0, 1.5, 0.7))
        assert (interval.low > 0) == (interval.p < 0.05)


def test_seeds_that_agree_entirely_leave_the_rows_to_decide() -> None:
    interval = bound(Components(1.0, 3, 400, 0.0, 0.25, 0.25))
    assert (interval.error, interval.degrees) == (0.5, 399)


def test_seeds_that_agree_by_accident_have_an_interval_all_the_same() -> None:
    """Three seeds gain one row of ten each, and each another one."""
    interval = bound(Components(10.0, 3, 10, 0.0, 100.0, 0.0))
    assert (interval.error, interval.degrees) == (pytest.approx((100 / 3) ** 0.5), 2)
    assert interval.low < 0 < interval.high


def test_where_nothing_varies_the_interval_is_the_difference() -> None:
    unchanging = bound(Components(0.0, 3, 400, 0.0, 0.0, 0.0))
    assert (unchanging.low, unchanging.high, unchanging.p) == (0.0, 0.0, 1.0)
    always = bound(Components(100.0, 3, 400, 0.0, 0.0, 0.0))
    assert (always.low, always.high, always.p) == (100.0, 100.0, 0.0)


def test_one_seed_has_no_interval() -> None:
    labels = np.zeros(20, dtype=int)
    outputs = np.random.default_rng(0).normal(size=(2, 1, 20, 2))
    assert vary(pair_arms(*outputs, labels, "accuracy")) is None


def test_degrees_of_freedom_of_two_seeds_are_one_and_never_more_than_the_rows_give() -> None:
    assert degrees_of_freedom(2, 500, 0.1, 9.0) == 1
    assert degrees_of_freedom(3, 500, 1e-9, 9.0) == 499
    assert degrees_of_freedom(10, 500, 1.0, 0.0) == 9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_it_covers_about_95_percent(kind: str, seeds: int) -> None:
    share = coverage(KINDS[kind], seeds, 300, 500)
    # Four standard errors of 500 runs around what is promised for 2,000; where hardly a row is wrong it may be too wide.
    assert 0.93 - 0.02 <= share <= (1.0 if kind == "hardly a row is wrong" else 0.97 + 0.02)


@pytest.mark.parametrize("difference", [0.02, 0.1])
def test_it_covers_a_difference_that_is_there(difference: float) -> None:
    assert 0.92 <= coverage(Students(difference=difference, arm_row=0.5), 3, 300, 1000) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("seeds", "rows"), CELLS)
def test_it_covers_93_to_97_percent_of_2000_runs(kind: str, seeds: int, rows: int) -> None:
    share = coverage(KINDS[kind], seeds, rows, 2000)
    assert 0.93 <= share <= (0.99 if kind == "hardly a row is wrong" else 0.97)


def scored(metric: str, generator: np.random.Generator, seeds: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs of two arms that are equally good, and labels."""
    if metric in ("mcc", "f1"):
        labels = (generator.random(rows) < 0.3).astype(int)
        (answers,) = Students(seed=0.1).answer(generator, 1, seeds, rows)
        return *as_outputs(answers, labels), labels
    labels = generator.normal(size=rows)
    noise = (
        generator.normal(size=rows) + 0.4 * generator.normal(size=(2, 1, rows)) + 0.5 * generator.normal(size=(2, seeds, rows))
    )
    size = np.exp(0.05 * generator.normal(size=(2, seeds, 1)))  # a seed is better or worse on all rows
    return *(labels + size * noise)[..., None], labels


@pytest.mark.parametrize("metric", ["mcc", "f1", "pearson", "spearman"])
def test_the_jackknife_over_rows_agrees_with_the_bootstrap_over_rows(metric: str) -> None:
    generator = np.random.default_rng(9)
    split = pair_arms(*scored(metric, generator, 3, 300), metric)
    weights = generator.multinomial(300, np.full(300, 1 / 300), 1500).astype(float)
    bootstrapped = np.cov((split.weighted(0, weights) - split.weighted(1, weights)).T)
    assert split.row_covariance() == pytest.approx(bootstrapped, abs=0.15 * bootstrapped.max())


@pytest.mark.parametrize("metric", ["mcc", "f1", "pearson", "spearman"])
def test_other_metrics_are_covered_too(metric: str) -> None:
    generator = np.random.default_rng(7)
    covered = 0
    runs = 150 if metric == "spearman" else 500
    for _ in range(runs):
        components = vary(pair_arms(*scored(metric, generator, 3, 250), metric))
        assert components is not None
        interval = bound(components)
        covered += interval.low <= 0 <= interval.high
    assert 0.90 <= covered / runs <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("metric", ["mcc", "f1", "pearson"])
def test_other_metrics_are_covered_in_93_to_97_percent_of_2000_runs(metric: str, seeds: int) -> None:
    generator = np.random.default_rng([8, seeds])
    covered = 0
    for _ in range(2000):
        components = vary(pair_arms(*scored(metric, generator, seeds, 400), metric))
        assert components is not None
        interval = bound(components)
        covered += interval.low <= 0 <= interval.high
    assert 0.93 <= covered / 2000 <= 0.97


@pytest.mark.parametrize(("kind", "least", "most"), [("seeds do most", 0.70, 0.90), ("seeds do nothing", 0.975, 1.0)])
def test_the_percentile_bootstrap_over_seeds_and_rows_would_cover_too_little_or_too_much(
    kind: str, least: float, most: float
) -> None:
    """Why it is not used: three seeds drawn from three vary too little, and what is each row's own is counted twice."""
    generator = np.random.default_rng(0)
    covered = 0
    for arm, base in KINDS[kind].answer(generator, 120, 3, 400):
        differences = arm.astype(np.float32) - base
        weights = generator.multinomial(400, np.full(400, 1 / 400), 300).astype(np.float32) / 400
        scores = weights @ differences.T
        means = np.take_along_axis(scores, generator.integers(0, 3, (300, 3)), axis=1).mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        covered += low - 1e-9 <= 0 <= high + 1e-9
    assert least <= covered / 120 <= most
