"""Files that are edited while a recipe runs: no score of theirs stands under the id of what was planned."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from running import armada, results, train

from armada_cli.execution import conduct
from armada_cli.execution.trial import _Trial
from armada_cli.features import extract as extraction
from armada_cli.features.store import FeatureStore
from armada_cli.training.evaluation import Evaluator

QUICK = "{epochs: 1, batch_size: 32, lr: 1e-3, log_every: 2, max_length: 32}"


@pytest.fixture
def copies(table: dict[str, Path], tiny_student: Path, vectors: Path, tmp_path: Path) -> dict[str, Path]:
    """The small table, the student and the vectors, for this test to edit."""
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copytree(tiny_student, folder / "student")
    for path in (*table.values(), vectors, vectors.with_suffix(".txt")):
        shutil.copy(path, folder)
    names = {"train": "train.csv", "validation": "validation.csv", "student": "student", "vectors": vectors.name}
    return {name: folder / file for name, file in names.items()}


@pytest.fixture
def mine(recipe: Callable[..., Path], copies: dict[str, Path]) -> Callable[..., Path]:
    def write(methods: str = "[undistilled]") -> Path:
        return recipe(
            student=f"{{name: encoder, model: {copies['student']}}}",
            teacher=f"{{name: precomputed, path: {copies['vectors']}, ids: {copies['vectors'].with_suffix('.txt')}}}",
            tasks=f"[{{name: files, as: words, file: {copies['train']}, validation: {copies['validation']}}}]",
            methods=methods,
            train=QUICK,
        )

    return write


def edit(path: Path) -> None:
    """Turn a label around, or any byte of another file."""
    if path.is_dir():
        path = path / "config.json"
        path.write_text(path.read_text(encoding="utf-8").replace("gelu", "relu"), encoding="utf-8")
    elif path.suffix == ".csv":
        path.write_text(path.read_text(encoding="utf-8").replace(",good\n", ",bad\n", 3), encoding="utf-8")
    else:
        np.save(path, np.load(path) * 2)


@pytest.fixture
def when(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Does something before a function's first call."""

    def before(owner: object, name: str, act: Callable[[], None]) -> None:
        real, once = getattr(owner, name), iter([act])

        def called(*arguments: object, **named: object) -> object:
            for first in once:
                first()
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, called)

    return before


@pytest.mark.parametrize(("name", "stage"), [("train", "planned"), ("validation", "trained"), ("student", "trained")])
def test_a_file_edited_before_the_result_fails_its_trial(
    mine: Callable[..., Path], copies: dict[str, Path], tmp_path: Path, when: Callable[..., None], name: str, stage: str
) -> None:
    path, runs = mine(), tmp_path / "runs"
    owner, function = {"planned": (_Trial, "run"), "trained": (Evaluator, "choose")}[stage]
    when(owner, function, lambda: edit(copies[name]))
    ended = train(path, runs)
    assert ended.status == 1
    what = "student encoder: weights" if name == "student" else f"task files: {copies[name]}"
    assert f"{what} changed while the recipe ran; nothing is kept of this trial" in " ".join(ended.err.split())
    assert "Traceback" not in ended.err
    assert results(runs) == {}
    assert not list(runs.glob("trials/*/student"))
    if stage == "planned":
        assert not list(runs.glob("trials/*/checkpoint/*"))
    again = train(path, runs)
    assert again.status == 0, again.err
    fresh = train(path, tmp_path / "fresh")
    assert fresh.status == 0
    assert results(runs) == results(tmp_path / "fresh")


def test_rows_edited_before_a_teacher_is_asked_end_the_run(
    mine: Callable[..., Path], copies: dict[str, Path], tmp_path: Path, when: Callable[..., None]
) -> None:
    path, runs = mine("[{name: armada, hidden: 48}]"), tmp_path / "runs"
    when(conduct.Conduct, "_represent", lambda: edit(copies["train"]))
    ended = train(path, runs)
    assert (ended.status, ended.complaint) == (
        2, f"armada: task files: {copies['train']} changed while the recipe ran. "
        "Run the recipe again: it is planned with what is there now",
    )  # fmt: skip
    with FeatureStore(runs / "features.db") as store:
        assert store.entries() == []
    assert train(path, runs).status == 0


@pytest.mark.parametrize("moment", ["before", "during"])
def test_vectors_of_an_edited_teacher_are_not_stored_under_the_old_one(
    mine: Callable[..., Path], copies: dict[str, Path], tmp_path: Path, when: Callable[..., None], moment: str
) -> None:
    path, runs = mine("[{name: armada, hidden: 48}]"), tmp_path / "runs"
    owner, function = {"before": (conduct.Conduct, "_represent"), "during": (extraction._Caller, "__call__")}[moment]
    when(owner, function, lambda: edit(copies["vectors"]))
    ended = train(path, runs)
    assert ended.status == 2
    assert "the files of teacher" in ended.complaint
    assert "changed while" in ended.complaint
    assert results(runs) == {}
    if moment == "during":
        with FeatureStore(runs / "features.db") as store:
            assert store.entries() == []
    assert train(path, runs).status == 0
    assert armada("features", "verify", "--runs", runs).status == 0


def test_a_verdict_over_edited_rows_is_not_remembered(
    mine: Callable[..., Path],
    copies: dict[str, Path],
    tmp_path: Path,
    when: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from armada_cli.execution import judgement

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    when(judgement._Reader, "problems", lambda: edit(copies["train"]))
    ended = armada("check", mine(), "--runs", tmp_path / "runs")
    assert ended.status == 2
    assert "changed while the recipe ran" in ended.complaint
    assert not list((tmp_path / "cache").glob("**/judged/*"))
