"""Controls of a text teacher: its outputs are dealt to other rows, or drawn; the teacher itself stays the same trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from running import armada, by_method, train

from armada_cli import Environment
from armada_cli.features import controls
from armada_cli.plan.planning import make_plan
from armada_cli.recipe import load_recipe
from armada_cli.registry import catalog

WATCHER = """
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from armada_cli import Batch, Choice, Method, Needs, Planned, Setup, StudentOutput, Term, option


class Watcher(Method):
    @dataclass(frozen=True)
    class Options:
        controls: ClassVar[tuple[str, ...]] = ("shuffled", "noise")
        teacher: Choice = option(help="The text teacher", component="student")
        live: bool = option(True, "Ask it live too")

        def dependencies(self, trial: Planned) -> dict[str, Needs]:
            return {"teacher": Needs(self.teacher)}

    def __init__(self, options: Any, setup: Setup) -> None:
        super().__init__(options, setup)
        np.save("cached.npy", setup.cached("teacher", "logits").numpy())
        np.save("states.npy", setup.cached("teacher", "first:0,1").numpy())
        if options.live:
            with torch.no_grad():
                np.save("live.npy", setup.finished("teacher")(range(len(setup.labels))).logits.numpy())

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        return [Term("task", 1.0, torch.nn.functional.cross_entropy(output.logits, batch.labels), task=True)]
"""
LIMIT = "{train: 40, validation: 16}"


@pytest.fixture
def write(
    recipe: Callable[..., Path], tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "watcher.py").write_text(WATCHER, encoding="utf-8")
    teacher = f"{{name: encoder, model: {tiny_student}}}"

    def write(more: str = "", method: str = "file: watcher.py, class: Watcher") -> Path:
        methods = f"[{{{method}, teacher: {teacher}{', ' + more if more else ''}}}]"
        return recipe(methods=methods, teacher="null", limit=LIMIT, train="{epochs: 1, batch_size: 8, precision: float32}")

    return write


def test_shuffled_deals_the_outputs_to_other_rows_and_noise_draws_them(write: Callable[..., Path], tmp_path: Path) -> None:
    def run(more: str) -> dict[str, np.ndarray]:
        done = train(write(more), tmp_path / "runs", "--allow-local-code")
        assert done.status == 0, done.err
        return {name: np.load(f"{name}.npy") for name in ("cached", "states")}

    true = run("")
    shuffled = run("features: {control: shuffled}")
    live = np.load("live.npy")
    noise = run("live: false, features: {control: noise}")
    (teacher,) = {
        item["spec"]["id"] for title, item in by_method(tmp_path / "runs").items() if "undistilled" in title
    }  # one trial for the three
    assert (tmp_path / "runs" / "outputs" / teacher).is_dir()
    assert {tuple(row) for row in shuffled["cached"]} == {tuple(row) for row in true["cached"]}
    assert not (shuffled["cached"] == true["cached"]).all(-1).any()
    # One permutation for all that is asked, cached or live.
    moved = [next(i for i, row in enumerate(true["cached"]) if (row == other).all()) for other in shuffled["cached"]]
    assert np.array_equal(shuffled["states"], true["states"][moved])
    assert np.allclose(live, shuffled["cached"], atol=1e-5)
    assert noise["states"].shape == true["states"].shape
    assert not np.isclose(noise["cached"], true["cached"]).all(-1).any()


def test_a_model_that_is_asked_live_has_no_noise(write: Callable[..., Path], tmp_path: Path) -> None:
    done = train(write("features: {control: noise}"), tmp_path / "runs", "--allow-local-code")
    assert done.status == 1
    assert "a model that is asked live cannot answer with noise" in done.err + done.out


def test_a_control_makes_another_trial_and_leaves_the_teacher(write: Callable[..., Path]) -> None:
    def plan(more: str) -> list[str]:
        path = write(more, "name: kd")
        environment = Environment(runs=path.parent / "runs")
        whole = make_plan(load_recipe(str(path), catalog.current(), environment), environment)
        return [trial.id for trial in whole.everything]

    teacher, student = plan("")
    assert plan("features: {control: shuffled}")[0] == teacher
    assert len({student, plan("features: {control: shuffled}")[1], plan("features: {control: noise}")[1]}) == 3


def test_a_method_says_which_controls_it_has(write: Callable[..., Path], tmp_path: Path) -> None:
    text = (tmp_path / "watcher.py").read_text(encoding="utf-8")
    (tmp_path / "watcher.py").write_text(text.replace('("shuffled", "noise")', '("shuffled",)'), encoding="utf-8")
    done = armada("check", write("features: {control: noise}"), "--allow-local-code")
    assert done.status == 2
    assert "has no control of this kind: 'noise'. It has shuffled" in done.err


def test_noise_of_several_vectors_a_row_has_the_moments_of_each() -> None:
    generator = np.random.default_rng(0)
    states = generator.normal(size=(4000, 2, 3)).astype(np.float32) * [[[1, 2, 3]], [[4, 5, 6]]][0] + 7
    drawn = controls.noise(states.astype(np.float32), 5)
    assert drawn.shape == states.shape
    assert np.allclose(drawn.mean(0), states.mean(0), atol=0.3)
    assert np.allclose(drawn.std(0), states.std(0), rtol=0.1)
    assert not np.allclose(drawn[:, 0], drawn[:, 1])


def test_the_exchange_is_one_cycle_of_all_rows() -> None:
    source = torch.from_numpy(controls.exchange(17, 3)).tolist()
    row, seen = 0, []
    for _ in range(17):
        seen.append(row)
        row = source[row]
    assert row == 0
    assert sorted(seen) == list(range(17))
