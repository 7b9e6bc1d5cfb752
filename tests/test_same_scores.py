"""`benchmarks/same_scores.py` compares two checkouts: what it calls equal, what it tells, and what its recipes ask for."""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from running import armada

from armada_cli.registry import catalog
from armada_cli.settings import Train

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[1] / "benchmarks" / "same_scores.py"))
Key, Finished = SCRIPT["Key"], SCRIPT["Finished"]
compare, verdict, read_side, write_form = (SCRIPT[name] for name in ("compare", "verdict", "read_side", "write_form"))

COLA = Key("cola", "cola", "two layers", "speech", "cosine", 0)
STSB = Key("stsb", "stsb", "two layers", "", "undistilled", 1)


def test_the_same_numbers_are_equal() -> None:
    scores = {"scores.mcc": 0.1 + 0.2, "epoch 1.mcc": math.nan, "epoch 2.mcc": None}
    rows = compare({COLA: Finished(scores, "abc")}, {COLA: Finished(dict(scores), "abc")})
    assert [(row.key, row.count, row.equal, row.weights) for row in rows] == [(COLA, 3, True, "equal")]
    assert verdict(rows) == "1 trials, 3 scores: all equal"


@pytest.mark.parametrize(
    ("before", "after"),
    [(0.3, math.nextafter(0.3, 1)), (0.3, math.nextafter(0.3, 0)), (0.0, -0.0), (1.0, math.nan), (0.0, None), (5e-324, 0.0)],
)
def test_a_changed_last_bit_is_told_with_both_values(before: float, after: float | None) -> None:
    old, new = ({COLA: Finished({"scores.mcc": value, "scores.accuracy": 0.5})} for value in (before, after))
    rows = compare(old, new)
    assert [row.equal for row in rows] == [False]
    assert rows[0].differ == (("scores.mcc", repr(before), repr(after)),)
    assert verdict(rows) == "1 trials, 2 scores: 1 scores differ in 1 trials"


def test_a_score_of_one_side_alone_is_a_difference() -> None:
    rows = compare({COLA: Finished({"scores.mcc": 0.5})}, {COLA: Finished({"scores.mcc": 0.5, "auxiliary.mcc": 0.5})})
    assert rows[0].differ == (("auxiliary.mcc", "no score", "0.5"),)


def test_a_trial_that_one_side_lacks_or_that_failed_is_missing() -> None:
    good = Finished({"scores.mcc": 0.5})
    rows = compare({COLA: good, STSB: good}, {STSB: Finished(missing="it ran out of memory")})
    assert [(row.key, row.missing) for row in rows] == [(COLA, "new: no such trial"), (STSB, "new: it ran out of memory")]
    assert verdict(rows) == "2 trials, 2 scores: 2 trials are missing"
    assert not compare({}, {COLA: good})[0].equal


def test_nothing_at_all_is_not_called_equal() -> None:
    assert verdict([]) == "0 trials, 0 scores: nothing was compared"


def test_other_weights_under_equal_scores_are_told() -> None:
    same = {"scores.mcc": 0.0}
    rows = compare({COLA: Finished(same, "abc"), STSB: Finished({})}, {COLA: Finished(same, "abd"), STSB: Finished({})})
    assert [(row.weights, row.equal) for row in rows] == [("differ", False), ("", True)]
    assert verdict(rows) == "2 trials, 1 scores: all equal, the weights of 1 students differ"


def test_the_scores_of_a_run_are_read(tmp_path: Path) -> None:
    entry: dict[str, Any] = {"student": "two layers", "teacher": None, "method": "kd", "seed": 0, "reason": ""}
    record = {
        "trials": [
            {**entry, "id": "a", "task": "cola", "status": "done"},
            {**entry, "id": "b", "task": "dolly", "status": "failed", "reason": "no memory"},
        ],
        "dependencies": [{**entry, "id": "c", "task": "dolly", "status": "done"}],
    }
    epoch = {"epoch": 1, "scores": {"mcc": 0.25}, "auxiliary": {"mcc": None}, "orthogonality": 1e-7}
    results: dict[str, dict[str, Any]] = {
        "a": {"scores": {"mcc": 0.5}, "epochs": [epoch], "auxiliary": {"mcc": 0.125}, "metric": "mcc", "steps": 4},
        "c": {"scores": {}, "epochs": [], "auxiliary": None, "by_seed": {"10": {"rouge_l": 1.5}}},
    }
    (tmp_path / "cola").mkdir()
    (tmp_path / "cola" / "run.json").write_text(json.dumps(record), encoding="utf-8")
    for name, result in results.items():
        (tmp_path / "trials" / name).mkdir(parents=True)
        (tmp_path / "trials" / name / "result.json").write_text(json.dumps(result), encoding="utf-8")
    found = read_side(tmp_path, ["cola", "never run"])
    assert found == {
        Key("cola", "cola", "two layers", "", "kd", 0): Finished(
            {"scores.mcc": 0.5, "epoch 1.mcc": 0.25, "epoch 1 auxiliary.mcc": None, "auxiliary.mcc": 0.125}
        ),
        Key("cola", "dolly", "two layers", "", "kd", 0): Finished(missing="no memory"),
        Key("cola", "dolly, for others", "", "", "kd", 0): Finished({"by_seed.10.rouge_l": 1.5}),
        Key("never run", "", "", "", "", 0): Finished(missing="the recipe was not run"),
    }
    assert not any(row.equal for row in compare(found, found) if row.missing)


