"""What a trial keeps for later analyses: predictions row by row, heads, and the aligner."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import armada, by_method, train
from safetensors.numpy import load_file

from armada_cli.evaluation import metrics
from armada_cli.predictions import PREDICTIONS, as_array, read_predictions, write_predictions

METHODS = "[{name: undistilled, as: plain}, {name: armada, as: aligned, manifold: cosine}]"
SHORT = "{epochs: 2, batch_size: 8, lr: 1e-2, max_length: 24, precision: float32}"


def by_name(runs: Path) -> dict[str, dict[str, Any]]:
    return {title.split(" · ")[1]: item for title, item in by_method(runs).items()}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    outputs = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    write_predictions(tmp_path, outputs, [0, 1, 2, 0, 1, 2, 0])
    predictions = read_predictions(tmp_path)
    assert predictions is not None
    assert np.array_equal(predictions.outputs, outputs)
    assert predictions.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert predictions.rows.tolist() == list(range(7))


def test_ten_thousand_binary_rows_take_less_than_200_kb(tmp_path: Path) -> None:
    write_predictions(tmp_path, np.zeros((10_000, 2), np.float32), [1] * 10_000)
    assert (tmp_path / PREDICTIONS).stat().st_size < 200_000


def test_scores_of_rows_have_no_labels(tmp_path: Path) -> None:
    write_predictions(tmp_path, np.array([[0.0], [100.0]]), None)
    predictions = read_predictions(tmp_path)
    assert predictions is not None
    assert predictions.labels is None
    assert predictions.outputs[:, 0].tolist() == [0.0, 100.0]


def test_labels_keep_their_kind() -> None:
    assert as_array([1, 0]).dtype == np.int32
    assert as_array([0.1, 3.7]).tolist() == [0.1, 3.7]
    assert as_array([(1, 0, 1), (0, 0, 0)]).tolist() == [[1, 0, 1], [0, 0, 0]]


def test_there_are_none_in_a_folder_of_an_earlier_version_or_where_they_are_damaged(tmp_path: Path) -> None:
    assert read_predictions(tmp_path) is None
    (tmp_path / PREDICTIONS).write_bytes(b"no tensors")
    assert read_predictions(tmp_path) is None


def test_a_run_keeps_what_the_score_was_taken_of(recipe: Callable[..., Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    path = recipe(methods=METHODS, train=SHORT)
    done = train(path, runs)
    assert done.status == 0, done.err
    for method, item in by_name(runs).items():
        predictions = read_predictions(item["folder"])
        assert predictions is not None
        assert len(predictions.rows) == item["rows"]["validation"]
        assert metrics.accuracy(predictions.outputs, predictions.labels) == pytest.approx(item["scores"]["accuracy"])
        names = {file.name for file in item["folder"].glob("*.safetensors")}
        assert names == {PREDICTIONS} | ({"heads.safetensors", "aligner.safetensors"} if method == "aligned" else set())
        digests = json.loads((item["folder"] / "digests.json").read_text())["files"]
        assert names <= set(digests)
    aligned = by_name(runs)["aligned"]
    heads, aligner = (load_file(aligned["folder"] / f"{name}.safetensors") for name in ("heads", "aligner"))
    counted = aligned["parameters"]
    assert sum(value.size for value in aligner.values()) == counted["own"]["aligner"]
    assert sum(value.size for value in heads.values()) == counted["heads"] + counted["own"]["P_s"]

    damaged = aligned["folder"] / PREDICTIONS
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    assert read_predictions(aligned["folder"]) is None


def test_heads_are_exported_where_they_are_asked_for(recipe: Callable[..., Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    path = recipe(methods=METHODS, train=SHORT)
    assert train(path, runs).status == 0
    trials = {method: item["folder"] for method, item in by_name(runs).items()}
    plain, full = tmp_path / "plain", tmp_path / "full"
    for output, more in ((plain, []), (full, ["--with-heads"])):
        done = armada("export", trials["aligned"], "--output", output, "--runs", runs, *more)
        assert done.status == 0, done.err
    added = {file.name for file in full.iterdir()} - {file.name for file in plain.iterdir()}
    assert added == {"heads.safetensors", "aligner.safetensors"}
    assert (full / "aligner.safetensors").read_bytes() == (trials["aligned"] / "aligner.safetensors").read_bytes()

    done = armada("export", trials["plain"], "--output", tmp_path / "none", "--runs", runs, "--with-heads")
    assert done.status == 2
    assert "kept no heads: method undistilled has none" in " ".join(done.err.split())
    assert not (tmp_path / "none").exists()
