"""Students, teachers and methods that do not go together are one line of `armada check`, where their options tell it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from running import armada, train
from test_student_encoders import saved

TINY = "{name: encoder, model: TINY}"
FLAT = "{name: encoder, model: TINY, layers: 1}"


@pytest.fixture
def check(recipe: Callable[..., Path], tiny_student: Path, tmp_path: Path) -> Callable[[str, str], str]:
    """What `armada check` says of a method and a student, on standard error; empty where it refuses nothing."""

    def check(method: str, student: str = TINY) -> str:
        words = (text.replace("TINY", str(tiny_student)) for text in (method, student))
        ended = armada("check", recipe(**dict(zip(("methods", "student"), words, strict=True))), "--runs", tmp_path / "runs")
        assert ended.status == (2 if ended.err else 0), ended.err
        return ended.err

    return check


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (f"{{name: pkd, teacher: {FLAT}}}", "cannot choose among 1 layers of the teacher for a student of 2"),
        ("{name: pkd, teacher: bert-base, layers: [1, 2]}", "[1, 2] are not 1 layers of a teacher that has 12"),
        ("{name: pkd, teacher: bert-base, layers: [13]}", "[13] are not 1 layers of a teacher that has 12"),
        ("{name: pkd, teacher: bert-base, projection: none}", "states of width 32 with a teacher's of width 768"),
        (f"{{name: rail-kd, teacher: {FLAT}}}", "cannot draw 2 layers of the teacher's 1. Take a deeper teacher"),
        ("{name: tinybert, teacher: bert-base}", "2 heads of the student with 12 of the teacher. Say `heads: mean`"),
        (f"{{name: metadistil, teacher: {FLAT}}}", "cannot match layers below the top one"),
        (f"{{name: sftn, teacher: {FLAT}}}", "they have 1 and 2 layers"),
        ("{name: x-adapter, adapted: 3}", "adapts 3 layers, and the student has 2. Say a smaller `adapted`"),
    ],
)
def test_layers_heads_and_widths_that_do_not_go_together_are_refused(
    check: Callable[..., str], method: str, words: str
) -> None:
    said = check(f"[{method}]")
    assert said.count("\n") == 1
    assert "tiny.yaml:4:" in said
    assert words in said


@pytest.mark.parametrize(
    "method",
    [
        "{name: pkd, teacher: bert-base}",
        "{name: pkd, teacher: bert-base, layers: [12]}",
        f"{{name: rail-kd, teacher: {TINY}}}",
        "{name: tinybert, teacher: bert-base, heads: mean}",
        f"{{name: metadistil, teacher: {FLAT}, beta: 0}}",
        f"{{name: sftn, teacher: {TINY}}}",
        "x-adapter",
        "{name: pkd, teacher: {name: encoder, model: somebody/unknown}, layers: [30]}",
    ],
)
def test_what_goes_together_or_cannot_be_told_yet_is_not(check: Callable[..., str], method: str) -> None:
    assert check(f"[{method}]") == ""


@pytest.mark.parametrize("method", ["vokenization", "vidlankd"])
def test_visualbert_is_not_pre_trained_on_text(check: Callable[..., str], method: str) -> None:
    said = check(f"[{method}]", "visualbert")
    assert said.count("\n") == 1
    assert "needs 'start' to learn 'texts' (masked), and student 'visualbert' is here for fine-tuning alone. Take" in said


def test_branches_are_made_of_encoders(check: Callable[..., str]) -> None:
    assert "student 'opt-1.3b' is a decoder" in check("[{name: sftn, teacher: bert-base}]", "opt-1.3b")


@pytest.mark.parametrize("method", ["x-adapter", "visual-guidance", "{name: sftn, teacher: bert-base}"])
def test_nothing_acts_inside_a_layer_that_runs_several_times(
    check: Callable[..., str], tiny_student: Path, tmp_path: Path, method: str
) -> None:
    place = saved("albert", tiny_student, tmp_path / "albert")
    assert "runs one several times. Take another student" in check(f"[{method}]", f"{{name: encoder, model: {place}}}")


def test_visualbert_has_branches(recipe: Callable[..., Path], tiny_student: Path, tmp_path: Path) -> None:
    place = saved("visual_bert", tiny_student, tmp_path / "visual")
    student = f"{{name: visualbert, model: {place}, tokenizer: {tiny_student}}}"
    path = recipe(
        student=student,
        methods=f"[{{name: sftn, teacher: {student}}}]",
        limit="{train: 16, validation: 8}",
        train="{epochs: 1, batch_size: 8, max_length: 32, precision: float32}",
    )
    done = train(path, tmp_path / "runs")
    assert done.status == 0, done.err
