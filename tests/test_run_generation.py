"""Generation from a recipe to its table: one training, several evaluations, answers that survive an interruption."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import armada, by_method, ended, recorded, results, start, train, wait_until
from tiny_decoders import tiny_llama

from armada_cli.evaluation import metrics
from armada_cli.registry import catalog
from armada_cli.runs import EVALUATED

SETS = ("self-inst", "dolly", "vicuna")
"""The training set stands in the middle: its order in a recipe must not matter."""


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("tiny-llama"), context=1024)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of our own for the instruction sets, as their plugin writes them for smoke runs."""
    folder = tmp_path_factory.mktemp("instructions")
    found = catalog.current()
    for name in ("dolly", "self-inst", "vicuna"):
        options = found.find("task", name).component.options().smoke(folder)
    return Path(options.path)


@pytest.fixture
def instruct(tmp_path: Path, llama: Path, mirror: Path, vectors: Path) -> Callable[..., Path]:
    """A recipe of the tiny LLaMA on the instruction sets, whose texts have random vectors."""
    import numpy as np
    from safetensors.numpy import save_file

    from armada_cli import Environment

    task = catalog.current().find("task", "dolly").component
    split = task.load()(task.options(path=str(mirror)), Environment()).split("train")
    ids = sorted(set(split.teacher_inputs))
    table = np.random.default_rng(0).standard_normal((len(ids), 20)).astype(np.float32)
    save_file({"features": table}, tmp_path / "teacher.safetensors", {"ids": json.dumps(ids)})

    def write(name: str = "tiny", answers: str = "max_new_tokens: 8, seeds: [10, 20]", **lines: str) -> Path:
        parts = {
            "student": f"{{name: decoder, model: {llama}, lora: 4}}",
            "teacher": f"{{name: precomputed, path: {tmp_path / 'teacher.safetensors'}}}",
            "tasks": "\n"
            + "".join(f"  - {{name: {n}, path: {mirror}, {answers}}}\n" for n in ("self-inst", "dolly", "vicuna")),
            "methods": "[undistilled, {name: armada, manifold: cosine, hidden: 24}]",
            "train": "{epochs: 1, batch_size: 8, lr: 1e-3, log_every: 1, max_length: 384}",
            "features": "{width: 8}",
            "seeds": "[0]",
        } | lines
        path = tmp_path / f"{name}.yaml"
        path.write_text("".join(f"{key}: {value}\n" for key, value in parts.items()), encoding="utf-8")
        return path

    return write


def trainings(runs: Path) -> dict[str, dict[str, Any]]:
    return {title: result for title, result in by_method(runs).items() if title.startswith("training on ")}


