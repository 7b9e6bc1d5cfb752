"""Reasoning tasks: where rows come from, what is asked, and which answers count as right."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import armada_task_reasoning
import numpy as np
import pytest
import running
from armada_task_reasoning import answers, forms

from armada_cli import Environment, TrialFailed, UserError, choose
from armada_cli.evaluation import metrics

CARDS = {card.name: card for card in armada_task_reasoning.armada_tasks()}
TRAINING = ("commonsense", "math")
DATA = Path(os.environ.get("ARMADA_DATA", Path(__file__).parents[2] / "shared" / "data"))
with_data = pytest.mark.skipif(not (DATA / "llm-adapters").is_dir(), reason=f"no benchmark data in {DATA}; set ARMADA_DATA")

HARBOUR = {
    "instruction": "Please choose the correct answer to the question: Where do ferries sleep?\n\n"
    "Answer1: in the harbour Answer2: in a tree Answer3: under a bed\n\nAnswer format: answer1/answer2/answer3",
    "input": "",
    "output": "the correct answer is answer1",
    "answer": "answer1",
}
KITES = {
    "instruction": "Nora has 4 kites and gives 1 away. How many are left?",
    "input": "",
    "output": "She keeps 4 - 1 = 3 kites. The answer is 3.",
    "answer": "3.0",
}


def lay(root: Path, dataset: str, split: str, *rows: dict[str, Any]) -> Environment:
    """A mirror with one file."""
    path = root / dataset / f"{split}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Environment(data=root, offline=True)


def make(name: str, environment: Environment, **options: Any) -> Any:
    card = CARDS[name]
    return card.load()(card.options(**options), environment)


# ---------------------------------------------------------------------------------------------------- finding an answer


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("The answer is 1,234,567.", 1234567),
        ("It costs $1,250.50 in all", 1250.5),
        ("-7", -7),
        ("it fell to \u22127 degrees", -7),
        ("minus: -$5", -5),
        ("they owe $-5", -5),
        ("so 10-3", 3),
        ("(8)-2", 2),
        ("10 - 5 = 5", 5),
        ("3/4 of the cake", 0.75),
        ("The answer is 1 1/2.", 1.5),
        (r"thus \frac{1}{4}", 0.25),
        ("a half is .5", 0.5),
        ("0.60 loaves", 0.6),
        ("25%", 25),
        ("15cm", 15),
        ("5 apples, 6 pears and 7 plums", 7),
        ("The answer is 9. ", 9),
        ("the answer is ...8", 8),
        ("water is H2O, and 4 glasses of it", 4),
        ("40 cups of H2O", 40),
        ("1,2", 2),
        ("12/0", 12),
        ("1\u202f000 steps", 1000),
        ("EUR50", 50),
    ],
)
def test_the_answer_to_a_sum_is_its_last_number(text, value):
    assert answers.number(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "none", "I do not know.", "-", "$", "..."])
def test_a_text_without_a_number_answers_no_sum(text):
    assert answers.extract(text, "3.0") is None
    assert not answers.matches(answers.extract(text, "3.0"), "3.0")


@pytest.mark.parametrize(("said", "right"), [("3.0009", True), ("3", True), ("2.998", False), ("33", False), ("-3", False)])
def test_a_number_may_be_a_thousandth_off(said, right):
    assert answers.matches(answers.extract(said, "3.0"), "3.0") is right


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the correct answer is answer3", "answer3"),
        ("Answer3.", "answer3"),
        ("THE CORRECT ANSWER IS ANSWER2", "answer2"),
        ("the correct answer is answer 4", "answer4"),
        ("Answer: 2", "answer2"),
        ("answer #1", "answer1"),
        ("answer (5)", "answer5"),
        ("3", "answer3"),
        (" (2). ", "answer2"),
        ("answer2, not answer1", "answer2"),
        ("answer12", None),
        ("answer6", None),
        ("answer 1.5", None),
        ("myanswer1", None),
        ("the correct answer is option2", None),
        ("the correct answer is the harbour", None),
        ("There are 3 of them", None),
        ("", None),
    ],
)
def test_the_first_choice_that_is_named_counts(text, found):
    assert answers.choice(text, "answer") == found


@pytest.mark.parametrize(
    ("label", "text"),
    [("ending4", "Ending 4"), ("option2", "OPTION2"), ("solution1", "solution1"), ("false", "That is False.")],
)
def test_each_family_of_choices_is_looked_for_by_its_own_name(label, text):
    assert answers.matches(answers.extract(f"I think: {text}", label), label)
    assert not answers.matches(answers.extract("the correct answer is answer1", label), label)


def test_true_inside_another_word_is_no_answer():
    assert answers.truth("untrue, I would say") is None
    assert answers.truth("It is not false: true") == "false"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The answer is B.", "B"),
        ("Answer: C", "C"),
        ("the answer is (D)", "D"),
        ("The correct option is E", "E"),
        ("A train leaves at 9. The answer is C", "C"),
        ("(A) is too small, so it must be (B)", "B"),
        ("B", "B"),
        ("b", "B"),
        ("so x = 4, which is D.", "D"),
        ("The answer is B. No: the answer is E.", "E"),
        ("All Dogs Bark", None),
        ("A train leaves", None),
        ("The answer is F", None),
        ("", None),
    ],
)
def test_the_letter_that_is_called_the_answer_counts(text, found):
    assert answers.letter(text) == found


def test_the_released_rules_keep_their_accidents():
    assert answers.extract("so 10-3", "3.0", released=True) == -3
    assert answers.extract("Answer: C", "C", released=True) == "A"
    assert answers.extract("ANSWER2", "answer2", released=True) is None
    assert answers.extract("answer2 or answer1", "answer1", released=True) == "answer2"
    assert answers.extract("untrue", "true", released=True) == "true"
    assert answers.extract("nothing", "3.0", released=True) is None


# -------------------------------------------------------------------------------------------------------------- scoring


def test_accuracy_counts_right_answers_and_answered_those_that_say_something(tmp_path):
    task = make("multiarith", lay(tmp_path, "llm-adapters/MultiArith", "test", KITES))
    scores = task.score(["It is 3.", "It is 4.", "no idea", "three, I mean 3.0"], ["3.0"] * 4)
    assert scores == {"accuracy": 50.0, "answered": 75.0}
    assert task.metric == "accuracy"


def test_rows_of_math_may_be_answered_by_a_letter(tmp_path):
    rows = [KITES, {**KITES, "instruction": "Which? (A) 1 (B) 2", "output": "The answer is B.", "answer": "B"}]
    rows += [{**KITES, "instruction": f"Nora has {n} kites. How many?", "answer": str(n)} for n in range(4)]
    task = make("math", lay(tmp_path, "llm-adapters/math", "train", *rows), held_out=2)
    assert task.score(["3", "the answer is (B)", "2"], ["3.0", "B", "B"]) == {
        "accuracy": pytest.approx(200 / 3),
        "answered": 200 / 3,
    }


def test_likelihoods_are_compared_for_choices(tmp_path):
    other = {**HARBOUR, "instruction": HARBOUR["instruction"].replace("ferries", "owls"), "answer": "answer2"}
    environment = lay(tmp_path, "llm-adapters/ARC-Easy", "test", HARBOUR, other)
    task = make("arc-easy", environment, scoring="likelihood")
    split = task.split("validation")
    assert task.decoding is None
    assert split.texts[0][1:] == tuple(f"the correct answer is answer{n}" for n in (1, 2, 3))
    assert split.labels == [0, 1]
    outputs = np.array([[-1.0, -2.0, -3.0], [-1.0, -2.0, -np.inf]])
    assert task.score(outputs, split.labels) == {"accuracy": 50.0}
    with pytest.raises(TrialFailed, match="NaN"):
        task.score(np.array([[np.nan, 0.0]]), [0])


def test_the_letters_of_aqua_are_its_candidates(tmp_path):
    row = {**KITES, "instruction": "Which is even? Answer Choices: (A)1 (B)2 (C)3", "answer": "B"}
    task = make("aqua", lay(tmp_path, "llm-adapters/AQuA", "test", row), scoring="likelihood")
    assert task.split("validation").texts[0][1:] == ("The answer is A", "The answer is B", "The answer is C")


@pytest.mark.parametrize("name", ["multiarith", "singleeq", "math"])
def test_word_problems_have_no_choices_to_compare(name, tmp_path):
    options = CARDS[name].options(scoring="likelihood")
    environment = lay(tmp_path, f"llm-adapters/{options.mirror_name}", options.mirror_split, KITES)
    assert [line for line in options.problems(environment) if line.startswith("scoring: ")]


# -------------------------------------------------------------------------------------------------- questions and rows


def test_a_question_is_asked_in_alpacas_words_and_the_teacher_sees_it_plain(tmp_path):
    row = {**KITES, "input": "Kites are toys."}
    split = make("singleeq", lay(tmp_path, "llm-adapters/SingleEq", "test", KITES, row)).split("validation")
    assert split.texts[0] == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        f"### Instruction:\n{KITES['instruction']}\n\n### Response:\n",
    )
    assert "### Input:\nKites are toys.\n\n### Response:\n" in split.texts[1][0]
    assert split.teacher_inputs == [KITES["instruction"], f"{KITES['instruction']}\n\nKites are toys."]
    assert split.labels == ["3.0", "3.0"]


def test_braces_in_an_instruction_stay_as_they_are(tmp_path):
    row = {**KITES, "instruction": "What is {input} of {1}?", "input": "{instruction}"}
    split = make("singleeq", lay(tmp_path, "llm-adapters/SingleEq", "test", row)).split("validation")
    assert "### Instruction:\nWhat is {input} of {1}?\n\n### Input:\n{instruction}\n\n" in split.texts[0][0]


def test_held_out_rows_are_always_the_same_and_never_trained_on(tmp_path):
    rows = [{**KITES, "instruction": f"Nora has {n} kites. How many?", "answer": str(n)} for n in range(60)]
    rows.append(dict(rows[7]))
    environment = lay(tmp_path, "llm-adapters/math", "train", *rows)
    task = make("math", environment, held_out=20)
    training, held = task.split("train"), task.split("validation")
    assert len(held) == 20
    assert not {texts[0] for texts in training.texts} & {texts[0] for texts in held.texts}
    assert {texts[0] for texts in training.texts} | {texts[0] for texts in held.texts} == {
        texts[0]
        for texts in make("singleeq", environment, file=str(tmp_path / "llm-adapters/math/train.jsonl"))
        .split("validation")
        .texts
    }
    assert make("math", environment, held_out=20).split("validation").texts == held.texts
    with pytest.raises(UserError, match="61 rows are to be held out of 61"):
        make("math", environment, held_out=61).split("train")


def test_training_responses_are_what_the_data_say_without_the_space_around(tmp_path):
    rows = [{**KITES, "output": "\nA: 3 kites. "}, {**KITES, "instruction": "How many now?"}]
    split = make("math", lay(tmp_path, "llm-adapters/math", "train", *rows), held_out=1).split("train")
    assert split.texts[0][1] in ("A: 3 kites.", KITES["output"])
    assert len(split.texts[0]) == 2


def test_training_questions_that_are_also_evaluated_are_named(tmp_path):
    lay(tmp_path, "llm-adapters/MultiArith", "test", KITES, {**KITES, "instruction": "Another one?"})
    rows = [{**KITES, "instruction": f"Nora has {n} kites. How many?", "answer": str(n)} for n in range(9)]
    rows += [{**KITES, "instruction": f"  {KITES['instruction'].upper()} ", "output": "3"}]
    notes = []
    for held_out in (1, 2, 3):
        task = make("math", lay(tmp_path, "llm-adapters/math", "train", *rows), held_out=held_out)
        task.split("train")
        notes += task.notes
    assert notes
    assert set(notes) == {"1 of the 2 questions of MultiArith are also among the training rows"}


def test_an_evaluation_set_names_what_its_student_learns_and_has_no_training_rows(tmp_path):
    assert {name: CARDS[name].options().trained_on() for name in CARDS} == {
        **dict.fromkeys(TRAINING),
        **dict.fromkeys(("hellaswag", "winogrande", "arc-easy", "arc-challenge", "openbookqa"), choose("task", "commonsense")),
        **dict.fromkeys(("multiarith", "singleeq", "aqua"), choose("task", "math")),
    }
    with pytest.raises(ValueError, match="its student learns math"):
        make("multiarith", lay(tmp_path, "llm-adapters/MultiArith", "test", KITES)).split("train")


def test_a_mirror_of_its_own_is_handed_on_where_it_has_the_training_rows(tmp_path):
    lay(tmp_path, "llm-adapters/MultiArith", "test", KITES)
    assert CARDS["multiarith"].options(path=str(tmp_path)).trained_on() == choose("task", "math")
    lay(tmp_path, "llm-adapters/math", "train", KITES)
    assert CARDS["multiarith"].options(path=str(tmp_path)).trained_on() == choose("task", "math", path=str(tmp_path))


# ------------------------------------------------------------------------------------------------------- original rows

ARC = {
    "id": "x",
    "question": "Where do ferries sleep?",
    "choices": {"text": ["in the harbour", "in a tree", "under a bed"], "label": ["1", "2", "3"]},
    "answerKey": "1",
}


def test_an_arc_row_takes_llm_adapters_form(tmp_path):
    task = make("arc-easy", lay(tmp_path, "allenai/ai2_arc/ARC-Easy", "test", ARC))
    split = task.split("validation")
    assert split.teacher_inputs == [HARBOUR["instruction"]]
    assert split.labels == ["answer1"]


def test_the_other_originals_take_their_forms():
    row = {"activity_label": "Sailing", "ctx": "He casts off. he", "endings": ["sails [step] away.", "eats"], "label": "1"}
    assert forms.convert(row, "ending") == {
        "instruction": "Please choose the correct ending to complete the given sentence: Sailing: He casts off. he\n\n"
        "Ending1: sails away. Ending2: eats\n\nAnswer format: ending1/ending2",
        "input": "",
        "output": "the correct answer is ending2",
        "answer": "ending2",
    }
    blank = {"sentence": "Ida met Bo, but _ left.", "option1": "Ida", "option2": "Bo", "answer": "2"}
    found = forms.convert(blank, "blank")
    assert found["instruction"].endswith("Option1: Ida Option2: Bo Answer format: option1/option2")
    assert (found["output"], found["answer"]) == ("the correct answer is option2", "option2")
    assert forms.convert({**blank, "answer": "1"}, "blank")["answer"] == "option1"
    aqua = {"question": "Half of 8?", "options": ["A)2", "B)4"], "rationale": "Halve it.", "correct": "B"}
    found = forms.convert(aqua, "algebra")
    assert (found["instruction"], found["answer"]) == ("Half of 8? Answer Choices: (A) 2 (B) 4", "B")
    assert forms.convert({"question": "2 + 2?", "final_ans": "4"}, "sum_problem")["answer"] == "4"


def test_multiarith_is_read_from_both_splits_of_the_hub(tmp_path):
    lay(tmp_path, "ChilleD/MultiArith", "train", {"question": "1 + 1?", "final_ans": "2"})
    environment = lay(tmp_path, "ChilleD/MultiArith", "test", {"question": "2 + 2?", "final_ans": "4"})
    assert make("multiarith", environment).split("validation").labels == ["2", "4"]


def test_a_row_whose_answer_is_hidden_is_named(tmp_path):
    environment = lay(tmp_path, "allenai/ai2_arc/ARC-Easy", "test", ARC, {**ARC, "answerKey": ""})
    with pytest.raises(UserError, match=r"test\.jsonl:2: the row cannot be used"):
        make("arc-easy", environment).split("validation")


@with_data
@pytest.mark.parametrize("name", ["arc-easy", "arc-challenge", "openbookqa"])
def test_originals_become_exactly_the_rows_that_llm_adapters_released(name):
    options = CARDS[name].options()
    lines = (DATA / options.dataset / str(options.config) / "test.jsonl").read_text(encoding="utf-8").splitlines()
    made = [forms.convert(json.loads(line), options.form) for line in lines]
    released = (DATA / "llm-adapters" / options.mirror_name / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert made == [json.loads(line) for line in released]


@with_data
@pytest.mark.parametrize("name", ["commonsense", "math", "multiarith", "singleeq", "arc-easy", "arc-challenge", "openbookqa"])
def test_every_published_response_is_found_again(name):
    task = make(name, Environment(data=DATA, offline=True))
    if name in TRAINING:
        split = task.split("train")
        assert task.score([texts[1] for texts in split.texts], split.labels)["accuracy"] == 100
        assert len(task.split("validation")) == 120
        assert task.notes == []
    else:
        split = task.split("validation")
        spoken = [
            f"I would say {label}." if name in ("multiarith", "singleeq") else f"It is {label}." for label in split.labels
        ]
        assert task.score(spoken, split.labels) == {"accuracy": 100, "answered": 100}


# ---------------------------------------------------------------------------------------------------- files and mistakes


def test_the_released_json_array_is_read(tmp_path):
    path = tmp_path / "ft-training_set" / "math_10k.json"
    path.parent.mkdir()
    path.write_text(json.dumps([KITES, {**KITES, "instruction": "How many now?", "answer": 3}]))
    task = make("math", Environment(), file=str(path), held_out=1)
    assert len(task.split("train")) == 1
    assert task.split("validation").labels[0] in ("3", "3.0")
    (tmp_path / "dataset" / "SingleEq").mkdir(parents=True)
    (tmp_path / "dataset" / "SingleEq" / "test.json").write_text(json.dumps([KITES, {**KITES, "instruction": "How many now?"}]))
    task.split("train")
    assert task.notes == ["1 of the 2 questions of SingleEq are also among the training rows"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({key: HARBOUR[key] for key in ("instruction", "output")}, "no column 'answer'"),
        ({**HARBOUR, "instruction": "  "}, "the instruction is empty"),
        ({**HARBOUR, "answer": "answer9"}, "no choice, letter or number|answer9"),
        ({**HARBOUR, "answer": "maybe"}, "answer 'maybe' is no choice, letter or number"),
        ({**HARBOUR, "output": None}, "column 'output' holds None"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_line(row, message, tmp_path):
    environment = lay(tmp_path, "llm-adapters/ARC-Easy", "test", HARBOUR, row)
    if row.get("answer") == "answer9":
        with pytest.raises(UserError, match="none of answer1, answer2, answer3"):
            make("arc-easy", environment, scoring="likelihood").split("validation")
        return
    with pytest.raises(UserError, match=rf"test\.jsonl:2: {message}"):
        make("arc-easy", environment).split("validation")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "a JSON object, not an array"),
        ("[1]", "row 1: a JSON number, not an object"),
        ("[{", "not JSON"),
        ("[]", "no row in it"),
        (b"[\xff]", "not UTF-8"),
    ],
)
def test_a_damaged_array_is_one_clear_line(text, message, tmp_path):
    path = tmp_path / "test.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message):
        make("arc-easy", Environment(), file=str(path)).split("validation")


def test_a_set_that_the_hub_does_not_have_says_where_to_get_it():
    options = CARDS["singleeq"].options()
    assert list(options.problems(Environment())) == []
    assert [line for line in options.downloads(Environment()) if "dataset/SingleEq/test.json" in line and "by hand" in line]
    with pytest.raises(UserError, match=r"dataset/SingleEq/test\.json"):
        make("singleeq", Environment(offline=True)).split("validation")


def test_a_set_of_the_hub_is_a_download_until_it_is_there(tmp_path):
    options = CARDS["winogrande"].options()
    assert list(options.downloads(Environment(data=tmp_path))) == ["dataset allenai/winogrande (winogrande_xl): validation"]
    blank = {"sentence": "Ida met Bo, but _ left.", "option1": "Ida", "option2": "Bo", "answer": "2"}
    assert list(options.downloads(lay(tmp_path, "allenai/winogrande/winogrande_xl", "validation", blank))) == []


def test_sampling_and_beams_do_not_go_together(tmp_path):
    environment = lay(tmp_path, "llm-adapters/ARC-Easy", "test", HARBOUR)
    assert list(CARDS["arc-easy"].options(sample=True).problems(environment)) == [
        "sample: not together with beams: 4; set beams: 1"
    ]
    assert list(CARDS["arc-easy"].options(sample=True, beams=1).problems(environment)) == []


def test_other_rows_are_another_identity_and_another_place_is_not(tmp_path):
    card = CARDS["arc-easy"]
    first = card.identity(card.options(), lay(tmp_path / "a", "llm-adapters/ARC-Easy", "test", HARBOUR))
    same = card.identity(card.options(path=str(tmp_path / "a")), Environment())
    other = card.identity(card.options(), lay(tmp_path / "b", "llm-adapters/ARC-Easy", "test", HARBOUR, HARBOUR))
    assert first == same != other
    assert card.identity(card.options(beams=1), Environment(data=tmp_path / "a")) != first


@pytest.mark.parametrize("name", TRAINING)
def test_another_way_to_ask_or_to_judge_is_no_other_training(name, tmp_path):
    card = CARDS[name]
    environment = lay(tmp_path, f"llm-adapters/{name}", "train", HARBOUR)

    def identity(training: bool, **options: Any) -> Any:
        return card.identity(card.options(**options), environment, training=training)

    ways = {
        "scoring": "likelihood",
        "extraction": "released",
        "max_new_tokens": 7,
        "beams": 1,
        "sample": True,
        "temperature": 0.5,
        "top_p": 0.5,
        "top_k": 3,
    }
    for option, value in ways.items():
        assert identity(True, **{option: value}) == identity(True), option
        assert identity(False, **{option: value}) != identity(False), option
    assert identity(True, held_out=7) != identity(True)


def test_decoding_is_llm_adapters_beam_search():
    for name, tokens in (("arc-easy", 32), ("aqua", 256), ("math", 256), ("commonsense", 32)):
        decoding = make(name, Environment()).decoding
        assert (decoding.max_new_tokens, decoding.beams, decoding.sample, decoding.seeds) == (tokens, 4, False, (0,))


@pytest.mark.parametrize("name", CARDS)
def test_smoke_needs_no_data_and_its_answers_can_be_scored(name, tmp_path):
    card = CARDS[name]
    options = card.options().smoke(tmp_path)
    assert card.options().smoke(tmp_path) == options
    assert list(options.problems(Environment(offline=True))) == []
    task = card.load()(options, Environment(offline=True))
    held = task.split("validation")
    assert len(held) == 4
    spoken = [f"The answer is {label}" for label in held.labels]
    assert task.score(spoken, held.labels) == {"accuracy": 100, "answered": 100}
    if name in TRAINING:
        assert len(task.split("train")) == 16


def test_every_task_asks_and_counts_its_rows_before_they_are_there():
    for card in CARDS.values():
        options = card.options()
        assert set(options.rows()) == {"train", "validation", "tokens"}
        assert "### Instruction:\n{instruction}" in options.prompts()["without input"]
        assert options.main_metric == "accuracy"
        assert options.published or card.name in TRAINING
        assert options.main_metric in metrics.METRICS


def test_show_prints_what_a_task_asks():
    from armada_cli.corpora.prompts import PROMPT

    lines = running.armada("show", "task", "multiarith").out.splitlines()
    asked = [line for line in lines if line.startswith("prompt without input\t")]
    assert [json.loads(line.split("\t")[1]) for line in asked] == [PROMPT]
    record = json.loads(running.armada("show", "task", "multiarith", "--json").out)
    assert record["prompts"] == CARDS["multiarith"].options().prompts()
    assert json.loads(running.armada("show", "task", "cola", "--json").out)["prompts"] == {}
