"""Contracts that carry the hard cases: each is a small method of `hard_methods`, trained twice and killed in between."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from running import by_method, kept_bytes, nobody_left, results, start, train, wait_until
from test_run_generation import instruct, llama, mirror  # noqa: F401  (fixtures)

ALLOW = "--allow-local-code"
TRAIN = "{epochs: 3, batch_size: 8, lr: 1e-3, log_every: 1, max_length: 32, precision: float32}"
LIMIT = "{train: 40, validation: 16}"
TRIALS = {"Assistant": 3, "OfAnotherMethod": 2, "Route": 2, "Peers": 1, "Virtual": 1, "Attentive": 2, "Begun": 2}
"""Method -> trials that its recipe plans."""


@pytest.fixture
def write(recipe: Callable[..., Path], tiny_student: Path, tmp_path: Path) -> Callable[[str], Path]:
    """The recipe of a method: everybody is the tiny student, but that a teacher has one layer."""
    shutil.copy(Path(__file__).with_name("hard_methods.py"), tmp_path)
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"the tide was low on day {number} .\n" for number in range(24)), encoding="utf-8")
    large = f"{{name: encoder, model: {tiny_student}}}"
    small = f"{{name: encoder, model: {tiny_student}, layers: 1}}"
    options = {
        "Assistant": f"teacher: {large}, assistant: {small}",
        "OfAnotherMethod": "method: {name: parameter-matched, gamma: 0.5}",
        "Route": f"teacher: {small}",
        "Peers": f"peer: {small}",
        "Virtual": f"teacher: {small}",
        "Attentive": f"teacher: {large}",
        "Begun": f"texts: {{name: texts, file: {lines}}}",
    }

    def write(method: str) -> Path:
        methods = f"[{{file: hard_methods.py, class: {method}, {options[method]}}}]"
        return recipe(methods=methods, train=TRAIN, limit=LIMIT, teacher="null")

    return write


def kill(recipe: Path, runs: Path, steps: int) -> None:
    """Start the run and kill it with SIGKILL when the trials have taken so many steps together."""
    process = start("run", recipe, "--runs", runs, "--workers", "1", ALLOW)

    def logged() -> bool:
        return sum(path.read_bytes().count(b"\n") for path in runs.glob("trials/*/log.jsonl")) >= steps

    assert wait_until(logged, process)
    process.kill()
    process.communicate()
    assert nobody_left(process.pid)


@pytest.mark.parametrize("method", TRIALS)
def test_it_trains_and_its_dependencies_are_trials(write: Callable[[str], Path], tmp_path: Path, method: str) -> None:
    done = train(write(method), tmp_path / "runs", ALLOW)
    assert done.status == 0, done.err
    assert len(results(tmp_path / "runs")) == TRIALS[method]


@pytest.mark.slow
@pytest.mark.parametrize("method", TRIALS)
def test_killed_it_goes_on_to_the_same_bytes(write: Callable[[str], Path], tmp_path: Path, method: str) -> None:
    path = write(method)
    whole = train(path, tmp_path / "whole", ALLOW)
    assert whole.status == 0, whole.err
    steps = 15 * TRIALS[method]
    for moment in random.Random(method).sample(range(2, steps - 7), 2):  # the last steps may be over before the kill arrives
        runs = tmp_path / f"killed-{moment}"
        kill(path, runs, moment)
        again = train(path, runs, ALLOW)
        assert again.status == 0, again.err
        assert results(runs) == results(tmp_path / "whole")
        assert kept_bytes(runs) == kept_bytes(tmp_path / "whole")


@pytest.mark.slow
def test_answers_of_a_finished_student_are_learned(instruct, llama, mirror, tmp_path: Path) -> None:  # noqa: F811
    shutil.copy(Path(__file__).with_name("hard_methods.py"), tmp_path)
    student = f"{{name: decoder, model: {llama}}}"
    path = instruct(
        student=student,
        methods=f"[{{file: hard_methods.py, class: Answered, teacher: {student}}}]",
        train="{epochs: 2, batch_size: 4, lr: 1e-3, log_every: 1, max_length: 384, precision: float32}",
        tasks=f"[{{name: dolly, path: {mirror}, max_new_tokens: 8, sample: false}}]",
        teacher="null",
    )
    whole = train(path, tmp_path / "whole", ALLOW)
    assert whole.status == 0, whole.err
    (answering,) = [item for item in by_method(tmp_path / "whole").values() if item["spec"]["split"] == "train"]
    assert (answering["folder"] / "answers.jsonl").is_file()
    runs = tmp_path / "killed"
    kill(path, runs, 5)
    again = train(path, runs, ALLOW)
    assert again.status == 0, again.err
    assert results(runs) == results(tmp_path / "whole")
    assert kept_bytes(runs) == kept_bytes(tmp_path / "whole")


def test_a_teacher_keeps_the_student_of_every_epoch_for_who_needs_it(write: Callable[[str], Path], tmp_path: Path) -> None:
    path, runs = write("Route"), tmp_path / "runs"
    assert train(path, runs, ALLOW).status == 0
    (teacher,) = [path.parent for path in runs.glob("trials/*/epochs")]
    assert sorted(item.name for item in (teacher / "epochs").iterdir()) == ["1", "2", "3"]
    last = (teacher / "student" / "model.safetensors").read_bytes()
    assert (teacher / "epochs" / "3" / "model.safetensors").read_bytes() == last
    assert (teacher / "epochs" / "1" / "model.safetensors").read_bytes() != last
    before = results(runs)
    # One that was made when nobody wanted its epochs is made again, to the same bytes.
    shutil.rmtree(teacher / "epochs")
    for item in runs.glob("trials/*"):
        if item != teacher:
            shutil.rmtree(item)
    assert train(path, runs, ALLOW).status == 0
    assert (teacher / "epochs" / "2" / "model.safetensors").is_file()
    assert results(runs) == before


def test_a_second_order_step_is_what_finite_differences_say(
    write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient of the student's loss behind a virtual step, towards the teacher's parameters."""
    import armada_cli.training.loop as loop

    seen: dict[str, Any] = {}

    def look(self: Any) -> None:
        seen["method"] = self.method
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.Loop, "run", look)
    train(write("Virtual"), tmp_path / "runs", ALLOW)
    method = seen["method"]
    for model in (method.teacher, method.setup.student):
        model.module.double().eval()
    rows, labels = torch.arange(8), method.setup.labels[:8]
    name, parameter = next((n, p) for n, p in method.teacher.module.named_parameters() if n.endswith("query.weight"))
    (gradient,) = torch.autograd.grad(method.quiz(rows, labels), [parameter])
    assert float(gradient.abs().max()) > 0, name
    place = divmod(int(gradient.abs().argmax()), gradient.shape[1])
    step = 1e-4

    def moved(by: float) -> float:
        with torch.no_grad():
            parameter[place] += by
        value = float(method.quiz(rows, labels))
        with torch.no_grad():
            parameter[place] -= by
        return value

    assert float(gradient[place]) == pytest.approx((moved(step) - moved(-step)) / (2 * step), rel=1e-3)


def test_a_method_is_told_from_whose_seed_and_options_it_learns(write: Callable[[str], Path], tmp_path: Path) -> None:
    assert train(write("OfAnotherMethod"), tmp_path / "runs", ALLOW).status == 0
    specs = [json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.glob("runs/trials/*/spec.json")]
    (teacher,) = [spec for spec in specs if spec["build"]["method"]["name"] == "parameter-matched"]
    assert teacher["build"]["method"]["options"]["gamma"] == 0.5
    (student,) = [spec for spec in specs if spec is not teacher]
    assert student["depends"] == {"teacher": teacher["id"]}
