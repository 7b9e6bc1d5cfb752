"""Controls that show whether a teacher's knowledge matters: the same numbers with the knowledge taken out.

An improvement that survives these is regularisation, not transfer (METHOD: "Controls no paper row should be without").
"""

from __future__ import annotations

import numpy as np

from armada_cli.features.reduce import one_blas_thread


def take_away(features: np.ndarray, control: str, seed: int, like: np.ndarray | None = None) -> np.ndarray:
    """What a method is shown in the place of `features`, float32 [n, width], under a control of `settings.MethodFeatures`.

    Args:
        like: whose moments noise has; None is `features` themselves.
    """
    if control == "none":
        return features
    if control == "shuffled":
        return shuffled(features, seed)
    return noise(features if like is None else like, seed, len(features))


def shuffled(features: np.ndarray, seed: int) -> np.ndarray:
    """h_t of another example in every row: a random permutation that is one cycle, so no row keeps its own.

    features: float32 [n, ...] -> float32 [n, ...]. With one row there is nothing to exchange.
    """
    return features[exchange(len(features), seed)]


def exchange(rows: int, seed: int) -> np.ndarray:
    """For each of so many rows the one that it is given in its place, int64 [rows]: a random permutation that is one cycle."""
    order = np.random.default_rng([seed, 1]).permutation(rows)
    source = np.empty_like(order)
    source[order] = np.roll(order, -1)
    return source


def noise(features: np.ndarray, seed: int, rows: int | None = None) -> np.ndarray:
    """Gaussian rows with the mean and the full covariance of `features`, independent of the examples. Of several vectors a
    row, [n, k, width], each is drawn by itself, with its own moments.

    features: float32 [n, width] -> float32 [rows, width], n rows if None. The moments are the distribution's; a sample's own
    differ from them by the usual error of n draws.
    """
    if features.ndim > 2:
        flat = features.reshape(len(features), -1, features.shape[-1])
        drawn = [noise(flat[:, place], seed + place, rows) for place in range(flat.shape[1])]
        return np.stack(drawn, axis=1).reshape(-1, *features.shape[1:])
    with one_blas_thread():
        values = features.astype(np.float64)
        mean = values.mean(axis=0)
        deviation = values - mean
        variances, vectors = np.linalg.eigh(deviation.T @ deviation / max(len(values), 1))
        root = vectors * np.sqrt(np.maximum(variances, 0.0))
        shape = (len(values) if rows is None else rows, values.shape[1])
        draws = np.random.default_rng([seed, 2]).standard_normal(shape)
        return (mean + draws @ root.T).astype(np.float32)
