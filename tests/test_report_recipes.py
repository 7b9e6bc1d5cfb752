"""The paper's rows beside each recipe's own: of the right table, student and teacher. Scores are made up, the rest is real."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from report_runs import trial, trials, write_run

from armada_cli import Environment
from armada_cli.execution.provenance import describe
from armada_cli.plan.planning import make_plan
from armada_cli.recipe.loader import load_recipe
from armada_cli.registry.catalog import Catalog
from armada_cli.reporting import published
from armada_cli.reporting.folder import read_run
from armada_cli.reporting.groups import make_groups
from armada_cli.reporting.report import report
from armada_cli.reporting.tables import make_tables

SD, MJ = "Stable Diffusion", "Midjourney"
MODALITIES = {"text-to-image", "text-to-video", "text-to-audio"}
FILM = {"task": "mm-imdb", "group": "multimodal", "published": "MM-IMDb", "metric": "micro_f1"}


def report_of(recipe: str, tmp_path: Path) -> list[dict[str, Any]]:
    """The groups of the report of a recipe's run, in which every trial has scored 50."""
    environment = Environment(runs=tmp_path, offline=True)
    catalog = Catalog.load(warn=False)
    if recipe == "bert_mmimdb":
        options = catalog.find("task", "mm-imdb").component.options().smoke(tmp_path)
        environment = Environment(runs=tmp_path, data=Path(options.path).parent, offline=True)
    plan = make_plan(load_recipe(recipe, catalog, environment), environment)
    entries = [{**entry, "status": "done", "score": 50.0} for entry in describe(plan.trials, {}, {})]
    return json.loads(report(write_run(tmp_path / "runs", entries, name=recipe), "json"))["groups"]


@pytest.mark.parametrize(
    ("recipe", "tables", "teachers"),
    [
        ("bert6l_glue", {2, 5, 7}, {SD}),
        ("bert_glue", {2, 5}, {SD}),
        ("deberta_glue", {2, 5}, {SD}),
        ("opt_glue", {2, 5}, {SD}),
        ("bert_glue_large", {3, 8}, {SD}),
        ("bert6l_glue_large", {3, 7}, {SD}),
        ("bert6l_glue_midjourney", {2, 5, 7}, {MJ}),
        ("bert_glue_midjourney", {2, 5}, {MJ}),
        ("table7_baselines", {2, 3, 5, 7}, {SD}),
        ("table8_multimodal", {3, 8}, {SD}),
        ("bert_mmimdb", {9}, {"posters (ResNet-50)"}),
        ("llama7b_reasoning", {4}, {SD}),
        ("llama3b_instruct", {11}, MODALITIES),
        ("llama8b_instruct", {12}, MODALITIES),
        ("ablation_alpha", {2, 5}, {SD}),
        ("ablation_noise", {2, 5}, {SD}),
        ("ablation_beta_gamma_instruct", {11}, {"text-to-image"}),
    ],
)
def test_a_recipes_report_quotes_its_own_table_and_teacher(recipe, tables, teachers, tmp_path: Path) -> None:
    groups = report_of(recipe, tmp_path)
    rows = [row for group in groups for row in group["published"]]
    assert {row["teacher"] for row in rows if row["method"] == "armada"} == teachers
    assert {number for row in rows for number in _numbers(row["source"])} == tables
    for group in groups:
        quoted = [row for row in group["published"] if row["method"] in ("undistilled", "armada")]
        named = {column["published"] for column in group["columns"]}
        assert len(quoted) >= 4
        assert all(set(row["values"]) <= named for row in quoted)
        assert {name for row in quoted for name in row["values"]} == named, "no column without a number of the paper"


def _numbers(source: str) -> list[int]:
    return [int(word) for word in source.replace(",", " ").split() if word.isdigit()]


def test_rows_of_tables_11_and_12_are_grouped_by_teacher(tmp_path: Path) -> None:
    """The paper's are told from each other by modality, ours by the teacher's name in the recipe."""
    shared = {"group": "instructions", "metric": "rouge_l", "student": "llama-3.1-8b", "student_name": "llama-3.1-8b"}
    entries = []
    for task, column in (("dolly", "Dolly"), ("vicuna", "Vicuna")):
        where = {**shared, "task": task, "published": column}
        entries.append({**trial("cola", "undistilled", 0, 20.0), **where, "id": f"{task}-undistilled"})
        for name in ("stable-diffusion", "modelscope-video", "speecht5"):
            taught = {**where, "teacher": name, "teacher_name": name, "id": f"{task}-{name}"}
            entries.append({**trial("cola", "armada manifold=cosine", 0, 21.0), **taught})
    text = report(write_run(tmp_path, entries), "txt")
    headings = [line.strip() for line in text.splitlines() if line.startswith(("teacher ", "paper, "))]
    assert headings[:7] == [
        "teacher stable-diffusion",
        "teacher modelscope-video",
        "teacher speecht5",
        "paper, Table 12",
        "paper, Table 12: teacher text-to-image",
        "paper, Table 12: teacher text-to-video",
        "paper, Table 12: teacher text-to-audio",
    ]
    assert [line.split()[1:] for line in text.splitlines() if line.startswith("  undistilled ")] == [
        ["35.34", "17.85", "26.60"]
    ]


