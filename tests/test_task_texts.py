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

from armada_cli import Environment, Problem, UserError, choose
from armada_cli.conformance import check_task
from armada_cli.corpora.rows import write_rows
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


# ------------------------------------------------------------------------------------------------------ of another task


def texts_of_task(of: str, tmp_path: Path, **options: object) -> Texts:
    return Texts(choose("task", "texts", of={"name": of}, **options).options, Environment(data=tmp_path))


def mirror(tmp_path: Path, dataset: str, config: str, rows: dict[str, list[dict[str, object]]]) -> None:
    for split, table in rows.items():
        write_rows(tmp_path, dataset, config, split, table)


def test_both_texts_of_a_pair_are_texts_each_once(tmp_path: Path) -> None:
    pairs = [("a b", "c d"), ("a b", "e"), ("f", "c d")]
    rows = [{"sentence1": one, "sentence2": two, "label": 0} for one, two in pairs]
    mirror(tmp_path, "nyu-mll/glue", "rte", {"train": rows, "validation": [*rows, rows[0] | {"sentence2": "new"}]})
    task = texts_of_task("rte", tmp_path)
    train_rows, held = task.split("train"), task.split("validation")
    assert [text for (text,) in train_rows.texts] == ["a b", "c d", "e", "f"]
    assert list(train_rows.teacher_inputs) == ["a b", "c d", "e", "f"]
    assert list(train_rows.labels) == [0, 0, 0, 0]
    assert [text for (text,) in held.texts] == ["new"], "what is trained on is not scored"


def test_a_question_and_its_choices_are_texts(tmp_path: Path) -> None:
    row = {"premise": "It rained.", "choice1": "wet", "choice2": "dry", "question": "effect", "label": 0}
    mirror(tmp_path, "aps/super_glue", "copa", {"train": [row], "validation": [row]})
    texts = [text for (text,) in texts_of_task("copa", tmp_path).split("train").texts]
    assert texts[-2:] == ["wet", "dry"]
    assert len(texts) == 3
    assert "It rained" in texts[0]


def test_as_many_rows_are_taken_as_a_limit_leaves(tmp_path: Path) -> None:
    rows = [{"sentence": f"text {number}", "label": 0} for number in range(50)]
    mirror(tmp_path, "nyu-mll/glue", "cola", {"train": rows, "validation": rows})
    other = choose("task", "cola")
    wanted = [
        text
        for (text,) in other.registered.component.load()(other.options, Environment(data=tmp_path)).sample("train", 7).texts
    ]
    assert [text for (text,) in texts_of_task("cola", tmp_path, rows_of=7).split("train").texts] == wanted
    with pytest.raises(UserError, match="task cola has no texts of its own for validation"):
        texts_of_task("cola", tmp_path).split("validation")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("", "needs one of file, of and dataset"),
        ("file: lines.txt, of: cola", "needs one of file, of and dataset"),
        ("of: {name: texts, file: lines.txt}", "has texts without labels itself"),
        ("of: cola, column: text", "column: a task has none"),
        ("file: lines.txt, rows_of: 3", "is about the task in `of`"),
    ],
)
def test_what_makes_no_sense_together_is_one_line(tmp_path: Path, options: str, words: str) -> None:
    (tmp_path / "lines.txt").write_text("\n".join(LINES), encoding="utf-8")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"student: bert-base\ntasks: [{{name: texts, {options}}}]\nmethods: [undistilled]\n", encoding="utf-8")
    ended = armada("check", recipe)
    assert ended.status == 2
    assert words in ended.err


def test_a_student_learns_the_texts_of_another_task(
    recipe: Callable[..., Path], table: dict[str, Path], tmp_path: Path
) -> None:
    files = f"{{name: files, file: {table['train']}, validation: {table['validation']}}}"
    path = recipe(tasks=f"[{{name: texts, of: {files}}}]", methods="[undistilled]", teacher="null")
    done = train(path, tmp_path / "runs")
    assert done.status == 0, done.err
    (found,) = by_method(tmp_path / "runs").values()
    assert found["rows"] == {"train": 96, "validation": 48}


def test_a_datasets_column_is_texts(tmp_path: Path) -> None:
    mirror(tmp_path, "somebody/corpus", "plain", {"train": [{"words": line} for line in [*LINES, "", LINES[0]]]})
    options = TextsOptions(dataset="somebody/corpus", config="plain", column="words", validation_share=0.3)
    place = Environment(data=tmp_path)
    task = Texts(options, place)
    assert sorted(text for name in ("train", "validation") for (text,) in task.split(name).texts) == sorted(LINES)
    assert list(options.downloads(place)) == []
    assert list(TextsOptions(dataset="somebody/other").downloads(place)) == ["dataset somebody/other: train"]
    before = options.identity(place)
    mirror(tmp_path, "somebody/corpus", "plain", {"train": [{"words": "another"}]})
    assert options.identity(place) != before
    with pytest.raises(UserError, match="column"):
        Texts(TextsOptions(dataset="somebody/corpus", config="plain"), place).split("train")
