"""Labels of a user's own table: what is one class, what is a list, what is missing."""

from __future__ import annotations

import csv
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from armada_task_files.cells import BrokenList, parse_list
from armada_task_files.options import FilesOptions
from armada_task_files.separators import other_separator
from armada_task_files.spelling import class_key
from armada_task_files.task import Files

from armada_cli import Environment, UserError

CASES = Path(__file__).resolve().parents[1] / os.pardir / "shared" / "cases"


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(labels: list[Any], **options: Any) -> Files:
    """A CSV table with these labels."""
    with Path("table.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((f"Walk {n} was long.", label) for n, label in enumerate(labels))])
    return Files(FilesOptions(file="table.csv", **options), Environment())


def json_table(labels: list[Any], **options: Any) -> Files:
    """A JSONL table with these labels."""
    rows = [json.dumps({"text": f"Walk {n} was long.", "label": label}) for n, label in enumerate(labels)]
    Path("table.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return Files(FilesOptions(file="table.jsonl", **options), Environment())


def parquet_table(labels: Any, **options: Any) -> Files:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = [f"Walk {n} was long." for n in range(len(labels))]
    parquet.write_table(pyarrow.table({"text": texts, "label": labels}), "table.parquet")
    return Files(FilesOptions(file="table.parquet", **options), Environment())


def classes(task: Files) -> list[Any]:
    """What every row has, in the order of the rows: a class, or the classes that apply."""
    names = task.labels()
    splits = [task.split("train"), task.split("validation")]
    rows = sorted(
        (int(text[0].split()[1]), label) for split in splits for text, label in zip(split.texts, split.labels, strict=True)
    )
    if task.kind == "multilabel":
        return [[name for name, flag in zip(names, label, strict=True) if flag] for _, label in rows]
    return [names[label] for _, label in rows]


def message(task: Files) -> str:
    with pytest.raises(UserError) as caught:
        task.split("train")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ----------------------------------------------------------------------------------------------- what looks the same


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ("caf\u00e9", "cafe\u0301", "caf\u00e9"),
        ("good", "good\u200b", "good"),
        ("good", "\ufeffgood", "good"),
        ("good", "go\u00adod", "good"),
        ("good", "good\u200f", "good"),
        ("good", "good\u00a0", "good"),
        ("very good", "very  good", "very good"),
        ("A", "\uff21", "A"),
        ("True", "true", "True"),
        ("1", "1.0", "1"),
        ("1", "+1", "1"),
        ("0", "-0", "0"),
        ("1", "\uff11", "1"),
    ],
)
def test_labels_that_look_the_same_are_one_class(one, other, name):
    task = table([one, other, "other", one, other, "other"])
    assert classes(task) == [name, name, "other"] * 2
    assert len(task.notes) == (1 if other.strip() != one else 0)


@pytest.mark.parametrize(
    ("one", "other"), [("01", "1"), ("1e0", "1"), ("1.10", "1.1"), ("-1", "1"), ("C", "C++"), ("v1", "v1.0")]
)
def test_labels_that_look_different_are_different_classes(one, other):
    task = table([one, other] * 3)
    assert set(classes(task)) == {one, other}
    assert task.notes == []


def test_flags_that_differ_in_invisible_characters_are_different_classes():
    flags = [
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    ]
    assert class_key(flags[0]) != class_key(flags[1])


def test_spellings_of_one_class_are_told_with_their_counts():
    task = table(["caf\u00e9", "cafe\u0301", "tea", "tea\u200b", "tea", "caf\u00e9"])
    task.split("train")
    assert task.notes == [
        "table.csv: column 'label' writes one class in several ways: 'cafe\\u0301' (1), 'caf\u00e9' (2) are read as "
        "'caf\u00e9'; 'tea' (2), 'tea\\u200b' (1) are read as 'tea'. If they are different classes, name "
        "all classes with `classes`"
    ]


def test_the_validation_table_may_spell_a_class_in_another_way():
    Path("other.csv").write_text("text,label\nSlow.,1.0\nFast.,\u200b2\n", encoding="utf-8")
    assert table(["1", "2", "1"], validation="other.csv").split("validation").labels == [0, 1]


def test_named_classes_that_look_the_same_are_told_apart():
    task = table(["b", "B", "b", "B", "b"], classes=("B", "b"))
    assert task.labels() == ("B", "b")
    assert classes(task) == ["b", "B", "b", "B", "b"]
    assert task.notes == []


def test_named_classes_give_the_order_and_refuse_others():
    assert table(["low", "high", "mid", "low"], classes=("low", "mid", "high")).labels() == ("low", "mid", "high")
    assert message(table(["low", "hig", "low"], classes=("low", "high"))) == (
        "table.csv:3: column 'label' holds 'hig', which is not among `classes`. Did you mean 'high'?"
    )


