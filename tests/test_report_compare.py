"""`armada compare`: two runs side by side."""

from __future__ import annotations

from pathlib import Path

from report_runs import write_run
from running import armada
from test_report_verdicts import arm


def compared(root: Path, first: str, second: str) -> str:
    done = armada("compare", first, second, "--runs", root)
    assert done.status == 0, done.err
    return " ".join(done.out.split())


def test_a_method_that_became_better_is_ahead(tmp_path: Path) -> None:
    before = [*arm(tmp_path, "undistilled", 0.6), *arm(tmp_path, "kd", 0.61)]
    after = [*arm(tmp_path, "undistilled", 0.6), *arm(tmp_path, "kd", 0.75, named="-after")]
    write_run(tmp_path, before, "before")
    write_run(tmp_path, after, "after")
    text = compared(tmp_path, "before", "after")
    assert "after minus before" in text
    assert "the same trials" in text, "the undistilled student was not trained again"
    assert text.count(" ahead") >= 1
    assert "behind" in compared(tmp_path, "after", "before")


def test_what_one_run_alone_has_is_named(tmp_path: Path) -> None:
    write_run(tmp_path, [*arm(tmp_path, "undistilled", 0.6), *arm(tmp_path, "kd", 0.61)], "before")
    write_run(tmp_path, [*arm(tmp_path, "undistilled", 0.6), *arm(tmp_path, "pkd", 0.61)], "after")
    text = compared(tmp_path, "before", "after")
    assert "Only before: kd, GLUE." in text
    assert "Only after: pkd, GLUE." in text


def test_runs_with_nothing_in_common_say_so(tmp_path: Path) -> None:
    write_run(tmp_path, arm(tmp_path, "undistilled", 0.6), "before")
    write_run(tmp_path, arm(tmp_path, "undistilled", 0.6, student="opt"), "after")
    text = compared(tmp_path, "before", "after")
    assert "have no method of one student on one group of tasks in common" in text
    assert "Only after: GLUE, student opt." in text


def test_a_run_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    write_run(tmp_path, arm(tmp_path, "undistilled", 0.6), "before")
    done = armada("compare", "before", "befor", "--runs", tmp_path)
    assert done.status == 2
    assert "no run 'befor'" in done.err
    assert "'before'" in done.err
