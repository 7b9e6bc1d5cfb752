"""Verdicts in reports: from the rows that each arm's students answered, kept once, and said in few words."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_runs import trial, write_run

from armada_cli.predictions import PREDICTIONS, write_predictions
from armada_cli.reporting.contrasts import CONTRASTS
from armada_cli.reporting.report import report

ROWS = 400
LABELS = np.random.default_rng(7).integers(0, 2, ROWS)


def answered(right: np.ndarray) -> np.ndarray:
    """Logits [n, 2] of a student that is right in these rows."""
    classes = np.where(right, LABELS, 1 - LABELS)
    return np.eye(2, dtype=np.float32)[classes]


def arm(
    root: Path,
    method: str,
    share: float,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    keep: bool = True,
    named: str = "",
    **changes: Any,
) -> list[dict[str, Any]]:
    """The trials of an arm that is right in about this share of the rows, easy ones first, with their predictions."""
    entries = []
    for seed in seeds:
        chance = np.random.default_rng([seed, round(1000 * share)])
        right = np.arange(ROWS) / ROWS + chance.normal(0, 0.02, ROWS) < share
        entries.append(trial("mrpc", method, seed, 100 * right.mean(), **changes))
        entries[-1]["id"] += named
        folder = root / "trials" / entries[-1]["id"]
        folder.mkdir(parents=True, exist_ok=True)
        if keep:
            write_predictions(folder, answered(right), LABELS.tolist())
    return entries


def text_of(folder: Path, *, full: bool = False) -> str:
    return " ".join(report(folder, "txt", 100, full=full).split())


def test_a_difference_in_the_rows_is_ahead_and_none_cannot_be_told(tmp_path: Path) -> None:
    entries = [*arm(tmp_path, "undistilled", 0.6), *arm(tmp_path, "kd", 0.75), *arm(tmp_path, "pkd", 0.6001)]
    folder = write_run(tmp_path, entries)
    rows = {line.split()[0]: line for line in report(folder, "txt", 100, full=False).splitlines() if line.strip()}
    assert rows["kd"].rstrip().endswith("ahead")
    assert rows["pkd"].rstrip().endswith("cannot tell")
    assert rows["undistilled"].rstrip().endswith("–")
    whole = text_of(folder, full=True)
    assert "ahead of the undistilled student" in whole
    assert "95 % interval +" in whole


def test_ahead_of_undistilled_but_not_of_its_control_is_called_that(tmp_path: Path) -> None:
    entries = [
        *arm(tmp_path, "undistilled", 0.6),
        *arm(tmp_path, "armada", 0.75),
        *arm(tmp_path, "armada control=shuffled", 0.7501, method_name="armada"),
    ]
    folder = write_run(tmp_path, entries)
    assert "ahead of the undistilled student, but cannot be told from its control" in text_of(folder, full=True)
    assert "ahead not of its control" in text_of(folder)


def test_two_seeds_give_no_verdict_and_say_so(tmp_path: Path) -> None:
    entries = [*arm(tmp_path, "undistilled", 0.6, seeds=(0, 1)), *arm(tmp_path, "kd", 0.75, seeds=(0, 1))]
    text = text_of(write_run(tmp_path, entries))
    assert "cannot tell" in text
    assert "A verdict needs 3 seeds." in text


def test_trials_without_predictions_still_report_and_are_named(tmp_path: Path) -> None:
    entries = [*arm(tmp_path, "undistilled", 0.6, keep=False), *arm(tmp_path, "kd", 0.75)]
    text = text_of(write_run(tmp_path, entries))
    assert re.search(r"[+]1[45][.]", text)
    assert "3 trials keep no predictions" in text
    assert entries[0]["id"] in text
    assert "ahead" not in text


def test_arms_of_other_rows_are_not_compared(tmp_path: Path) -> None:
    entries = [*arm(tmp_path, "undistilled", 0.6), *arm(tmp_path, "kd", 0.75)]
    write_predictions(tmp_path / "trials" / entries[-1]["id"], answered(np.ones(ROWS, bool))[:-1], LABELS[:-1].tolist())
    assert "ahead" not in text_of(write_run(tmp_path, entries))


def test_contrasts_are_made_once_and_again_when_a_trial_changes(tmp_path: Path) -> None:
    entries = [*arm(tmp_path, "undistilled", 0.6), *arm(tmp_path, "kd", 0.75)]
    folder = write_run(tmp_path, entries)
    before = report(folder, "txt", 100)
    stored = json.loads((folder / CONTRASTS).read_text())
    assert len(stored["contrasts"]) == 1
    for entry in entries:
        (tmp_path / "trials" / entry["id"] / PREDICTIONS).unlink()
    assert report(folder, "txt", 100) == before, "they were read again"
    stored["revision"] = 0
    (folder / CONTRASTS).write_text(json.dumps(stored))
    assert "keep no predictions" in text_of(folder), "another version of the statistics made them"


@pytest.mark.parametrize("damage", ["", "[]", '{"revision": 1, "contrasts": 3}', '{"revision": 1, "contrasts": {"a": []}}'])
def test_a_damaged_file_of_contrasts_is_made_again(tmp_path: Path, damage: str) -> None:
    folder = write_run(tmp_path, [*arm(tmp_path, "undistilled", 0.6), *arm(tmp_path, "kd", 0.75)])
    before = report(folder, "txt", 100)
    (folder / CONTRASTS).write_text(damage)
    assert report(folder, "txt", 100) == before


def test_a_run_whose_folder_cannot_be_written_is_still_reported(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [*arm(tmp_path, "undistilled", 0.6), *arm(tmp_path, "kd", 0.75)])
    (folder / CONTRASTS).mkdir()
    assert "ahead" in text_of(folder)


def test_a_metric_of_a_plugin_has_no_verdict_and_does_no_harm(tmp_path: Path) -> None:
    entries = [*arm(tmp_path, "undistilled", 0.6, metric="vowels"), *arm(tmp_path, "kd", 0.75, metric="vowels")]
    text = text_of(write_run(tmp_path, entries))
    assert re.search(r"[+]1[45][.]", text)
    assert "ahead" not in text
