"""Instruction sets: rows in MiniLLM's form, references, ROUGE-L and the settings of its evaluation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import armada_task_instructions
import pytest

from armada_cli import Environment, UserError, choose
from armada_cli.evaluation import metrics

CARDS = {card.name: card for card in armada_task_instructions.armada_tasks()}
DATA = Path(os.environ.get("ARMADA_DATA", Path(__file__).parents[2] / "shared" / "data"))
with_data = pytest.mark.skipif(not (DATA / "MiniLLM").is_dir(), reason=f"no benchmark data in {DATA}; set ARMADA_DATA")

SOUP = {"instruction": "Name a soup.", "input": "", "output": "Leek soup.", "prompt": "ignored"}
CLOCK = {"instruction": "What does it say?", "input": "The clock strikes nine.", "output": ["Nine.", "It is nine o'clock."]}
LONG = {"instruction": "Tell of the ferry.", "output": "The ferry leaves the harbour at nine, and comes back at noon."}


def lay(root: Path, name: str, split: str, *rows: dict[str, Any]) -> Environment:
    """A mirror with one split of a task's data set."""
    path = root / CARDS[name].options.dataset / f"{split}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Environment(data=root, offline=True)


def make(name: str, environment: Environment, **options: Any) -> Any:
    card = CARDS[name]
    return card.load()(card.options(**options), environment)


# -------------------------------------------------------------------------------------------------------------- ROUGE-L


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence():
    # "the ... sat on the mat" of 6 and 7 words, 5 in common: 2 x 5 / (6 + 7)
    value = metrics.rouge_l(["the cat sat on the mat"], ["the old dog sat on the mat"])
    assert value == pytest.approx(100 * 2 * 5 / 13)


def test_rouge_l_sees_stems_and_no_case_or_marks():
    assert metrics.rouge_l(["The Ferries, LEAVING!"], ["the ferry leaves"]) == 100


def test_the_best_reference_counts_and_the_mean_is_over_texts():
    assert metrics.rouge_l(["nine", "soup"], [["ten", "nine"], "tea"]) == 50


def test_an_empty_answer_scores_nothing():
    assert metrics.rouge_l([""], ["soup"]) == 0
    assert metrics.rouge_l(["..."], ["soup"]) == 0


def test_exact_match_overlooks_case_marks_and_spaces_only():
    assert metrics.exact_match(
        ["leek  SOUP", "a leek soup", "Nine!"], ["Leek soup.", "Leek soup.", ("Ten", "nine")]
    ) == pytest.approx(200 / 3)


def test_answers_and_references_must_belong_together():
    with pytest.raises(ValueError, match="1 answers do not belong to 2 references"):
        metrics.rouge_l(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="0 answers"):
        metrics.rouge_l([], [])


# ----------------------------------------------------------------------------------------------------------------- rows


def test_dolly_trains_on_prompt_and_response_and_evaluates_on_the_test_rows(tmp_path):
    lay(tmp_path, "dolly", "train", SOUP, CLOCK)
    task = make("dolly", lay(tmp_path, "dolly", "test", LONG))
    training, evaluated = task.split("train"), task.split("validation")
    assert training.texts[0] == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nName a soup.\n\n### Response:\n",
        "Leek soup.",
    )
    assert training.texts[1][1] == "Nine."
    assert training.teacher_inputs == ["Name a soup.", "What does it say?\n\nThe clock strikes nine."]
    assert evaluated.texts == [(evaluated.texts[0][0],)]
    assert evaluated.labels == [(LONG["output"],)]
    assert task.notes == []


def test_an_input_stands_under_its_own_heading(tmp_path):
    split = make("vicuna", lay(tmp_path, "vicuna", "test", CLOCK)).split("validation")
    assert split.texts[0][0].startswith("Below is an instruction that describes a task, paired with an input")
    assert "\n\n### Input:\nThe clock strikes nine.\n\n### Response:\n" in split.texts[0][0]
    assert split.labels == [("Nine.", "It is nine o'clock.")]


def test_rows_that_training_and_evaluation_share_are_counted(tmp_path):
    lay(tmp_path, "dolly", "train", SOUP, CLOCK)
    task = make("dolly", lay(tmp_path, "dolly", "test", {**SOUP, "instruction": "NAME  a soup."}, LONG))
    task.split("train")
    assert task.notes == ["1 of the 2 rows evaluated ask what a training row asks"]


def test_only_long_answers_of_sni_and_uni_are_evaluated(tmp_path):
    other = {**LONG, "instruction": "And again."}
    environment = lay(tmp_path, "sni", "test", SOUP, LONG, CLOCK, other)
    assert len(make("sni", environment).split("validation")) == 2
    assert len(make("sni", environment, longer_than=0).split("validation")) == 4
    environment = lay(tmp_path, "uni", "test", SOUP, LONG, other)
    assert make("uni", environment, first=1).split("validation").labels == [(LONG["output"],)]
    assert len(make("uni", environment, first=0).split("validation")) == 2
    with pytest.raises(UserError, match="no reference of MiniLLM/uinst has over 50 tokens"):
        make("uni", environment, longer_than=50).split("validation")


