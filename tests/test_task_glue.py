"""GLUE and SuperGLUE: how rows become texts, labels and teacher inputs, and how answers are scored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import armada_task_glue
import armada_task_superglue
import numpy as np
import pytest

from armada_cli import Component, Environment, Split, UserError
from armada_cli.corpora.tasks import HubTask

CARDS = {card.name: card for card in [*armada_task_glue.armada_tasks(), *armada_task_superglue.armada_tasks()]}
DATA = Path(os.environ.get("ARMADA_DATA", Path(__file__).parents[2] / "shared" / "data"))
with_data = pytest.mark.skipif(not (DATA / "nyu-mll").is_dir(), reason=f"no benchmark data in {DATA}; set ARMADA_DATA")

ROWS: dict[str, tuple[str, dict[str, Any], int | float]] = {
    "cola": ("nyu-mll/glue", {"sentence": "The cat that I fed slept."}, 1),
    "mrpc": ("nyu-mll/glue", {"sentence1": "Rain fell.", "sentence2": "It rained."}, 1),
    "rte": ("nyu-mll/glue", {"sentence1": "Ann owns a red bike.", "sentence2": "Ann owns a bike."}, 0),
    "stsb": ("nyu-mll/glue", {"sentence1": "A dog runs.", "sentence2": "A dog is running."}, 4.8),
    "sst2": ("nyu-mll/glue", {"sentence": "a lovely hour"}, 1),
    "mnli": ("nyu-mll/glue", {"premise": "They left at noon.", "hypothesis": "They stayed."}, 2),
    "qnli": ("nyu-mll/glue", {"question": "Who baked it?", "sentence": "Tom baked it."}, 0),
    "qqp": ("nyu-mll/glue", {"question1": "How do I knit?", "question2": "How does one knit?"}, 1),
    "cb": ("aps/super_glue", {"premise": "He hopes it works.", "hypothesis": "It works."}, 2),
    "copa": (
        "aps/super_glue",
        {"premise": "The vase broke.", "question": "cause", "choice1": "It fell.", "choice2": "It was blue."},
        0,
    ),
    "boolq": ("aps/super_glue", {"question": "is moss a plant", "passage": "Mosses are small plants."}, 1),
    "wic": ("aps/super_glue", {"word": "bank", "sentence1": "We sat on the bank.", "sentence2": "The bank was closed."}, 0),
}


def mirror(root: Path, name: str, *rows: dict[str, Any]) -> Environment:
    """A mirror with the task's own row, or with the given ones, as both splits."""
    dataset, row, label = ROWS[name]
    for split in ("train", "validation_matched" if name == "mnli" else "validation"):
        path = root / dataset / name / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(item) + "\n" for item in rows or [{**row, "label": label, "idx": 0}]))
    return Environment(data=root)


def make(name: str, environment: Environment, **options: Any) -> HubTask:
    card = CARDS[name]
    return card.load()(card.options(**options), environment)


def perfect(task: HubTask, split: Split) -> np.ndarray:
    if task.kind == "regression":
        return np.array(split.labels)[:, None]
    return np.eye(len(task.labels()))[split.labels]


@pytest.mark.parametrize("name", ROWS)
def test_a_row_becomes_texts_a_label_and_the_teachers_text(name, tmp_path):
    task = make(name, mirror(tmp_path, name))
    split = task.split("train")
    fields, label = ROWS[name][1:]
    assert split.labels == [label]
    assert split.teacher_inputs == [" ".join(fields.values())]
    assert type(split.labels[0]) is (float if name == "stsb" else int)
    if name not in ("copa", "wic"):
        assert split.texts == [tuple(fields.values())]


def test_copa_is_a_question_that_each_choice_completes(tmp_path):
    task = make("copa", mirror(tmp_path, "copa"))
    assert task.kind == "multiple-choice"
    assert task.split("train").texts == [("The vase broke because", "It fell.", "It was blue.")]
    row = {**ROWS["copa"][1], "question": "effect", "label": 1}
    assert make("copa", mirror(tmp_path, "copa", row)).split("train").texts[0][0] == "The vase broke so"


def test_wic_shows_the_student_the_word_before_the_first_sentence(tmp_path):
    split = make("wic", mirror(tmp_path, "wic")).split("validation")
    assert split.texts == [("bank: We sat on the bank.", "The bank was closed.")]