def test_the_digest_of_weights_sees_a_bit_and_no_order(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    values = {"a": np.arange(4, dtype=np.float32), "b": np.ones((2, 3), dtype=np.float32)}
    changed = {**values, "a": np.nextafter(values["a"], np.float32(9))}
    cases = {"one": (values, {}), "same": (dict(reversed(values.items())), {"format": "pt"}), "other": (changed, {})}
    for name, (tensors, metadata) in cases.items():
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors", metadata)
    one, same, other = (SCRIPT["digest_weights"](tmp_path / name) for name in cases)
    assert one == same != other
    assert SCRIPT["digest_weights"](tmp_path / "none") == ""


def test_a_recipe_is_written_in_the_form_of_each_checkout() -> None:
    method = {"name": "armada", "as": "x", "control": "shuffled", "aligner_lr": 0.01, "train": {"lr": 1e-4}}
    recipe = {"student": "s", "methods": [method, {"name": "kd"}]}
    older, newer = (write_form(recipe, form)["methods"] for form in (True, False))
    common = {"name": "armada", "as": "x"}
    assert older == [{**common, "control": "shuffled", "train": {"lr": 1e-4, "aligner_lr": 0.01}}, {"name": "kd"}]
    options = {"aligner_lr": 0.01, "train": {"lr": 1e-4}, "features": {"control": "shuffled"}}
    assert newer == [{**common, **options}, {"name": "kd"}]
    assert recipe["methods"][0] is method
    assert "control" in method


def test_runs_of_other_code_are_not_used_again(tmp_path: Path) -> None:
    side = SCRIPT["Side"]("new", Path("python"), tmp_path, {})
    assert not side.reuse("first")
    (side.runs / "trial").write_text("x")
    assert side.reuse("first")
    assert (side.runs / "trial").exists()
    assert not side.reuse("second")
    assert not (side.runs / "trial").exists()


@pytest.mark.parametrize("name", list(SCRIPT["make_recipes"](Path())))
def test_this_checkout_reads_the_recipes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options and titles alone; that needs neither packages nor data."""
    from armada_cli import Environment
    from armada_cli.recipe import load_recipe

    monkeypatch.chdir(tmp_path)
    SCRIPT["write_data"](tmp_path / "data")
    recipe = write_form(SCRIPT["make_recipes"](tmp_path / "data")[name], "aligner_lr" in Train.__dataclass_fields__)
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    read = load_recipe(str(path), catalog.current(), Environment(offline=True))
    assert [method.title for method in read.methods] == [method["as"] for method in recipe["methods"]]


def test_the_table_told_by_files_is_trained_by_this_checkout(tmp_path: Path, tiny_student: Path) -> None:
    """What `read_side` expects of a run's folder is what a run leaves there."""
    SCRIPT["write_data"](tmp_path / "data")
    recipe = SCRIPT["make_recipes"](tmp_path / "data")["files"]
    small = {"name": "encoder", "model": str(tiny_student), "as": "tiny"}
    cosine, kd = recipe["methods"][3], {**recipe["methods"][-1], "teacher": {"name": "encoder", "model": str(tiny_student)}}
    recipe = {**recipe, "student": small, "methods": [cosine, kd], "limit": {"train": 16, "validation": 16}}
    path = tmp_path / "files.yaml"
    recipe = write_form(recipe, "aligner_lr" in Train.__dataclass_fields__)
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    ended = armada("run", path, "--runs", tmp_path / "runs", "--workers", "0")
    assert ended.status == 0, ended.err
    trials = read_side(tmp_path / "runs", ["files"])
    assert {(key.task, key.method) for key in trials} == {
        ("topics", "cosine"),
        ("topics", "kd"),
        ("topics, for others", "undistilled"),
    }
    scores = trials[Key("files", "topics", "tiny", "vectors", "cosine", 0)].scores
    assert {"scores.micro_f1", "epoch 1.micro_f1", "epoch 2.micro_f1", "auxiliary.micro_f1"} <= set(scores)
    assert all(trial.weights and not trial.missing for trial in trials.values())
