"""From a teacher's own width to h_t [n, 128]: PCA, a seeded Gaussian projection, or nothing; then standardisation.

Everything is computed in float64 on one BLAS thread, rows streamed in blocks of fixed size, so that the result has the same
bits however many cores there are (another processor family or BLAS may still round otherwise).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from scipy.linalg import eigh

Rows: TypeAlias = Callable[[], Iterator[np.ndarray]]
"""Called as often as a pass over the rows is needed; yields float32 [block, wide] in order."""

PCA_WIDEST = 4096
"""Inputs wider than this are projected: PCA's covariance would be over 128 MiB."""

BLOCK_BYTES = 64 << 20
"""Size of a block of rows; also the size up to which a whole projection matrix is kept instead of drawn again."""

PROJECTION_ROWS = 4096
"""Input dimensions that one seeded draw of the Gaussian projection covers."""


@dataclass
class Reduction:
    """A fitted reduction.

    Attributes:
        kind: ``pca``, ``gaussian`` or ``none``.
        features: float32 [n, width], standardised if asked.
        parameters: what maps a new vector: ``center`` [wide] and ``components`` [wide, width] for PCA; ``mean`` and
            ``scale`` [width] of the standardisation. A Gaussian projection is its seed (`projection_block`).
        explained: share of the variance that PCA kept; None otherwise.
    """

    kind: str
    features: np.ndarray
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    explained: float | None = None


def choose_reduction(reduce: str, wide: int, width: int) -> str:
    """What ``auto`` means: nothing when the vectors are narrow enough already, PCA up to `PCA_WIDEST`, else a projection."""
    if reduce != "auto":
        return reduce
    if wide <= width:
        return "none"
    return "pca" if wide <= PCA_WIDEST else "gaussian"


def block_rows(wide: int) -> int:
    """Rows of one block: as many as `BLOCK_BYTES` hold."""
    return max(1, BLOCK_BYTES // (4 * wide))


def reduce_features(rows: Rows, n: int, wide: int, *, reduce: str, width: int, standardise: bool, seed: int) -> Reduction:
    """Fit on all rows and reduce them.

    Args:
        rows: a pass over float32 [n, wide].
        reduce, width, standardise, seed: as in a recipe's ``features:``.

    Returns:
        The reduction; its features are narrower than `width` when PCA finds fewer directions in which the rows vary (never
        more than n - 1), or when the teacher's vectors are narrower.
    """
    with one_blas_thread():
        kind = choose_reduction(reduce, wide, width)
        if kind == "pca":
            result = fit_pca(rows, n, wide, width)
        elif kind == "gaussian":
            result = Reduction(kind, project(rows, n, wide, width, seed))
        else:
            result = Reduction(kind, np.concatenate(list(rows())).astype(np.float64))
        if standardise:
            mean = result.features.mean(axis=0)
            scale = result.features.std(axis=0)
            # A constant column carries nothing; dividing its rounding noise by its own size would invent something.
            scale[scale <= 1e-7 * np.maximum(np.abs(mean), 1e-30)] = 1.0
            result.features = (result.features - mean) / scale
            result.parameters |= {"mean": mean, "scale": scale}
    result.features = np.ascontiguousarray(result.features, dtype=np.float32)
    return result


def apply_reduction(
    rows: Rows, n: int, wide: int, kind: str, parameters: Mapping[str, np.ndarray], *, width: int, seed: int
) -> np.ndarray:
    """Reduce other rows as `reduce_features` did those it was fitted on.

    Args:
        rows: a pass over float32 [n, wide]; kind, parameters: of the `Reduction`; width, seed: as it was called.

    Returns:
        float32 [n, width of the fitted rows].
    """
    with one_blas_thread():
        if kind == "pca":
            center, components = parameters["center"], parameters["components"]
            values = np.concatenate([(block.astype(np.float64) - center) @ components for block in rows()])
        elif kind == "gaussian":
            values = project(rows, n, wide, width, seed)
        else:
            values = np.concatenate(list(rows())).astype(np.float64)
        if "mean" in parameters:
            values = (values - parameters["mean"]) / parameters["scale"]
    return np.ascontiguousarray(values, dtype=np.float32)


def fit_pca(rows: Rows, n: int, wide: int, width: int) -> Reduction:
    """Principal components by the eigenvectors of the covariance [wide, wide], accumulated in float64 over blocks.

    The sign of a component is fixed: its largest entry is positive. Directions whose variance is rounding noise of float32
    are dropped; one component always stays.
    """
    center = np.zeros(wide)
    for block in rows():
        center += block.sum(axis=0, dtype=np.float64)
    center /= n
    covariance = np.zeros((wide, wide))
    for block in rows():
        deviation = block.astype(np.float64) - center
        covariance += deviation.T @ deviation
    covariance /= n
    keep = max(1, min(width, wide, n - 1))
    variances, vectors = eigh(covariance, subset_by_index=[wide - keep, wide - 1])
    variances, vectors = variances[::-1], vectors[:, ::-1]
    noise = max(1e-10 * float(variances[0]), 1e-14 * float(np.mean(center**2)))
    vectors = vectors[:, : max(1, int((variances > noise).sum()))]
    largest = np.abs(vectors).argmax(axis=0)
    signs = np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)
    components = vectors * signs
    features = np.concatenate([(block.astype(np.float64) - center) @ components for block in rows()])
    total = float(np.trace(covariance))
    explained = float(variances[: components.shape[1]].sum()) / total if total > 0 else 1.0
    return Reduction("pca", features, {"center": center, "components": components}, explained)


def projection_block(seed: int, number: int, rows: int, width: int) -> np.ndarray:
    """Part of the Gaussian projection: the rows for input dimensions ``number * PROJECTION_ROWS`` on. Entries are drawn
    from N(0, 1 / width), so that lengths and distances are kept on average (Johnson-Lindenstrauss). float32 [rows, width]."""
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))
    return generator.standard_normal((rows, width), dtype=np.float32) / np.float32(np.sqrt(width))


def project(rows: Rows, n: int, wide: int, width: int, seed: int) -> np.ndarray:
    """Rows times the seeded projection: float64 [n, width]. Neither all rows nor (beyond 64 MiB) the whole matrix are ever in
    memory: for a video of 262,144 numbers the matrix is drawn again, part by part, for each block of rows."""
    parts = [(start, min(PROJECTION_ROWS, wide - start)) for start in range(0, wide, PROJECTION_ROWS)]
    small = 4 * wide * width <= BLOCK_BYTES
    kept = [projection_block(seed, number, size, width) for number, (_, size) in enumerate(parts)] if small else None
    result = np.zeros((n, width))
    done = 0
    for block in rows():
        for number, (start, size) in enumerate(parts):
            matrix = kept[number] if kept is not None else projection_block(seed, number, size, width)
            result[done : done + len(block)] += block[:, start : start + size] @ matrix
        done += len(block)
    return result


def one_blas_thread() -> Any:
    """A context in which BLAS uses one thread: sums over blocks then have one order. It reaches the libraries loaded before it
    alone, and scipy brings a BLAS of its own: hence the import at the top of this file."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")
