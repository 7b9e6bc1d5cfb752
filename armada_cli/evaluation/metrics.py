"""Metrics of the published tables, in percent.

Every function takes ``outputs``, float [n, c] (a student's logits, or its prediction with c = 1), and ``labels`` as a
`Split` has them: n class numbers, n floats, or n tuples of 0/1. A predicted class is the largest output of its row; a label
of a multi-label task is predicted where its logit is above 0, that is, where its probability is above one half. The metrics of
generated text take n texts and their references instead.

Predictions that do not vary score 0 where the formula would divide by zero: a student that always says the same has found
nothing out, and a NaN in a table says less. Numbers count as equal when they differ by no more than float32's arithmetic makes
the same number differ: a correlation would else be one of rounding noise. `sameness` says so in words. Importing this module is
cheap; numpy, scipy and scikit-learn come with the first call.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from armada_cli.errors import TrialFailed

if TYPE_CHECKING:
    import numpy as np


ROUNDING = 32 * 2.0**-23
"""Predictions whose spread is at most this share of their size are one number: 32 units in float32's last place. A student of a
few layers gives one text other last digits beside longer neighbours (up to 1e-6 of the value was seen)."""

FEW_ROWS = 10
"""With fewer rows than this it is no news that all are answered alike."""


def accuracy(outputs: np.ndarray, labels: Sequence[Any]) -> float:
    """Share of rows whose class is right (multi-label: whose labels are all right)."""
    predicted, true = _classes(outputs, labels)
    same = predicted == true
    return 100.0 * float((same.all(axis=1) if same.ndim == 2 else same).mean())


def matthews(outputs: np.ndarray, labels: Sequence[Any]) -> float:
    """Matthews correlation of predicted and true classes, -100 .. 100; the paper's "Mcc"."""
    from sklearn.metrics import matthews_corrcoef

    predicted, true = _classes(outputs, labels)
    if predicted.ndim == 2:
        raise ValueError("Matthews correlation is for single-label classification")
    return 100.0 * float(matthews_corrcoef(true, predicted))


def pearson(outputs: np.ndarray, labels: Sequence[Any]) -> float:
    """Pearson's linear correlation of predictions [n, 1] and targets, -100 .. 100; the paper's "Pear"."""
    from scipy.stats import pearsonr

    return _correlation(lambda predicted, true: pearsonr(predicted, true).statistic, outputs, labels)


def spearman(outputs: np.ndarray, labels: Sequence[Any]) -> float:
    """Spearman's rank correlation of predictions [n, 1] and targets, -100 .. 100."""
    from scipy.stats import spearmanr

    return _correlation(lambda predicted, true: spearmanr(predicted, true).statistic, outputs, labels)


def f1(outputs: np.ndarray, labels: Sequence[Any]) -> float:
    """F1 of class 1 of two.

    Raises:
        ValueError: more than two classes.
    """
    from sklearn.metrics import f1_score

    predicted, true = _classes(outputs, labels)
    if predicted.ndim == 2 or max(predicted.max(), true.max()) > 1:
        raise ValueError("f1 is for two classes; use macro_f1 or micro_f1")
    return 100.0 * float(f1_score(true, predicted, zero_division=0))


def macro_f1(outputs: np.ndarray, labels: Sequence[Any]) -> float:
    """Unweighted mean over classes of their F1. A class that is neither true nor predicted in any row does not count
    (single-label) or counts 0 (multi-label), as in scikit-learn."""
    return _f1(outputs, labels, "macro")


def micro_f1(outputs: np.ndarray, labels: Sequence[Any]) -> float:
    """F1 of all decisions taken together; the same as accuracy for single-label classification."""
    return _f1(outputs, labels, "micro")


def weighted_f1(outputs: np.ndarray, labels: Sequence[Any]) -> float:
    """Mean over classes of their F1, weighted by how many rows have the class."""
    return _f1(outputs, labels, "weighted")


def samples_f1(outputs: np.ndarray, labels: Sequence[Any]) -> float:
    """Mean over rows of the F1 of each row's labels; for multi-label tasks.

    Raises:
        ValueError: one label a row.
    """
    if _checked(outputs, labels)[1].ndim != 2:
        raise ValueError("samples_f1 is for multi-label tasks; use macro_f1 or micro_f1")
    return _f1(outputs, labels, "samples")


