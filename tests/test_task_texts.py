"""Texts without labels: what is read, how they are divided, and what a student makes of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from armada_student_encoders import masking
from armada_student_encoders.options import EncoderOptions
from armada_student_encoders.student import Encoder
from armada_task_texts.options import TextsOptions
from armada_task_texts.task import Texts
from running import armada, by_method, train

from armada_cli import Environment, Problem, UserError
from armada_cli.conformance import check_task
from armada_cli.evaluation import metrics

LINES = [
    f"the ferry was {word} today" for word in ("warm", "dull", "grim", "late", "full", "old", "new", "red", "slow", "loud")
]
MASKED = Problem("masked", 0, (), 32)


def texts_of(path: Path, content: str, **options: object) -> list[str]:
    path.write_text(content, encoding="utf-8")
    task = Texts(TextsOptions(str(path), validation_share=0.3, **options), Environment())  # type: ignore[arg-type]
    return sorted(text for name in ("train", "validation") for (text,) in task.split(name).texts)


def test_the_contract_holds(tmp_path: Path) -> None:
    check_task("texts", TextsOptions("none").smoke(tmp_path).__dict__)


def test_lines_columns_and_objects_are_the_same_texts_each_once(tmp_path: Path) -> None:
    plain = texts_of(tmp_path / "a.txt", "\n".join([*LINES, "", f" {LINES[0]} "]))
    table = texts_of(
        tmp_path / "a.csv", "number,words\n" + "".join(f"{n},{line}\n" for n, line in enumerate(LINES)), column="words"
    )
    objects = texts_of(tmp_path / "a.jsonl", "".join(f'{{"text": "{line}"}}\n' for line in LINES))
    assert plain == table == objects == sorted(LINES)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "words\nhello\n", "has no column 'text'"),
        ("a.jsonl", '{"text": 3}\n', "text is no text"),
        ("a.txt", "one\n", "none is left for"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, content: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        texts_of(tmp_path / name, content)


def test_a_student_learns_masked_text_and_is_scored_by_perplexity(recipe: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(LINES * 2), encoding="utf-8")
    task = f"[{{name: texts, file: {file}, validation_share: 0.3}}]"
    scores = []
    for number, rate in enumerate(("1e-9", "1e-2")):
        settings = f"{{epochs: 20, batch_size: 4, lr: {rate}, max_length: 32, evaluate: end}}"
        ended = train(recipe(tasks=task, methods="[undistilled]", train=settings), tmp_path / str(number))
        assert ended.status == 0, ended.err
        scores.append(next(iter(by_method(tmp_path / str(number)).values()))["scores"]["perplexity"])
    assert scores[1] < 0.6 * scores[0]


def test_what_is_masked_in_an_evaluation_depends_on_the_row_alone(tiny_student: Path) -> None:
    student = Encoder(EncoderOptions(model=str(tiny_student)), Environment(offline=True))
    model = student.build(MASKED).eval()
    rows = student.encode([("the old ferry was dull and grim",), ("a warm garden",)], MASKED)
    with torch.no_grad():
        together = student.forward(model, student.pad(rows)).logits
        alone = torch.cat([student.forward(model, student.pad([row])).logits for row in rows])
    torch.testing.assert_close(together, alone)


def test_of_the_tokens_15_percent_are_chosen_and_80_percent_of_them_masked() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(5, 1000, (100, 1000))
    special = torch.zeros_like(tokens, dtype=torch.bool)
    special[:, 0] = True
    read, chosen = masking.hide(tokens, special, torch.full((100,), 1000), 4, 1000, drawn=True)
    assert float(chosen.float().mean()) == pytest.approx(0.15, abs=0.003)
    assert not chosen[:, 0].any()
    assert bool((read == tokens)[~chosen].all())
    assert float((read == 4)[chosen].float().mean()) == pytest.approx(0.8, abs=0.01)
    assert float((read == tokens)[chosen].float().mean()) == pytest.approx(0.1, abs=0.01)


def test_perplexity_is_of_all_tokens_and_not_of_rows() -> None:
    import numpy as np

    assert metrics.perplexity(np.array([[6.0, 3], [0.0, 1]]), [0, 0]) == pytest.approx(math.exp(1.5))
    with pytest.raises(ValueError, match="at least one token"):
        metrics.perplexity(np.array([[0.0, 0]]), [0])


def test_a_decoder_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("the tide was low\n", encoding="utf-8")
    recipe = tmp_path / "r.yaml"
    recipe.write_text("student: opt-1.3b\ntasks: [{name: texts, file: lines.txt}]\nmethods: [undistilled]\n", encoding="utf-8")
    ended = armada("check", recipe, "--runs", tmp_path / "runs")
    assert ended.status == 2
    assert "student 'opt-1.3b' is a decoder and cannot do task 'texts' (masked)" in ended.err