def test_a_teacher_of_our_own_beside_one_of_the_papers_adds_no_foreign_rows(tmp_path: Path) -> None:
    def teachers_quoted(*names: str) -> set[str]:
        bert = {"student": "bert-base", "student_name": "bert-base"}
        entries = [trial("cola", "armada", 0, 60.0, teacher=name, teacher_name=name, id=name, **bert) for name in names]
        (group,) = json.loads(report(write_run(tmp_path / "-".join(names), entries), "json"))["groups"]
        return {row["teacher"] for row in group["published"] if row["method"] == "armada"}

    assert teachers_quoted("stable-diffusion", "ensemble") == {SD}
    assert teachers_quoted("stable-diffusion", "midjourney") == {SD, MJ}
    assert teachers_quoted("image-api") == {SD, MJ}


# --------------------------------------------------------------------------------------- two metrics of one task (Table 9)


def films(tmp_path: Path, **changes: Any) -> Path:
    entries = []
    for method, micro, macro in (("undistilled", 64.0, 48.0), ("armada manifold=cosine", 65.0, 50.0)):
        for entry in trials("cola", method, [micro, micro + 1, micro + 2]):
            scores = {"micro_f1": entry["score"], "macro_f1": macro + entry["seed"], "samples_f1": 60.0}
            entry |= {**FILM, "student": "bert-base", "student_name": "bert-base", "result": {"scores": scores}, **changes}
            if entry["teacher"]:
                entry |= {"teacher": "resnet-posters", "teacher_name": "resnet-posters"}
            entries.append(entry)
    return write_run(tmp_path, entries)


def test_both_metrics_that_table_9_prints_have_a_column_and_others_have_none(tmp_path: Path) -> None:
    lines = [line.split() for line in report(films(tmp_path), "txt").splitlines()]
    assert ["method", "mm-imdb", "mm-imdb"] in lines
    assert ["micro", "F1", "macro", "F1"] in lines
    assert ["undistilled", *["65.0", "±", "1.0", "(66.0)"], *["49.0", "±", "1.0", "(50.0)"]] in lines
    assert ["ARMADA,", "cosine", "65.7", "49.3"] in lines
    assert not any("mean" in line and "of" in line for line in lines), "two metrics of one task have no mean"


def test_the_heads_beside_are_scored_by_the_metric_of_their_column(tmp_path: Path) -> None:
    own = {"scores": {"micro_f1": 64.0, "macro_f1": 48.0}, "fits": {"aligner": {"macro_f1": 7.0, "micro_f1": 9.0}}}
    text = report(films(tmp_path, result=own), "txt")
    lines = [" ".join(line.split()) for line in text[text.index("fit of the training rows: aligner") :].splitlines()]
    assert "armada manifold=cosine 9.0 ± 0.0 (9.0) 7.0 ± 0.0 (7.0)" in lines


def test_a_fit_of_training_rows_has_no_published_row_beside_it_and_one_of_validation_rows_has(tmp_path: Path) -> None:
    """100.0 of rows learnt by heart once stood above the paper's 7.8 of rows never seen."""
    student = {"student": "bert-base", "student_name": "bert-base"}
    scores = {"fits": {"aligner": {"mcc": 100.0}, "aligner auxiliary": {"mcc": 99.0}}, "auxiliary": {"mcc": 50.0}}
    entries = trials("cola", "armada manifold=euclid", [60.0, 61.0], result=scores, **student)
    (group,) = make_groups(read_run(write_run(tmp_path, entries)))
    side = {table.title.partition(": ")[2]: table for table in make_tables(group)[1:]}
    assert list(side) == [
        "the student's auxiliary head",
        "fit of the training rows: aligner",
        "fit of the training rows: aligner auxiliary",
    ]
    quoted = {title: any(section.published for section in table.sections) for title, table in side.items()}
    assert list(quoted.values()) == [True, False, False]
    for title in list(side)[1:]:
        (note,) = side[title].notes
        assert "says nothing of rows that it has not seen" in note


def test_differences_are_made_for_both_metrics(tmp_path: Path) -> None:
    (group,) = json.loads(report(films(tmp_path), "json"))["groups"]
    scores = group["methods"][1]["scores"]
    assert [scores[column["task"]]["difference"]["mean"] for column in group["columns"]] == [1.0, 2.0]
    assert [(column["metric"], column["beside"]) for column in group["columns"]] == [("micro_f1", False), ("macro_f1", True)]


def test_the_csv_names_the_task_and_the_metric_of_either(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(report(films(tmp_path), "csv"))))
    found = [[row[key] for key in ("source", "task", "metric", "mean")] for row in rows if row["method"] == "undistilled"]
    assert found == [
        ["run", "mm-imdb", "micro_f1", "65.0"],
        ["run", "mm-imdb", "macro_f1", "49.0"],
        ["paper, Table 9", "mm-imdb", "micro_f1", "64.9"],
        ["paper, Table 9", "mm-imdb", "macro_f1", "48.1"],
    ]


def test_a_task_whose_second_metric_the_paper_does_not_print_has_one_column(tmp_path: Path) -> None:
    (group,) = json.loads(report(films(tmp_path, published=None), "json"))["groups"]
    assert [column["metric"] for column in group["columns"]] == ["micro_f1"]


def test_published_values_of_two_metrics_are_told_apart() -> None:
    wanted = [("MM-IMDb", "micro_f1"), ("MM-IMDb", "macro_f1")]
    (first, *_) = published.rows_for("bert-base", wanted, ["resnet-posters"])
    assert first.values == {"MM-IMDb": 64.9, "MM-IMDb macro_f1": 48.1}
    assert published.metrics_beside("MM-IMDb", "micro_f1") == ("macro_f1",)
    assert published.metrics_beside("CoLA", "mcc") == ()
