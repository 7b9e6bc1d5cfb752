"""`select_on`: training rows that nothing is trained on, and the choice of a grid's point on them, never on validation."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from report_runs import trial, write_run
from running import armada, by_method, train

from armada_cli import Environment, UserError
from armada_cli.features.prepare import load_prepared
from armada_cli.held_out import SELECTION, held_out_rows
from armada_cli.plan.planning import make_plan
from armada_cli.plan.trials import Trial
from armada_cli.recipe import load_recipe
from armada_cli.registry import catalog
from armada_cli.reporting.report import report

Write = Callable[..., Path]

HELD = "{rows: 0.1}"


def planned(path: Path) -> list[Trial]:
    environment = Environment(runs=path.parent / "runs")
    return make_plan(load_recipe(str(path), catalog.current(), environment), environment).everything


# ---------------------------------------------------------------------------------------------------------------- the rows


def test_a_share_of_the_rows_is_held_out_at_least_one_and_never_all() -> None:
    assert len(held_out_rows(100, 0.1)) == 10
    assert len(held_out_rows(3, 0.1)) == 1
    assert len(held_out_rows(3, 0.99)) == 2
    assert held_out_rows(50, 0.2) == sorted(set(held_out_rows(50, 0.2))) == held_out_rows(50, 0.2)
    with pytest.raises(UserError, match="the training split has 1"):
        held_out_rows(1, 0.5)


def test_the_share_is_a_part_of_an_id_only_where_it_is_given(recipe: Write) -> None:
    without, held, more = (
        planned(recipe(name, **lines))
        for name, lines in {"one": {}, "two": {"select_on": HELD}, "three": {"select_on": "{rows: 0.2}"}}.items()
    )
    assert not any("held_out" in json.dumps(trial.identity) + json.dumps(trial.spec()) for trial in without)
    ids = [{trial.id for trial in trials} for trials in (without, held, more)]
    assert [len(one) for one in ids] == [2, 2, 2]
    assert len(set.union(*ids)) == 6


def rewritten(table: dict[str, Path], target: Path, rows: Sequence[int]) -> Path:
    """The training table with other texts, all of one label, in some rows."""
    with table["train"].open(newline="", encoding="utf-8") as stream:
        head, *lines = list(csv.reader(stream))
    with table["validation"].open(newline="", encoding="utf-8") as stream:
        _, *others = list(csv.reader(stream))
    for number, row in enumerate(rows):
        lines[row] = [others[number][0], "good"]
    with target.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([head, *lines])
    return target


def trained(runs: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Title and epochs -> result, as a text teacher has the title of an undistilled student."""
    results = {}
    for path in runs.glob("trials/*/result.json"):
        spec = json.loads((path.parent / "spec.json").read_text(encoding="utf-8"))
        result = json.loads(path.read_text(encoding="utf-8"))
        results[spec["title"], spec["train"]["epochs"]] = result | {"folder": path.parent}
    return results


def test_nothing_of_the_held_out_rows_is_trained_on(
    recipe: Write, table: dict[str, Path], tiny_student: Path, tmp_path: Path
) -> None:
    """Student, aligner, reduction of the vectors, text teacher and pre-training have the same bits whatever stands there."""
    teacher = f"{{name: encoder, model: {tiny_student}, train: {{epochs: 1}}}}"
    methods = f"[undistilled, {{name: armada, manifold: euclid, hidden: 48}}, {{name: kd, teacher: {teacher}}}, vidlankd]"
    other = rewritten(table, tmp_path / "other.csv", held_out_rows(96, 0.1))
    weights, selections = [], []
    for number, file in enumerate((table["train"], other)):
        tasks = f"[{{name: files, as: words, file: {file}, validation: {table['validation']}}}]"
        runs = tmp_path / f"runs{number}"
        done = train(recipe(methods=methods, tasks=tasks, select_on=HELD), runs)
        assert done.status == 0, done.err
        made = trained(runs)
        weights.append({what: (one["folder"] / "student" / "model.safetensors").read_bytes() for what, one in made.items()})
        selections.append({what: one[SELECTION] for what, one in made.items() if SELECTION in one})
        assert len(selections[-1]) == 5, "four methods and the text teacher"
        rows = [one["rows"] for one in made.values() if SELECTION in one]
        assert rows == 5 * [{"train": 86, "validation": 48, "selection": 10}]
    assert len(weights[0]) == 6
    assert weights[0] == weights[1]
    assert selections[0] != selections[1]


