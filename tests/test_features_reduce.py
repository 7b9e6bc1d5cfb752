"""From teacher vectors to h_t: PCA, Gaussian projection, standardisation, and the controls."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from armada_cli.features import controls, reduce
from armada_cli.features.reduce import Reduction, choose_reduction, fit_pca, project, projection_block, reduce_features


def correlated(rows: int, wide: int, seed: int = 0) -> np.ndarray:
    """Rows whose variance lies mostly in a few directions, around a centre far from the origin."""
    draw = np.random.default_rng(seed)
    return (draw.standard_normal((rows, wide)) @ draw.standard_normal((wide, wide)) * 0.9 ** np.arange(wide) + 5).astype(
        np.float32
    )


def blocks(rows: np.ndarray, size: int = 7) -> reduce.Rows:
    def each() -> Iterator[np.ndarray]:
        yield from (rows[start : start + size] for start in range(0, len(rows), size))

    return each


def reduced(rows: np.ndarray, **settings: object) -> Reduction:
    values: dict = {"reduce": "auto", "width": 8, "standardise": True, "seed": 0, **settings}
    return reduce_features(blocks(rows), len(rows), rows.shape[1], **values)


def test_pca_keeps_the_variance_that_the_singular_values_promise() -> None:
    rows = correlated(200, 30)
    result = fit_pca(blocks(rows), 200, 30, 8)
    singular = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(result.features.var(axis=0), singular[:8] ** 2 / 200, rtol=1e-4)
    assert result.explained == pytest.approx((singular[:8] ** 2).sum() / (singular**2).sum(), rel=1e-5)
    covariance = np.cov(result.features.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-6 * covariance.max()


def test_all_components_together_give_the_rows_back() -> None:
    rows = correlated(60, 10)
    result = fit_pca(blocks(rows), 60, 10, 10)
    back = result.features @ result.parameters["components"].T + result.parameters["center"]
    np.testing.assert_allclose(back, rows, atol=1e-4)


def test_the_sign_of_a_component_is_fixed() -> None:
    components = fit_pca(blocks(correlated(60, 10)), 60, 10, 5).parameters["components"]
    assert (components[np.abs(components).argmax(axis=0), np.arange(5)] > 0).all()


def test_few_rows_give_fewer_components() -> None:
    assert reduced(correlated(5, 30)).features.shape == (5, 4)
    assert reduced(correlated(1, 30)).features.shape == (1, 1)


def test_equal_rows_give_zeros_and_no_nan() -> None:
    features = reduced(np.tile(correlated(1, 30), (20, 1))).features
    assert features.shape == (20, 1)
    np.testing.assert_array_equal(features, 0)


def test_standardised_features_have_mean_zero_and_deviation_one() -> None:
    features = reduced(correlated(300, 40)).features
    assert features.dtype == np.float32
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-5)


def test_a_constant_column_becomes_zero() -> None:
    rows = correlated(50, 6)
    rows[:, 2] = 3.1
    result = reduced(rows)
    assert result.kind == "none"
    np.testing.assert_allclose(result.features[:, 2], 0, atol=1e-5)


def test_the_projection_equals_the_direct_product() -> None:
    wide = reduce.PROJECTION_ROWS + 500
    rows = correlated(1, 8)[:, :1] * np.random.default_rng(3).standard_normal((23, wide)).astype(np.float32)
    matrix = np.concatenate([projection_block(5, 0, reduce.PROJECTION_ROWS, 16), projection_block(5, 1, 500, 16)])
    direct = rows.astype(np.float64) @ matrix.astype(np.float64)
    np.testing.assert_allclose(project(blocks(rows), 23, wide, 16, seed=5), direct, rtol=1e-4, atol=1e-3)


def test_drawing_the_projection_again_for_each_block_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(3).standard_normal((23, 5000)).astype(np.float32)
    kept = project(blocks(rows), 23, 5000, 16, seed=5)
    monkeypatch.setattr(reduce, "BLOCK_BYTES", 1000)
    np.testing.assert_array_equal(project(blocks(rows), 23, 5000, 16, seed=5), kept)


def test_the_projection_keeps_distances_on_average() -> None:
    rows = np.random.default_rng(1).standard_normal((40, 5000)).astype(np.float32)
    projected = reduced(rows, width=256, standardise=False, reduce="gaussian").features
    ratio = np.linalg.norm(projected[1:] - projected[:-1], axis=1) / np.linalg.norm(rows[1:] - rows[:-1], axis=1)
    assert abs(ratio.mean() - 1) < 0.05


def test_another_seed_is_another_projection() -> None:
    rows = correlated(20, 30)
    one, two = (reduced(rows, reduce="gaussian", seed=seed).features for seed in (0, 1))
    assert np.abs(one - two).max() > 0.1


@pytest.mark.parametrize(
    ("wide", "chosen"), [(100, "none"), (128, "none"), (129, "pca"), (4096, "pca"), (4097, "gaussian"), (262_144, "gaussian")]
)
def test_auto_chooses_by_width(wide: int, chosen: str) -> None:
    assert choose_reduction("auto", wide, 128) == chosen


def test_features_have_the_same_bits_on_one_and_two_threads() -> None:
    code = (
        "import hashlib, numpy as np; from armada_cli.features.reduce import reduce_features; "
        "rows = np.random.default_rng(0).standard_normal((900, 300)).astype(np.float32) + 2; "
        "digest = hashlib.sha256(); "
        "[digest.update(reduce_features(lambda: iter([rows]), 900, 300, reduce=kind, width=128, standardise=True, seed=0)"
        ".features.tobytes()) for kind in ('pca', 'gaussian')]; print(digest.hexdigest())"
    )
    found = set()
    for threads in ("1", "2"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        found.add(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout)
    assert len(found) == 1
    assert len(found.pop().strip()) == 2 * hashlib.sha256().digest_size


@pytest.mark.parametrize("rows", [2, 3, 50])
def test_shuffled_features_are_the_same_rows_and_none_keeps_its_own(rows: int) -> None:
    features = correlated(rows, 6)
    for seed in range(20):
        other = controls.shuffled(features, seed)
        assert sorted(map(tuple, other)) == sorted(map(tuple, features))
        assert not (other == features).all(axis=1).any()


def test_a_seed_gives_one_shuffle_and_another_seed_another() -> None:
    features = correlated(50, 6)
    np.testing.assert_array_equal(controls.shuffled(features, 1), controls.shuffled(features, 1))
    assert not np.array_equal(controls.shuffled(features, 1), controls.shuffled(features, 2))


def test_one_row_cannot_be_shuffled() -> None:
    features = correlated(1, 6)
    np.testing.assert_array_equal(controls.shuffled(features, 0), features)


def test_noise_has_the_mean_and_covariance_of_the_features_but_none_of_the_rows() -> None:
    features = correlated(20_000, 5)
    noise = controls.noise(features, 4)
    assert noise.dtype == np.float32
    np.testing.assert_allclose(noise.mean(axis=0), features.mean(axis=0), atol=0.1)
    expected = np.cov(features.T)
    np.testing.assert_allclose(np.cov(noise.T), expected, atol=0.05 * np.abs(expected).max())
    correlation = np.corrcoef(features[:, 0], noise[:, 0])[0, 1]
    assert abs(correlation) < 0.05