def rouge_l(answers: Sequence[str], references: Sequence[Any]) -> float:
    """ROUGE-L of n texts, 0 .. 100: F-measure of the longest common subsequence of stemmed words, with the best of each
    text's references, mean over texts. As in MiniLLM (Gu et al. 2024).

    Args:
        references: for each text one reference (`str`) or several.

    Raises:
        ValueError: no text, a text without a reference, or lengths that differ.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return _best_of(lambda answer, reference: scorer.score(reference, answer)["rougeL"].fmeasure, answers, references)


def exact_match(answers: Sequence[str], references: Sequence[Any]) -> float:
    """Share of texts that equal one of their references, 0 .. 100, without regard to case, ASCII punctuation and spacing.

    Args and errors: see `rouge_l`.
    """

    def plain(text: str) -> str:
        return " ".join(text.lower().translate(nothing).split())

    nothing = str.maketrans("", "", string.punctuation)
    return _best_of(lambda answer, reference: float(plain(answer) == plain(reference)), answers, references)


def perplexity(outputs: np.ndarray, labels: Sequence[Any]) -> float:
    """Exponential of the mean cross-entropy of all masked tokens; not in percent, and better the lower it is.

    outputs: [n, 2], of each row the sum of the cross-entropies in nats and the number of tokens (see `StudentOutput.logits`).

    Raises:
        ValueError: not a single token is masked.
    """
    values, _ = _checked(outputs, labels)
    if values.shape[1] != 2 or not values[:, 1].sum():
        raise ValueError("perplexity takes sums and numbers of tokens [n, 2], at least one token in all")
    return math.exp(min(math.fsum(values[:, 0]) / math.fsum(values[:, 1]), 700.0))


METRICS: dict[str, Callable[[Any, Sequence[Any]], float]] = {
    "accuracy": accuracy,
    "mcc": matthews,
    "pearson": pearson,
    "spearman": spearman,
    "f1": f1,
    "macro_f1": macro_f1,
    "micro_f1": micro_f1,
    "weighted_f1": weighted_f1,
    "samples_f1": samples_f1,
    "rouge_l": rouge_l,
    "exact_match": exact_match,
    "perplexity": perplexity,
}
"""What a task's `metric` and a recipe may name."""


def score(names: Iterable[str], outputs: Any, labels: Sequence[Any]) -> dict[str, float]:
    """The named metrics of `METRICS`, in the given order.

    Raises:
        TrialFailed: an output is NaN or infinite.
        ValueError: outputs and labels do not belong together.
    """
    return {name: METRICS[name](outputs, labels) for name in names}


def sameness(outputs: np.ndarray, labels: Sequence[Any], names: Sequence[str] = ()) -> str | None:
    """What to tell of a student that answers every row alike although the labels differ; None where it does not.

    Args:
        outputs, labels: as for the metrics.
        names: of the classes; without them a class is told by its number. Two-dimensional labels are several of these a row,
            and labels that are floats are numbers to be predicted.

    Raises:
        TrialFailed, ValueError: as for the metrics.
    """
    values, true = _checked(outputs, labels)
    if len(values) < FEW_ROWS or (true == true[0]).all():
        return None
    rows = f"the student gives all {len(values)} evaluated rows the same"
    if true.ndim == 1 and true.dtype.kind == "f":
        if not _alike(values[:, 0]):
            return None
        spread = float(values.max() - values.min())
        return f"{rows} number ({values[0, 0]:.4g}, with a spread of {spread:.1g}): its correlations are 0 by convention"
    predicted, _ = _classes(outputs, labels)
    if (predicted != predicted[0]).any():
        return None
    chosen = [place for place, flag in enumerate(predicted[0]) if flag] if predicted.ndim == 2 else [int(predicted[0])]
    said = ", ".join(str(names[place] if names else place) for place in chosen) or "none"
    return f"{rows} answer ({said}): it has found nothing out, whatever its accuracy"


def _best_of(alike: Callable[[str, str], float], answers: Sequence[str], references: Sequence[Any]) -> float:
    """100 times the mean over texts of the largest `alike` among their references."""
    if not len(answers) or len(answers) != len(references):
        raise ValueError(f"{len(answers)} answers do not belong to {len(references)} references; expected n > 0 of each")
    total = 0.0
    for answer, known in zip(answers, references, strict=True):
        total += max(alike(answer, reference) for reference in ([known] if isinstance(known, str) else known))
    return 100.0 * total / len(answers)


def _f1(outputs: np.ndarray, labels: Sequence[Any], average: str) -> float:
    from sklearn.metrics import f1_score

    predicted, true = _classes(outputs, labels)
    return 100.0 * float(f1_score(true, predicted, average=average, zero_division=0))


def _checked(outputs: np.ndarray, labels: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    values = np.asarray(outputs, dtype=np.float64)
    true = np.asarray(labels)
    if values.ndim != 2 or len(values) != len(true) or not len(true):
        raise ValueError(f"outputs {values.shape} do not belong to {len(true)} labels; expected [n, c] and n > 0")
    bad = int((~np.isfinite(values)).any(axis=1).sum())
    if bad:
        raise TrialFailed(f"the student's output is NaN or infinite in {bad} of {len(values)} rows")
    return values, true


def _classes(outputs: np.ndarray, labels: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    values, true = _checked(outputs, labels)
    if true.ndim == 2:
        if true.shape != values.shape:
            raise ValueError(f"outputs {values.shape} and multi-label targets {true.shape} differ in shape")
        return (values > 0).astype(int), true.astype(int)
    return values.argmax(axis=1), true.astype(int)


def _numbers(outputs: np.ndarray, labels: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    values, true = _checked(outputs, labels)
    if values.shape[1] != 1 or true.ndim != 1:
        raise ValueError(f"a correlation takes outputs [n, 1] and n numbers, not {values.shape} and {true.shape}")
    return values[:, 0], true.astype(float)


def _correlation(statistic: Callable[[Any, Any], float], outputs: np.ndarray, labels: Sequence[Any]) -> float:
    """In percent; 0 where it is not defined, because predictions or targets are all alike."""
    predicted, true = _numbers(outputs, labels)
    if _alike(predicted) or (true == true[0]).all():
        return 0.0
    return 100.0 * float(statistic(predicted, true))


def _alike(values: np.ndarray) -> bool:
    """Whether predictions [n] are one number up to the rounding of float32, beside their own size."""
    return float(values.max() - values.min()) <= ROUNDING * float(abs(values).max())