def test_a_student_that_reads_vectors_when_it_answers_has_those_of_the_held_out_rows(recipe: Write, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("reading_methods.py"), tmp_path)
    path, runs = recipe(methods="[{file: reading_methods.py, class: Reads}]", select_on=HELD), tmp_path / "runs"
    told = json.loads(armada("check", path, "--runs", runs, "--allow-local-code", "--json").out)
    assert {item["task"]: item["total"] for item in told["texts"]} == {
        "words": 86,
        "words, validation rows": 48,
        "words, selection rows": 10,
    }
    assert train(path, runs, "--allow-local-code").status == 0
    (made,) = by_method(runs).values()
    (key,) = made["spec"]["selected"]
    assert load_prepared(runs / "features" / f"{key}.safetensors").shape == (10, 16)
    assert SELECTION in made


def test_the_best_epoch_is_the_best_on_the_held_out_rows(recipe: Write, tmp_path: Path) -> None:
    settings = "{epochs: 6, batch_size: 16, lr: 3e-3, max_length: 32, select: best}"
    done = train(recipe(methods="undistilled", train=settings, select_on="{rows: 0.4}"), tmp_path / "runs")
    assert done.status == 0, done.err
    (made,) = by_method(tmp_path / "runs").values()
    held = [epoch[SELECTION]["accuracy"] for epoch in made["epochs"]]
    validated = [epoch["scores"]["accuracy"] for epoch in made["epochs"]]
    assert made["selected"] == held.index(max(held)) + 1
    assert made[SELECTION]["accuracy"] == max(held)
    assert made["scores"]["accuracy"] == validated[made["selected"] - 1]


# ---------------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("0.1", "select_on must be a mapping: '0.1'. For example `select_on: {rows: 0.1}`"),
        ("{rows: 1}", "select_on.rows must be above 0 and below 1: '1'"),
        ("{rows: [0.1, 0.2]}", "select_on.rows must be a number"),
        ("{row: 0.1}", "unknown key of select_on: 'row'. Did you mean 'rows'?"),
        ("{}", "select_on misses 'rows'"),
    ],
)
def test_a_mistake_is_one_line(recipe: Write, text: str, line: str) -> None:
    said = armada("check", recipe(select_on=text))
    assert said.status == 2
    assert line in said.err
    assert "Traceback" not in said.err


def test_tasks_that_are_answered_in_writing_have_no_held_out_rows(recipe: Write) -> None:
    path = recipe(student="{name: decoder, model: nowhere/at-all}", tasks="[dolly]", methods="[undistilled]", select_on=HELD)
    said = armada("check", path)
    assert said.status == 2
    assert "select_on is not for task 'dolly', which is scored on answers alone (generation)" in said.err


def test_check_tells_of_the_share(recipe: Write, tmp_path: Path) -> None:
    path, runs = recipe(select_on=HELD), tmp_path / "runs"
    assert "select on      10 % of the training rows" in armada("check", path, "--runs", runs).out
    assert "select on" not in armada("check", recipe("without"), "--runs", runs).out


# --------------------------------------------------------------------------------------------------------------- the choice


