"""`teacher: {from: PLACE}`: a fine-tuned model that exists already in the place of a text teacher that is trained."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import armada, train
from safetensors.torch import load_file, save_file

Write = Callable[..., Path]


def trained(runs: Path) -> dict[str, dict[str, Any]]:
    """``teacher`` and ``student`` -> result, with the trial's folder."""
    results = {}
    for path in runs.glob("trials/*/result.json"):
        spec = json.loads((path.parent / "spec.json").read_text(encoding="utf-8"))
        result = json.loads(path.read_text(encoding="utf-8"))
        results["student" if spec["depends"] else "teacher"] = result | {"folder": path.parent}
    return results


def weights(result: dict[str, Any]) -> bytes:
    return bytes((result["folder"] / "student" / "model.safetensors").read_bytes())


def kd(recipe: Write, runs: Path, teacher: str, **lines: str) -> dict[str, dict[str, Any]]:
    done = train(recipe(runs.name, methods=f"[{{name: kd, teacher: {teacher}}}]", **lines), runs)
    assert done.status == 0, done.err
    return trained(runs)


def copied(result: dict[str, Any], target: Path, labels: list[str], order: list[int] | None = None) -> Path:
    """The student of a trial with other names of its labels, its outputs in another order."""
    shutil.copytree(result["folder"] / "student", target)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    config["id2label"] = {str(number): label for number, label in enumerate(labels)}
    config["label2id"] = {label: number for number, label in enumerate(labels)}
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if order is not None:
        tensors = load_file(target / "model.safetensors")
        heads = {name: value[order].contiguous() for name, value in tensors.items() if name.startswith("classifier.")}
        assert len(heads) == 2
        save_file(tensors | heads, target / "model.safetensors", {"format": "pt"})
    return target