def test_one_class_in_two_spellings_is_one_class_only():
    assert message(table(["good", "Good", "good"])).startswith(
        "table.csv: column 'label' holds one class only, 'good' (also written 'Good'), in all 3 rows."
    )


def test_problems_of_named_classes_are_told():
    def told(**options: Any) -> list[str]:
        table(["a", "b", "a"])
        return list(FilesOptions(file="table.csv", **options).problems(Environment()))

    assert told(classes=("a", "a")) == ["classes: 'a' stands there twice; name each class once"]
    assert told(classes=("a", "")) == ["classes: a name is empty, or has spaces around it; write the names alone"]
    assert told(classes=("a",)) == ["classes: one class only; training needs at least two"]
    assert told(classes=("a", "b"), target="regression") == [
        "classes: a number has no classes; leave them out, or set another target"
    ]


def test_decimal_classes_of_parquet_are_read():
    pyarrow = pytest.importorskip("pyarrow")
    whole = [Decimal("1.0"), Decimal("2.0"), Decimal("1.0"), Decimal("10.0")]
    assert parquet_table(pyarrow.array(whole, pyarrow.decimal128(5, 1))).labels() == ("1", "2", "10")
    assert parquet_table(pyarrow.array(whole, pyarrow.decimal256(50, 2))).labels() == ("1", "2", "10")
    half = [Decimal("1.50"), Decimal("2.00"), Decimal("1.50")]
    assert classes(parquet_table(pyarrow.array(half, pyarrow.decimal128(5, 2)))) == ["1.5", "2", "1.5"]
    lists = [[Decimal("1")], [Decimal("2"), Decimal("1")], [Decimal("3")]]
    assert classes(parquet_table(pyarrow.array(lists), target="multilabel")) == [["1"], ["1", "2"], ["3"]]


# ------------------------------------------------------------------------------------------------------------ missing


@pytest.mark.parametrize("word", ["nan", "NaN", "NA", "N/A", "n/a", "None", "null", "NULL", "<NA>", "#N/A", " nan "])
@pytest.mark.parametrize("target", ["classification", "multilabel"])
def test_a_word_for_a_missing_value_is_no_label(word, target):
    assert message(table(["good", "bad", word, "good"], target=target)) == (
        f"table.csv:4: column 'label' holds {word.strip()!r}, a word for a missing label. Fill the label in, remove the line, "
        f"or, if {word.strip()} is a class, name all classes: `classes: [..., {word.strip()!r}]`"
    )


def test_a_word_for_a_missing_value_is_a_class_when_the_user_names_it():
    assert classes(table(["good", "nan", "nan", "good"], classes=("good", "nan"))) == ["good", "nan", "nan", "good"]
    assert classes(table(["a;NA", "NA", "a"], classes=("a", "NA"), target="multilabel")) == [["a", "NA"], ["NA"], ["a"]]


def test_the_word_none_in_small_letters_is_a_class():
    assert set(classes(table(["none", "some", "none"]))) == {"none", "some"}


def test_a_missing_number_and_a_number_between_thousands_are_told():
    assert message(table(["1", "NA", "2"], target="regression")) == (
        "table.csv:3: column 'label' holds 'NA', a word for a missing number. Fill the number in, or remove the line"
    )
    assert message(table(["1", "1,000", "2"], target="regression")).endswith(
        "Write the number without marks between thousands, and with a point before decimals"
    )
    assert table(["1", "\u22122", "3\u200b"], target="regression").split("train").labels


def test_json_nan_is_no_label():
    assert message(json_table(["a", float("nan"), "b"])) == (
        "table.jsonl:2: column 'label' holds nan, no label. Fill the label in, or remove the line"
    )


def test_an_invisible_label_or_text_is_empty():
    assert "table.csv:3: column 'label' is empty" in message(table(["a", "\u200b", "b"]))
    Path("texts.csv").write_text("text,label\nFine.,a\n\u200b\ufeff,b\n", encoding="utf-8")
    assert "texts.csv:3: column 'text' is empty" in message(Files(FilesOptions(file="texts.csv"), Environment()))


def test_a_text_that_is_a_word_for_a_missing_value_is_noted():
    Path("texts.csv").write_text("text,label\nFine.,a\nnan,b\nCold.,a\nNaN,b\nWet.,a\n", encoding="utf-8")
    task = Files(FilesOptions(file="texts.csv"), Environment())
    task.split("train")
    assert task.notes == [
        "texts.csv: in 2 of 5 rows a text is a word for a missing value ('nan', first at texts.csv:3), and it is read as that "
        "word. Remove the rows if a text is missing there"
    ]


# ---------------------------------------------------------------------------------------------------------- multi-hot


VECTORS = [(1, 0, 1), (0, 0, 0), (0, 1, 0), (1, 1, 1)]