def test_another_split_can_be_evaluated(tmp_path):
    lay(tmp_path, "dolly", "train", SOUP)
    task = make("dolly", lay(tmp_path, "dolly", "validation", LONG), split="validation")
    assert len(task.split("validation")) == 1
    assert list(task.options.problems(Environment())) == []
    assert list(CARDS["dolly"].options(split="train").problems(Environment())) == [
        "split: it is the training split; evaluate another one"
    ]


def test_an_evaluation_set_is_trained_on_dolly_and_has_no_training_rows(tmp_path):
    assert {name: card.options().trained_on() for name, card in CARDS.items()} == {
        "dolly": None,
        **dict.fromkeys(("self-inst", "vicuna", "sni", "uni"), choose("task", "dolly")),
    }
    task = make("vicuna", lay(tmp_path, "vicuna", "test", SOUP))
    with pytest.raises(ValueError, match="learns dolly"):
        task.split("train")
    assert set(task.options.identity(task.environment)["data"]) == {"validation"}
    lay(tmp_path, "dolly", "train", SOUP)
    assert CARDS["vicuna"].options(path=str(tmp_path)).trained_on() == choose("task", "dolly", path=str(tmp_path))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction": "Name a soup."}, "no column 'output'"),
        ({**SOUP, "instruction": ""}, "the instruction is empty"),
        ({**SOUP, "instruction": 3}, "the instruction is empty or no text"),
        ({**SOUP, "input": 3}, "column 'input' holds 3, not a text"),
        ({**SOUP, "output": []}, "column 'output' holds"),
        ({**SOUP, "output": ["x", None]}, "column 'output' holds"),
        ({**SOUP, "output": " "}, "the output is empty"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_line(row, message, tmp_path):
    with pytest.raises(UserError, match=rf"test\.jsonl:2: {message}"):
        make("vicuna", lay(tmp_path, "vicuna", "test", SOUP, row)).split("validation")


def test_a_set_that_is_not_there_is_a_download(tmp_path):
    assert list(CARDS["uni"].options().downloads(Environment(data=tmp_path))) == ["dataset MiniLLM/uinst: test"]
    with pytest.raises(UserError, match="MiniLLM/uinst"):
        make("uni", Environment(data=tmp_path, offline=True)).split("validation")


# ------------------------------------------------------------------------------------------------------------- settings


def test_answers_are_drawn_as_in_minillm():
    decoding = make("dolly", Environment()).decoding
    assert (decoding.sample, decoding.temperature, decoding.top_p, decoding.top_k) == (True, 1.0, 1.0, 0)
    assert (decoding.max_prompt_tokens, decoding.max_new_tokens) == (256, 256)
    assert decoding.seeds == (10, 20, 30, 40, 50)


def test_without_sampling_one_evaluation_is_enough():
    assert make("vicuna", Environment(), sample=False).decoding.seeds == (10,)


@pytest.mark.parametrize(("seeds", "message"), [((), "there is none"), ((1, 1), "given twice")])
def test_seeds_must_be_several_different_ones(seeds, message):
    assert [line for line in CARDS["vicuna"].options(seeds=seeds).problems(Environment()) if message in line]


@pytest.mark.parametrize("name", CARDS)
def test_smoke_needs_no_data_and_its_references_score_100(name, tmp_path):
    card = CARDS[name]
    options = card.options().smoke(tmp_path)
    assert card.options().smoke(tmp_path) == options
    task = card.load()(options, Environment(offline=True))
    evaluated = task.split("validation")
    assert len(evaluated) == 4
    assert len(task.decoding.seeds) == 1
    assert task.score([references[-1] for references in evaluated.labels], evaluated.labels) == {
        "rouge_l": 100,
        "exact_match": 100,
    }
    if name == "dolly":
        assert len(task.split("train")) == 16
        assert task.notes == []


@with_data
def test_our_prompts_are_those_of_the_published_rows():
    environment = Environment(data=DATA, offline=True)
    for name, size in (("dolly", 500), ("self-inst", 242), ("vicuna", 80)):
        lines = (DATA / CARDS[name].options.dataset / "test.jsonl").read_text(encoding="utf-8").splitlines()
        made = make(name, environment).split("validation").texts
        assert len(made) == size
        assert [texts[0] for texts in made] == [json.loads(line)["prompt"] for line in lines]


@with_data
def test_published_references_score_100():
    task = make("vicuna", Environment(data=DATA, offline=True))
    labels = task.split("validation").labels
    assert task.score([references[0] for references in labels], labels) == {"rouge_l": 100, "exact_match": 100}
