"""Metrics as functions of sums over rows: what each row adds, and the metric of the sums.

The values are those of `armada_cli.evaluation.metrics`; in this form thousands of resampled splits are a few matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ALIKE = 32 * 2.0**-23
"""As `armada_cli.evaluation.metrics.ROUNDING`: predictions whose spread is at most this share of their size are one number."""

MEANS = ("mean", "rouge_l", "exact_match")
"""Metrics that are a mean over rows of values that the caller has, [seeds, n]: each row's own score, in the metric's unit."""


@dataclass(frozen=True)
class RowMetric:
    """A metric that sees rows through sums.

    Attributes:
        features: outputs [seeds, n, ...] and labels [n] or [n, c] -> what each row adds to the sums, float [seeds, n, k].
        value: sums [..., k] -> the metric [...], on the scale of the published tables.
    """

    features: Callable[[np.ndarray, np.ndarray], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]


def flatten_alike(predictions: np.ndarray) -> np.ndarray:
    """Predictions [seeds, n]; those of a seed that are one number up to the rounding of float32 become exactly one."""
    spread = predictions.max(axis=1) - predictions.min(axis=1)
    alike = spread <= ALIKE * np.abs(predictions).max(axis=1)
    return np.where(alike[:, None], predictions[:, :1], predictions)


def correlation(weight: np.ndarray, x: np.ndarray, y: np.ndarray, xx: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Pearson's correlation in percent from sums; 0 where one of the two does not vary."""
    spread_x, spread_y = weight * xx - x * x, weight * yy - y * y
    # Variances of what is constant come out as rounding noise, about 1e-16 of the two terms they are the difference of.
    varies = (spread_x > 1e-13 * weight * xx) & (spread_y > 1e-13 * weight * yy)
    root = np.sqrt(np.where(varies, spread_x * spread_y, 1.0))
    return np.where(varies, 100.0 * (weight * xy - x * y) / root, 0.0)


def right_answers(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """bool [seeds, n]: the class is right, or all labels of a multi-label row are."""
    if labels.ndim == 2:
        return ((outputs > 0) == labels.astype(bool)).all(axis=2)
    return outputs.argmax(axis=2) == labels


def _share(values: np.ndarray) -> np.ndarray:
    """Features of a mean over rows: 1 and the value."""
    return np.stack([np.ones_like(values), values], axis=-1)


def _percent(sums: np.ndarray) -> np.ndarray:
    return 100.0 * sums[..., 1] / sums[..., 0]


def _mean(sums: np.ndarray) -> np.ndarray:
    return sums[..., 1] / sums[..., 0]


def _accuracy(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return _share(right_answers(outputs, labels).astype(float))


def _row_values(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return _share(outputs)


def _samples_f1(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    predicted, true = outputs > 0, labels.astype(bool)
    both, either = (predicted & true).sum(axis=2), predicted.sum(axis=2) + true.sum(axis=1)
    return _share(2.0 * both / np.maximum(either, 1))


def _decisions(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each class: predicted and true, predicted, true; [seeds, n, 3 k]."""
    if labels.ndim == 2:
        predicted, true = outputs > 0, np.broadcast_to(labels.astype(bool), outputs.shape)
    else:
        classes = np.arange(outputs.shape[2])
        predicted, true = outputs.argmax(axis=2)[..., None] == classes, labels[:, None] == classes
        true = np.broadcast_to(true, predicted.shape)
    return np.concatenate([predicted & true, predicted, true], axis=2).astype(float)


def _of_classes(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of each class [..., k]: predicted and true, predicted, true."""
    both, predicted, true = np.split(sums, 3, axis=-1)
    return both, predicted, true


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """0 where the divisor is 0."""
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0)


def _matthews(sums: np.ndarray) -> np.ndarray:
    both, predicted, true = _of_classes(sums)
    rows = true.sum(axis=-1)
    above = both.sum(axis=-1) * rows - (predicted * true).sum(axis=-1)
    below = (rows**2 - (predicted**2).sum(axis=-1)) * (rows**2 - (true**2).sum(axis=-1))
    return 100.0 * _ratio(above, np.sqrt(np.maximum(below, 0.0)))


def _f1(sums: np.ndarray) -> np.ndarray:
    both, predicted, true = _of_classes(sums)
    return 100.0 * _ratio(2.0 * both[..., 1], predicted[..., 1] + true[..., 1])


def _macro_f1(sums: np.ndarray) -> np.ndarray:
    both, predicted, true = _of_classes(sums)
    return 100.0 * _ratio(2.0 * both, predicted + true).mean(axis=-1)


def _macro_f1_of_seen(sums: np.ndarray) -> np.ndarray:
    both, predicted, true = _of_classes(sums)
    seen = (predicted + true > 0).sum(axis=-1)
    return 100.0 * _ratio(2.0 * both, predicted + true).sum(axis=-1) / seen


def _micro_f1(sums: np.ndarray) -> np.ndarray:
    both, predicted, true = _of_classes(sums)
    return 100.0 * _ratio(2.0 * both.sum(axis=-1), (predicted + true).sum(axis=-1))


def _weighted_f1(sums: np.ndarray) -> np.ndarray:
    both, predicted, true = _of_classes(sums)
    return 100.0 * _ratio((true * _ratio(2.0 * both, predicted + true)).sum(axis=-1), true.sum(axis=-1))


def _moments(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    predictions = flatten_alike(outputs[:, :, 0])
    x = predictions - predictions.mean()
    y = np.broadcast_to(labels - labels.mean(), x.shape)
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)


def _pearson(sums: np.ndarray) -> np.ndarray:
    return correlation(*np.moveaxis(sums, -1, 0))


def _perplexity(sums: np.ndarray) -> np.ndarray:
    """Sums of cross-entropies and numbers of tokens."""
    return np.exp(np.minimum(sums[..., 0] / sums[..., 1], 700.0))


def row_metric(name: str, labels: np.ndarray) -> RowMetric | None:
    """The named metric in this form; None where it has none (`spearman`)."""
    macro = _macro_f1 if labels.ndim == 2 else _macro_f1_of_seen
    return {
        "accuracy": RowMetric(_accuracy, _percent),
        "mcc": RowMetric(_decisions, _matthews),
        "pearson": RowMetric(_moments, _pearson),
        "f1": RowMetric(_decisions, _f1),
        "macro_f1": RowMetric(_decisions, macro),
        "micro_f1": RowMetric(_decisions, _micro_f1),
        "weighted_f1": RowMetric(_decisions, _weighted_f1),
        "samples_f1": RowMetric(_samples_f1, _percent),
        **dict.fromkeys(MEANS, RowMetric(_row_values, _mean)),
        "perplexity": RowMetric(lambda outputs, labels: outputs, _perplexity),
    }.get(name)
