"""Metrics against values worked out by hand."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from armada_cli import TrialFailed
from armada_cli.evaluation import metrics


def logits(*classes: int, count: int = 2) -> np.ndarray:
    """Outputs [n, count] whose largest value stands at the given classes."""
    return np.eye(count)[list(classes)] * 3 - 1


def test_accuracy_is_the_share_of_right_rows_in_percent():
    assert metrics.accuracy(logits(0, 1, 1, 0), [0, 1, 0, 0]) == 75.0


def test_matthews_follows_its_formula():
    # 2 true positives, 1 true negative, 1 false positive, 1 false negative:
    # (2 x 1 - 1 x 1) / sqrt(3 x 3 x 2 x 2) = 1/6
    assert metrics.matthews(logits(1, 1, 0, 1, 0), [1, 1, 0, 0, 1]) == pytest.approx(100 / 6)


def test_matthews_is_minus_100_when_every_answer_is_wrong():
    assert metrics.matthews(logits(0, 1, 0), [1, 0, 1]) == pytest.approx(-100)


def test_f1_is_that_of_class_one():
    # precision 2/3, recall 2/4: 2 x (2/3 x 1/2) / (2/3 + 1/2) = 4/7
    assert metrics.f1(logits(1, 1, 1, 0, 0), [1, 1, 0, 1, 1]) == pytest.approx(400 / 7)


def test_f1_refuses_three_classes():
    with pytest.raises(ValueError, match="two classes"):
        metrics.f1(logits(0, 1, 2, count=3), [0, 1, 2])


def test_macro_f1_weighs_classes_alike():
    # F1 of the classes: 0.8, 2/3 and 0
    value = metrics.macro_f1(logits(0, 0, 0, 1, count=3), [0, 0, 1, 1])
    assert value == pytest.approx(100 * (0.8 + 2 / 3) / 2)
    with_third = metrics.macro_f1(logits(0, 0, 0, 1, 0, count=3), [0, 0, 1, 1, 2])
    assert with_third == pytest.approx(100 * (2 * 2 / (2 + 4) + 2 / 3 + 0) / 3)


def test_micro_f1_of_single_labels_is_accuracy():
    outputs, labels = logits(0, 2, 1, 1, count=3), [0, 2, 2, 1]
    assert metrics.micro_f1(outputs, labels) == pytest.approx(metrics.accuracy(outputs, labels))


def test_multi_label_scores_count_decisions():
    outputs = np.array([[2.0, -1.0, 0.5], [-3.0, 1.0, -0.1]])
    labels = [(1, 0, 0), (0, 1, 1)]
    # Predicted 1,0,1 and 0,1,0: two true positives, one false positive, one false negative.
    assert metrics.micro_f1(outputs, labels) == pytest.approx(100 * 4 / 6)
    assert metrics.macro_f1(outputs, labels) == pytest.approx(100 * 2 / 3)
    assert metrics.accuracy(outputs, labels) == 0.0
    assert metrics.accuracy(outputs, [(1, 0, 1), (0, 1, 1)]) == 50.0


def test_pearson_and_spearman_differ_where_the_relation_is_not_a_line():
    outputs, labels = np.array([[1.0], [2.0], [3.0], [10.0]]), [1.0, 2.0, 3.0, 4.0]
    assert metrics.spearman(outputs, labels) == pytest.approx(100)
    # Covariance sum 14, squared deviations 50 and 5.
    assert metrics.pearson(outputs, labels) == pytest.approx(100 * 14 / np.sqrt(50 * 5))


def test_spearman_shares_the_rank_of_ties():
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance sum 4.5, squared deviations 4.5 and 5.
    assert metrics.spearman(np.array([[1.0], [2.0], [2.0], [5.0]]), [1, 2, 3, 4]) == pytest.approx(100 * 4.5 / np.sqrt(4.5 * 5))


@pytest.mark.parametrize("name", ["mcc", "f1"])
def test_a_student_that_always_says_the_same_class_scores_0(name):
    assert metrics.METRICS[name](logits(0, 0, 0), [0, 1, 1]) == 0.0


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_student_that_always_says_the_same_number_scores_0(name):
    for value in (0.0, 2.5, np.float32(0.1)):
        assert metrics.METRICS[name](np.full((4, 1), value), [1.0, 2.0, 3.0, 5.0]) == 0.0
    assert metrics.METRICS[name](np.array([[1.0], [2.0]]), [3.0, 3.0]) == 0.0


@pytest.mark.parametrize("name", ["accuracy", "mcc", "f1", "macro_f1", "micro_f1"])
def test_right_classes_score_100(name):
    assert metrics.METRICS[name](logits(1, 0, 1), [1, 0, 1]) == pytest.approx(100)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_line_through_the_targets_scores_100(name):
    assert metrics.METRICS[name](np.array([[1.0], [3.0], [5.0]]), [0.0, 1.0, 2.0]) == pytest.approx(100)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_output_that_is_no_number_fails_the_trial_and_counts_the_rows(bad):
    outputs = np.array([[0.0, 1.0], [bad, 0.0], [0.0, bad]])
    with pytest.raises(TrialFailed, match="NaN or infinite in 2 of 3 rows"):
        metrics.score(("accuracy",), outputs, [1, 0, 1])


@pytest.mark.parametrize(
    ("outputs", "labels"), [(np.zeros(3), [0, 1, 1]), (np.zeros((2, 2)), [0, 1, 1]), (np.zeros((0, 2)), [])]
)
def test_outputs_that_do_not_belong_to_the_labels_are_refused(outputs, labels):
    with pytest.raises(ValueError, match="do not belong"):
        metrics.accuracy(outputs, labels)


def test_score_keeps_the_order_of_the_names():
    assert list(metrics.score(("f1", "accuracy"), logits(1, 0), [1, 0])) == ["f1", "accuracy"]


def test_importing_the_metrics_imports_nothing_heavy():
    code = "import sys, armada_cli.evaluation.metrics; print(sorted({'numpy', 'sklearn', 'scipy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# --------------------------------------------------------------------------------------------- students that never vary


def collapsed(size: float, seed: int = 0, count: int = 400) -> tuple[np.ndarray, list[float]]:
    """What a regressor gives that has collapsed to one number: rounding noise about it, in float32."""
    draw = np.random.default_rng(seed)
    steps = draw.integers(-4, 5, size=count)
    outputs = (np.float32(size) * (1 + steps * np.float32(2.0**-23))).astype(np.float32)
    return outputs[:, None], list(draw.normal(3, 1, count) + 0.5 * steps)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize("size", [1e-3, 0.3, 2.7, 60.0, 1990.0, -5e5])
def test_rounding_noise_is_not_scored(name, size):
    """Spread 1e-7 beside its values: a correlation of the last bits (here 45 and more) is no correlation of predictions."""
    outputs, labels = collapsed(size)
    noise = outputs[:, 0].astype(float) / size
    assert abs(np.corrcoef(noise, labels)[0, 1]) > 0.45
    assert metrics.METRICS[name](outputs, labels) == 0.0


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize(("centre", "spread"), [(0.0, 1e-9), (2.7, 1e-3), (1990.0, 0.1), (1e6, 50.0), (0.0, 1e12)])
def test_small_differences_that_float32_holds_are_scored(name, centre, spread):
    labels = np.linspace(-1, 1, 50)
    outputs = np.float32(centre + spread * labels)[:, None]
    assert metrics.METRICS[name](outputs, labels) == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_targets_are_exact_and_may_lie_close_together(name):
    labels = [1e6 + 1e-3 * step for step in range(5)]
    assert metrics.METRICS[name](np.arange(5.0)[:, None], labels) == pytest.approx(100)


def test_a_collapsed_regressor_is_told_with_its_number():
    outputs, labels = collapsed(2.5)
    said = metrics.sameness(outputs, labels)
    assert said == (
        "the student gives all 400 evaluated rows the same number (2.5, with a spread of 2e-06): its correlations are 0 by "
        "convention"
    )


def test_a_student_that_always_answers_alike_is_told_with_its_answer():
    labels = [0, 1] * 10
    said = metrics.sameness(logits(*[1] * 20), labels, ("bad", "good"))
    assert (
        said
        == "the student gives all 20 evaluated rows the same answer (good): it has found nothing out, whatever its accuracy"
    )
    many = metrics.sameness(np.array([[1.0, -1.0, 2.0]] * 20), [(1, 0, 1), (0, 1, 0)] * 10, ("a", "b", "c"))
    assert many is not None
    assert "the same answer (a, c)" in many


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        (logits(*[1] * 20), [1] * 20),
        (logits(*[1] * 5), [0, 1, 0, 1, 0]),
        (logits(*[1] * 19, 0), [0, 1] * 10),
        (np.linspace(0, 1, 20)[:, None], list(np.linspace(0, 1, 20))),
        (np.ones((20, 1)), [2.0] * 20),
    ],
    ids=["labels are alike", "few rows", "one differs", "numbers", "targets are alike"],
)
def test_otherwise_there_is_nothing_to_tell(outputs, labels):
    assert metrics.sameness(outputs, labels) is None
