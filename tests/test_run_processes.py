"""One trial in several processes, as `accelerate launch` starts them."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from running import Ended, by_method, ended, results, start, train, wait_until
from test_run_generation import instruct, llama, mirror  # noqa: F401  (fixtures)

from armada_cli.features.prepare import load_prepared
from armada_cli.registry import catalog

METHODS = "[undistilled, {name: armada, hidden: 48, beta: 0.1}]"


@pytest.fixture
def calm(tiny_student, tmp_path) -> Path:
    """The tiny student without dropout, which differs from process to process."""
    folder = Path(shutil.copytree(tiny_student, tmp_path / "calm"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def launch(path: Path, runs: Path, *verbs: str) -> Ended:
    return ended(start(*(verbs or ("run",)), path, "--runs", runs, processes=2))


def losses(folder: Path) -> list[float]:
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.slow
def test_two_processes_train_as_one_does(recipe, calm, tmp_path):
    """Each takes half of every batch; gradients are averaged, so the losses are those of one process up to rounding."""
    path = recipe(
        student=f"{{name: encoder, model: {calm}}}",
        methods=METHODS,
        train="{epochs: 2, batch_size: 16, lr: 1e-3, log_every: 1, max_length: 32, precision: float32}",
    )
    done = launch(path, tmp_path / "two")
    assert done.status == 0, done.err
    assert done.out.count("run tiny: 2 trials (2 done)") == 1  # the first process alone speaks
    assert train(path, tmp_path / "one").status == 0
    two, one = by_method(tmp_path / "two"), by_method(tmp_path / "one")
    assert set(two) == set(one)
    for title, result in one.items():
        assert losses(two[title]["folder"]) == pytest.approx(losses(result["folder"]), abs=2e-5)
        assert two[title]["rows"] == result["rows"]
        assert (two[title]["folder"] / "student" / "model.safetensors").is_file()


@pytest.mark.slow
def test_two_processes_that_were_ended_go_on_to_the_same_bytes(recipe, tmp_path):
    path = recipe(methods=METHODS, train="{epochs: 8, batch_size: 8, lr: 1e-3, log_every: 1, max_length: 32}")
    assert launch(path, tmp_path / "whole").status == 0
    process = start("run", path, "--runs", tmp_path / "runs", processes=2)
    assert wait_until(lambda: sum(len(losses(log.parent)) for log in tmp_path.glob("runs/trials/*/log.jsonl")) > 30, process)
    process.terminate()
    assert ended(process).status != 0
    assert len(results(tmp_path / "runs")) < 2
    assert launch(path, tmp_path / "runs").status == 0
    assert results(tmp_path / "runs") == results(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_agree_that_a_loss_is_not_finite(recipe, tmp_path):
    wild = "{name: undistilled, as: wild, train: {lr: 1.0e+30, warmup: 0, schedule: constant}}"
    done = launch(recipe(methods=f"[{wild}, parameter-matched]"), tmp_path / "runs")
    assert done.status != 0
    assert "the loss became nan at step 2 of 12" in done.err
    assert len(results(tmp_path / "runs")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("teacher", ["stable-diffusion", "midjourney", "modelscope-video", "speecht5"])
def test_two_processes_extract_into_one_store(recipe, tmp_path, teacher):
    """Each asks the teacher for its share; together they ask for every text once, and the vectors are those of one process."""
    options = catalog.current().find("teacher", teacher).component.options().smoke(tmp_path)
    lines = {"teacher": json.dumps({"name": teacher, **dataclasses.asdict(options)}), "limit": "{train: 24}"}
    path = recipe(**lines, features="{reduce: none}", methods="[{name: armada, hidden: 48}]")
    done = launch(path, tmp_path / "two", "features", "build")
    assert done.status == 0, done.err
    said = [int(count) for count in re.findall(r"texts, (\d+) new", done.out)]
    assert (len(said), sum(said)) == (2, 24)  # a process that was slow to start may find all done
    assert ended(start("features", "build", path, "--runs", tmp_path / "one")).status == 0
    (two,), (one,) = ([*(tmp_path / name / "features").glob("*.safetensors")] for name in ("two", "one"))
    assert two.name == one.name
    np.testing.assert_array_equal(load_prepared(two), load_prepared(one))


@pytest.mark.slow
def test_two_processes_train_and_ask_a_decoder(instruct, llama, tmp_path):  # noqa: F811
    """Adapters are trained in both, each answers its share of the prompts, and every prompt is answered once. The losses are
    nearly those of one process: a language model's loss is a mean over the tokens that a process has."""
    path = instruct(
        student=f"{{name: decoder, model: {llama}, lora: 4, lora_dropout: 0}}",
        train="{epochs: 1, batch_size: 4, lr: 1e-3, log_every: 1, max_length: 384, precision: float32}",
        answers="max_new_tokens: 8, sample: false",
    )
    done = launch(path, tmp_path / "two")
    assert done.status == 0, done.err
    assert train(path, tmp_path / "one").status == 0
    two, one = by_method(tmp_path / "two"), by_method(tmp_path / "one")
    assert set(two) == set(one)
    for title, result in one.items():
        folder, other = result["folder"], two[title]["folder"]
        if title.startswith("training on"):
            assert losses(other) == pytest.approx(losses(folder), abs=0.05)
            assert (other / "student" / "adapter_model.safetensors").is_file()
        else:
            prompts = [
                [json.loads(line)["prompt"] for line in (place / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
                for place in (folder, other)
            ]
            assert prompts[0] == prompts[1]
            assert two[title]["rows"] == result["rows"]
            assert two[title]["scores"] == pytest.approx(result["scores"], abs=5)
