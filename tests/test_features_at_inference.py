"""Methods whose student reads the teacher's vectors when it answers: the validation rows are represented too."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import armada, by_method, train, written
from torch import Tensor

from armada_cli import Batch
from armada_cli.execution.exporting import loading
from armada_cli.features.controls import noise
from armada_cli.features.prepare import load_prepared
from armada_cli.training import evaluation

ALLOW = "--allow-local-code"
READS = "{file: reading_methods.py, class: Reads}"


@pytest.fixture
def write(recipe: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    shutil.copy(Path(__file__).with_name("reading_methods.py"), tmp_path)
    return lambda **lines: recipe(**({"methods": f"[{READS}]"} | lines))


def column(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as stream:
        return [row["text"] for row in csv.DictReader(stream)]


def texts_to_represent(path: Path, runs: Path) -> dict[str, tuple[int, int]]:
    plan = json.loads(armada("check", path, "--runs", runs, ALLOW, "--json").out)
    return {item["task"]: (item["missing"], item["total"]) for item in plan["texts"]}


def test_check_counts_the_validation_texts_and_build_represents_them(write: Callable[..., Path], tmp_path: Path) -> None:
    path, runs = write(), tmp_path / "runs"
    assert texts_to_represent(path, runs) == {"words": (96, 96), "words, validation rows": (48, 48)}
    assert "words, validation rows: 48 of 48" in armada("check", path, "--runs", runs, ALLOW).out
    built = armada("features", "build", path, "--runs", runs, ALLOW)
    assert built.status == 0, built.err
    assert "words, validation rows: 48 texts, 48 new" in built.out
    assert texts_to_represent(path, runs) == {"words": (0, 96), "words, validation rows": (0, 48)}
    assert train(path, runs, ALLOW).status == 0


@pytest.mark.parametrize("reduce", ["pca", "gaussian", "none"])
def test_validation_rows_get_the_reduction_and_the_statistics_of_the_training_rows(
    write: Callable[..., Path], table: dict[str, Path], vectors: Path, tmp_path: Path, reduce: str
) -> None:
    runs = tmp_path / "runs"
    done = train(write(features=f"{{width: 16, reduce: {reduce}}}"), runs, ALLOW)
    assert done.status == 0, done.err
    (found,) = by_method(runs).values()
    (trained,), (seen,) = found["spec"]["features"], found["spec"]["seen"]
    own, h_t = (load_prepared(runs / "features" / f"{key}.safetensors") for key in (seen, trained))
    names = vectors.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    known = dict(zip(names, np.load(vectors).astype(np.float64), strict=True))
    before, after = (np.stack([known[text] for text in column(table[name])]) for name in ("train", "validation"))
    # Reduction and standardisation are one affine map, which the training rows tell: 96 rows of 24 numbers.
    affine, *_ = np.linalg.lstsq(np.hstack([before, np.ones((96, 1))]), h_t.astype(np.float64), rcond=None)
    np.testing.assert_allclose(own, np.hstack([after, np.ones((48, 1))]) @ affine, atol=2e-5)
    assert abs(own.mean(0)).max() > 1e-3, "not standardised by statistics of their own"


def shown(write: Callable[..., Path], tmp_path: Path, control: str) -> np.ndarray:
    """The vectors that the method saw with the validation rows, in their order."""
    seen: dict[int, np.ndarray] = {}

    def look(rows: Tensor, labels: Tensor, features: Tensor, *arguments: Any, **more: Any) -> Batch:
        seen.update(zip(rows.tolist(), features.numpy(), strict=True))
        return Batch(rows, labels, features, *arguments, **more)

    path = write(methods=f"[{{file: reading_methods.py, class: Reads, features: {{control: {control}}}}}]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "Batch", look)
        done = train(path, tmp_path / control, ALLOW)
    assert done.status == 0, done.err
    return np.stack([seen[row] for row in range(48)])


def test_a_control_acts_on_the_validation_rows_too(write: Callable[..., Path], tmp_path: Path) -> None:
    plain, mixed, drawn = (shown(write, tmp_path, control) for control in ("none", "shuffled", "noise"))
    assert sorted(map(tuple, plain.tolist())) == sorted(map(tuple, mixed.tolist()))
    assert not (plain == mixed).all(1).any(), "no row keeps its own"
    assert not np.isin(drawn, plain).any()


def test_noise_for_other_rows_has_the_moments_of_those_it_is_given() -> None:
    known = np.random.default_rng(0).normal([1.0, -2.0], [0.5, 3.0], (2000, 2)).astype(np.float32)
    drawn = noise(known, 3, 5000)
    assert drawn.shape == (5000, 2)
    np.testing.assert_allclose(drawn.mean(0), known.mean(0), atol=0.15)
    np.testing.assert_allclose(drawn.std(0), known.std(0), rtol=0.05)
    assert np.array_equal(noise(known, 3), noise(known, 3, len(known)))


def test_result_and_export_say_that_the_student_needs_the_teacher(write: Callable[..., Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert train(write(), runs, ALLOW).status == 0
    (found,) = by_method(runs).values()
    assert found["needs_armada"] is True
    assert found["needs_teacher"] == "precomputed"
    (line,) = [line for line in found["warnings"] if "needs armada" in line]
    assert "and the teacher precomputed, whose vectors it reads when it answers" in line
    assert "vectors of the teacher precomputed" in loading(found["folder"] / "student")[-1]
    assert "whose vectors it reads when it answers" in written(runs)


def test_no_trial_can_be_built_on_such_a_student(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(methods=f"[{{file: reading_methods.py, class: Builds, method: {READS}}}]")
    ended = armada("check", path, "--runs", tmp_path / "runs", ALLOW)
    assert ended.status == 2
    assert "whose student reads a teacher's vectors when it answers" in ended.complaint


def test_a_method_may_have_a_teacher_for_what_it_builds_on_alone(write: Callable[..., Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    path = write(methods="[{file: reading_methods.py, class: Builds, method: {name: armada, hidden: 16, aligner_epochs: 0}}]")
    done = train(path, runs, ALLOW)
    assert done.status == 0, done.err
    specs = [json.loads(item.read_text(encoding="utf-8")) for item in runs.glob("trials/*/spec.json")]
    (own,) = [spec for spec in specs if spec["depends"]]
    (other,) = [spec for spec in specs if not spec["depends"]]
    assert own["features"] is None
    assert other["features"] is not None
    assert own["build"]["teacher"]["name"] == "precomputed"
