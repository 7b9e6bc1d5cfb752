"""The paper's numbers as data: complete, correctly averaged, and chosen for the right student."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import pytest

from armada_cli.reporting.published import STUDENTS, TABLES, PrintedTable, metric_name, rows_for, table, tables

PAPER = Path(os.environ.get("ARMADA_PAPER", Path(__file__).parents[2] / "shared" / "paper" / "paper.md"))
SHAPES = {
    2: (16, 8),
    3: (8, 4),
    4: (4, 8),
    5: (16, 8),
    6: (2, 8),
    7: (12, 8),
    8: (9, 4),
    9: (4, 2),
    10: (4, 8),
    11: (11, 5),
    12: (10, 5),
}
"""Table -> rows and columns, counted in the paper (averages not among them)."""


NUMBER = re.compile(r"-?\d+\.\d+")
CORNERS = ("Models", "Methods", "Teacher", "Teacher Model", "Distillation type", "Distillation Type", "Loss type")
"""What the paper writes over the columns that hold no numbers."""


def paper() -> list[str]:
    if not PAPER.is_file():
        pytest.skip("the paper's text is not here; ARMADA_PAPER names it")
    return PAPER.read_text(encoding="utf-8").splitlines()


def caption(number: int) -> str:
    return next(line for line in paper() if line.startswith(f"Table {number}:"))


def lines_of(number: int) -> list[list[str]]:
    """The cells of a printed table, which stands above its caption."""
    lines = paper()
    last = lines.index(caption(number))
    while "\t" not in lines[last]:
        last -= 1
    first = last
    while "\t" in lines[first - 1]:
        first -= 1
    return [[cell.strip("/ ") for cell in line.split("\t")] for line in lines[first : last + 1]]


@pytest.mark.parametrize("number", TABLES)
def test_each_table_has_all_its_cells(number: int) -> None:
    found = table(number)
    rows, columns = SHAPES[number]
    assert len(found.columns) == columns
    assert [len(row.values) for row in found.rows] == [columns] * rows


@pytest.mark.parametrize("number", [4, 7, 8])
def test_the_printed_averages_are_those_of_their_columns(number: int) -> None:
    for row in table(number).rows:
        assert row.average is not None
        # Half a unit of the last digit: the paper rounds ties both ways.
        assert abs(math.fsum(row.values) / len(row.values) - row.average) <= 0.05 + 1e-9, row


def test_only_tables_4_7_and_8_print_averages() -> None:
    assert {found.number for found in tables() if any(row.average is not None for row in found.rows)} == {4, 7, 8}


@pytest.mark.parametrize("number", TABLES)
def test_the_numbers_are_the_papers_in_the_papers_order(number: int) -> None:
    printed = [cell for line in lines_of(number) for cell in line if NUMBER.fullmatch(cell)]
    found = table(number)
    ours = [f"{value:.{found.decimals}f}" for row in found.rows for value in (*row.values, row.average) if value is not None]
    assert ours == printed


@pytest.mark.parametrize("number", TABLES)
def test_the_columns_are_called_as_the_paper_calls_them(number: int) -> None:
    head, metrics, *_ = lines_of(number)
    columns = table(number).columns
    names = [cell for cell in head if cell and cell not in ("Avg.", *CORNERS)]
    if number == 9:  # one name over two columns, micro and macro F1
        assert (names, [column.name for column in columns]) == (["MM-IMDb"], ["MM-IMDb"] * 2)
        assert ([column.metric for column in columns], metrics[-1]) == (["micro_f1", "macro_f1"], "Micro/Macro")
        return
    assert [column.name for column in columns] == names
    if "Acc" in metrics:
        assert [metric_name(column.metric) for column in columns] == [metric_name(cell) for cell in metrics if cell]


@pytest.mark.parametrize("number", TABLES)
def test_each_row_is_the_papers_row_of_that_student_method_and_loss(number: int) -> None:
    found = table(number)
    labels = [[cell for cell in line if not NUMBER.fullmatch(cell)] for line in lines_of(number)]
    printed = [label for label, line in zip(labels, lines_of(number), strict=True) if len(label) < len(line)]
    assert len(printed) == len(found.rows)
    model = ""
    for row, cells in zip(found.rows, printed, strict=True):
        words = " ".join(cells)
        losses = [loss for loss in ("cosine", "euclid", "elementwise") if loss in words]
        assert losses == ([row.manifold] if row.manifold else []), row
        assert ("undistilled" in words) == (row.method == "undistilled"), row
        if found.kind == "students":
            assert ("ARMADA" in words) == (row.method == "armada"), row
        if row.method not in ("undistilled", "armada", "aligner"):
            assert row.label in words, row
        if "Models" in lines_of(number)[0]:  # a model is named in the first of its rows
            model = cells[0] or model
            assert row.model == model, row


@pytest.mark.parametrize("number", [2, 3, 4, 5, 7, 8])
def test_the_teacher_of_a_table_is_the_one_its_caption_names(number: int) -> None:
    (teacher,) = {row.teacher for row in table(number).rows if row.method == "armada"}
    assert [name for name in ("Stable Diffusion", "Midjourney") if name in caption(number)] == [teacher]


@pytest.mark.parametrize("number", TABLES)
def test_a_table_is_of_the_best_runs_where_its_caption_says_so(number: int) -> None:
    said = "best of three runs" if "maximum scores obtained in three different runs" in caption(number) else None
    assert table(number).selection == said


def test_the_teachers_of_tables_6_11_and_12_are_those_beside_their_rows() -> None:
    assert [row.teacher for row in table(6).rows] == [line[0] for line in lines_of(6)[2:]]
    for number, before in ((11, 2), (12, 1)):  # rows of other methods, then three a teacher, named in one of the three
        beside = [line[0] for line in lines_of(number)[1 + before :]]
        named = [next(cell for cell in beside[at : at + 3] if cell not in ("", "-")) for at in range(0, 9, 3)]
        assert [row.teacher for row in table(number).rows[before:]] == [teacher for teacher in named for _ in range(3)]


def test_rows_name_students_methods_and_losses_that_exist() -> None:
    for found in tables():
        for row in found.rows:
            assert row.student in (*STUDENTS, "ts-aligner")
            assert row.manifold in (None, "cosine", "euclid", "elementwise")
            assert (row.teacher is None) == (row.method in ("undistilled",)) or found.kind != "students"


def test_every_student_of_the_paper_has_its_undistilled_row() -> None:
    for student in STUDENTS:
        names = {column.name for found in tables() for column in found.columns}
        rows = rows_for(student, sorted(names))
        assert [row for row in rows if row.method == "undistilled"], student


def test_the_undistilled_rows_of_tables_2_and_5_are_the_same_runs() -> None:
    def undistilled(number: int) -> list[tuple[float, ...]]:
        return [row.values for row in table(number).rows if row.method == "undistilled"]

    assert undistilled(2) == undistilled(5)


def gains(found: PrintedTable, student: str, manifold: str) -> list[float]:
    rows = {(row.method, row.manifold): row.values for row in found.rows if row.student == student}
    return [a - b for a, b in zip(rows["armada", manifold], rows["undistilled", None], strict=True)]


def test_the_noted_gains_of_bert_follow_from_the_tables() -> None:
    losses = ("cosine", "euclid", "elementwise")
    for student, best_of_three, one_loss in (("bert-base", 2.70, 2.37), ("bert-6l", 2.90, 2.88)):
        by_loss = [gains(table(2), student, loss) + gains(table(3), student, loss) for loss in losses]
        assert sum(map(max, zip(*by_loss, strict=True))) / 12 == pytest.approx(best_of_three, abs=0.005)
        assert max(sum(values) / 12 for values in by_loss) == pytest.approx(one_loss, abs=0.005)


def test_the_draw_of_table_8_is_no_draw() -> None:
    means = {row.label: sum(row.values) / 4 for row in table(8).rows}
    assert means["X-adapter"] - means["ARMADA, best loss of each task"] == pytest.approx(0.1)
    assert any("lead of 0.1 for X-adapter" in note for note in table(8).notes)


def test_the_armada_rows_of_tables_7_and_8_take_the_best_loss_of_each_task() -> None:
    for number, student in ((7, "bert-6l"), (8, "bert-base")):
        row = next(row for row in table(number).rows if row.method == "armada")
        best: dict[str, float] = {}
        for source in (table(2), table(3)):
            for other in source.rows:
                if other.student == student and other.method == "armada":
                    for column, value in zip(source.columns, other.values, strict=True):
                        best[column.name] = max(value, best.get(column.name, 0.0))
        assert list(row.values) == [best[column.name] for column in table(number).columns]


def test_rows_spread_over_tables_become_one_row() -> None:
    rows = rows_for("bert-base", ["CoLA", "QQP"], ["stable-diffusion"])
    assert [(row.source, row.label, dict(row.values)) for row in rows][:2] == [
        ("paper, Tables 2, 3 and 5", "undistilled", {"CoLA": 60.9, "QQP": 83.2}),
        ("paper, Tables 2 and 3", "ARMADA, cosine", {"CoLA": 61.6, "QQP": 89.5}),
    ]


def test_a_teacher_of_the_paper_chooses_its_own_rows() -> None:
    assert {row.teacher for row in rows_for("opt-1.3b", ["RTE"], ["midjourney"])} == {None, "Midjourney"}
    assert {row.teacher for row in rows_for("opt-1.3b", ["RTE"], ["stable-diffusion"])} == {None, "Stable Diffusion"}
    assert {row.teacher for row in rows_for("opt-1.3b", ["RTE"])} == {None, "Stable Diffusion", "Midjourney"}


def test_a_teacher_unknown_to_the_paper_leaves_all_rows() -> None:
    assert rows_for("bert-6l", ["CoLA"], ["speech-offline"]) == rows_for("bert-6l", ["CoLA"])


def test_a_modality_stands_for_its_teacher() -> None:
    rows = rows_for("llama-3.1-8b", ["Vicuna"], ["speecht5"])
    assert [(row.label, row.values["Vicuna"]) for row in rows if row.teacher] == [
        ("ARMADA, cosine", 19.96),
        ("ARMADA, euclid", 19.51),
        ("ARMADA, elementwise", 18.18),
    ]


def test_another_metric_of_the_same_task_is_not_compared() -> None:
    assert rows_for("bert-6l", [("MRPC", "f1")]) == []
    assert rows_for("bert-6l", [("MRPC", "Acc")]) == rows_for("bert-6l", ["MRPC"])
    assert [row.values["MM-IMDb"] for row in rows_for("bert-base", [("MM-IMDb", "macro_f1")])] == [48.1, 49.3, 48.9, 48.0]


def test_a_student_that_the_paper_lacks_has_no_rows() -> None:
    assert rows_for("minilm-offline", ["CoLA"]) == []


def test_a_task_that_the_paper_lacks_has_no_column() -> None:
    assert next(dict(row.values) for row in rows_for("bert-6l", ["tweets", "CB"])) == {"CB": 75.0}
