"""`armada report` as a user types it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from report_runs import full_run, trials, write_run

from armada_cli.commands.report import command
from armada_cli.errors import UserError
from armada_cli.reporting.report import report


def armada_report(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, standalone_mode=False)


def test_a_run_is_named_by_name_or_by_folder(tmp_path: Path) -> None:
    folder = full_run(tmp_path)
    by_name = armada_report("hand", "--runs", str(tmp_path), "--format", "md")
    by_folder = armada_report(str(folder), "--runs", str(tmp_path / "elsewhere"), "--format", "md")
    assert by_name.output == by_folder.output == report(folder, "md")


def test_a_misspelt_run_is_suggested(tmp_path: Path) -> None:
    full_run(tmp_path)
    error = armada_report("hnad", "--runs", str(tmp_path)).exception
    assert isinstance(error, UserError)
    assert str(error) == f"no run 'hnad' in {tmp_path}. Did you mean 'hand'?"


def test_an_unlike_name_shows_what_there_is(tmp_path: Path) -> None:
    full_run(tmp_path)
    error = armada_report("zzz", "--runs", str(tmp_path)).exception
    assert str(error) == f"no run 'zzz' in {tmp_path}. There are hand"


def test_without_any_run_it_says_how_to_make_one(tmp_path: Path) -> None:
    error = armada_report("zzz", "--runs", str(tmp_path)).exception
    assert "holds no run yet: `armada run RECIPE` makes one" in str(error)


def test_without_a_name_the_runs_are_listed_newest_first(tmp_path: Path) -> None:
    full_run(tmp_path)
    newer = write_run(tmp_path, trials("cola", "undistilled", [18.0, None]), name="second", smoke=True)
    damaged = tmp_path / "third"
    damaged.mkdir()
    (damaged / "run.json").write_text("{")
    os.utime(newer / "run.json", (4e9, 4e9))
    os.utime(damaged / "run.json", (1e9, 1e9))
    lines = [line.split("\t") for line in armada_report("--runs", str(tmp_path)).output.splitlines()]
    assert [line[:2] for line in lines] == [["second", "1 of 2"], ["hand", "33 of 36"], ["third", "damaged"]]
    assert lines[0][3] == "Made by hand (smoke)"


def test_output_goes_to_a_file(tmp_path: Path) -> None:
    folder = full_run(tmp_path)
    target = tmp_path / "table.json"
    assert armada_report("hand", "--runs", str(tmp_path), "--format", "json", "--output", str(target)).output == ""
    assert json.loads(target.read_text()) == json.loads(report(folder, "json"))


@pytest.mark.parametrize("place", ["", "no/such/folder/report.txt"])
def test_an_impossible_output_is_one_line(tmp_path: Path, place: str) -> None:
    full_run(tmp_path)
    error = armada_report("hand", "--runs", str(tmp_path), "--output", str(tmp_path / place)).exception
    assert isinstance(error, UserError)
    assert "Name a file in a folder that exists" in str(error)


def test_output_without_a_run_is_refused(tmp_path: Path) -> None:
    error = armada_report("--runs", str(tmp_path), "--output", str(tmp_path / "x.txt")).exception
    assert str(error).startswith("--output needs a run to report")
