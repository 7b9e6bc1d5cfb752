"""What a run exports is an ordinary transformers folder: it gives the run's own predictions where armada is not installed."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from running import by_method, train
from test_run_table import ARMS, LEARNS, mirror, vectors_for  # noqa: F401  (a fixture)

from armada_cli.predictions import read_predictions
from armada_cli.registry.restore import restore

SCORE = """
import csv, json, sys

class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0].startswith("armada"):
            raise ImportError(f"{name} is barred here")

sys.meta_path.insert(0, Barred())
import torch
from transformers import AutoModelForMultipleChoice, AutoModelForSequenceClassification, AutoTokenizer

torch.set_num_threads(1)
said = []
for kind, rows, folders in json.loads(sys.argv[1]):
    found = []
    for folder in folders:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if kind == "choices":
            model = AutoModelForMultipleChoice.from_pretrained(folder).eval()
            parts = [tokenizer([row[0]] * 2, row[1:], padding=True, return_tensors="pt") for row in rows]
            batches = [{key: value.unsqueeze(0) for key, value in part.items()} for part in parts]
        else:
            model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
            batches = [tokenizer([row], return_tensors="pt") for row in rows]
        with torch.no_grad():
            logits = [model(**batch).logits[0].tolist() for batch in batches]
        found.append({"logits": logits, "labels": model.config.id2label, "problem": model.config.problem_type})
    said.append(found)
assert not any(name.startswith("armada") for name in sys.modules)
print(json.dumps(said))
"""


def without_armada(*asked: tuple[str, list, list[dict]]) -> list[list[dict]]:
    """What exported students say to rows, from one process that cannot import armada: for each kind (``texts`` or ``choices``),
    its rows and results of trials, a record of each student."""
    jobs = [[kind, rows, [str(result["folder"] / "student") for result in found]] for kind, rows, found in asked]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCORE, json.dumps(jobs)],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def with_armada(result: dict, data: Path | None = None) -> list[list[float]]:
    """Each validation row's logits as the run's own code computes them."""
    import torch

    from armada_cli.contracts import Environment
    from armada_cli.execution.assemble import problem_of
    from armada_cli.settings import Train
    from armada_cli.training.model import encode

    environment, spec = Environment(data=data, offline=True), result["spec"]
    registered, options = restore("task", spec["build"]["task"])
    task = registered.component.load()(options, environment)
    registered, options = restore("student", spec["build"]["student"])
    student = registered.component.load()(options, environment)
    problem = problem_of(task, Train(**spec["train"]))
    model = student.build(problem, weights=result["folder"] / "student").eval()
    encoded = encode(student, problem, task.split("validation"))
    with torch.no_grad():
        return student.forward(model, student.pad(encoded.rows)).logits.tolist()


def test_exported_students_answer_alike_without_armada(recipe, table, tmp_path, mirror):  # noqa: F811
    assert train(recipe(methods=ARMS, train=LEARNS), tmp_path / "texts").status == 0
    path = recipe(
        tasks="[copa]",
        teacher=vectors_for(tmp_path, [(text, "") for text in mirror.seen]),
        methods=ARMS,
        # Its choices are nearly as good as each other: were scores taken in bf16, that would decide some of them.
        train="{epochs: 2, batch_size: 16, lr: 1e-3, max_length: 32, precision: bf16}",
    )
    assert train(path, tmp_path / "choices", "--data", str(mirror.folder)).status == 0
    classified, chosen = (list(by_method(tmp_path / kind).values()) for kind in ("texts", "choices"))
    with table["validation"].open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    split = mirror.task.split("validation")
    outside = without_armada(
        ("texts", [row["text"] for row in rows], classified), ("choices", [list(row) for row in split.texts], chosen)
    )
    for item, said in zip(classified, outside[0], strict=True):
        require_alike(with_armada(item), said["logits"])
        names = {int(number): name for number, name in said["labels"].items()}
        right = [names[row.index(max(row))] == true["label"] for row, true in zip(said["logits"], rows, strict=True)]
        assert 100 * sum(right) / len(right) == pytest.approx(item["scores"]["accuracy"])
        assert said["problem"] == "single_label_classification"
    for item, said in zip(chosen, outside[1], strict=True):
        require_alike(with_armada(item, mirror.folder), said["logits"])
        right = [row.index(max(row)) == label for row, label in zip(said["logits"], split.labels, strict=True)]
        assert 100 * sum(right) / len(right) == pytest.approx(item["scores"]["accuracy"])


def require_alike(inside: list[list[float]], outside: list[list[float]]) -> None:
    for ours, theirs in zip(inside, outside, strict=True):
        assert theirs == pytest.approx(ours, abs=1e-5)


def test_the_best_epoch_is_what_is_exported(recipe, table, tmp_path):
    """Where labels are drawn by lot, scores go up and down: the export scores as its best epoch did, not as the last."""
    import numpy as np

    from armada_cli.evaluation import metrics

    lot = random.Random(4)
    files = {}
    for name, path in table.items():
        rows = [(row["text"], lot.choice(("good", "bad"))) for row in csv.DictReader(path.open(encoding="utf-8"))]
        files[name] = tmp_path / f"{name}.csv"
        with files[name].open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("text", "label"), *rows])
    runs = tmp_path / "runs"
    path = recipe(
        tasks=f"[{{name: files, file: {files['train']}, validation: {files['validation']}}}]",
        methods="[undistilled]",
        train="{epochs: 6, batch_size: 8, lr: 1e-2, select: best, schedule: constant, max_length: 32}",
        seeds="[0, 1]",
    )
    assert train(path, runs).status == 0
    worse = 0
    for item in by_method(runs).values():
        scores = [epoch["scores"]["accuracy"] for epoch in item["epochs"]]
        assert item["scores"]["accuracy"] == max(scores)
        assert item["selected"] == scores.index(max(scores)) + 1
        exported = metrics.score(("accuracy",), np.array(with_armada(item)), _labels(item))["accuracy"]
        assert exported == pytest.approx(max(scores))
        predictions = read_predictions(item["folder"])
        assert predictions is not None
        assert np.allclose(predictions.outputs, with_armada(item), atol=1e-5), "they are of the epoch that counts"
        worse += scores[-1] < max(scores)
    assert worse, "no seed got worse after its best epoch, so this proved nothing"


def _labels(item: dict) -> list[int]:
    from armada_cli.contracts import Environment

    registered, options = restore("task", item["spec"]["build"]["task"])
    return list(registered.component.load()(options, Environment(offline=True)).split("validation").labels)


def test_a_shorter_student_is_exported_with_its_own_depth(recipe, tmp_path, tiny_student):
    runs = tmp_path / "runs"
    assert train(recipe(student=f"{{name: encoder, model: {tiny_student}, layers: 1}}", methods=ARMS), runs).status == 0
    for item in by_method(runs).values():
        config = json.loads((item["folder"] / "student" / "config.json").read_text(encoding="utf-8"))
        assert config["num_hidden_layers"] == 1
        assert len(with_armada(item)) == 48


def test_an_exported_student_can_be_read_like_any_new_file(recipe: Callable[..., Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    train(recipe(methods="[undistilled]", train="{epochs: 1, batch_size: 32}"), runs)
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    files = [path for path in runs.glob("trials/*/student/*") if path.is_file()]
    assert any(path.suffix == ".safetensors" for path in files)
    assert {path.stat().st_mode for path in files} == {ordinary.stat().st_mode}
