"""Arms over tasks: probability of improvement, Friedman's test and mean ranks, and the paper's one-sided t-test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import friedmanchisquare, mannwhitneyu, ttest_1samp

from armada_cli.reporting.statistics.tasks import friedman, improvement, one_sided_t


def test_the_probability_of_improvement_by_hand() -> None:
    # Task 1: of 2 x 2 pairs the arm wins (3, 1), (3, 2), (2, 1) and ties at (2, 2): 3.5 of 4. Task 2: 1 of 4.
    estimate = improvement([[3, 2], [5, 1]], [[1, 2], [4, 6]])
    assert estimate.probability == pytest.approx((3.5 / 4 + 1 / 4) / 2)
    assert estimate.tasks == 2


def test_for_one_task_it_is_the_mann_whitney_statistic() -> None:
    generator = np.random.default_rng(0)
    arm, base = generator.normal(size=(2, 7))
    assert improvement([arm], [base]).probability == pytest.approx(mannwhitneyu(arm, base).statistic / 49)


def test_a_task_whose_lower_scores_are_better_counts_the_other_way() -> None:
    arm, base = [[1.0, 2.0, 3.0], [10.0, 11.0, 12.0]], [[4.0, 5.0, 6.0], [1.0, 2.0, 3.0]]
    assert improvement(arm, base).probability == 0.5
    assert improvement(arm, base, lower_is_better=[True, False]).probability == 1.0


def test_tasks_may_have_different_numbers_of_seeds_and_one_seed_has_no_interval() -> None:
    estimate = improvement([[3.0, 4.0, 5.0], [1.0, 2.0]], [[1.0, 2.0, 6.0], [1.5, 0.5]])
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0 <= estimate.low < estimate.probability < estimate.high <= 1
    single = improvement([[3.0], [1.0]], [[1.0], [1.5]])
    assert (single.probability, single.low, single.high) == (0.5, None, None)


def test_the_interval_is_the_same_for_the_same_seed() -> None:
    arm, base = np.random.default_rng(0).normal(size=(2, 4, 5))
    assert improvement(list(arm), list(base)) == improvement(list(arm), list(base))
    assert improvement(list(arm), list(base), seed=1) != improvement(list(arm), list(base))


@pytest.mark.parametrize(("arm", "base"), [([], []), ([[1.0]], [[1.0, 2.0]]), ([[]], [[]]), ([[1.0], [2.0]], [[1.0]])])
def test_scores_that_do_not_belong_together_are_refused(arm: list[list[float]], base: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"same seeds|shorter"):
        improvement(arm, base)


@pytest.mark.parametrize(("tasks", "seeds", "size"), [(8, 3, 0.0), (8, 3, 1.0), (12, 3, 0.5), (3, 5, 0.5), (8, 5, 1.0)])
def test_the_interval_covers_the_probability_of_other_seeds(tasks: int, seeds: int, size: float) -> None:
    generator = np.random.default_rng([tasks, seeds])
    covered = 0
    for _ in range(150):
        gains = generator.normal(0.5 * size, size, tasks)
        arm, base = generator.normal(size=(2, tasks, seeds)) + np.stack([gains, 0 * gains])[:, :, None]
        estimate = improvement(list(arm), list(base))
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= ndtr(gains / 2**0.5).mean() <= estimate.high
    assert 0.89 <= covered / 150 <= 0.99


@pytest.mark.parametrize(("tasks", "arms"), [(5, 3), (8, 4), (12, 6)])
@pytest.mark.parametrize("decimals", [8, 0], ids=["distinct", "tied"])
def test_friedmans_test_is_scipys(tasks: int, arms: int, decimals: int) -> None:
    scores = np.round(np.random.default_rng(tasks).normal(size=(tasks, arms)), decimals)
    tested, expected = friedman(scores), friedmanchisquare(*scores.T)
    assert tested is not None
    assert (tested.statistic, tested.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert tested.degrees == arms - 1


def test_mean_ranks_by_hand() -> None:
    scores = [[9, 8, 7], [9, 8, 8], [5, 6, 4], [9, 1, 2], [3, 2, 1]]
    tested = friedman(scores)
    assert tested is not None
    # Ranks 1 2 3, 1 2.5 2.5, 2 1 3, 1 3 2, 1 2 3.
    assert tested.mean_ranks == pytest.approx((6 / 5, 10.5 / 5, 13.5 / 5))
    reverse = friedman(scores, lower_is_better=[True] * 5)
    assert reverse is not None
    assert reverse.mean_ranks == pytest.approx((14 / 5, 9.5 / 5, 6.5 / 5))


def test_arms_that_tie_everywhere_do_not_differ() -> None:
    tested = friedman(np.ones((6, 4)))
    assert tested is not None
    assert (tested.statistic, tested.p, tested.mean_ranks) == (0.0, 1.0, (2.5,) * 4)


def test_few_tasks_or_two_arms_have_no_friedman_test() -> None:
    assert friedman(np.random.default_rng(0).normal(size=(4, 5))) is None
    assert friedman(np.random.default_rng(0).normal(size=(9, 2))) is None


@pytest.mark.parametrize("scores", [[1.0, 2.0], np.full((6, 3), np.nan)])
def test_friedmans_test_needs_every_score(scores: object) -> None:
    with pytest.raises(ValueError, match="every arm on every task"):
        friedman(scores)  # type: ignore[arg-type]


@pytest.mark.parametrize(("tasks", "arms"), [(5, 3), (5, 8), (12, 5)])
def test_friedmans_test_keeps_its_level(tasks: int, arms: int) -> None:
    generator = np.random.default_rng(0)
    rejected = 0
    for scores in generator.normal(size=(1500, tasks, arms)):
        tested = friedman(scores)
        assert tested is not None
        rejected += tested.p <= 0.05
    assert 0.02 <= rejected / 1500 <= 0.065


def test_the_one_sided_t_is_scipys() -> None:
    differences = [0.3, 1.2, -0.4, 2.2, 0.9]
    tested, expected = one_sided_t(differences), ttest_1samp(differences, 0.0, alternative="greater")
    assert tested is not None
    assert (tested.t, tested.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert tested.degrees == 4


def test_one_task_or_equal_differences_have_no_t() -> None:
    assert one_sided_t([1.0]) is None
    assert one_sided_t([1.0, 1.0]) is None
    assert one_sided_t([]) is None
