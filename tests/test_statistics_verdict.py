"""Verdicts: what they say in words, and how often they say it when nothing differs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from simulated_arms import KINDS, Students, as_outputs, components_of

from armada_cli.reporting.statistics.intervals import Interval, bound
from armada_cli.reporting.statistics.permutation import permutation_test
from armada_cli.reporting.statistics.power import Needed, plan
from armada_cli.reporting.statistics.rows import mcnemar_over_seeds
from armada_cli.reporting.statistics.splits import pair_arms
from armada_cli.reporting.statistics.verdict import Contrast, Verdict, compare_arms, correct_contrasts


def contrast(difference: float, p: float | None = 0.01, **changes: object) -> Contrast:
    """What is known of two arms, as far as words depend on it."""
    known = Contrast(difference, 3, 500, 0.001, None, None, Needed(None, None), p)
    return dataclasses.replace(known, **changes)


AHEAD, BEHIND, UNTOLD = contrast(1.0), contrast(-1.0), contrast(1.0, 0.3)


@pytest.mark.parametrize(
    ("control", "undistilled", "outcome", "words"),
    [
        (AHEAD, AHEAD, "ahead", "ahead of its control and the undistilled student"),
        (BEHIND, BEHIND, "behind", "behind its control and the undistilled student"),
        (UNTOLD, AHEAD, "cannot tell", "ahead of the undistilled student, but cannot be told from its control"),
        (BEHIND, AHEAD, "behind", "behind its control, but ahead of the undistilled student"),
        (AHEAD, UNTOLD, "ahead", "ahead of its control, but cannot be told from the undistilled student"),
        (AHEAD, BEHIND, "ahead", "ahead of its control, but behind the undistilled student"),
        (UNTOLD, BEHIND, "cannot tell", "behind the undistilled student, but cannot be told from its control"),
        (UNTOLD, UNTOLD, "cannot tell", "cannot tell"),
        (None, AHEAD, "ahead", "ahead of the undistilled student"),
        (None, BEHIND, "behind", "behind the undistilled student"),
        (None, UNTOLD, "cannot tell", "cannot tell"),
        (AHEAD, None, "ahead", "ahead of its control"),
        (None, None, "cannot tell", "cannot tell"),
    ],
)
def test_a_verdict_names_what_the_method_is_ahead_of(
    control: Contrast | None, undistilled: Contrast | None, outcome: str, words: str
) -> None:
    verdict = Verdict(control, undistilled)
    assert (verdict.outcome, verdict.words) == (outcome, words)


def test_of_a_metric_that_is_better_when_lower_a_negative_difference_is_ahead() -> None:
    assert contrast(-2.0, lower_is_better=True).outcome == "ahead"
    assert contrast(2.0, lower_is_better=True).outcome == "behind"


def outputs_of(students: Students, seeds: int, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, rows)
    return *as_outputs(students.answer(generator, 1, seeds, rows)[0], labels), labels


def test_a_contrast_is_made_of_both_tests_and_needs_both() -> None:
    arm, base, labels = outputs_of(Students(difference=0.08), 5, 800)
    compared = compare_arms(arm, base, labels, "accuracy")
    assert compared.interval is not None
    assert compared.p == max(compared.p_rows, compared.interval.p)
    assert compared.p_rows == mcnemar_over_seeds(arm.argmax(axis=2) == labels, base.argmax(axis=2) == labels).p
    assert compared.outcome == "ahead"
    assert compared.needed is None
    assert compare_arms(base, arm, labels, "accuracy").outcome == "behind"
    assert dataclasses.replace(compared, p=0.2).outcome == "cannot tell"


def test_other_metrics_are_compared_by_permutation() -> None:
    arm, base, labels = outputs_of(Students(difference=0.08), 3, 300)
    compared = compare_arms(arm, base, labels, "mcc", permutations=500, seed=4)
    assert compared.p_rows == permutation_test(pair_arms(arm, base, labels, "mcc"), permutations=500, seed=4)


def test_a_difference_is_told_with_its_interval() -> None:
    compared = compare_arms(*outputs_of(Students(difference=0.08), 5, 800), "accuracy")
    interval = compared.interval
    assert interval is not None
    assert compared.describe() == (f"{compared.difference:+.1f} (95 % interval {interval.low:+.1f} to {interval.high:+.1f})")


@pytest.mark.parametrize(
    ("needed", "said"),
    [
        (Needed(14, 1234), "a difference of this size needs about 14 seeds or 1,300 rows (80 % power)"),
        (Needed(14, None), "a difference of this size needs about 14 seeds (80 % power)"),
        (Needed(None, 98765), "a difference of this size needs about 99,000 rows (80 % power)"),
        (Needed(None, None), "a difference of this size would be shown neither by more seeds nor by more rows alone"),
    ],
)
def test_cannot_tell_says_what_would_be_needed(needed: Needed, said: str) -> None:
    assert contrast(0.26, 0.3, needed=needed).describe() == f"+0.3; {said}"


def test_cannot_tell_names_the_p_value_that_is_too_large_where_the_interval_leaves_zero_out() -> None:
    interval = Interval(1.0, 0.1, 1.9, 0.4, 30.0, 0.03)
    by_rows = contrast(1.0, 0.081, p_rows=0.081, interval=interval, needed=None)
    assert by_rows.describe() == "+1.0 (95 % interval +0.1 to +1.9); p = 0.081 over rows"
    by_family = contrast(1.0, 0.03, p_holm=0.06, interval=interval, needed=None)
    assert by_family.describe() == "+1.0 (95 % interval +0.1 to +1.9); p = 0.060 after Holm's correction"


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_cannot_tell_however_large_the_difference(seeds: int) -> None:
    compared = compare_arms(*outputs_of(Students(difference=0.19), seeds, 2000), "accuracy")
    assert compared.p_rows < 1e-6
    assert (compared.outcome, compared.p, compared.needed) == ("cannot tell", None, None)
    assert (compared.interval is None) == (seeds == 1)
    assert compared.describe().endswith("; needs 3 seeds")


def test_what_would_be_needed_is_planned_for_a_difference_that_the_interval_does_not_show() -> None:
    compared = compare_arms(*outputs_of(Students(difference=0.01), 5, 400), "accuracy")
    assert compared.components is not None
    assert compared.interval is not None
    assert compared.interval.p > 0.05
    assert compared.needed == plan(compared.components)


def test_arms_that_answer_alike_cannot_be_told_apart() -> None:
    arm, _, labels = outputs_of(Students(), 3, 100)
    compared = compare_arms(arm, arm, labels, "accuracy")
    assert (compared.difference, compared.outcome, compared.p) == (0.0, "cannot tell", 1.0)


def test_holms_correction_takes_the_family_into_account() -> None:
    family = correct_contrasts([contrast(1.0, 0.03), contrast(1.0, None), contrast(-1.0, 0.01), contrast(1.0, 0.04)])
    assert [item.p_holm for item in family] == pytest.approx([0.06, None, 0.03, 0.06])
    assert [item.outcome for item in family] == ["cannot tell", "cannot tell", "behind", "cannot tell"]


def called(kinds: list[Students], seeds: int, rows: int, runs: int) -> float:
    """Share of runs without a difference that are called ahead or behind, accuracies; the kinds take turns."""
    generator = np.random.default_rng([4, seeds, rows])
    count = 0
    each = runs // len(kinds)
    step = max(1, 400_000 // (seeds * rows))
    for students in kinds:
        for start in range(0, each, step):
            answers = students.answer(generator, min(step, each - start), seeds, rows)
            for run, components in zip(answers, components_of(answers), strict=True):
                count += bound(components).p <= 0.05 and mcnemar_over_seeds(*run).p <= 0.05
    return count / (each * len(kinds))


@pytest.mark.parametrize(("seeds", "rows"), [(3, 50), (3, 300), (5, 300), (10, 300)])
def test_without_a_difference_hardly_a_run_is_called_ahead_or_behind(seeds: int, rows: int) -> None:
    assert called(list(KINDS.values()), seeds, rows, 1200) <= 0.055


@pytest.mark.slow
@pytest.mark.parametrize("rows", [50, 200, 700, 2000])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_without_a_difference_at_most_5_5_percent_of_2000_runs_are_called_ahead_or_behind(seeds: int, rows: int) -> None:
    assert called(list(KINDS.values()), seeds, rows, 2004) <= 0.055
    for students in KINDS.values():
        # No kind hides behind the others: 5 % and three standard errors of 2,000 runs.
        assert called([students], seeds, rows, 2000) <= 0.065


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["accuracy", "mcc", "pearson"])
def test_whole_comparisons_without_a_difference_keep_the_level(metric: str) -> None:
    """The same through `compare_arms` itself."""
    outcomes = []
    for run in range(2000):
        generator = np.random.default_rng([6, run])
        students = list(KINDS.values())[run % len(KINDS)]
        if metric == "pearson":
            labels = generator.normal(size=200)
            noise = (
                generator.normal(size=200) + 0.4 * generator.normal(size=(2, 1, 200)) + 0.4 * generator.normal(size=(2, 3, 200))
            )
            arm, base = (labels + np.exp(students.seed * generator.normal(size=(2, 3, 1))) * noise)[..., None]
        else:
            labels = (generator.random(200) < 0.4).astype(int)
            arm, base = as_outputs(students.answer(generator, 1, 3, 200)[0], labels)
        outcomes.append(compare_arms(arm, base, labels, metric, permutations=399).outcome)
    assert np.mean([outcome != "cannot tell" for outcome in outcomes]) <= 0.055