@pytest.fixture
def first(recipe: Write, tiny_student: Path, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """A run whose text teacher was trained."""
    return kd(recipe, tmp_path / "first", f"{{name: encoder, model: {tiny_student}, train: {{lr: 5e-3, epochs: 4}}}}")


def test_the_student_learns_from_it_what_it_learned_from_the_one_that_was_trained(
    recipe: Write, first: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """The labels of a table are in the order of their names: bad, good."""
    assert len(set(json.dumps(first["teacher"]["scores"]))) > 1
    for name, labels, order in (
        ("same", ["bad", "good"], None),
        ("turned", ["good", "bad"], [1, 0]),
        ("case", ["Good", "BAD"], [1, 0]),
        ("unnamed", ["LABEL_0", "LABEL_1"], None),
    ):
        folder = copied(first["teacher"], tmp_path / "models" / name, labels, order)
        again = kd(recipe, tmp_path / name, f"{{from: {folder}}}")
        assert weights(again["student"]) == weights(first["student"]), name
        assert again["teacher"]["scores"] == first["teacher"]["scores"], name
        assert again["teacher"]["steps"] == 0
        warned = [line for line in again["teacher"]["warnings"] if "does not name its labels" in line]
        assert bool(warned) == (name == "unnamed")


def test_an_export_is_taken_as_well_and_check_says_what_is_taken(
    recipe: Write, first: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    trial = first["teacher"]["folder"]
    done = armada("export", trial, "--runs", trial.parents[1], "--output", tmp_path / "exported")
    assert done.status == 0, done.err
    again = kd(recipe, tmp_path / "runs", f"{{from: {tmp_path / 'exported'}}}")
    assert weights(again["student"]) == weights(first["student"])
    said = armada("check", tmp_path / "runs.yaml", "--runs", tmp_path / "elsewhere")
    assert said.status == 0, said.err
    assert "taken as is" in said.out
    assert "also trained" not in said.out


def test_its_content_is_a_part_of_the_ids(recipe: Write, first: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    one = copied(first["teacher"], tmp_path / "one", ["bad", "good"])
    other = copied(first["teacher"], tmp_path / "other", ["bad", "good"], [1, 0])
    ids = [kd(recipe, tmp_path / f"runs{place.name}", f"{{from: {place}}}") for place in (one, other)]
    assert len({result["id"] for made in (*ids, first) for result in made.values()}) == 6


def test_the_answers_of_a_regression_are_in_the_users_unit(
    recipe: Write, tiny_student: Path, table: dict[str, Path], tmp_path: Path
) -> None:
    files = {}
    for name, path in table.items():
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        files[name] = tmp_path / f"{name}.csv"
        with files[name].open("w", newline="", encoding="utf-8") as stream:
            values = [(row["text"], 1900 + 7.5 * len(row["text"])) for row in rows]
            csv.writer(stream).writerows([("text", "label"), *values])
    tasks = f"[{{name: files, target: regression, file: {files['train']}, validation: {files['validation']}}}]"
    teacher = f"{{name: encoder, model: {tiny_student}, train: {{lr: 5e-3}}}}"
    before = kd(recipe, tmp_path / "before", teacher, tasks=tasks)
    after = kd(recipe, tmp_path / "after", f"{{from: {before['teacher']['folder'] / 'student'}}}", tasks=tasks)
    assert after["teacher"]["scores"]["pearson"] == pytest.approx(before["teacher"]["scores"]["pearson"], rel=1e-3)
    # Folded in float32, two answers that are nearly equal may change places.
    assert after["teacher"]["scores"]["spearman"] == pytest.approx(before["teacher"]["scores"]["spearman"], rel=1e-2)
    assert weights(after["teacher"]) == weights(before["teacher"])
    assert weights(after["student"]) == weights(before["student"])


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (["cat", "dog"], "has the labels cat, dog, and the task has bad, good"),
        (["bad", "good", "none"], "has 3 outputs, and the task has 2"),
    ],
)
def test_other_labels_are_refused_in_one_line(
    recipe: Write, first: dict[str, dict[str, Any]], tmp_path: Path, labels: list[str], line: str
) -> None:
    folder = copied(first["teacher"], tmp_path / "model", labels)
    done = train(recipe("tiny", methods=f"[{{name: kd, teacher: {{from: {folder}}}}}]"), tmp_path / "runs")
    assert done.status == 1
    assert line in done.err
    assert "Traceback" not in done.err
    assert not list((tmp_path / "runs").glob("trials/*/result.json")), "nothing was trained"


def test_what_cannot_be_taken_is_said_by_check(recipe: Write, tiny_student: Path, tmp_path: Path) -> None:
    def said(methods: str) -> str:
        ended = armada("check", recipe(methods=f"[{methods}]"), "--runs", tmp_path / "runs")
        assert ended.status == 2, ended.out
        assert len(ended.err.strip().splitlines()) <= 2
        return ended.err

    adapter = tmp_path / "adapter"
    shutil.copytree(tiny_student, adapter)
    (adapter / "adapter_config.json").write_text("{}", encoding="utf-8")
    assert "has no head for classification (it is a BertModel)" in said(f"{{name: kd, teacher: {{from: {tiny_student}}}}}")
    assert "Merge it first (armada export --merge)" in said(f"{{name: kd, teacher: {{from: {adapter}}}}}")
    assert "no folder" in said("{name: kd, teacher: {from: ./nowhere}}")
    assert "methods.0.teacher.model does not go with `from`" in said(
        f"{{name: kd, teacher: {{from: {tiny_student}, model: {tiny_student}}}}}"
    )
    assert "trains its peer itself" in said(f"{{name: dml, peer: {{from: {tiny_student}}}}}")
    assert "has no epochs" in said(f"{{name: rco, teacher: {{from: {tiny_student}}}}}")


def test_a_smoke_run_trains_a_tiny_one_in_its_place(recipe: Write, first: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    path = recipe(methods=f"[{{name: kd, teacher: {{from: {first['teacher']['folder'] / 'student'}}}}}]")
    done = armada("run", path, "--runs", tmp_path / "runs", "--smoke", "--workers", "0")
    assert done.status == 0, done.err
