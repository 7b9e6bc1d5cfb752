"""A user's own table: what is read from it, and what the user is told when it cannot be read."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from armada_task_files import armada_tasks
from armada_task_files.options import FilesOptions
from armada_task_files.task import Files

from armada_cli import Environment, UserError

GOOD = """text,label
The soup was warm and the bread was fresh.,good
Nobody came to take our order.,bad
"A long, quiet evening by the river.",good
The lamp on our table did not work.,bad
They found a chair for my grandmother.,good
"""


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(name: str, content: str | bytes) -> str:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def save_lines(name: str, rows: list[Any]) -> str:
    return save(name, "".join(json.dumps(row) + "\n" for row in rows))


def files(file: str = "reviews.csv", **options: Any) -> Files:
    return Files(FilesOptions(file=file, **options), Environment())


def message(file: str = "reviews.csv", **options: Any) -> str:
    """The line a user sees when the task is loaded."""
    with pytest.raises(UserError) as caught:
        files(file, **options).split("train")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def problems(file: str = "reviews.csv", **options: Any) -> list[str]:
    """The lines `armada check` has for these options."""
    return list(FilesOptions(file=file, **options).problems(Environment()))


def numbered(rows: int) -> str:
    lines = [f"Guest number {row} wrote a card.,{'good' if row % 3 else 'bad'}\n" for row in range(rows)]
    return "text,label\n" + "".join(lines)


# ------------------------------------------------------------------------------------------------------- what is read


def test_a_csv_gives_texts_class_numbers_and_the_teachers_text():
    save("reviews.csv", GOOD)
    save("other.csv", "text,label\nWe would come again.,good\n")
    task = files(validation="other.csv")
    training = task.split("train")
    assert training.texts[2] == ("A long, quiet evening by the river.",)
    assert training.labels == [1, 0, 1, 0, 1]
    assert training.teacher_inputs[1] == "Nobody came to take our order."
    assert task.labels() == ("bad", "good")
    assert task.split("validation").labels == [1]
    assert (task.kind, task.metric) == ("classification", "accuracy")


def test_four_formats_with_the_same_rows_give_the_same_task():
    rows = list(csv.DictReader(GOOD.splitlines()))
    save("a.csv", GOOD)
    save("b.tsv", "text\tlabel\n" + "".join(f"{row['text']}\t{row['label']}\n" for row in rows))
    save_lines("c.jsonl", rows)
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(rows), "d.parquet")
    splits = [files(name).split("train") for name in ("a.csv", "b.tsv", "c.jsonl", "d.parquet")]
    assert all(split == splits[0] for split in splits)
    assert len(splits[0]) == 4


def test_a_pair_is_shown_to_the_teacher_as_one_text():
    save("pairs.csv", "a,b,same\nIt rains.,Water falls.,1\nIt rains.,The sun shines.,0\nIt snows.,Flakes fall.,1\n")
    task = files("pairs.csv", validation_share=0.3, text="a", text2="b", label="same")
    everything = [task.split(name) for name in ("train", "validation")]
    assert {text for split in everything for text in split.texts} >= {("It rains.", "Water falls.")}
    assert all(split.teacher_inputs[0] == " ".join(split.texts[0]) for split in everything)


def test_whole_number_labels_are_ordered_by_size_whatever_their_type():
    save_lines(
        "stars.jsonl", [{"text": f"Stay {n} was fine.", "label": label} for n, label in enumerate([10, "9", 2, 10.0, "2", 9])]
    )
    assert files("stars.jsonl").labels() == ("2", "9", "10")


def test_regression_reads_numbers_and_names_the_target():
    save("heat.csv", "text,degrees\nIce on the pond.,-3.5\nA mild day.,1.2e1\nShade at last., 31 \n")
    task = files("heat.csv", label="degrees", target="regression", validation="heat2.csv")
    save("heat2.csv", "text,degrees\nFog.,4\n")
    assert task.split("train").labels == [-3.5, 12.0, 31.0]
    assert (task.kind, task.labels(), task.metric) == ("regression", ("degrees",), "pearson")


def test_several_labels_come_from_a_cell_or_from_a_list():
    save("tags.csv", "text,label\nA boat race.,sport; water\nA quiet lake.,water\nA long talk.,\n")
    save_lines("more.jsonl", [{"text": "A swim.", "label": ["water", "sport"]}, {"text": "A nap.", "label": []}])
    task = files("tags.csv", target="multilabel", validation="more.jsonl")
    assert task.labels() == ("sport", "water")
    assert task.split("train").labels == [(1, 1), (0, 1), (0, 0)]
    assert task.split("validation").labels == [(1, 1), (0, 0)]
    assert (task.kind, task.metric) == ("multilabel", "micro_f1")


def test_other_encodings_delimiters_and_quotes_are_options():
    save("old.csv", "text;label\nCafé am See;gut\nKühle Küche;schlecht\nGrüße;gut\n".encode("cp1252"))
    save("odd.tsv", 'text\tlabel\n"Why not, she said\ta\nHe left\tb\nThe "end\ta\n')
    save("wide.csv", "text,label\nEins,a\nZwei,b\nDrei,a\n".encode("utf-16"))
    task = files("old.csv", delimiter=";", encoding="cp1252")
    assert ("Kühle Küche",) in [*task.split("train").texts, *task.split("validation").texts]
    odd = files("odd.tsv", quotes=False)
    assert ('"Why not, she said',) in [*odd.split("train").texts, *odd.split("validation").texts]
    assert files("wide.csv", encoding="utf-16").labels() == ("a", "b")


def test_a_byte_order_mark_and_an_unnamed_index_column_do_no_harm():
    save("saved.csv", b"\xef\xbb\xbf" + b"text,,label,\nOne.,0,a,\nTwo.,1,b,\nThree.,2,a,\n")
    assert files("saved.csv").labels() == ("a", "b")
    assert problems("saved.csv") == []


def test_a_text_longer_than_the_csv_modules_limit_is_read():
    before = csv.field_size_limit()
    save("long.csv", "text,label\n" + "word " * 40_000 + ",a\nshort,b\nlast,a\n")
    task = files("long.csv")
    assert max(len(text[0]) for name in ("train", "validation") for text in task.split(name).texts) == 200_000
    assert csv.field_size_limit() == before


# ---------------------------------------------------------------------------------------------------------- the split


def test_the_part_kept_back_is_disjoint_stratified_and_the_same_every_time():
    save("reviews.csv", numbered(300))
    first, again = files(), files()
    training, validation = first.split("train"), first.split("validation")
    assert again.split("train") == training
    assert again.split("validation") == validation
    assert not set(training.texts) & set(validation.texts)
    assert len(training) + len(validation) == 300
    assert (validation.labels.count(0), validation.labels.count(1)) == (20, 40)


def test_another_seed_keeps_other_rows_back():
    save("reviews.csv", numbered(60))
    assert files(seed=1).split("validation").texts != files(seed=0).split("validation").texts


def test_the_order_of_the_rows_does_not_change_what_is_kept_back():
    save("reviews.csv", numbered(60))
    header, *lines = numbered(60).splitlines(keepends=True)
    save("turned.csv", header + "".join(reversed(lines)))
    assert set(files().split("validation").texts) == set(files("turned.csv").split("validation").texts)


def test_a_repeated_text_never_stands_on_both_sides():
    save(
        "reviews.csv",
        numbered(40)
        + "".join(line.upper() + "\n" for line in numbered(40).splitlines()[1:]).replace("GOOD", "good").replace("BAD", "bad"),
    )
    task = files(validation_share=0.5)
    sides = [{text[0].lower() for text in task.split(name).texts} for name in ("train", "validation")]
    assert not sides[0] & sides[1]


def test_every_class_keeps_a_row_to_train_on():
    save("rare.csv", numbered(20) + "A card in verse.,odd\nA card in verse.,good\nA drawing.,odd two\n")
    for seed in range(8):
        task = files("rare.csv", validation_share=0.9, seed=seed)
        assert set(task.split("train").labels) == set(range(len(task.labels())))


def test_texts_that_are_in_both_files_are_noted():
    save("reviews.csv", GOOD)
    save("check.csv", "text,label\nA new text.,bad\nnobody came to  take our order.,bad\n")
    task = files(validation="check.csv")
    task.split("train")
    assert task.notes == [
        "check.csv: 1 of 2 texts are in reviews.csv too (the first is at check.csv:3), so scores will flatter. "
        "Remove them from one of the files"
    ]


# ------------------------------------------------------------------------------------------------------------- scores


@pytest.mark.parametrize(
    ("target", "outputs", "labels", "names"),
    [
        ("classification", [[0.0, 2.0], [3.0, 1.0]], [1, 0], {"accuracy", "macro_f1", "mcc"}),
        ("regression", [[0.5], [2.5], [1.0]], [1.0, 5.0, 2.0], {"pearson", "spearman"}),
        ("multilabel", [[1.0, -1.0], [2.0, 3.0]], [(1, 0), (1, 1)], {"micro_f1", "macro_f1", "accuracy"}),
    ],
)
def test_perfect_predictions_score_100(target, outputs, labels, names):
    scores = files(target=target).score(np.array(outputs), labels)
    assert set(scores) == names
    assert all(value == pytest.approx(100) for value in scores.values())


def test_the_main_metric_can_be_chosen():
    save("reviews.csv", GOOD)
    task = files(metric="f1")
    assert task.metric == "f1"
    assert "f1" in task.score(np.eye(2), [0, 1])


# ------------------------------------------------------------------------------- wrong input: each is one whole line


def test_a_missing_file_is_told_with_the_nearest_one_there():
    save("reviews.csv", GOOD)
    assert message("review.csv") == "review.csv: no such file. Did you mean 'reviews.csv'?"
    assert message("xyz.tsv") == "xyz.tsv: no such file. The tables in that folder are 'reviews.csv'"
    assert message("none/x.csv") == "none/x.csv: no such file. There is no folder 'none' either"


def test_a_file_of_another_format_is_told_what_to_become():
    assert message("a.xlsx") == "a.xlsx: .xlsx is not a format that is read here. Save the sheet as CSV (UTF-8)"
    assert (
        message("a.json")
        == "a.json: .json is not a format that is read here. Write one JSON object a line and call the file .jsonl"
    )
    assert message("a") == "a: no ending is not a format that is read here. Name a .csv, .tsv, .jsonl or .parquet file"


def test_a_missing_column_is_told_with_those_there():
    save("reviews.csv", "body,Label\nFine.,a\n")
    assert message() == "reviews.csv:1: no column 'text' and 'label'. The columns are 'body', 'Label'"
    assert message(text="body") == "reviews.csv:1: no column 'label'. Did you mean 'Label'? The columns are 'body', 'Label'"
    save_lines("rows.jsonl", [{"text": "Fine.", "class": "a"}])
    assert message("rows.jsonl") == "rows.jsonl:1: no column 'label'. The columns are 'text', 'class'"


def test_a_semicolon_table_is_told_its_delimiter():
    save("reviews.csv", "text;label\nFine;a\n")
    assert message() == "reviews.csv:1: one column only, 'text;label'. Set `delimiter: \";\"`"


def test_two_columns_of_one_name_are_refused():
    save("reviews.csv", "text,label,text\nFine.,a,b\n")
    assert message() == "reviews.csv:1: two columns are called 'text'. Give each column a name of its own"


@pytest.mark.parametrize("content", ["", "\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_told(content):
    save("reviews.csv", content)
    assert message() == "reviews.csv: the file is empty. Give a file with a header and at least two rows"


def test_a_header_alone_is_told():
    save("reviews.csv", "text,label\n")
    assert message() == "reviews.csv: no row under the header. Give a file with at least two rows"


def test_an_empty_text_is_told_with_its_line_in_the_editor():
    save("reviews.csv", 'text,label\n"Two\nlines.",a\n\n  ,b\nEnd.,a\n')
    assert message() == "reviews.csv:5: column 'text' is empty. Fill the text in, or remove the line"


def test_of_many_bad_lines_three_are_shown_and_all_are_counted():
    save("reviews.csv", "text,label\n,a\nFine.,\nGood.,b\n,b\n,b\n,a\n")
    assert message() == (
        "reviews.csv:2: column 'text' is empty; line 3: column 'label' is empty; line 5: column 'text' is empty; "
        "5 bad lines in all. Fill the text in, or remove the line. Fill the label in, or remove the line"
    )


def test_a_label_that_training_never_has_is_told_with_the_nearest():
    save("reviews.csv", GOOD)
    save("check.csv", "text,label\nWarm.,god\n")
    assert message(validation="check.csv") == (
        "check.csv:2: column 'label' holds 'god', a label that training never has. Did you mean 'good'?"
    )
    save("check.csv", "text,label\nWarm.,good\nDamp.,42\n")
    assert message(validation="check.csv") == (
        "check.csv:3: column 'label' holds '42', a label that training never has. The training labels are 'bad', 'good'"
    )


def test_one_class_alone_is_told():
    save("reviews.csv", "text,label\nFine.,good\nWarm.,good\n")
    assert message() == (
        "reviews.csv: column 'label' holds one class only, 'good', in all 2 rows. "
        "Training needs at least two classes: add rows of another class, or name another column"
    )


def test_a_class_for_every_row_is_told():
    save("reviews.csv", "text,label\nFine.,1.5\nWarm.,2.5\nCold.,3.25\n")
    assert message() == "reviews.csv: column 'label' holds another class in each of its 3 rows. Set `target: regression`"


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("five", "holds 'five', not a number. Write a number, or set `target: classification`"),
        ('"3,5"', "holds '3,5', not a number. Write the decimal point as a point"),
        ("NaN", "holds 'NaN', not a finite number. Fill the number in, or remove the line"),
        ("-inf", "holds '-inf', not a finite number. Fill the number in, or remove the line"),
        ("1_000", "holds '1_000', not a number. Write a number, or set `target: classification`"),
        ("", "is empty. Fill the number in, or remove the line"),
    ],
)
def test_a_target_that_is_no_number_is_told(cell, told):
    save("reviews.csv", f"text,stars\nFine.,4\nWarm.,{cell}\n")
    assert message(label="stars", target="regression") == f"reviews.csv:3: column 'stars' {told}"


def test_a_target_that_never_varies_is_told():
    save("reviews.csv", "text,label\nFine.,3\nWarm.,3.0\n")
    assert message(target="regression") == (
        "reviews.csv: column 'label' holds 3 in all 2 rows. There is nothing to predict: name another column"
    )


def test_json_nan_and_booleans_are_no_numbers():
    save("rows.jsonl", '{"text": "Fine.", "label": NaN}\n{"text": "Warm.", "label": true}\n')
    assert message("rows.jsonl", target="regression") == (
        "rows.jsonl:1: column 'label' holds nan, not a finite number; line 2: column 'label' holds True, not a number. "
        "Fill the number in, or remove the line. Write a number, or set `target: classification`"
    )


def test_mixed_encodings_are_told_with_line_byte_and_column():
    save("reviews.csv", b"text,label\nCaf\xc3\xa9.,a\nCaf\xe9.,b\nEnd.,a\n")
    assert message() == (
        "reviews.csv:3: column 'text' has the byte 0xe9, which is not UTF-8. If the whole file is in another encoding, set it "
        "(e.g. `encoding: cp1252`); if encodings are mixed, save these lines again"
    )


def test_a_bad_byte_in_a_column_that_is_not_read_does_no_harm():
    save("reviews.csv", b"text,label,note\nOne.,a,caf\xe9\nTwo.,b,\nThree.,a,\n")
    assert files().labels() == ("a", "b")


def test_utf_16_and_unknown_encodings_are_told():
    save("reviews.csv", GOOD.encode("utf-16"))
    assert message() == "reviews.csv:1: the file is UTF-16, not UTF-8. Set `encoding: utf-16`"
    save("reviews.csv", GOOD.encode("utf-16-le"))
    assert message() == "reviews.csv:1: the file is UTF-16, not UTF-8. Set `encoding: utf-16-le`"
    save("reviews.csv", GOOD.encode("utf-16-be"))
    assert message() == "reviews.csv:1: the file is UTF-16, not UTF-8. Set `encoding: utf-16-be`"
    save("reviews.csv", b"\xef\xbb\xbf" * 2 + GOOD.encode())
    two_marks = "the file begins with two byte order marks. Save it again as UTF-8 without a byte order mark"
    assert message() == f"reviews.csv:1: {two_marks}"
    save("reviews.csv", GOOD)
    assert message(encoding="utf-9") == (
        "encoding: 'utf-9' is not an encoding of text that Python knows. Try utf-8, cp1252 or utf-16"
    )


def test_a_line_with_too_many_or_too_few_fields_is_told():
    save("reviews.csv", "text,label\nWell, well,a\nFine.\nEnd.,b\n")
    assert message() == (
        "reviews.csv:2: 3 fields where the header has 2; line 3: 1 field where the header has 2. "
        "Put a field that contains the delimiter in double quotes, or remove the line"
    )


def test_a_quote_that_is_never_closed_is_told_where_it_opens():
    save("reviews.csv", 'text,label\nFine.,a\n"Open,b\nEnd.,a\n')
    hint = 'Write a quote inside a quoted field twice (""), or set `quotes: false` if quotes are ordinary characters'
    assert message() == f"reviews.csv:3: a quoted field that begins here is never closed. {hint}"
    save("reviews.csv", 'text,label\nFine.,a\n"Half" quoted,b\n')
    assert message() == f"reviews.csv:3: text or a space follows a closing quote. {hint}"


def test_a_line_that_is_no_object_is_told():
    save("rows.jsonl", '{"text": "Fine.", "label": "a"}\n["Warm.", "b"]\n{"text": "Cold."\n"word"\n{"text": 1, "text": 2}\n')
    assert message("rows.jsonl") == (
        "rows.jsonl:2: a JSON list, not an object; line 3: not JSON at column 17; line 4: a JSON str, not an object; "
        '4 bad lines in all. Write each line as {"text": ..., "label": ...}. Write one whole JSON object a line'
    )
    save("rows.jsonl", '[{"text": "Fine.", "label": "a"},\n{"text": "Warm.", "label": "b"}]\n')
    assert message("rows.jsonl") == "rows.jsonl:1: the file is one JSON list. Write one object a line"


def test_a_key_that_one_line_lacks_or_has_twice_is_told():
    save("rows.jsonl", '{"text": "A.", "label": "a"}\n{"text": "B."}\n{"text": "C.", "text": "D.", "label": "a"}\n')
    assert message("rows.jsonl") == (
        "rows.jsonl:2: no key 'label'; line 3: the key 'text' stands there twice. "
        "Give every line the keys 'text', 'label'. Give each key a name of its own"
    )


def test_a_text_that_is_no_string_is_told():
    save_lines("rows.jsonl", [{"text": "Fine.", "label": "a"}, {"text": 12, "label": "b"}, {"text": None, "label": "b"}])
    assert message("rows.jsonl") == (
        "rows.jsonl:2: column 'text' holds 12, not a text; line 3: column 'text' is empty. "
        "Put the text in quotes, or name another column. Fill the text in, or remove the line"
    )


def test_half_a_character_is_told():
    save("rows.jsonl", '{"text": "Fine.", "label": "a"}\n{"text": "Broken \\ud83d.", "label": "b"}\n')
    assert message("rows.jsonl") == "rows.jsonl:2: column 'text' has half a character, \\ud83d. Write the character whole"


def test_lists_of_labels_need_the_multilabel_target():
    save_lines("rows.jsonl", [{"text": "Fine.", "label": ["a", "b"]}, {"text": "Warm.", "label": "b"}])
    assert message("rows.jsonl") == "rows.jsonl:1: column 'label' holds ['a', 'b'], not a class. Set `target: multilabel`"
    save_lines("rows.jsonl", [{"text": "Fine.", "label": ["a", None]}, {"text": "Warm.", "label": 3}])
    assert message("rows.jsonl", target="multilabel") == (
        "rows.jsonl:1: column 'label' holds ['a', None], not a list of labels; line 2: column 'label' holds 3, not labels. "
        "Write each label as a text or a whole number, or one 0 or 1 for each class. "
        "Write a list, or a text with ';' between labels"
    )


def test_parquet_rows_are_told_by_number():
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"text": ["Fine.", None, ""], "label": [1, 2, 1]}), "rows.parquet")
    assert message("rows.parquet") == (
        "rows.parquet, row 2: column 'text' is empty; row 3: column 'text' is empty. Fill the text in, or remove the line"
    )
    assert message("rows.parquet", text="body") == "rows.parquet: no column 'body'. The columns are 'text', 'label'"
    save("rows.parquet", "text,label\n")
    assert message("rows.parquet") == "rows.parquet: not a Parquet file. Write it again, or name a .csv, .tsv or .jsonl file"
    save("rows.parquet", b"PAR1 and nothing else")
    assert message("rows.parquet").startswith("rows.parquet: damaged, or of a type that is not read here (")


def test_too_few_texts_to_split_are_told():
    save("reviews.csv", "text,label\nFine.,a\nWarm.,b\n")
    assert message() == (
        "reviews.csv: 2 different texts are too few to keep some back for validation. Add rows, or name a validation file"
    )


def test_f1_of_three_classes_is_refused():
    save("reviews.csv", "text,label\nFine.,a\nWarm.,b\nCold.,c\nWet.,a\n")
    assert (
        message(metric="f1")
        == "reviews.csv: column 'label' holds 3 classes, and metric 'f1' needs two. Choose macro_f1 or micro_f1"
    )


# ------------------------------------------------------------------------------------------ tables as other tools write them


ROWS = [("The soup was warm, and good.", "good"), ("Nobody came.", "bad"), ("A long evening.", "good"), ("A dark lamp.", "bad")]


def seen(task: Files) -> set[tuple[str, str]]:
    """Text and class name of every row."""
    names = task.labels()
    splits = [task.split("train"), task.split("validation")]
    return {(text[0], names[label]) for split in splits for text, label in zip(split.texts, split.labels, strict=True)}


@pytest.mark.parametrize("first", ["sep=;\n", "SEP=;\r\n", '"sep=;"\n', "\ufeffsep=;\n", "sep=; \n"])
def test_excels_line_names_the_delimiter_and_is_not_the_header(first):
    save("excel.csv", first + "text;label\n" + "".join(f"{text};{label}\n" for text, label in ROWS))
    assert seen(files("excel.csv")) == set(ROWS)
    assert problems("excel.csv") == []


def test_lines_are_counted_with_excels_line():
    save("excel.csv", "sep=;\ntext;label\nFine;a\n;b\nEnd;a\n")
    assert message("excel.csv") == "excel.csv:4: column 'text' is empty. Fill the text in, or remove the line"


def test_excels_line_may_name_a_tab_and_yields_to_the_option():
    save("excel.csv", "sep=\t\ntext\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS))
    assert seen(files("excel.csv")) == set(ROWS)
    save("excel.csv", "sep=,\ntext;label\n" + "".join(f"{text};{label}\n" for text, label in ROWS))
    assert seen(files("excel.csv", delimiter=";")) == set(ROWS)


@pytest.mark.parametrize("header", ["text, label", '"text", "label"', 'text, "label"'])
def test_quotes_behind_a_space_belong_to_csv(header):
    save("spaced.csv", header + "\n" + "".join(f'"{text}", "{label}"\n' for text, label in ROWS))
    assert seen(files("spaced.csv")) == set(ROWS)
    assert problems("spaced.csv") == []


def test_quotes_behind_a_space_may_hold_the_delimiter():
    save("spaced.csv", "label, text\n" + "".join(f'{label}, "{text}"\n' for text, label in ROWS))
    assert seen(files("spaced.csv")) == set(ROWS)
    save("spaced.tsv", "label\t text\n" + "".join(f'{label}\t "{text}"\n' for text, label in ROWS))
    assert seen(files("spaced.tsv")) == set(ROWS)


def test_a_space_at_the_start_of_a_text_is_kept_where_no_quote_follows():
    save("plain.csv", 'label,text\na, One\nb,"Two, ""so"" to say"\na,Three\n')
    assert (" One", "a") in seen(files("plain.csv"))


def test_columns_that_nobody_reads_may_be_double():
    save("twice.csv", "text,label,note,note\n" + "".join(f'"{text}",{label},x,y\n' for text, label in ROWS))
    save(
        "twice.jsonl",
        "".join(f'{{"text": "{text}", "label": "{label}", "n": {{"label": 1, "label": 2}}, "n": 1}}\n' for text, label in ROWS),
    )
    for file in ("twice.csv", "twice.jsonl"):
        assert seen(files(file)) == set(ROWS)
        assert problems(file) == []
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = [list(column) for column in zip(*ROWS, strict=True)]
    parquet.write_table(
        pyarrow.Table.from_arrays(
            [*map(pyarrow.array, columns), *map(pyarrow.array, columns)], names=["text", "label", "n", "n"]
        ),
        "twice.parquet",
    )
    assert seen(files("twice.parquet")) == set(ROWS)


@pytest.mark.parametrize("ending", ["\r", "\r\n", "\n"])
def test_every_line_ending_is_read(ending):
    save("ends.csv", ending.join(["text,label", *(f'"{text}",{label}' for text, label in ROWS), ""]))
    assert seen(files("ends.csv")) == set(ROWS)


def test_a_comma_too_many_and_single_quotes_are_told_in_a_line_of_json():
    save("rows.jsonl", '{"text": "Fine.", "label": "a",}\n{"text": "Warm.", "label": ["b",]}\n' + "{'text': 'Cold.'}\n")
    assert message("rows.jsonl") == (
        "rows.jsonl:1: not JSON at column 31: a comma before a closing bracket; "
        "line 2: not JSON at column 32: a comma before a closing bracket; line 3: not JSON at column 2: single quotes. "
        "Remove the comma behind the last entry. Write texts in double quotes, as json.dumps does"
    )


def test_parquet_texts_that_are_stored_as_bytes_are_read():
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = [[value.encode() for value in column] for column in zip(*ROWS, strict=True)]
    parquet.write_table(pyarrow.table({"text": columns[0], "label": columns[1]}), "bytes.parquet")
    assert seen(files("bytes.parquet")) == set(ROWS)


# ------------------------------------------------------------------------------------------------------ armada check


def test_check_finds_what_can_be_found_without_reading_rows():
    save("reviews.csv", GOOD)
    assert problems() == []
    assert problems("review.csv") == ["file: review.csv: no such file; Did you mean 'reviews.csv'?"]
    assert problems(text="body") == ["file: reviews.csv:1: no column 'body'; The columns are 'text', 'label'"]
    assert problems(validation="other.csv") == [
        "validation: other.csv: no such file; The tables in that folder are 'reviews.csv'"
    ]
    assert problems(validation="./reviews.csv") == [
        "validation: it is the training file; leave it out to keep a part of that back"
    ]
    assert problems(target="regression", metric="accuracy") == [
        "metric: 'accuracy' does not fit target 'regression'; choose pearson or spearman"
    ]
    assert problems(text2="text") == ["text2: column 'text' is already used as text; name another"]
    assert problems(encoding="utf-9") == [
        "encoding: 'utf-9' is not an encoding of text that Python knows; Try utf-8, cp1252 or utf-16"
    ]
    assert problems(delimiter="ab") == ['delimiter: \'ab\' is not one character; Give e.g. ";" or "\\t"']


def test_a_recipe_names_a_table_and_is_told_where_it_is_wrong():
    def check(line: str) -> tuple[int, str]:
        save("mine.yaml", f"student: bert-6l\ntasks:\n  - {line}\nmethods: [undistilled]\n")
        code = "import sys; from armada_cli.main import main; sys.argv[1:] = ['check', 'mine.yaml']; main()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    save("reviews.csv", GOOD)
    status, told = check("{name: files, file: reviews.csv, train: {epochs: 1}, limit: {train: 3}}")
    assert (status, "no problems" in told) == (0, True), told
    status, told = check("{name: files, file: reviews.csv, text: body}")
    assert status == 2
    assert "reviews.csv:1: no column 'body'" in told
    assert told.startswith("mine.yaml:3:")


def test_another_content_is_another_identity_and_another_place_is_not():
    card = armada_tasks()[0]

    def identity(file: str) -> Any:
        return card.identity(FilesOptions(file=file), Environment())

    save("reviews.csv", GOOD)
    before = identity("reviews.csv")
    Path("moved").mkdir()
    save("moved/reviews.csv", GOOD)
    assert identity("moved/reviews.csv") == before
    save("reviews.csv", GOOD.replace("warm", "cold"))
    assert identity("reviews.csv") != before


def test_the_kind_follows_the_target():
    card = armada_tasks()[0]
    assert card.kind(FilesOptions(file="a.csv", target="multilabel")) == "multilabel"


def test_reading_a_table_imports_nothing_heavy():
    save("reviews.csv", GOOD)
    code = (
        "import sys; from armada_cli import Environment; from armada_task_files.options import FilesOptions; "
        "from armada_task_files.task import Files; "
        "assert len(Files(FilesOptions(file='reviews.csv'), Environment()).split('train')) == 4; "
        "print(sorted({'numpy', 'pandas', 'pyarrow', 'torch', 'sklearn', 'scipy', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
