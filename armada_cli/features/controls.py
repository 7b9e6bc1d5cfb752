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

    features: float32 [n, width] -> float32 [n, width]. With one row there is nothing to exchange.
    """
    order = np.random.default_rng([seed, 1]).permutation(len(features))
    result = np.empty_like(features)
    result[order] = features[np.roll(order, -1)]
    return result


def noise(features: np.ndarray, seed: int, rows: int | None = None) -> np.ndarray:
    """Gaussian rows with the mean and the full covariance of `features`, independent of the examples.

    features: float32 [n, width] -> float32 [rows, width], n rows if None. The moments are the distribution's; a sample's own
    differ from them by the usual error of n draws.
    """
    with one_blas_thread():
        values = features.astype(np.float64)
        mean = values.mean(axis=0)
        deviation = values - mean
        variances, vectors = np.linalg.eigh(deviation.T @ deviation / max(len(values), 1))
        root = vectors * np.sqrt(np.maximum(variances, 0.0))
        shape = (len(values) if rows is None else rows, values.shape[1])
        draws = np.random.default_rng([seed, 2]).standard_normal(shape)
        return (mean + draws @ root.T).astype(np.float32)
