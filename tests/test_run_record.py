"""run.json and the lines that change it: each trial that ends costs the same, and half a line harms nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from armada_cli import UserError
from armada_cli.commands.report import run_folders
from armada_cli.reporting.folder import read_run
from armada_cli.run_record import RunRecord, read_record
from armada_cli.runs import Runs
from tests.report_runs import PROVENANCE, full_run, write_run
from tests.running import armada

IDS = ["a1", "b2", "c3"]


def entries(status: str = "pending", count: int = 3) -> list[dict[str, Any]]:
    names = IDS if count == len(IDS) else [f"{number:016x}" for number in range(count)]
    return [{"id": name, "status": status, "reason": "", "metric": ""} for name in names]


def record(**changes: Any) -> dict[str, Any]:
    return {"recipe": "mine", "trials": entries(), "dependencies": [], "finished": None, "provenance": PROVENANCE, **changes}


def states(folder: Path) -> dict[str, str]:
    return {entry["id"]: entry["status"] for entry in read_record(folder)["trials"]}


def test_a_line_changes_one_trial_in_both_lists(tmp_path: Path) -> None:
    writer = RunRecord(tmp_path)
    writer.begin(record(dependencies=[{"id": "d4", "status": "pending", "reason": "", "metric": ""}]))
    writer.change("b2", "done", metric="accuracy")
    writer.change("c3", "failed", "loss became NaN\nat step 4")
    writer.change("d4", "done", metric="mcc")
    writer.change("not in this run", "done")
    value = read_record(tmp_path)
    assert value["trials"] == [
        {"id": "a1", "status": "pending", "reason": "", "metric": ""},
        {"id": "b2", "status": "done", "reason": "", "metric": "accuracy"},
        {"id": "c3", "status": "failed", "reason": "loss became NaN\nat step 4", "metric": ""},
    ]
    assert value["dependencies"] == [{"id": "d4", "status": "done", "reason": "", "metric": "mcc"}]


def test_a_run_that_ended_is_one_file_as_it_always_was(tmp_path: Path) -> None:
    """An earlier version reads it."""
    writer = RunRecord(tmp_path)
    writer.begin(record())
    writer.change("a1", "done")
    writer.end(record(finished="2026-01-02T03:04:05Z"))
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == record(finished="2026-01-02T03:04:05Z")


@pytest.mark.parametrize("count", [10, 3000])
def test_a_trial_that_ends_writes_as_much_in_a_large_run_as_in_a_small_one(count: int, tmp_path: Path) -> None:
    writer = RunRecord(tmp_path)
    writer.begin(record(trials=entries(count=count)))
    whole = (tmp_path / "run.json").read_bytes()
    for number in range(10):
        writer.change(f"{number:016x}", "done", metric="accuracy")
    assert (tmp_path / "run.json").read_bytes() == whole
    assert (tmp_path / "changes.jsonl").stat().st_size == 10 * 129
    assert sum(status == "done" for status in states(tmp_path).values()) == 10


def test_half_a_line_is_passed_over_and_spoils_no_other(tmp_path: Path) -> None:
    """A kill, or a full disk, at every byte of the second line."""
    writer = RunRecord(tmp_path)
    writer.begin(record())
    file = tmp_path / "changes.jsonl"
    writer.change("a1", "done")
    first = file.stat().st_size
    writer.change("b2", "done")
    content = file.read_bytes()
    for size in range(first, len(content)):
        file.write_bytes(content[:size])
        whole = size == len(content) - 1  # all but its line end
        assert states(tmp_path) == {"a1": "done", "b2": "done" if whole else "pending", "c3": "pending"}
        writer.change("c3", "done")
        assert states(tmp_path) == {"a1": "done", "b2": "done" if whole else "pending", "c3": "done"}


@pytest.mark.parametrize(
    "damage", [b"\xff\xfe", b"null\n", b"[1]\n", b'{"id": 3}\n', b'{"id": "a1", "status": "done"}\n', b"[" * 5000, b"\x00" * 99]
)
def test_damaged_lines_are_passed_over(damage: bytes, tmp_path: Path) -> None:
    writer = RunRecord(tmp_path)
    writer.begin(record())
    with (tmp_path / "changes.jsonl").open("ab") as stream:
        stream.write(damage)
    writer.change("b2", "done")
    assert states(tmp_path) == {"a1": "pending", "b2": "done", "c3": "pending"}


@pytest.mark.parametrize(
    "value", [[], 3, "text", {"changes": 4}, {"changes": "x", "trials": 3}, {"changes": "x", "trials": [1]}]
)
def test_a_record_of_another_form_is_left_to_its_reader(value: Any, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(value))
    (tmp_path / "changes.jsonl").write_text('{"changes": "x", "id": "1", "status": "done"}\n')
    assert read_record(tmp_path) == value


def test_lines_of_an_earlier_run_count_for_nothing(tmp_path: Path) -> None:
    """It was killed, or an earlier version has run in between, which knows nothing of them."""
    first, second = RunRecord(tmp_path), RunRecord(tmp_path)
    first.begin(record())
    first.change("a1", "failed", "no memory")
    stale = (tmp_path / "changes.jsonl").read_bytes()
    second.begin(record())
    (tmp_path / "changes.jsonl").write_bytes(stale)  # killed before they were removed
    assert set(states(tmp_path).values()) == {"pending"}
    second.change("b2", "done")
    assert states(tmp_path) == {"a1": "pending", "b2": "done", "c3": "pending"}
    (tmp_path / "run.json").write_text(json.dumps(record()))
    assert set(states(tmp_path).values()) == {"pending"}


def test_a_full_disk_at_a_line_is_the_usual_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = RunRecord(tmp_path)
    writer.begin(record())

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*changes\.jsonl: No space left on device\. Free some space"):
        writer.change("a1", "done")


def test_the_report_of_a_run_that_goes_on_counts_what_has_ended(tmp_path: Path) -> None:
    """As after a kill: run.json is of the beginning."""
    folder = full_run(tmp_path)
    finished = json.loads((folder / "run.json").read_text())
    whole = read_run(folder)
    beginning = {**finished, "trials": [entry | {"status": "pending", "reason": ""} for entry in finished["trials"]]}
    writer = RunRecord(folder)
    writer.begin(beginning)
    assert all(trial.score is None for trial in read_run(folder).trials)
    assert Runs(tmp_path).components("hand") == []
    for entry in finished["trials"]:
        if entry["status"] != "pending":
            writer.change(entry["id"], entry["status"], entry["reason"], entry["metric"])
    assert read_run(folder).trials == whole.trials
    listed = armada("report", "--runs", tmp_path).out
    assert f"{sum(trial.score is not None for trial in whole.trials)} of {len(whole.trials)}" in listed


def test_runs_are_listed_by_their_last_change(tmp_path: Path) -> None:
    older, newer = (write_run(tmp_path, [], name) for name in ("older", "newer"))
    os.utime(older / "run.json", (1e9, 1e9))
    os.utime(newer / "run.json", (2e9, 2e9))
    assert run_folders(tmp_path) == [newer, older]
    (older / "changes.jsonl").write_text("")
    os.utime(older / "changes.jsonl", (3e9, 3e9))
    assert run_folders(tmp_path) == [older, newer]