def test_mnli_validates_on_matched_genres_unless_told_otherwise(tmp_path):
    environment = mirror(tmp_path, "mnli")
    assert len(make("mnli", environment).split("validation")) == 1
    row = {**ROWS["mnli"][1], "label": 0}
    (tmp_path / "nyu-mll/glue/mnli/validation_mismatched.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    assert len(make("mnli", environment, mismatched=True).split("validation")) == 2


@pytest.mark.parametrize(
    ("name", "metric", "column", "group"),
    [
        ("cola", "mcc", "CoLA", "GLUE"),
        ("mrpc", "accuracy", "MRPC", "GLUE"),
        ("rte", "accuracy", "RTE", "GLUE"),
        ("stsb", "pearson", "STS-B", "GLUE"),
        ("sst2", "accuracy", "SST-2", "GLUE"),
        ("mnli", "accuracy", "MNLI", "GLUE"),
        ("qnli", "accuracy", "QNLI", "GLUE"),
        ("qqp", "accuracy", "QQP", "GLUE"),
        ("cb", "accuracy", "CB", "SuperGLUE"),
        ("copa", "accuracy", "COPA", "SuperGLUE"),
        ("boolq", "accuracy", "BoolQ", "SuperGLUE"),
        ("wic", "accuracy", "WiC", "SuperGLUE"),
    ],
)
def test_each_task_has_the_papers_metric_and_column(name, metric, column, group):
    card = CARDS[name]
    options = card.options()
    assert make(name, Environment()).metric == metric == options.main_metric
    assert (options.published, options.group) == (column, group)
    expected = {"epochs": 10, "batch_size": 32} if group == "GLUE" else {"batch_size": 8}
    assert expected.items() <= card.defaults.items()
    assert card.suggestions == {"aligner_lr": 3e-3 if group == "GLUE" else 1e-3}


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("cola", ("unacceptable", "acceptable")),
        ("mrpc", ("not_equivalent", "equivalent")),
        ("rte", ("entailment", "not_entailment")),
        ("stsb", ("similarity",)),
        ("sst2", ("negative", "positive")),
        ("mnli", ("entailment", "neutral", "contradiction")),
        ("qnli", ("entailment", "not_entailment")),
        ("qqp", ("not_duplicate", "duplicate")),
        ("cb", ("entailment", "contradiction", "neutral")),
        ("copa", ("choice1", "choice2")),
        ("boolq", ("no", "yes")),
        ("wic", ("different", "same")),
    ],
)
def test_classes_are_named_in_the_order_of_the_hubs_numbers(name, classes):
    """The hub calls BoolQ's and WiC's classes False and True. An exported student tells its users these names."""
    assert make(name, Environment()).labels() == classes


@pytest.mark.parametrize("name", ["mrpc", "qqp"])
def test_paraphrase_tasks_give_f1_too(name):
    assert make(name, Environment()).score(np.array([[0.0, 1.0], [1.0, 0.0]]), [1, 1]) == {
        "accuracy": 50.0,
        "f1": pytest.approx(200 / 3),
    }


@pytest.mark.parametrize("name", CARDS)
def test_the_card_names_the_kind_of_its_task(name):
    assert make(name, Environment()).kind == CARDS[name].kind(CARDS[name].options())


# -------------------------------------------------------------------------------------------------------- wrong rows


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        (
            "cola",
            {"label": -1},
            "the label is -1: the benchmark hides it, as in its test split. Use the training or validation split",
        ),
        (
            "stsb",
            {"label": -1.0},
            "the label is -1: the benchmark hides it, as in its test split. Use the training or validation split",
        ),
        ("cola", {"label": 2}, "column 'label' holds 2, not a class number from 0 to 1. Copy the dataset again"),
        ("cola", {"label": "1"}, "column 'label' holds '1', not a class number from 0 to 1. Copy the dataset again"),
        ("stsb", {"label": 5.1}, "column 'label' holds 5.1, not a number from 0.0 to 5.0. Copy the dataset again"),
        ("stsb", {"label": float("nan")}, "column 'label' holds nan, not a number from 0.0 to 5.0. Copy the dataset again"),
        ("mrpc", {"sentence2": None}, "column 'sentence2' holds None, not a text. Copy the dataset again"),
        ("copa", {"question": "why"}, "column 'question' holds 'why', not 'cause' or 'effect'. Copy the dataset again"),
    ],
)
def test_a_row_that_cannot_be_used_is_told_with_file_and_line(name, change, told, tmp_path):
    row = {**ROWS[name][1], "label": ROWS[name][2]}
    environment = mirror(tmp_path, name, row, {**row, **change})
    with pytest.raises(UserError) as caught:
        make(name, environment).split("train")
    assert str(caught.value) == f"{tmp_path}/{ROWS[name][0]}/{name}/train.jsonl:2: {told}"


def test_a_missing_column_is_told(tmp_path):
    environment = mirror(tmp_path, "rte", {"sentence1": "One.", "label": 0})
    with pytest.raises(UserError, match=r"rte/train\.jsonl:1: no column 'sentence2'; there are 'sentence1', 'label'"):
        make("rte", environment).split("train")


def test_only_training_and_validation_are_splits(tmp_path):
    with pytest.raises(ValueError, match="not 'test'"):
        make("cola", mirror(tmp_path, "cola")).split("test")


# --------------------------------------------------------------------------------------------- identity and downloads


def identity(card: Component, environment: Environment, **options: Any) -> Any:
    return card.identity(card.options(**options), environment)


def test_other_rows_are_another_identity_and_another_place_is_not(tmp_path):
    here, there = mirror(tmp_path / "here", "cola"), mirror(tmp_path / "there", "cola")
    card = CARDS["cola"]
    before = identity(card, here)
    assert identity(card, there) == before
    assert identity(card, Environment(), path=str(tmp_path / "here")) == before
    mirror(tmp_path / "here", "cola", {"sentence": "Another sentence stands here.", "label": 0})
    assert identity(card, here) != before


