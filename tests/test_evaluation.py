"""How a split is evaluated by generation or likelihood, with a student that says what it was asked: whose answer is whose."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from armada_cli import Decoding, Environment, Split
from armada_cli.errors import Interrupted
from armada_cli.evaluation.generation import Evaluation, evaluate
from armada_cli.execution.assemble import make_accelerator
from armada_cli.settings import Train
from armada_cli.training.seeds import stream

PROMPTS = ["a ferry", "the choir in the cellar", "no", "two boys and a kite", "rain"]
"""In batches of three, longest first, they are rows 1, 3, 0 and 4, 2: an answer that is given to a neighbour is seen."""


class Echo:
    """Answers a prompt with itself and its random stream; likes a candidate the better the longer it is."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def generate(self, model: nn.Module, prompts: Sequence[str], decoding: Decoding, streams: Sequence[int]) -> list[str]:
        self.asked += prompts
        return [f"{prompt} {number}" for prompt, number in zip(prompts, streams, strict=True)]

    def likelihoods(self, model: nn.Module, rows: Sequence[tuple[str, ...]]) -> list[list[float]]:
        return [[-1.0 / len(row[0] + candidate) for candidate in row[1:]] for row in rows]


def spoken(row: int, seed: int) -> str:
    return f"{PROMPTS[row]} {stream(seed, f'answer {row}')}"


class Written:
    """A task that is right where an answer is word for word what `Echo` says of that row under seed 7."""

    decoding: Decoding | None = Decoding(max_new_tokens=4, sample=True, seeds=(7, 8))
    metric = "accuracy"

    def score(self, outputs: Any, labels: Sequence[Any]) -> dict[str, float]:
        return {"accuracy": 100.0 * sum(a == b for a, b in zip(outputs, labels, strict=True)) / len(labels)}


WRITTEN = Split([(prompt,) for prompt in PROMPTS], [spoken(row, 7) for row in range(5)], PROMPTS)


def evaluated(student: Any, task: Any, split: Split, **more: Any) -> Evaluation:
    return evaluate(student, nn.Linear(1, 1), task, split, **{"batch_size": 3, "accelerator": Accelerator(cpu=True), **more})


def test_a_student_that_was_trained_in_bf16_answers_in_the_precision_of_its_weights() -> None:
    """It is exported so; a decoder that holds weights in bf16 sees to autocast itself."""

    class Noting(Echo):
        def generate(self, model: nn.Module, *arguments: Any) -> list[str]:
            types.append(model(torch.ones(1, 1)).dtype)
            return super().generate(model, *arguments)

        def likelihoods(self, model: nn.Module, rows: Sequence[tuple[str, ...]]) -> list[list[float]]:
            types.append(model(torch.ones(1, 1)).dtype)
            return super().likelihoods(model, rows)

    types: list[torch.dtype] = []
    accelerator = make_accelerator(Train(precision="bf16"), Environment(device="cpu"))
    with accelerator.autocast():
        assert nn.Linear(1, 1)(torch.ones(1, 1)).dtype == torch.bfloat16
    evaluated(Noting(), Written(), WRITTEN, accelerator=accelerator)
    compared = SimpleNamespace(decoding=None, score=lambda outputs, labels: {"accuracy": 0.0})
    evaluated(Noting(), compared, Split([("a", "b", "c")], [0], ["a"]), accelerator=accelerator)
    assert set(types) == {torch.float32}


def test_every_row_gets_its_own_answer_of_every_seed() -> None:
    found = evaluated(Echo(), Written(), WRITTEN)
    assert found.answers == {seed: [spoken(row, seed) for row in range(5)] for seed in (7, 8)}


def test_the_seeds_of_an_evaluation_draw_differently_and_the_score_is_their_mean() -> None:
    found = evaluated(Echo(), Written(), WRITTEN)
    assert not set(found.answers[7]) & set(found.answers[8])
    assert found.by_seed == {7: {"accuracy": 100.0}, 8: {"accuracy": 0.0}}
    assert found.scores == {"accuracy": 50.0}


def test_every_row_has_its_own_score_over_the_seeds() -> None:
    right = [spoken(0, 7), spoken(1, 8), "else", spoken(3, 7), spoken(4, 8)]
    evaluation = evaluated(Echo(), Written(), Split(WRITTEN.texts, right, PROMPTS))
    assert evaluation.rows == [50.0, 50.0, 0.0, 50.0, 50.0]
    assert evaluation.scores == {"accuracy": pytest.approx(40.0)}


