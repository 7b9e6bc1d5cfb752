"""From run folders to tables: whole outputs, and what a reader must be able to see in them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_runs import full_run, published_run, trial, trials, wide_run, write_run
from scipy import stats

from armada_cli.errors import UserError
from armada_cli.reporting.report import report, show, write_reports

GOLDEN = Path(__file__).parent / "golden"


def check_golden(name: str, text: str) -> None:
    """Compare with the kept text; ``ARMADA_UPDATE_GOLDEN=1`` keeps the new one, to be read before it is committed."""
    path = GOLDEN / name
    if os.environ.get("ARMADA_UPDATE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("make", [full_run, published_run, wide_run])
def test_the_whole_text(tmp_path: Path, make: Callable[[Path], Path], width: int) -> None:
    check_golden(f"{make.__name__}_{width}.txt", report(make(tmp_path), "txt", width))


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("make", [full_run, published_run])
def test_what_a_run_prints(tmp_path: Path, make: Callable[[Path], Path], width: int) -> None:
    text = report(make(tmp_path), "txt", width, full=False).replace(str(tmp_path), "runs")
    check_golden(f"{make.__name__}_short_{width}.txt", text)


@pytest.mark.parametrize("format", ["md", "latex", "csv"])
@pytest.mark.parametrize("make", [full_run, published_run])
def test_the_whole_document(tmp_path: Path, make: Callable[[Path], Path], format: str) -> None:
    check_golden(f"{make.__name__}.{format}", report(make(tmp_path), format))


def test_the_whole_json(tmp_path: Path) -> None:
    check_golden("published_run.json", report(published_run(tmp_path), "json"))


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(tmp_path: Path, width: int) -> None:
    text = report(full_run(tmp_path), "txt", width)
    assert max(len(line) for line in text.splitlines()) <= width
    for number in ("19.0 ± 0.7 (19.6)", "71.1 ± 0.1 (71.2)", "p .003, Holm .009", "46.4 ± 0.5 (46.7)", "+1.50 ± 0.22"):
        assert number in text


def test_on_a_narrow_terminal_a_table_has_one_column_and_whole_numbers(tmp_path: Path) -> None:
    text = report(full_run(tmp_path), "txt", 36)
    assert "GLUE, student minilm (2 of 3)\n" in text
    assert "  armada manifol   71.7 ± 0.4 (72.0)\n  d=euclid\n" in text
    tables = text[: text.index("How to read the differences")]
    assert max(len(line) for line in tables.splitlines()) <= 36


def test_answers_that_could_not_be_read_are_told(tmp_path: Path) -> None:
    def scored(method: str, score: float, *answered: float) -> list[dict[str, Any]]:
        return [
            trial("cola", method, seed, score, result={"scores": {"mcc": score, "answered": share}})
            for seed, share in enumerate(answered)
        ]

    entries = [*scored("undistilled", 0.0, 0.0, 0.0), *scored("kd", 20.0, 60.0, 70.0), *scored("pkd", 40.0, 100.0, 100.0)]
    text = report(write_run(tmp_path, entries), "txt", 100)
    lines = text.splitlines()
    below = {line.split()[0]: lines[number + 1].strip() for number, line in enumerate(lines[:20]) if line.strip()}
    assert below["undistilled"] == "100 % unread"
    assert below["kd"] == "35 % unread"
    assert "unread" not in below["pkd"]
    assert "unread: answers from which no answer could be read, which count as wrong." in text


def test_models_that_the_arms_learn_from_stand_below_them(tmp_path: Path) -> None:
    teacher = {"student": "mpnet", "student_name": "mpnet-offline"}
    taught = [*trials("cola", "undistilled", [18.0, 20.0]), *trials("cola", "kd", [21.0, 23.0])]
    built_on = [trial("cola", "undistilled", 0, 42.4, **teacher), trial("cola", "armada", 0, None, **teacher)]
    own = trial("cola", "tinybert-intermediate", 0, 3.0)
    folder = write_run(tmp_path, taught, dependencies=[*built_on, own, "damaged"])
    for full in (False, True):
        text = report(folder, "txt", 100, full=full)
        assert re.search(r"models that they learn from\n +mpnet, undistilled +42[.]4\b", text), text
        assert "tinybert-intermediate" not in text
    assert json.loads(report(folder, "json"))["groups"][0]["sources"][0]["scores"]["CoLA"]["seeds"] == {"0": 42.4}


def test_a_task_of_ones_own_has_no_published_rows(tmp_path: Path) -> None:
    text = report(published_run(tmp_path), "txt", 100)
    files = text[text.index("files, student bert-6l") :]
    assert "paper" not in files[: files.index("Provenance")]


@pytest.mark.parametrize(("tasks", "told"), [(["cola"], True), (["cola", "sst2"], True), (["sst2"], False)])
def test_the_best_of_three_runs_is_told_of_table_2_where_table_2_is_quoted(
    tmp_path: Path, tasks: list[str], told: bool
) -> None:
    entries = [
        entry for task in tasks for entry in trials(task, "undistilled", [40.0], student="bert-base", student_name="bert-base")
    ]
    text = " ".join(report(write_run(tmp_path, entries), "txt", 120).split())
    assert "quoted as printed" in text
    assert ("Table 2 reports the best of three runs, so compare it with the best in brackets" in text) == told
    assert ("best of three" in text) == told


def test_a_changed_student_is_not_passed_off_as_the_papers(tmp_path: Path) -> None:
    entries = trials("cola", "undistilled", [40.0], student="bert-base layers=6", student_name="bert-base")
    text = " ".join(report(write_run(tmp_path, entries), "txt", 120).split())
    assert "The paper's rows are for bert-base itself; this run's student is bert-base layers=6." in text


def test_one_seed_says_that_it_proves_nothing(tmp_path: Path) -> None:
    entries = [*trials("cola", "undistilled", [18.0]), *trials("cola", "armada manifold=euclid", [20.0])]
    text = report(write_run(tmp_path, entries), "txt", 100)
    assert "One seed (0): no spread and no test, so a difference here may be chance." in text
    assert "+2.00\n" in text
    assert "p: needs 3 seeds" in text
    assert "±" not in text.split("difference from undistilled")[0]


def test_two_seeds_have_a_spread_and_no_p_value(tmp_path: Path) -> None:
    entries = [*trials("cola", "undistilled", [18.0, 20.0]), *trials("cola", "armada manifold=euclid", [21.0, 22.0])]
    text = report(write_run(tmp_path, entries), "txt", 100)
    assert "19.0 ± 1.4 (20.0)" in text
    assert "+2.50 ± 0.71" in text
    assert "p: needs 3 seeds" in text
    assert "Holm" not in text


def test_failed_and_pending_trials_are_seen_with_their_reason(tmp_path: Path) -> None:
    entries = [
        *trials("cola", "undistilled", [18.0, 20.0]),
        trial("cola", "armada manifold=cosine", 0, status="failed", reason="loss became NaN at step 7"),
        trial("cola", "armada manifold=cosine", 1, status="failed", reason="loss became NaN at step 7"),
        trial("cola", "armada manifold=euclid", 0),
        trial("cola", "armada manifold=euclid", 1, 21.0),
    ]
    text = report(write_run(tmp_path, entries), "txt", 100)
    assert "run hand: 5 trials (3 done, 2 failed" not in text
    assert "run hand: 6 trials (3 done, 2 failed, 1 pending)" in text
    assert "armada manifold=cosine   failed\n" in text
    assert "1 of 2 seeds" in text
    assert "failed: armada manifold=cosine, teacher speech, minilm, CoLA, seeds 0, 1: loss became NaN at step 7\n" in text
    assert "pending: armada manifold=euclid, teacher speech, minilm, CoLA, seed 0\n" in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"scores": {"mcc": 1', "its result.json cannot be read"),
        ("[1, 2]", "its result.json holds no finite 'mcc'"),
        ('{"scores": {"mcc": NaN}}', "its result.json holds no finite 'mcc'"),
        ('{"scores": {"mcc": "high"}}', "its result.json holds no finite 'mcc'"),
        ('{"id": "another", "scores": {"mcc": 1.0}}', "its result.json is of another trial"),
        (None, "its result.json is missing"),
    ],
)
def test_a_damaged_result_is_a_missing_trial_and_no_crash(tmp_path: Path, content: str | None, reason: str) -> None:
    entries = trials("cola", "undistilled", [18.0, 20.0])
    folder = write_run(tmp_path, entries)
    result = tmp_path / "trials" / entries[0]["id"] / "result.json"
    if content is None:
        result.unlink()
    else:
        result.write_text(content)
    text = report(folder, "txt", 100)
    assert "1 of 2 seeds" in text
    assert f"damaged: undistilled, minilm, CoLA, seed 0: {reason}" in " ".join(text.split())
    assert json.loads(report(folder, "json"))["trials"][0]["status"] == "damaged"


def test_damaged_bytes_and_odd_shapes_do_no_harm(tmp_path: Path) -> None:
    entries = trials(
        "cola", "undistilled", [18.0, 20.0], result={"warnings": "no list", "parameters": [1], "aligner": {"mcc": None}}
    )
    folder = write_run(tmp_path, entries, provenance={"stages": "none", "plugins": 3, "teachers": ["x"], "versions": []})
    (tmp_path / "trials" / entries[1]["id"] / "result.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "trials" / entries[0]["id"] / "timings.json").write_text("{")
    for format in ("txt", "md", "json", "csv", "latex"):
        assert "18.0" in report(folder, format)


def test_a_folder_without_a_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no run folder: it has no run\.json"):
        report(tmp_path, "txt")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        report(tmp_path, "txt")
    (tmp_path / "run.json").write_text('{"trials": 3}')
    with pytest.raises(UserError, match="holds no list of trials"):
        report(tmp_path, "txt")


def test_differences_are_paired_by_seed_and_tested_as_scipy_does(tmp_path: Path) -> None:
    data = json.loads(report(full_run(tmp_path), "json"))
    armada = next(method for method in data["groups"][0]["methods"] if method["label"] == "armada manifold=euclid")
    found = armada["scores"]["CoLA"]["difference"]
    expected = stats.ttest_rel([20.2, 21.4, 21.3], [18.2, 19.6, 19.1])
    assert found["differences"] == pytest.approx({"0": 2.0, "1": 1.8, "2": 2.2})
    assert found["p"] == pytest.approx(expected.pvalue)


def test_holm_runs_over_the_methods_of_a_column(tmp_path: Path) -> None:
    data = json.loads(report(full_run(tmp_path), "json"))
    found = [
        method["scores"]["CoLA"]["difference"]
        for method in data["groups"][0]["methods"]
        if method["scores"]["CoLA"]["difference"]
    ]
    smallest, middle, largest = sorted(found, key=lambda difference: difference["p"])
    assert smallest["p_holm"] == pytest.approx(3 * smallest["p"])
    assert middle["p_holm"] == pytest.approx(max(3 * smallest["p"], 2 * middle["p"]))
    assert largest["p_holm"] == pytest.approx(largest["p"])


def test_the_mean_over_tasks_is_taken_seed_by_seed(tmp_path: Path) -> None:
    data = json.loads(report(full_run(tmp_path), "json"))
    shuffled = next(method for method in data["groups"][0]["methods"] if method["control"] == "shuffled")
    # Seed 2 of MRPC has not run, so the mean over tasks has seeds 0 and 1 alone.
    assert shuffled["scores"]["mean"]["seeds"] == pytest.approx({"0": (19.9 + 71.0) / 2, "1": (21.6 + 71.2) / 2})


def test_a_control_is_set_against_the_row_it_controls(tmp_path: Path) -> None:
    entries = [
        *trials("cola", "undistilled", [18.0, 19.0, 20.0]),
        *trials("cola", "armada manifold=euclid", [20.0, 21.5, 22.0]),
        *trials("cola", "armada manifold=euclid beta=0.1", [25.0, 26.5, 27.0]),
        *trials("cola", "armada manifold=cosine", [1.0, 2.0, 4.0]),
        *trials("cola", "armada manifold=euclid beta=0.1 control=noise", [24.0, 26.0, 26.0]),
        *trials("cola", "armada manifold=euclid beta=0.1 control=shuffled", [26.0, 26.0, 27.5]),
    ]
    data = json.loads(report(write_run(tmp_path, entries), "json"))
    controls = {(item["method"], item["control"]): item["difference"]["differences"] for item in data["groups"][0]["controls"]}
    row = "armada manifold=euclid beta=0.1"
    assert controls == {
        (row, f"{row} control=noise"): {"0": 1.0, "1": 0.5, "2": 1.0},
        (row, f"{row} control=shuffled"): {"0": -1.0, "1": 0.5, "2": -0.5},
    }


@pytest.mark.parametrize("recorded", [True, False], ids=["options", "titles"])
def test_a_control_of_another_teacher_controls_nothing(tmp_path: Path, recorded: bool) -> None:
    def arm(teacher: str, control: str, scores: list[float]) -> list[dict[str, Any]]:
        title = "armada manifold=euclid" + (f" control={control}" if control != "none" else "")
        options = {"options": {"manifold": "euclid", "control": control}} if recorded else {}
        found = trials("cola", title, scores, teacher=teacher, teacher_name=teacher, **options)
        return [{**entry, "id": f"{teacher}-{entry['id']}"} for entry in found]

    entries = [
        *arm("speech", "none", [20.0, 21.0]),
        *arm("pictures", "none", [30.0, 31.0]),
        *arm("speech", "shuffled", [19.0, 19.5]),
        *arm("pictures", "shuffled", [25.0, 27.0]),
    ]
    data = json.loads(report(write_run(tmp_path, entries), "json"))
    found = [item["difference"]["differences"] for item in data["groups"][0]["controls"]]
    assert found == [{"0": 1.0, "1": 1.5}, {"0": 5.0, "1": 4.0}]


def test_recorded_options_decide_which_row_a_control_controls(tmp_path: Path) -> None:
    entries = [
        *trials("cola", "mine", [20.0, 21.0], method_name="armada", options={"beta": 0.1, "control": "none"}),
        *trials("cola", "other", [30.0, 31.0], method_name="armada", options={"beta": 1.0, "control": "none"}),
        *trials(
            "cola",
            "mixed",
            [20.5, 20.0],
            method_name="armada",
            control="shuffled",
            options={"beta": 0.1, "control": "shuffled"},
        ),
    ]
    data = json.loads(report(write_run(tmp_path, entries), "json"))
    assert [(item["method"], item["control"]) for item in data["groups"][0]["controls"]] == [("mine", "mixed")]


def test_a_task_titled_mean_keeps_its_scores_beside_the_mean_over_tasks(tmp_path: Path) -> None:
    entries = [
        {**entry, "task": task, "id": f"{task}-{entry['seed']}"}
        for task, scores in (("mean", [10.0, 20.0]), ("other", [30.0, 50.0]))
        for entry in trials("mail", "undistilled", scores)
    ]
    (group,) = json.loads(report(write_run(tmp_path, entries), "json"))["groups"]
    assert group["mean_over_tasks"] == "the mean"
    (row,) = group["methods"]
    assert {key: cell["mean"] for key, cell in row["scores"].items()} == {"mean": 15.0, "other": 40.0, "the mean": 27.5}


def test_a_control_that_was_trained_otherwise_controls_nothing(tmp_path: Path) -> None:
    entries = [
        entry
        for lr, control, scores in (
            (1e-4, "", [20.0, 21.0]),
            (2e-4, "", [30.0, 31.0]),
            (2e-4, " control=shuffled", [29.0, 30.5]),
        )
        for entry in trials("cola", f"armada lr={lr}{control}", scores, options={}, train={"lr": lr, "epochs": 3})
    ]
    data = json.loads(report(write_run(tmp_path, entries), "json"))
    controls = [(item["method"], item["control"]) for item in data["groups"][0]["controls"]]
    assert controls == [("armada lr=0.0002", "armada lr=0.0002 control=shuffled")]


def test_controls_come_with_the_word_on_regularisation(tmp_path: Path) -> None:
    text = " ".join(report(full_run(tmp_path), "txt", 100).split())
    assert "An improvement which the shuffled or noise teacher also gives is regularisation, not knowledge" in text
    assert "The real teacher is ahead of its control in 2 of 2 comparisons, with p (Holm) < .05 in 0." in text


def test_a_run_without_controls_has_no_table_of_them(tmp_path: Path) -> None:
    text = report(published_run(tmp_path), "txt", 100)
    assert "control" not in text
    assert "regularisation" not in text


def test_a_loss_is_better_when_it_is_smaller(tmp_path: Path) -> None:
    entries = [
        *trials("mail", "undistilled", [2.0, 3.0], metric="loss"),
        *trials("mail", "armada manifold=euclid", [1.0, 1.5], metric="loss"),
    ]
    text = report(write_run(tmp_path, entries), "md")
    assert "| undistilled | 2.5 ± 0.7 (2.0) |" in text
    assert "| armada manifold=euclid | **1.2 ± 0.4 (1.0)** |" in text


def test_a_real_teacher_with_the_smaller_loss_is_ahead_of_its_control(tmp_path: Path) -> None:
    entries = [
        *trials("mail", "armada manifold=euclid", [1.0, 1.5], metric="loss"),
        *trials("mail", "armada manifold=euclid control=shuffled", [2.0, 2.5], metric="loss"),
    ]
    text = " ".join(report(write_run(tmp_path, entries), "txt", 100).split())
    assert "The real teacher is ahead of its control in 1 of 1 comparison," in text


def test_arms_of_one_title_keep_their_own_seeds(tmp_path: Path) -> None:
    entries = [trial("cola", "undistilled", 0, 10.0, id="a"), trial("cola", "undistilled", 0, 30.0, id="b")]
    data = json.loads(report(write_run(tmp_path, entries), "json"))
    seen = {method["label"]: method["scores"]["CoLA"]["seeds"] for method in data["groups"][0]["methods"]}
    assert seen == {"undistilled": {"0": 10.0}, "undistilled #2": {"0": 30.0}}


def test_a_smoke_run_says_that_its_numbers_mean_nothing(tmp_path: Path) -> None:
    folder = full_run(tmp_path, smoke=True)
    for format in ("txt", "md", "latex"):
        assert "The numbers mean nothing." in " ".join(report(folder, format).split())
    assert json.loads(report(folder, "json"))["run"]["smoke"] is True


def test_warnings_of_trials_are_printed_once_each(tmp_path: Path) -> None:
    warned = {"warnings": ["the manifold term outweighs the task's by 5.1; try beta=0.1"]}
    entries = [*trials("cola", "undistilled", [18.0]), *trials("cola", "armada manifold=euclid", [1.0, 2.0], result=warned)]
    text = report(write_run(tmp_path, entries), "txt", 140)
    assert text.count("outweighs") == 1
    assert (
        "armada manifold=euclid, CoLA, seed 0 and 1 more: the manifold term outweighs the task's by 5.1; try beta=0.1" in text
    )


def test_parameters_are_told_apart(tmp_path: Path) -> None:
    counted = {"parameters": {"student": 22713216, "trained": 22713216, "heads": 1000, "own": {"aligner": 803000, "peer": 7}}}
    entries = trials("cola", "armada manifold=euclid", [18.0], result=counted)
    text = report(write_run(tmp_path, entries), "txt", 140)
    assert "minilm: student 22,713,216, extra heads 1,000, aligner 803,000, peer 7 (armada manifold=euclid)" in text


@pytest.mark.parametrize(
    "counted", [{"heads": 0, "inference": 66000}, pytest.param({"heads": 66000}, id="as earlier versions have it")]
)
def test_modules_that_a_student_keeps_are_no_extra_heads(tmp_path: Path, counted: dict[str, int]) -> None:
    known = {"student": 22713216, "trained": 1000, **counted, "own": {}}
    entries = trials("cola", "x-adapter", [18.0], result={"parameters": known, "needs_armada": True})
    text = report(write_run(tmp_path, entries), "txt", 140)
    assert "minilm: student 22,713,216, trained 1,000, inference modules 66,000 (x-adapter)" in text


def test_every_role_of_a_methods_own_models_has_a_table_of_its_fit(tmp_path: Path) -> None:
    fits = {"fits": {"peer": {"mcc": 61.5}, "assistant": {"mcc": 43.0}}}
    text = report(write_run(tmp_path, trials("cola", "mutual", [18.0], result=fits)), "txt", 100)
    for role, score in (("peer", "61.5"), ("assistant", "43.0")):
        table = text[text.index(f"GLUE, student minilm: fit of the training rows: {role}\n") :]
        assert f"mutual   {score}\n" in table
        assert "says nothing of rows that it has not seen" in " ".join(table.split())
        assert "paper's numbers of the aligner" not in table


def test_arms_of_one_title_are_told_apart_by_their_control(tmp_path: Path) -> None:
    """A control is a setting of the features, and need not be in the title."""
    entries = [
        *trials("cola", "mine", [20.0, 21.0], method_name="armada", control="none"),
        *(
            {**entry, "id": f"control-{entry['seed']}"}
            for entry in trials("cola", "mine", [19.0, 20.5], method_name="armada", control="shuffled")
        ),
    ]
    data = json.loads(report(write_run(tmp_path, entries), "json"))
    (compared,) = data["groups"][0]["controls"]
    assert (compared["method"], compared["control"]) == ("mine", "mine control=shuffled")
    assert compared["difference"]["differences"] == {"0": 1.0, "1": 0.5}


def test_markup_in_titles_is_text(tmp_path: Path) -> None:
    entries = trials("cola", "[bold]x|y_z[/bold] & 5%", [18.0], method_name="undistilled", id="odd")
    folder = write_run(tmp_path, entries)
    assert "[bold]x|y_z[/bold] & 5%" in report(folder, "txt", 100)
    assert r"\[bold\]x\|y\_z\[/bold\] &amp; 5%" in report(folder, "md")
    assert r"{[}bold]x\textbar{}y\_z{[}/bold] \& 5\%" in report(folder, "latex")


def test_reports_are_equal_byte_for_byte_but_for_their_timings(tmp_path: Path) -> None:
    first = full_run(tmp_path / "first")
    second = full_run(tmp_path / "second", started="2027-01-01T00:00:00Z", finished=None)
    for path in (tmp_path / "second" / "trials").glob("*/timings.json"):
        path.write_text(json.dumps({"wall": 9.0, "cpu": 8.0, "stages": {"train": 7.0}}))
    write_reports(first)
    write_reports(second)
    for name, mark in (("report.txt", "Timings\n"), ("report.md", "## Timings\n"), ("report.json", '  "timings": {')):
        one, other = ((folder / name).read_text() for folder in (first, second))
        assert one != other
        assert one.split(mark)[0] == other.split(mark)[0]
    assert list(json.loads((first / "report.json").read_text()))[-1] == "timings"


def test_the_reports_are_the_printed_ones_and_leave_no_scraps(tmp_path: Path) -> None:
    folder = full_run(tmp_path)
    write_reports(folder)
    names = ["report.html", "report.json", "report.md", "report.txt", "run.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "report.txt").read_text() == report(folder, "txt", 100)
    assert (folder / "report.md").read_text() == report(folder, "md")


def test_show_prints_at_the_given_width(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = full_run(tmp_path)
    show(folder, 80)
    assert capsys.readouterr().out == report(folder, "txt", 80, full=False)
    show(folder, 80, full=True)
    assert capsys.readouterr().out == report(folder, "txt", 80)
    show(folder, None, "md")
    assert capsys.readouterr().out == report(folder, "md")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_the_same_words_with_the_best_mean_in_bold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    folder = published_run(tmp_path)
    with contextlib.redirect_stdout(Terminal()) as terminal:
        show(folder, 100, full=True)
    shown = terminal.getvalue()
    assert "\x1b[1m89.0 ± 1.4 (90.0)\x1b[0m" in shown
    assert "\x1b[1m87.8 ± 1.1 (88.5)" not in shown
    words = [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()]
    assert words == report(folder, "txt", 100).splitlines()


def test_the_csv_holds_every_cell_and_the_papers(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(report(published_run(tmp_path), "csv"))))
    own = {(row["method"], row["task"]): row for row in rows if row["source"] == "run"}
    assert float(own["armada manifold=cosine", "SST-2"]["mean"]) == 89.0
    assert float(own["armada manifold=cosine", "SST-2"]["difference"]) == 1.25
    paper = {(row["source"], row["method"], row["task"]): row["mean"] for row in rows if row["source"] != "run"}
    assert paper["paper, Tables 2 and 3", "ARMADA, cosine", "SST-2"] == "90.7"
    assert {row["teacher"] for row in rows if row["source"] == "paper, Table 7"} == {"BERT-base", "Stable Diffusion"}


def test_the_json_holds_every_seed_and_the_provenance(tmp_path: Path) -> None:
    data = json.loads(report(full_run(tmp_path), "json"))
    assert len(data["trials"]) == 36
    assert {item["score"] for item in data["trials"] if item["task"] == "CB" and item["method"] == "undistilled"} == {
        75.0,
        76.8,
        73.2,
    }
    assert data["provenance"]["git"] == "0123abc"
    assert data["timings"]["stages"] == [{"stage": "features", "wall": 61.5, "cpu": 120.0}]
    assert data["timings"]["trials"]["wall"] == 2.0 * 33


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown format 'pdf'"):
        report(full_run(tmp_path), "pdf")


def test_a_report_imports_no_torch_and_no_pandas(tmp_path: Path) -> None:
    folder = full_run(tmp_path)
    code = (
        "import sys; from pathlib import Path; from armada_cli.reporting.report import report; "
        f"report(Path({str(folder)!r}), 'txt', 80); "
        "print([name for name in ('torch', 'transformers', 'pandas', 'datasets', 'sklearn') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
