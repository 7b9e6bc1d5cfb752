"""What components make once on a machine (`prepare`) is made before the first trial starts, whoever runs the trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from armada_student_encoders.options import EncoderOptions
from armada_task_files.options import FilesOptions
from armada_teacher_precomputed.options import PrecomputedOptions
from running import armada

from armada_cli import UserError
from armada_cli.execution import trial
from armada_cli.execution.pool import Pool
from armada_cli.features import prepare
from armada_cli.losses import DistanceOptions
from armada_cli.methods.armada import ArmadaOptions
from armada_cli.methods.kd import KDOptions

PREPARED = {EncoderOptions, FilesOptions, PrecomputedOptions, ArmadaOptions, DistanceOptions, KDOptions}
METHODS = "[undistilled, {name: armada, manifold: euclid, hidden: 48}, {name: kd, teacher: {name: encoder, model: MODEL}}]"


def stop(*_: Any, **__: Any) -> Any:
    raise UserError("enough")


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What happened, in order: the classes of options that prepared themselves, features, and trials."""
    events: list[Any] = []
    represent, pooled = prepare.represent, Pool.run

    def note(name: str, real: Any) -> Any:
        def noted(*all: Any, **how: Any) -> Any:
            events.append(name)
            return real(*all, **how)

        return noted

    for options in PREPARED:
        monkeypatch.setattr(options, "prepare", lambda self, environment: events.append(type(self)), raising=False)
    monkeypatch.setattr(prepare, "represent", note("features", represent))
    monkeypatch.setattr(Pool, "run", note("trials", pooled))
    monkeypatch.setattr(trial, "run_trial", note("trials", stop))
    return events


@pytest.mark.parametrize("workers", [0, 2])
def test_every_component_is_prepared_before_features_are_made_and_trials_start(
    recipe: Any, tiny_student: Path, tmp_path: Path, happened: list[Any], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(Pool, "_start", stop)  # a real worker is a process of its own, which notes nothing here
    path = recipe(methods=METHODS.replace("MODEL", str(tiny_student)), train="{epochs: 1, max_length: 32, lr: 1e-3}")
    armada("run", path, "--runs", tmp_path / "runs", "--workers", str(workers))
    first = happened.index("features")
    assert set(happened[:first]) == PREPARED
    assert "trials" in happened[first:]


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_prepared_ends_a_run_before_its_first_trial(
    recipe: Any, tmp_path: Path, happened: list[Any], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    def full(self: Any, environment: Any) -> None:
        raise UserError("the disk is full", "Free some space")

    monkeypatch.setattr(EncoderOptions, "prepare", full)
    ended = armada("run", recipe(methods="[undistilled]"), "--runs", tmp_path / "runs", "--workers", str(workers))
    assert ended.status == 2
    assert ended.complaint == "armada: the disk is full. Free some space"
    assert "trials" not in happened
    assert not list(tmp_path.glob("runs/trials/*"))
