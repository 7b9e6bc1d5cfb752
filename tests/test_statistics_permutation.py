"""Metrics of resampled splits against `METRICS`, and the paired permutation test against scipy's and every swap there is."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
from scipy import stats

from armada_cli.evaluation.metrics import METRICS
from armada_cli.reporting.statistics.permutation import permutation_test
from armada_cli.reporting.statistics.row_features import ALIKE, MEANS
from armada_cli.reporting.statistics.rows import mcnemar_over_seeds
from armada_cli.reporting.statistics.splits import pair_arms

SCORED = sorted(set(METRICS) - set(MEANS))
"""Metrics of outputs and labels; the others score rows of text one by one."""


def arms(metric: str, rows: int, seeds: int = 3, decimals: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs of two arms, [seeds, rows, c], that are right more often than not, and labels."""
    generator = np.random.default_rng(seed)
    shape = (2, seeds, rows)
    if metric in MEANS:
        return *generator.random(shape), np.zeros(rows)
    if metric in ("pearson", "spearman"):
        labels = np.round(generator.random(rows) * 5, 1)
        return *np.round(labels + generator.normal(size=shape), decimals)[..., None], labels
    if metric == "perplexity":
        tokens = np.broadcast_to(generator.integers(1, 9, rows), shape)
        return *np.stack([generator.random(shape) * 20, tokens], axis=-1), np.zeros(rows)
    if metric == "samples_f1":
        labels = generator.integers(0, 2, (rows, 4))
        return *(generator.normal(size=(*shape, 4)) + labels), labels
    classes = 2 if metric == "f1" else 4
    labels = generator.integers(0, classes, rows)
    return *(generator.normal(size=(*shape, classes)) + 1.5 * np.eye(classes)[labels]), labels


def scores(metric: str, outputs: np.ndarray, labels: Any) -> list[float]:
    return [METRICS[metric](seed, labels) for seed in outputs]


@pytest.mark.parametrize("decimals", [8, 1], ids=["distinct", "tied"])
@pytest.mark.parametrize("metric", SCORED)
def test_a_split_has_the_metrics_own_scores_as_it_is_and_swapped_and_with_rows_left_out(metric: str, decimals: int) -> None:
    arm, base, labels = arms(metric, 40, decimals=decimals)
    fast, slow = pair_arms(arm, base, labels, metric), pair_arms(arm, base, labels, METRICS[metric])
    assert fast.arm == pytest.approx(scores(metric, arm, labels), rel=1e-9)
    assert fast.base == pytest.approx(scores(metric, base, labels), rel=1e-9)
    swaps = np.random.default_rng(1).random((30, 40)) < 0.5
    assert fast.swapped(swaps[:, fast.differing]) == pytest.approx(slow.swapped(swaps), rel=1e-7, abs=1e-9)
    assert fast.row_covariance() == pytest.approx(slow.row_covariance(), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("metric", ["accuracy", "micro_f1", "macro_f1", "weighted_f1"])
def test_rows_of_several_labels_have_the_metrics_own_scores(metric: str) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (30, 3))
    labels[:, 2] = 0  # a class that is never true
    outputs = generator.normal(size=(2, 2, 30, 3)) + labels
    outputs[1, ..., 2] = -1.0  # and that one arm never predicts
    split = pair_arms(*outputs, labels, metric)
    assert split.arm == pytest.approx(scores(metric, outputs[0], labels))
    assert split.base == pytest.approx(scores(metric, outputs[1], labels))


@pytest.mark.parametrize("metric", ["mcc", "f1", "macro_f1", "pearson", "spearman"])
def test_a_student_that_answers_all_rows_alike_scores_as_the_metric_says(metric: str) -> None:
    arm, base, labels = arms(metric, 50)
    base[0] = base[0, :1] * (1 + ALIKE * np.random.default_rng(0).random((50, 1)) / 4)
    split = pair_arms(arm, base, labels, metric)
    assert split.base == pytest.approx(scores(metric, base, labels))
    assert split.base[0] == 0.0 or metric in ("f1", "macro_f1")


def every_swap(rows: int) -> np.ndarray:
    return np.array(list(itertools.product((False, True), repeat=rows)))