@pytest.mark.parametrize("refuses", [False, True])
def test_a_metric_that_is_no_mean_over_rows_gives_no_scores_of_rows(refuses: bool) -> None:
    class Spread(Written):
        def score(self, outputs: Any, labels: Sequence[Any]) -> dict[str, float]:
            if refuses and len(labels) < 2:
                raise ValueError("needs two rows")
            return {"accuracy": float(len(set(outputs)))}

    assert evaluated(Echo(), Spread(), WRITTEN).rows is None


def test_what_is_kept_of_an_answer_is_its_own_prompt_and_label() -> None:
    records = evaluated(Echo(), Written(), WRITTEN).record(WRITTEN)
    assert records == [
        {"row": row, "seed": seed, "prompt": PROMPTS[row], "answer": spoken(row, seed), "label": spoken(row, 7)}
        for seed in (7, 8)
        for row in range(5)
    ]


def test_likelihoods_of_every_row_are_its_own_and_a_missing_candidate_cannot_win() -> None:
    counts = (2, 3, 1, 4, 2)
    rows = [(prompt, *["x" * (place + 1) for place in range(count)]) for prompt, count in zip(PROMPTS, counts, strict=True)]
    given: list[Any] = []

    def score(outputs: Any, labels: Sequence[Any]) -> dict[str, float]:
        given.append((outputs.tolist(), labels))
        return {"accuracy": 1.0}

    task = SimpleNamespace(decoding=None, score=score)
    assert evaluated(Echo(), task, Split(rows, [0, 1, 0, 3, 1], PROMPTS)).scores == {"accuracy": 1.0}
    outputs, labels = given[0]
    assert labels == [0, 1, 0, 3, 1]
    for row, values in zip(rows, outputs, strict=True):
        own = [-1.0 / len(row[0] + candidate) for candidate in row[1:]]
        assert values == pytest.approx(own + [-math.inf] * (4 - len(own)))


def test_an_interrupted_evaluation_goes_on_where_it_stood(tmp_path: Path) -> None:
    notes = tmp_path / "answers.part"
    first, again = Echo(), Echo()
    with pytest.raises(Interrupted):
        evaluated(first, Written(), WRITTEN, notes=notes, stopping=lambda: len(first.asked) >= 7)
    notes.write_text(notes.read_text(encoding="utf-8")[:-10], encoding="utf-8")  # the last line was cut off
    found = evaluated(again, Written(), WRITTEN, notes=notes)
    whole = evaluated(Echo(), Written(), WRITTEN)
    assert (found.answers, found.scores) == (whole.answers, whole.scores)
    asked_again = [PROMPTS[row] for row in (1, 3, 0)]
    assert sorted(first.asked + again.asked) == sorted(PROMPTS * 2 + asked_again), "the batch of the lost line, as a whole"
    assert [len(json.loads(line)) for line in notes.read_text(encoding="utf-8").splitlines()] == [4] * (7 + 3 + 2)


@pytest.mark.parametrize("damage", ["letter", "not UTF-8", "line break", "row", "list", "of an earlier version"])
def test_notes_that_are_not_what_was_written_are_asked_again(tmp_path: Path, damage: str) -> None:
    """One byte of an answer is another answer, and would be another score."""
    notes = tmp_path / "answers.part"
    whole = evaluated(Echo(), Written(), WRITTEN)
    with pytest.raises(Interrupted):
        evaluated(first := Echo(), Written(), WRITTEN, notes=notes, stopping=lambda: len(first.asked) >= 7)
    lines = notes.read_bytes().splitlines(keepends=True)
    answer = json.loads(lines[3])["answer"].encode()
    lines[3] = {
        "letter": lines[3].replace(answer, bytes([answer[0] ^ 1]) + answer[1:]),
        "not UTF-8": lines[3].replace(answer, b"\xff" + answer[1:]),
        "line break": lines[3].replace(b"\n", b"\x0b"),
        "row": lines[3].replace(b'"row": ', b'"row": 1'),
        "list": b"[1]\n",
        "of an earlier version": lines[3].split(b', "digest"')[0] + b"}\n",
    }[damage]
    notes.write_bytes(b"".join(lines))
    again = Echo()
    found = evaluated(again, Written(), WRITTEN, notes=notes)
    assert (found.answers, found.scores) == (whole.answers, whole.scores)
    assert (len(first.asked) + len(again.asked) == len(PROMPTS) * 2) == (damage == "of an earlier version")
