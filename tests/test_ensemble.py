"""Several teachers at once: each keeps its own vectors, and the student learns from all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from running import armada, by_method, train

from armada_cli import Environment
from armada_cli.ensemble import EnsembleOptions
from armada_cli.registry.catalog import current
from armada_cli.registry.choosing import as_choice


@pytest.fixture
def pair(vectors: Path, tmp_path: Path) -> str:
    """Two precomputed teachers as a recipe writes them: 24 and 10 numbers wide."""
    ids = vectors.with_suffix(".txt")
    rows = len(ids.read_text(encoding="utf-8").splitlines())
    other = tmp_path / "other.npy"
    np.save(other, np.random.default_rng(4).standard_normal((rows, 10)).astype(np.float32))
    return f"[{{name: precomputed, path: {vectors}, ids: {ids}}}, {{name: precomputed, path: {other}, ids: {ids}}}]"


def ensemble(pair: str, combine: str) -> str:
    return f"{{name: ensemble, teachers: {pair}, combine: {combine}}}"


@pytest.mark.parametrize(("combine", "aligners"), [("concatenate", 1), ("aligners", 2)])
def test_a_student_learns_from_two_teachers(
    recipe: Callable[..., Path], pair: str, tmp_path: Path, combine: str, aligners: int
) -> None:
    ended = train(recipe(teacher=ensemble(pair, combine)), tmp_path / "runs")
    assert ended.status == 0, ended.err
    result = next(item for title, item in by_method(tmp_path / "runs").items() if "armada" in title)
    width = 16 + 10  # `features: {width: 16}`, and the narrow one as it is
    inputs = width * 48 + aligners * 48
    outputs = aligners * (2 * 48 + 2 + 768 * 48 + 2 * 768 + 2)
    assert result["parameters"]["own"]["aligner"] == inputs + outputs
    assert result["fits"]["aligner"]["accuracy"] >= 0


def test_each_aligner_reads_the_vectors_of_its_own_teacher(
    recipe: Callable[..., Path], pair: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from armada_cli.features.prepare import load_prepared
    from armada_cli.methods.armada import Armada

    setups, given = [], Armada.__init__
    monkeypatch.setattr(Armada, "__init__", lambda self, options, setup: setups.append(setup) or given(self, options, setup))
    path = recipe(teacher=ensemble(pair, "aligners"), methods="[{name: armada, hidden: 48}]")
    assert train(path, tmp_path / "runs").status == 0
    (setup,) = setups
    parts = {part.shape[1]: part for part in map(load_prepared, (tmp_path / "runs" / "features").glob("*.safetensors"))}
    assert setup.parts == (16, 10)
    assert setup.features is not None
    np.testing.assert_array_equal(setup.features.numpy(), np.concatenate([parts[16], parts[10]], axis=1))


def test_members_share_the_store_with_recipes_that_name_them_alone(
    recipe: Callable[..., Path], pair: str, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    assert train(recipe(teacher=ensemble(pair, "concatenate")), runs).status == 0
    check = armada("check", recipe("alone"), "--runs", runs)
    assert "to represent   precomputed" in check.out
    assert ": 0 of 96" in check.out


def test_both_ways_of_combining_are_different_trials(recipe: Callable[..., Path], pair: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    train(recipe(teacher=ensemble(pair, "concatenate"), methods="[{name: armada, hidden: 48}]"), runs)
    train(recipe(teacher=ensemble(pair, "aligners"), methods="[{name: armada, hidden: 48}]"), runs)
    assert len(list(runs.glob("trials/*/result.json"))) == 2


@pytest.mark.parametrize(
    ("teachers", "says"),
    [
        ("[speech-offline]", "teachers must be a list of two or more"),
        ("speech-offline", "teachers must be a list of teachers"),
        ("[speech-offline, spech-offline]", "unknown teacher: 'spech-offline'"),
        (
            "[{name: ensemble, teachers: [speech-offline, pictures-offline]}, speech-offline]",
            "an ensemble cannot be a member of another",
        ),
    ],
)
def test_a_wrong_member_is_named(recipe: Callable[..., Path], teachers: str, says: str) -> None:
    ended = armada("check", recipe(teacher=f"{{name: ensemble, teachers: {teachers}}}"))
    assert ended.status == 2
    assert says in ended.err


def test_outside_of_a_recipe_an_ensemble_puts_vectors_side_by_side(pair: str, vectors: Path, tmp_path: Path) -> None:
    import yaml

    options = EnsembleOptions(as_choice("teacher", yaml.safe_load(pair)))
    teacher = current().find("teacher", "ensemble").component.load()(options, Environment())
    texts = vectors.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    first, second = np.load(vectors), np.load(tmp_path / "other.npy")
    # Members are asked in their own order and in batches of their own size; each row is its text's.
    rows = [5, 0, 3]
    found = teacher.represent([texts[row] for row in rows])
    np.testing.assert_array_equal(found, np.concatenate([first[rows], second[rows]], axis=1))