def test_one_training_is_evaluated_on_every_task(instruct: Callable[..., Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    done = train(instruct(), runs)
    assert done.status == 0, done.err
    found = by_method(runs)
    assert len(found) == 2 + 6
    for title, result in found.items():
        if title.startswith("training on dolly"):
            assert result["scores"] == {}
            continue
        method = title.split(" · ")[1]
        (trained,) = [item for name, item in trainings(runs).items() if name.split(" · ")[1] == method]
        assert result["spec"]["depends"] == {EVALUATED: trained["id"]}
        assert set(json.loads((result["folder"] / "timings.json").read_text())["stages"]) == {"evaluation"}
    assert "run tiny: 6 trials (6 done)" in done.out


def test_the_report_counts_the_rows_that_were_there(instruct: Callable[..., Path], tmp_path: Path) -> None:
    done = train(instruct(methods="[undistilled]", limit="{train: 8, validation: 1000}"), tmp_path / "runs")
    assert done.status == 0, done.err
    assert re.search(r"self-inst[^;]* 8\s+/\s+4\b", done.out), done.out


def test_another_way_to_ask_trains_nothing_anew(instruct: Callable[..., Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    train(instruct(methods="[undistilled]"), runs)
    train(instruct(methods="[undistilled]", answers="max_new_tokens: 5, sample: false"), runs)
    assert len(trainings(runs)) == 1
    assert len(results(runs)) == 1 + 3 + 3


def test_the_objective_of_generation_is_that_of_the_method(instruct: Callable[..., Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    train(instruct(tasks=f"[{{name: dolly, path: {_mirror(instruct)}, max_new_tokens: 4}}]"), runs)
    found = sorted(trainings(runs).items(), key=lambda item: "armada" in item[0])
    plain, distilled = (result for _, result in found)
    assert set(plain["terms"]) == {"task"}
    assert set(distilled["terms"]) == {"task", "auxiliary reconstruction", "manifold"}
    assert distilled["fits"] == {}
    assert distilled["parameters"]["trained"] < distilled["parameters"]["student"]
    assert distilled["orthogonality"] < 1e-4


def _mirror(instruct: Callable[..., Path]) -> str:
    text = instruct("look").read_text(encoding="utf-8")
    return text.split("name: dolly, path: ")[1].split(",")[0]


def test_scores_are_the_mean_of_the_evaluation_seeds_and_answers_are_kept(
    instruct: Callable[..., Path], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    train(instruct(methods="[undistilled]"), runs)
    for title, result in by_method(runs).items():
        if title.startswith("training"):
            continue
        assert set(result["by_seed"]) == {"10", "20"}
        mean = sum(item["rouge_l"] for item in result["by_seed"].values()) / 2
        assert result["scores"]["rouge_l"] == pytest.approx(mean)
        answers = [json.loads(line) for line in (result["folder"] / "answers.jsonl").read_text().split("\n")[:-1]]
        assert len(answers) == 2 * result["rows"]["validation"]
        assert {item["seed"] for item in answers} == {10, 20}
        said = {seed: [item for item in answers if item["seed"] == seed] for seed in (10, 20)}
        assert [item["answer"] for item in said[10]] != [item["answer"] for item in said[20]]
        for seed, rows in said.items():
            own = metrics.rouge_l([item["answer"] for item in rows], [item["label"] for item in rows])
            assert result["by_seed"][str(seed)]["rouge_l"] == pytest.approx(own)
        assert not list(result["folder"].glob("*.part"))


def test_sampled_answers_do_not_depend_on_what_is_answered_beside_them(instruct: Callable[..., Path], tmp_path: Path) -> None:
    answers = []
    for size in (1, 3):
        runs = tmp_path / f"runs{size}"
        setting = f"{{epochs: 1, batch_size: 8, lr: 1e-3, max_length: 384, evaluation_batch: {size}}}"
        train(instruct(methods="[undistilled]", train=setting), runs)
        folder = next(r["folder"] for title, r in by_method(runs).items() if title.startswith("vicuna"))
        answers.append((folder / "answers.jsonl").read_text(encoding="utf-8"))
    assert answers[0] == answers[1]


def test_a_task_alone_trains_the_task_it_builds_on(instruct: Callable[..., Path], tmp_path: Path) -> None:
    runs, mirror = tmp_path / "runs", _mirror(instruct)
    tasks = f"[{{name: vicuna, path: {mirror}, max_new_tokens: 4, seeds: [1]}}]"
    recipe = instruct(tasks=tasks, methods="[undistilled]")
    assert "also trained   decoder" in armada("check", recipe).out
    done = train(recipe, runs)
    assert done.status == 0, done.err
    assert len(results(runs)) == 2
    assert [trial["task"].split()[0] for trial in recorded(runs)] == ["vicuna"]


def test_a_lost_student_of_a_finished_training_is_trained_again(instruct: Callable[..., Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    recipe = instruct(methods="[undistilled]")
    train(recipe, runs)
    before = results(runs)
    for title, result in by_method(runs).items():
        if title.startswith("training"):
            shutil.rmtree(result["folder"] / "student")
        else:
            (result["folder"] / "result.json").unlink()
    done = train(recipe, runs)
    assert done.status == 0, done.err
    assert "is made again: its student/" in done.err
    assert results(runs) == before


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["training", "answering"])
def test_killed_it_goes_on_to_the_same_bytes(instruct: Callable[..., Path], tmp_path: Path, moment: str) -> None:
    recipe = instruct(
        answers="max_new_tokens: 48, seeds: [10, 20, 30]",
        train="{epochs: 2, batch_size: 4, lr: 1e-3, log_every: 1, max_length: 384, evaluation_batch: 1}",
    )
    whole, runs = tmp_path / "whole", tmp_path / "runs"
    assert ended(start("run", recipe, "--runs", whole, "--workers", "1")).status == 0
    process = start("run", recipe, "--runs", runs, "--workers", "1")
    pattern = "trials/*/log.jsonl" if moment == "training" else "trials/*/answers*.part"
    assert wait_until(lambda: any(path.stat().st_size > 200 for path in runs.glob(pattern)), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = len(results(runs))
    assert ended(start("run", recipe, "--runs", runs, "--workers", "1")).status == 0
    assert before < len(results(whole))
    assert results(runs) == results(whole)
