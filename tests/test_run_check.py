"""`armada check`: the plan before and after a run, at no cost, and without anything heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running import armada, results, train

HEAVY = ("torch", "transformers", "diffusers", "datasets", "numpy", "pandas")


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check keeps the hashes of a task's inputs in the user's cache: with those of an earlier session in it, a test would
    see what the code found then."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


METHODS = "[undistilled, {name: armada, manifold: [cosine, euclid], hidden: 48}]"


def test_the_plan_before_and_after_a_run(recipe, tmp_path, tiny_student):
    path, runs = recipe(methods=METHODS, seeds="[0, 1]"), tmp_path / "runs"
    before = armada("check", path, "--runs", runs)
    assert (before.status, before.err) == (0, "")
    lines = before.out.splitlines()
    assert lines[0] == "tiny: no problems"
    assert "trials         6, of which 0 done and 0 begun" in lines
    assert "seeds          0, 1" in lines
    assert "tasks          words" in lines
    assert any(line.startswith("to represent   precomputed") and line.endswith(" on words: 96 of 96") for line in lines)
    assert any(line.startswith(f"parameters     encoder model={tiny_student}: ") for line in lines)
    assert not any(line.startswith(("to install", "to download")) for line in lines)
    assert not runs.exists(), "a check writes nothing"

    assert train(path, runs).status == 0
    kept = results(runs)
    after = armada("check", path, "--runs", runs).out.splitlines()
    assert "trials         6, of which 6 done and 0 begun" in after
    assert any(line.endswith(" on words: 0 of 96") for line in after)
    assert results(runs) == kept


def test_the_plan_as_data(recipe, tmp_path):
    path = recipe(methods=METHODS)
    found = json.loads(armada("check", path, "--runs", tmp_path / "runs", "--json").out)
    assert found["trials"] == {"total": 3, "done": 0, "resumable": 0}
    assert found["texts"] == [{"teacher": found["teachers"][0], "task": "words", "total": 96, "missing": 96}]
    assert (found["packages"], found["downloads"]) == ([], [])


def test_texts_that_repeat_are_counted_once(recipe, tmp_path, table):
    rows = table["train"].read_text(encoding="utf-8").splitlines()
    twice = tmp_path / "twice.csv"
    twice.write_text("\n".join([*rows, *rows[1:]]) + "\n", encoding="utf-8")
    path = recipe(tasks=f"[{{name: files, file: {twice}, validation: {table['validation']}}}]")
    found = json.loads(armada("check", path, "--runs", tmp_path / "runs", "--json").out)
    assert found["texts"][0]["total"] == 96
    assert found["texts"][0]["missing"] == 96


def test_a_text_teacher_is_announced(recipe, tmp_path, tiny_student):
    methods = f"[{{name: kd, teacher: {{name: encoder, model: {tiny_student}, layers: 1}}}}]"
    found = json.loads(armada("check", recipe(methods=methods, seeds="[0, 1]"), "--runs", tmp_path / "runs", "--json").out)
    assert found["trials"]["total"] == 3
    assert len(found["dependencies"]) == 1
    assert found["dependencies"][0].endswith("layers=1 on words")


def test_an_interrupted_trial_is_counted_as_begun(recipe, tmp_path):
    """A trial whose loss became NaN keeps its checkpoint and is tried again."""
    wild = "{name: armada, hidden: 48, train: {lr: 1.0e+30, warmup: 0}}"
    path, runs = recipe(methods=f"[{wild}, undistilled]"), tmp_path / "runs"
    assert train(path, runs).status == 1
    assert "trials         2, of which 1 done and 1 begun" in armada("check", path, "--runs", runs).out.splitlines()


@pytest.mark.parametrize("data", [None, "nowhere"])
def test_a_check_imports_nothing_heavy(recipe, tmp_path, data):
    """In an interpreter of its own, with and without a place for data; how long it took is in the test's report."""
    path = recipe(methods=METHODS, tasks="[cola, copa]")
    script = (
        "import sys\nfrom armada_cli.main import run\n"
        f"status = run(['check', {str(path)!r}, '--runs', {str(tmp_path / 'runs')!r}])\n"
        f"print('heavy:', status, sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ARMADA_")}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    if data:
        environment["ARMADA_DATA"] = str(tmp_path / data)
    begin = time.perf_counter()
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    print(f"armada check: {time.perf_counter() - begin:.2f} s")
    assert found.stderr.splitlines()[-1] == "heavy: 0 []", found.stderr
    assert "to download" in found.stdout
    assert "not counted before the data are there" in found.stdout


def test_a_check_of_counted_texts_imports_nothing_heavy(recipe, tmp_path):
    path = recipe(methods=METHODS)
    runs = tmp_path / "runs"
    assert train(path, runs).status == 0
    script = (
        "import sys\nfrom armada_cli.main import run\n"
        f"status = run(['check', {str(path)!r}, '--runs', {str(runs)!r}])\n"
        f"print('heavy:', status, sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert found.stderr.splitlines()[-1] == "heavy: 0 []", found.stderr
    assert "0 of 96" in found.stdout