@pytest.mark.parametrize(
    "write",
    [
        list,
        lambda row: [bool(flag) for flag in row],
        lambda row: [float(flag) for flag in row],
        lambda row: [str(flag) for flag in row],
    ],
)
def test_vectors_of_zeros_and_ones_are_multi_hot(write):
    task = json_table([write(row) for row in VECTORS], target="multilabel")
    assert task.labels() == ("0", "1", "2")
    assert classes(task) == [["0", "2"], [], ["1"], ["0", "1", "2"]]
    assert task.notes == [
        "table.jsonl: column 'label' holds vectors of 3 zeros and ones, read as one class for each place; "
        "name them with `classes`"
    ]
    named = json_table([write(row) for row in VECTORS], target="multilabel", classes=("wood", "iron", "glass"))
    assert classes(named) == [["wood", "glass"], [], ["iron"], ["wood", "iron", "glass"]]
    assert named.notes == []


@pytest.mark.parametrize(
    "write",
    [
        str,
        json.dumps,
        lambda row: "[" + " ".join(map(str, row)) + "]",
        lambda row: "[" + " ".join(f"{flag}." for flag in row) + "]",
        lambda row: ";".join(map(str, row)),
        lambda row: str([bool(flag) for flag in row]),
    ],
)
def test_vectors_in_cells_are_multi_hot(write):
    assert classes(table([write(row) for row in VECTORS], target="multilabel")) == [["0", "2"], [], ["1"], ["0", "1", "2"]]


def test_vectors_of_parquet_are_multi_hot():
    pyarrow = pytest.importorskip("pyarrow")
    fixed = pyarrow.array([list(row) for row in VECTORS], pyarrow.list_(pyarrow.int8(), 3))
    assert classes(parquet_table(fixed, target="multilabel")) == [["0", "2"], [], ["1"], ["0", "1", "2"]]


def test_numbers_of_classes_are_no_vectors():
    assert classes(json_table([[0], [0, 1], [1]], target="multilabel")) == [["0"], ["0", "1"], ["1"]]
    assert classes(table(["0", "1", "0"], target="multilabel")) == [["0"], ["1"], ["0"]]


def test_a_vector_of_another_length_is_told():
    assert message(json_table([[True, False], [False, True], [True], [False, True]], target="multilabel")) == (
        "table.jsonl:3: column 'label' holds [True], 1 places where the column has 2. Write a 0 or a 1 for each class"
    )
    assert message(json_table([[1, 1, 0], [0, 0, 1], [1, 2, 0], [0, 0, 0]], target="multilabel")) == (
        "table.jsonl:3: column 'label' holds [1, 2, 0], where the column holds vectors of zeros and ones. "
        "Write a 0 or a 1 for each class"
    )
    Path("other.jsonl").write_text('{"text": "Slow.", "label": [1, 0]}\n')
    task = json_table([list(row) for row in VECTORS], target="multilabel", validation="other.jsonl")
    assert message(task).startswith("other.jsonl:1: column 'label' holds [1, 0], 2 places where the column has 3.")


def test_vectors_and_named_classes_have_one_length():
    assert message(json_table([list(row) for row in VECTORS], target="multilabel", classes=("wood", "iron"))) == (
        "table.jsonl: column 'label' holds vectors of 3 zeros and ones, and `classes` has 2 names. "
        "Give one name for each place of the vector"
    )


# ------------------------------------------------------------------------------------------------------ lists in cells


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        ("['wood', 'iron']", ["wood", "iron"]),
        ('["wood", "iron"]', ["wood", "iron"]),
        ("('wood', 'iron')", ["wood", "iron"]),
        ("('wood',)", ["wood"]),
        ("{'wood', 'iron'}", ["wood", "iron"]),
        ("['wood' 'iron']", ["wood", "iron"]),
        ("array(['wood', 'iron'], dtype=object)", ["wood", "iron"]),
        ("[wood, dark iron]", ["wood", "dark iron"]),
        ("[dark wood]", ["dark wood"]),
        ("['don\\'t', \"it's, so\"]", ["don't", "it's, so"]),
        ("[1, 0]", [1, 0]),
        ("[1 0]", [1, 0]),
        ("[True, False]", [True, False]),
        ("[]", []),
        ("set()", []),
        ("wood", None),
        ("(none)", None),
        ("{}", []),
        ("a [b] c", None),
    ],
)
def test_a_list_in_a_cell_is_read_as_json_python_and_numpy_write_it(cell, items):
    assert parse_list(cell) == items


@pytest.mark.parametrize(
    "cell", ["['wood'", "['wood', ['iron']]", "[[1], [2]]", "['wood' x", "['wood', 'iron' 'glass']", "[" * 90_000]
)
def test_a_broken_list_is_told(cell):
    with pytest.raises(BrokenList):
        parse_list(cell)