def test_from_the_hub_the_revision_is_the_identity():
    card = CARDS["cola"]
    assert identity(card, Environment(), revision="main") != identity(card, Environment())
    assert "nyu-mll/glue" in json.dumps(identity(card, Environment()))


def test_a_revision_does_not_change_what_a_mirror_gives(tmp_path):
    environment = mirror(tmp_path, "cola")
    assert identity(CARDS["cola"], environment, revision="main") == identity(CARDS["cola"], environment)


def test_what_is_in_no_mirror_has_to_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    options = CARDS["mnli"].options()
    assert list(options.downloads(Environment())) == ["dataset nyu-mll/glue (mnli): train, validation_matched"]
    assert list(options.downloads(mirror(tmp_path, "mnli"))) == []
    (tmp_path / "cache/nyu-mll___glue/mnli").mkdir(parents=True)
    assert list(options.downloads(Environment())) == []


def test_a_mirror_that_is_not_there_is_a_problem(tmp_path):
    options = CARDS["cola"].options(path=str(tmp_path / "none"))
    assert list(options.problems(Environment())) == [
        f"path: no folder '{tmp_path}/none'; it must hold nyu-mll/glue/cola/train.jsonl"
    ]
    assert list(CARDS["cola"].options().problems(Environment())) == []


def test_a_tasks_own_mirror_wins_over_the_environments(tmp_path):
    mirror(tmp_path / "own", "cola", {"sentence": "Mine.", "label": 0})
    task = make("cola", mirror(tmp_path / "all", "cola"), path=str(tmp_path / "own"))
    assert task.split("train").texts == [("Mine.",)]


def test_reading_a_mirror_imports_nothing_heavy(tmp_path):
    mirror(tmp_path, "cola")
    code = (
        "import sys; from pathlib import Path; import armada_task_glue, armada_task_superglue; "
        "from armada_cli import Environment; "
        "card = armada_task_glue.armada_tasks()[0]; "
        f"assert len(card.load()(card.options(), Environment(data=Path({str(tmp_path)!r}))).split('train')) == 1; "
        "print(sorted({'numpy', 'pandas', 'torch', 'sklearn', 'scipy', 'datasets', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# -------------------------------------------------------------------------------------------------- the real benchmark


@with_data
@pytest.mark.parametrize(
    ("name", "train", "validation"),
    [
        ("cola", 8551, 1043),
        ("mrpc", 3668, 408),
        ("rte", 2490, 277),
        ("stsb", 5749, 1500),
        ("sst2", 67349, 872),
        ("qnli", 1000, 5463),
        ("mnli", 9888, 6238),
        ("copa", 400, 100),
        ("boolq", 9427, 3270),
    ],
)
def test_the_real_rows_are_all_read_and_perfect_answers_score_100(name, train, validation):
    task = make(name, Environment(data=DATA))
    training, held_out = task.split("train"), task.split("validation")
    assert (len(training), len(held_out)) == (train, validation)
    for split in (training, held_out):
        if task.kind == "regression":
            assert 0 <= min(split.labels) <= max(split.labels) <= 5
        else:
            assert set(split.labels) == set(range(len(task.labels())))
        assert all(text.strip() for text in split.teacher_inputs)
        assert len({len(text) for text in split.texts}) == 1
    scores = task.score(perfect(task, held_out), held_out.labels)
    assert all(value == pytest.approx(100) for value in scores.values())


@with_data
def test_real_label_numbers_mean_what_the_class_names_say():
    """The majority shares that the benchmarks are known for."""
    environment = Environment(data=DATA)
    shares = {name: np.mean(make(name, environment).split("validation").labels) for name in ("cola", "mrpc", "boolq")}
    assert shares["cola"] == pytest.approx(0.691, abs=1e-3)
    assert shares["mrpc"] == pytest.approx(0.684, abs=1e-3)
    assert shares["boolq"] == pytest.approx(0.622, abs=1e-3)


@with_data
@pytest.mark.parametrize(
    ("name", "begin", "meaning"),
    [
        ("cola", "They drank the pub.", "unacceptable"),
        ("mrpc", "Amrozi accused his brother , whom he called", "equivalent"),
        ("rte", "No Weapons of Mass Destruction Found in Iraq Yet.", "not_entailment"),
        ("sst2", "that loves its characters and communicates something", "positive"),
        ("qnli", "How can SNES yellowing sometimes be reversed? The color can sometimes be restored", "entailment"),
        ("mnli", "This is the last lap of a conduit bringing water from a mountain stream", "contradiction"),
        ("copa", "My body cast a shadow over the grass", "choice1"),
        ("boolq", "is windows movie maker part of windows essentials", "yes"),
    ],
)
def test_a_real_row_whose_meaning_is_plain_has_that_class(name, begin, meaning):
    task = make(name, Environment(data=DATA))
    split = task.split("train")
    found = [label for texts, label in zip(split.texts, split.labels, strict=True) if " ".join(texts).startswith(begin)]
    assert [task.labels()[label] for label in found] == [meaning] * len(found)
    assert found