def grid(task: str, scores: dict[str, tuple[Sequence[float | None], Sequence[float]]], **more: Any) -> list[dict[str, Any]]:
    """Trials of an entry `kd temperature=[...]`: temperature -> scores on the held-out rows and on validation, by seed."""
    entries = []
    for value, (held, validated) in scores.items():
        for seed, (selection, score) in enumerate(zip(held, validated, strict=True)):
            result = {} if selection is None else {SELECTION: {"mcc": selection, "accuracy": selection}}
            place = {"entry": 1, "title": "kd", "values": {"temperature": value}}
            given = {"result": result, "grid": place, **more}
            entries.append(trial(task, f"kd temperature={value}", seed, score, **given))
    return entries


def told(tmp_path: Path, entries: list[dict[str, Any]], **more: Any) -> tuple[str, dict[str, Any]]:
    """The report in words, on one line, and as data."""
    folder = write_run(tmp_path, entries, **{"select_on": {"rows": 0.1}, **more})
    return " ".join(report(folder, "md").split()), json.loads(report(folder, "json"))


PLAIN = [
    trial(task, "undistilled", seed, 50.0, grid={"entry": 0, "title": "undistilled", "values": {}})
    for task in ("cola", "mrpc")
    for seed in (0, 1)
]
CHOSEN = [
    # the first point is better on validation, the second on the held-out rows; on the other task they are the other way round
    *grid("cola", {"1": ([20.0, 30.0], [90.0, 90.0]), "4": ([40.0, 20.0], [60.0, 62.0])}),
    *grid("mrpc", {"1": ([71.0, 71.0], [10.0, 12.0]), "4": ([70.0, 71.0], [99.0, 99.0])}),
]


def test_the_choice_looks_at_held_out_rows_and_never_at_validation(tmp_path: Path) -> None:
    text, data = told(tmp_path, [*PLAIN, *CHOSEN])
    (group,) = data["groups"]
    assert [arm["label"] for arm in group["methods"]] == ["undistilled", "kd, best of 2 on held-out rows"]
    arm = group["methods"][1]
    assert arm["scores"]["CoLA"]["seeds"] == {"0": 60.0, "1": 62.0}
    assert arm["scores"]["MRPC"]["seeds"] == {"0": 10.0, "1": 12.0}
    assert arm["scores"]["mean"]["mean"] == 36.0
    assert arm["search"]["axes"] == {"temperature": ["1", "4"]}
    assert arm["search"]["chosen"]["CoLA"]["values"] == {"temperature": "4"}
    assert "| kd, best of 2 on held-out rows | **61.0 ± 1.4 (62.0)** | 11.0 ± 1.4 (12.0)" in text
    assert "10 % of the training rows are held out, and nothing is trained on them." in text
    chosen = "CoLA temperature=4 (held-out 30.0); MRPC temperature=1 (held-out 71.0)"
    assert f"kd: 2 points (temperature 1, 4). Chosen: {chosen}." in text
    assert "The budget was not equal. Points tried: undistilled 1, kd 2." in text
    assert "90.0" not in text, "the other points' scores are in the data alone"
    assert len(data["trials"]) == 12


def test_the_choice_does_not_change_with_the_validation_scores(tmp_path: Path) -> None:
    _, data = told(tmp_path / "one", [*PLAIN, *CHOSEN])
    turned = [{**entry, "score": 100.0 - entry["score"]} for entry in CHOSEN]
    _, other = told(tmp_path / "other", [*PLAIN, *turned])
    assert data["groups"][0]["methods"][1]["search"] == other["groups"][0]["methods"][1]["search"]


def test_of_equals_the_first_is_chosen_and_the_report_says_so(tmp_path: Path) -> None:
    entries = grid(
        "cola", {"1": ([20.0, 40.0], [50.0, 50.0]), "2": ([40.0, 20.0], [80.0, 80.0]), "4": ([9.0, 9.0], [9.0, 9.0])}
    )
    text, data = told(tmp_path, entries)
    assert data["groups"][0]["methods"][0]["scores"]["CoLA"]["mean"] == 50.0
    assert "CoLA temperature=1 (held-out 30.0, the first of 2 equals)" in text
    assert "The budget was equal: 3 points for each method." in text