@pytest.mark.parametrize("metric", ["mcc", "f1", "pearson", "spearman", "rouge_l"])
def test_the_p_value_is_near_that_of_every_swap_there_is(metric: str) -> None:
    arm, base, labels = arms(metric, 12, seeds=2, seed=3)
    split = pair_arms(arm, base, labels, metric)
    exact = (np.abs(split.swapped(every_swap(12)[:, split.differing])) >= abs(split.differences.mean()) - 1e-9).mean()
    p = permutation_test(split, permutations=20_000)
    assert p == pytest.approx(exact, abs=4 * (0.25 / 20_000) ** 0.5)


def test_one_seed_of_a_mean_is_scipys_paired_permutation_test() -> None:
    arm, base, labels = arms("mean", 10, seeds=1)
    split = pair_arms(arm, base + 0.2, labels, "mean")
    exact = stats.permutation_test(
        (arm[0], base[0] + 0.2), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    p = permutation_test(split, permutations=20_000)
    assert p == pytest.approx(exact.pvalue, abs=4 * (0.25 / 20_000) ** 0.5)


def test_accuracy_agrees_with_the_exact_test_over_seeds() -> None:
    arm, base, labels = arms("accuracy", 150, seed=5)
    exact = mcnemar_over_seeds(arm.argmax(axis=2) == labels, base.argmax(axis=2) == labels).p
    p = permutation_test(pair_arms(arm, base, labels, "accuracy"), permutations=40_000)
    assert p == pytest.approx(exact, abs=4 * (0.25 / 40_000) ** 0.5)


def test_arms_that_answer_alike_have_p_one() -> None:
    for metric in ("mcc", "pearson", "spearman"):
        arm, _, labels = arms(metric, 30)
        assert permutation_test(pair_arms(arm, arm, labels, metric), permutations=100) == 1.0


def test_equal_seeds_give_equal_p_values_and_none_is_zero() -> None:
    arm, base, labels = arms("mcc", 100)
    split = pair_arms(arm, base, labels, "mcc")
    assert permutation_test(split, seed=3) == permutation_test(split, seed=3) != permutation_test(split, seed=4)
    apart = pair_arms(np.eye(4)[labels][None], -np.eye(4)[labels][None], labels, "mcc")
    assert permutation_test(apart, permutations=999) == 1 / 1000


@pytest.mark.parametrize("metric", ["mcc", "f1", "pearson", "spearman"])
def test_under_no_difference_one_in_twenty_is_rejected(metric: str) -> None:
    """Rows are hard for both arms and all seeds alike."""
    rejected = 0
    runs = 120 if metric == "spearman" else 400
    for run in range(runs):
        arm, base, labels = arms(metric, 80, seed=run)
        arm, base = arm + (shared := np.random.default_rng(10_000 + run).normal(size=arm.shape[1:])), base + shared
        rejected += permutation_test(pair_arms(arm, base, labels, metric), permutations=199, seed=run) <= 0.05
    assert rejected / runs == pytest.approx(0.05, abs=3.3 * (0.05 * 0.95 / runs) ** 0.5)


@pytest.mark.parametrize("metric", ["accuracy", "mcc", "f1", "pearson"])
def test_ten_thousand_permutations_of_two_thousand_rows_take_about_a_second(metric: str) -> None:
    split = pair_arms(*arms(metric, 2000), metric)
    start = time.process_time()
    permutation_test(split)
    assert time.process_time() - start < 1.5


@pytest.mark.parametrize(
    ("arm", "base", "labels", "metric", "message"),
    [
        (np.zeros((2, 5, 2)), np.zeros((3, 5, 2)), [0] * 5, "mcc", "cannot be compared"),
        (np.zeros((2, 5)), np.zeros((2, 5)), [0] * 5, "mcc", "cannot be compared"),
        (np.zeros((2, 5, 2)), np.zeros((2, 5, 2)), [0] * 4, "mcc", "do not belong to 4 labels"),
        (np.zeros((2, 1, 2)), np.zeros((2, 1, 2)), [0], "mcc", "two rows at least"),
        (np.full((2, 5, 2), np.nan), np.zeros((2, 5, 2)), [0] * 5, "mcc", "NaN"),
        (np.zeros((2, 5, 2)), np.zeros((2, 5, 2)), [0] * 5, "bleu", "no metric is called 'bleu'"),
        (np.zeros((2, 5, 3)), np.zeros((2, 5, 3)), [0] * 5, "f1", "two classes"),
    ],
)
def test_outputs_that_cannot_be_compared_are_refused(arm: Any, base: Any, labels: Any, metric: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pair_arms(arm, base, labels, metric)


def test_no_permutation_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        permutation_test(pair_arms(*arms("mcc", 10), "mcc"), permutations=0)