def test_lists_in_cells_are_labels():
    task = table(["['wood']", '["wood", "iron"]', "[]", "wood; iron"], target="multilabel")
    assert classes(task) == [["wood"], ["iron", "wood"], [], ["iron", "wood"]]
    assert message(table(["['wood']", "['iron'", "[]"], target="multilabel")) == (
        "table.csv:3: column 'label' holds \"['iron'\", which begins as a list and cannot be read as one. "
        "Write a JSON list, or labels with ';' between them"
    )


def test_a_list_in_a_cell_is_no_class():
    assert message(table(["['wood']", "['iron']", "['wood']"])).startswith(
        "table.csv:2: column 'label' holds \"['wood']\", a list and not a class;"
    )
    assert set(classes(table(["[deleted]", "[kept]", "[kept]"]))) == {"[deleted]", "[kept]"}


# ---------------------------------------------------------------------------------------------------------- separators


@pytest.mark.parametrize("mark", ["|", ",", "\t"])
def test_labels_between_other_separators_are_told_with_the_option(mark):
    shown = {"\t": "\\t"}.get(mark, mark)
    cells = [f"wood{mark}iron", "wood", f"iron{mark}glass", "glass"]
    assert message(table(cells, target="multilabel")) == (
        f"table.csv:2: column 'label' holds {cells[0]!r}, which looks like several labels. "
        f'Set `separator: "{shown}"`, or name all classes with `classes` if it is one'
    )
    assert classes(table(cells, target="multilabel", separator=mark))[2] == ["glass", "iron"]
    assert classes(table(cells, target="multilabel", classes=tuple(cells)))[0] == [cells[0]]


def test_a_semicolon_is_told_where_another_separator_is_set():
    assert 'Set `separator: ";"`' in message(table(["a;b", "b", "a"], target="multilabel", separator="|"))


def test_a_name_with_a_comma_is_a_name_where_nothing_shares_its_parts():
    task = table(["Paris, France", "Rome, Italy", "Paris, France;Rome, Italy"], target="multilabel")
    assert classes(task)[0] == ["Paris, France"]
    assert task.notes == []


def test_characters_that_may_stand_in_names_are_noted_only():
    assert other_separator({"dark wood", "wood", "science fiction"}, ";") is None
    assert other_separator({"a/b", "b/c", "a", "c"}, ";") == ("/", False)
    task = table(["a/b", "b/c", "a", "c"], target="multilabel")
    assert classes(task)[0] == ["a/b"]
    assert task.notes == [
        "table.csv:2: column 'label' holds 'a/b', which looks like several labels. "
        'Set `separator: "/"`, or name all classes with `classes` if it is one'
    ]


# --------------------------------------------------------------------------------------------------------------- cases


@pytest.mark.parametrize(
    ("name", "options", "outcome"),
    [
        ("multihot.jsonl", {"target": "multilabel", "label": "tags"}, ("0", "1", "2")),
        ("multihot_bools.jsonl", {"target": "multilabel", "label": "tags"}, ("0", "1")),
        ("lists_in_cells.csv", {"target": "multilabel", "label": "tags"}, ("iron", "wood")),
        ("pipe_separated.csv", {"target": "multilabel", "label": "tags"}, 'Set `separator: "|"`'),
        ("pipe_separated.csv", {"target": "multilabel", "label": "tags", "separator": "|"}, ("glass", "iron", "wood")),
        ("labels_two_unicode_forms.csv", {}, ("caf\u00e9", "th\u00e9")),
        ("labels_invisible.csv", {}, ("bad", "good")),
        ("labels_1_and_1.0.csv", {}, ("0", "1")),
        ("space_after_comma.csv", {}, ("bad", "good")),
        ("label_nan.csv", {}, "a word for a missing label"),
        ("label_nan.csv", {"classes": ("good", "bad", "nan")}, ("good", "bad", "nan")),
        ("one_class.csv", {}, "one class only"),
        ("trailing_comma.jsonl", {}, "a comma before a closing bracket"),
        ("mixed.csv", {}, "the byte 0xe9"),
        ("special_tokens_in_text.csv", {}, ("bad", "good")),
        ("duplicate_unused_columns.csv", {}, ("bad", "good")),
        ("excel_sep_line.csv", {}, ("bad", "good")),
    ],
)
def test_inputs_that_went_wrong_are_read_or_told(name, options, outcome):
    if not (CASES / name).is_file():
        pytest.skip("the collected inputs are not beside this checkout")
    task = Files(FilesOptions(file=str(CASES / name), **options), Environment())
    if isinstance(outcome, str):
        assert outcome in message(task)
    else:
        assert task.labels() == outcome
        assert len(task.split("train")) + len(task.split("validation")) == 48