def test_a_point_without_all_its_scores_is_not_compared(tmp_path: Path) -> None:
    entries = grid("cola", {"1": ([10.0, 10.0], [50.0, 51.0]), "4": ([90.0, None], [80.0, 80.0])})
    text, data = told(tmp_path, entries)
    assert data["groups"][0]["methods"][0]["scores"]["CoLA"]["mean"] == 50.5
    assert "CoLA temperature=1 (held-out 10.0, 1 of 2 points have their scores)" in text


def test_as_long_as_no_point_has_its_scores_nothing_is_chosen(tmp_path: Path) -> None:
    text, data = told(tmp_path, [trial(**entry) for entry in pending()])
    assert data["groups"][0]["methods"][0]["search"]["chosen"] == {}
    assert "Chosen: CoLA none yet." in text


def pending() -> list[dict[str, Any]]:
    return [
        {
            "task": "cola",
            "method": f"kd temperature={value}",
            "seed": 0,
            "grid": {"entry": 0, "title": "kd", "values": {"temperature": value}},
        }
        for value in ("1", "4")
    ]


def test_a_control_is_chosen_by_itself_and_compared_with_its_method(tmp_path: Path) -> None:
    entries = []
    for control, scores in (("none", [30.0, 20.0]), ("shuffled", [10.0, 15.0])):
        for value, score in zip(("1", "4"), scores, strict=True):
            place = {"entry": 0, "title": f"armada control={control}", "values": {"beta": value}}
            for seed in (0, 1):
                entries.append(
                    trial(
                        "cola",
                        f"armada beta={value} control={control}",
                        seed,
                        score + seed,
                        grid=place,
                        result={SELECTION: {"mcc": score}},
                        options={"beta": value},
                        control=control,
                    )
                )
    _, data = told(tmp_path, entries)
    (group,) = data["groups"]
    assert [arm["search"]["chosen"]["CoLA"]["values"]["beta"] for arm in group["methods"]] == ["1", "4"]
    (compared,) = [item for item in group["controls"]]
    assert compared["difference"]["mean"] == 15.0


def test_without_select_on_each_point_is_a_row(tmp_path: Path) -> None:
    _, data = told(tmp_path, [*PLAIN, *CHOSEN], select_on=None)
    labels = [arm["label"] for arm in data["groups"][0]["methods"]]
    assert labels == ["undistilled", "kd temperature=1", "kd temperature=4"]


def test_a_run_tells_which_trials_are_points_of_one_grid(recipe: Write, tmp_path: Path) -> None:
    methods = "[undistilled, {name: label-smoothing, alpha: [0.1, 0.2], train: {lr: [1e-3, 2e-3]}}]"
    runs = tmp_path / "runs"
    done = train(recipe(methods=methods, select_on=HELD, train="{epochs: 1, batch_size: 16, max_length: 32}"), runs)
    assert done.status == 0, done.err
    text = " ".join(armada("report", runs / "tiny", "--format", "md").out.split())
    assert "label-smoothing, best of 4 on held-out rows" in text
    assert "label-smoothing: 4 points (alpha 0.1, 0.2; lr 0.001, 0.002). Chosen: words alpha=" in text


def test_a_smoke_run_has_rows_to_choose_on(recipe: Write, tmp_path: Path) -> None:
    done = armada(
        "run", recipe(methods="[undistilled]", select_on=HELD), "--runs", tmp_path / "runs", "--smoke", "--workers", "0"
    )
    assert done.status == 0, done.err
    (result,) = (tmp_path / "runs").glob("smoke/**/result.json")
    assert json.loads(result.read_text(encoding="utf-8"))["rows"] == {"train": 8, "validation": 4, "selection": 4}
