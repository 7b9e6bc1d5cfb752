"""Runs that are killed, interrupted, or lose a worker or a trial: what is done is kept, the rest ends in the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from distributions import write_distribution
from running import by_method, ended, kept_bytes, nobody_left, recorded, results, start, train, wait_until, workers

from armada_cli.runs import Runs

ARMS = "[undistilled, {name: armada, manifold: euclid, hidden: 48, beta: 0.1}]"
LONG = "{epochs: 6, batch_size: 8, lr: 3e-3, log_every: 2, max_length: 32}"


def some(runs: Path, pattern: str) -> Callable[[], bool]:
    """Whether anything in the run folder has such a name."""
    return lambda: next(runs.glob(pattern), None) is not None


def logged(runs: Path, lines: int) -> Callable[[], bool]:
    """Whether a trial has logged so many lines of its training."""
    return lambda: any(_lines(path) >= lines for path in runs.glob("trials/*/log.jsonl"))


def _lines(path: Path) -> int:
    try:
        return path.read_text(encoding="utf-8").count("\n")
    except OSError:
        return 0


def kill(recipe: Path, runs: Path, moment: Callable[[], bool]) -> bool:
    """Start the run, kill its parent at the moment given, and see that no worker outlives it. False when it ended before."""
    process = start("run", recipe, "--runs", runs, "--workers", "1")
    caught = wait_until(moment, process)
    process.kill()  # nothing, if it ended of its own accord in the meantime
    process.communicate()
    assert nobody_left(process.pid), "a worker outlived the run"
    return caught


UNDISTURBED: dict[str, tuple[dict[str, bytes], dict[str, bytes]]] = {}
"""Text of a recipe -> what it gives when nothing disturbs it."""


def undisturbed(recipe: Path, runs: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Results of an undisturbed run, and what it keeps beside them (`running.kept_bytes`). It is made once for all tests."""
    text = recipe.read_text(encoding="utf-8")
    if text not in UNDISTURBED:
        assert train(recipe, runs).status == 0
        UNDISTURBED[text] = results(runs), kept_bytes(runs)
    return UNDISTURBED[text]


def test_a_killed_run_ends_in_the_same_bytes(recipe, tmp_path):
    path, runs = recipe(methods=ARMS, train=LONG), tmp_path / "killed"
    expected, kept = undisturbed(path, tmp_path / "whole")
    assert kill(path, runs, logged(runs, random.Random(5).randint(8, 20)))
    assert len(results(runs)) < 2
    assert next(runs.glob("trials/*/checkpoint/step-*"), None)
    again = train(path, runs)
    assert again.status == 0, again.err
    assert results(runs) == expected
    assert kept_bytes(runs) == kept
    assert _left_behind(runs) == []


@pytest.mark.slow
def test_a_run_killed_in_every_stage_ends_in_the_same_bytes(recipe, tmp_path):
    """The parent dies in extraction, loading, pre-training, training, checkpoints, evaluation, export and report, in one run
    after the other on the same folder; then at ten random moments of another one."""
    path, runs = recipe(methods=ARMS, train=LONG, seeds="[0, 1]"), tmp_path / "killed"
    train(path, tmp_path / "whole")
    expected = results(tmp_path / "whole")
    moments = {
        "extraction": some(runs, "features.db"),
        "reduction": some(runs, "features/*"),
        "loading": some(runs, "trials/*/spec.json"),
        "training": logged(runs, 5),
        "checkpoint": some(runs, "trials/*/checkpoint/.step-*.new"),
        "evaluation": logged(runs, 36),
        "export": some(runs, "trials/*/.student.new"),
        "timings": some(runs, "trials/*/timings.json"),
        "result": some(runs, "trials/*/result.json"),
        "pre-training": some(runs, "trials/*/checkpoint/step-0"),
        "second result": lambda: len(results(runs)) >= 2,
        "last trial": lambda: len(results(runs)) >= 3,
        "report": some(runs, "tiny/report.*"),
    }
    for stage, moment in moments.items():
        assert kill(path, runs, moment), f"the run ended before it came to {stage}"
        for name, content in results(runs).items():
            assert content == expected[name], f"killed in {stage}"
    assert train(path, runs).status == 0
    assert results(runs) == expected
    assert kept_bytes(runs) == kept_bytes(tmp_path / "whole")
    assert _left_behind(runs) == []

    runs, moment = tmp_path / "random", random.Random(11)
    for _ in range(10):
        begin, wait = time.monotonic(), moment.uniform(0.2, 12)
        kill(path, runs, lambda begin=begin, wait=wait: time.monotonic() - begin > wait)
    assert train(path, runs).status == 0
    assert results(runs) == expected
    assert _left_behind(runs) == []


def test_what_a_killed_process_left_is_swept_unless_somebody_works_on_it(recipe, tmp_path):
    """A process dies between writing and renaming, or between the result and dropping the checkpoint."""
    path, runs = recipe(methods="[undistilled]", seeds="[0, 1]"), tmp_path / "runs"
    train(path, runs)
    before = results(runs)
    one, other = sorted(item for item in (runs / "trials").iterdir())
    for folder in (one, other):
        (folder / ".timings.json.x1y2z3").write_text("{", encoding="utf-8")
        (folder / ".student.old").mkdir()
        (folder / "checkpoint" / ".step-4.new").mkdir(parents=True)
        (folder / "checkpoint" / "step-3").mkdir()
        (folder / "answers.part").write_text("{}", encoding="utf-8")
    with Runs(runs).lock(other.name):
        assert train(path, runs).status == 0
    assert sorted(item.name for item in one.iterdir()) == [
        ".lock", "digests.json", "log.jsonl", "predictions.safetensors", "result.json", "spec.json", "student", "timings.json"
    ]  # fmt: skip
    assert (other / "checkpoint" / ".step-4.new").is_dir()
    assert (other / ".timings.json.x1y2z3").is_file()
    assert train(path, runs).status == 0
    assert _left_behind(runs) == []
    assert results(runs) == before


def _left_behind(runs: Path) -> list[str]:
    """Halves of files and folders that nobody will finish."""
    return sorted(
        str(item.relative_to(runs))
        for item in runs.glob("trials/*/**/*")
        if item.name != ".lock" and (item.name.startswith(".") or "checkpoint" in item.parts)
    )


def test_a_killed_worker_fails_its_own_trial_and_the_next_run_mends_it(recipe, tmp_path):
    path, runs = recipe(methods="[undistilled]", train=LONG, seeds="[0, 1]"), tmp_path / "runs"
    expected, _ = undisturbed(path, tmp_path / "whole")
    process = start("run", path, "--runs", runs, "--workers", "1")
    assert wait_until(logged(runs, 4), process)
    (worker,) = workers(process.pid)
    os.kill(worker, signal.SIGKILL)
    one = ended(process)
    assert one.status == 1
    assert "its worker was ended by SIGKILL" in one.err
    assert "its worker was ended by SIGKILL" in " ".join(one.out.split())  # the table says why a figure is missing
    assert "Traceback" not in one.err
    assert sorted(trial["status"] for trial in recorded(runs)) == ["done", "failed"]
    assert nobody_left(process.pid)

    assert train(path, runs).status == 0
    assert results(runs) == expected


# ------------------------------------------------------------------------------------------------------------------ NaN


@pytest.mark.parametrize("method", ["undistilled", "armada"])
def test_a_trial_whose_loss_is_not_finite_stops_and_the_others_go_on(recipe, tmp_path, method):
    wild = f"{{name: {method}, as: wild, train: {{lr: 1.0e+30, warmup: 0, schedule: constant}}}}"
    runs = tmp_path / "runs"
    one = train(recipe(methods=f"[{wild}, parameter-matched]"), runs)
    assert one.status == 1
    (line,) = [line for line in one.err.splitlines() if "wild" in line]
    assert "the loss became nan at step 2 of 12, on training rows " in line
    assert "Try a lower lr" in line
    assert "Traceback" not in one.err
    assert {trial["method"]: trial["status"] for trial in recorded(runs)} == {"wild": "failed", "parameter-matched": "done"}
    assert "the loss became nan" in " ".join(one.out.split())
    if method == "armada":  # it has a checkpoint from behind its pre-training
        assert next(runs.glob("trials/*/checkpoint/step-0/state.safetensors"))
    assert train(recipe(methods=f"[{wild}, parameter-matched]"), runs).status == 1  # and it fails the same way again


def test_weights_that_are_not_finite_are_neither_scored_nor_kept(recipe, tmp_path):
    """The only step of the only epoch breaks them: no later loss would tell."""
    wild = "{name: undistilled, train: {lr: 1.0e+38, warmup: 0, batch_size: 96, epochs: 1, schedule: constant}}"
    runs = tmp_path / "runs"
    one = train(recipe(methods=f"[{wild}]"), runs)
    assert one.status == 1
    assert "not finite" in one.err
    assert results(runs) == {}
    assert next(runs.glob("trials/*/checkpoint/step-1"), None) is None


# ---------------------------------------------------------------------------------------------------------------- Ctrl-C

SNAIL = """
    from dataclasses import dataclass
    from armada_cli import Component, hookimpl

    @hookimpl
    def armada_teachers():
        return [Component("snail", "A slow teacher", "armada_snail_parts:Snail", provides={"any"})]
"""
SNAIL_PARTS = """
    import time
    import numpy as np
    from armada_cli import Teacher

    class Snail(Teacher):
        batch_size = 4

        def represent(self, inputs):
            time.sleep(0.1)
            return np.array([[len(text), text.count("a"), text.count("e")] for text in inputs], np.float32)
"""


@pytest.fixture
def snail(tmp_path):
    """A folder for PYTHONPATH with a teacher that takes 2.4 s for the small table."""
    modules = {"armada_snail": SNAIL, "armada_snail_parts": SNAIL_PARTS}
    return str(write_distribution(tmp_path / "site", "armada-snail", modules, {"snail": "armada_snail"}))


def interrupt(process, moment: Callable[[], bool]):
    """Ctrl-C as a terminal sends it: to every process of the group."""
    assert wait_until(moment, process)
    os.killpg(process.pid, signal.SIGINT)
    return ended(process)


def test_ctrl_c_in_extraction_keeps_every_batch(recipe, tmp_path, snail):
    from armada_cli.features.store import FeatureStore

    path, runs = recipe(teacher="snail", features="{reduce: none}", methods="[{name: armada, hidden: 48}]"), tmp_path / "runs"

    def stored() -> int:
        with FeatureStore(runs / "features.db") as store:
            return sum(entry.rows for entry in store.entries())

    process = start("run", path, "--runs", runs, "--workers", "1", PYTHONPATH=snail)
    one = interrupt(process, lambda: (runs / "features.db").exists() and stored() >= 12)
    assert one.status == 130
    assert one.err.splitlines()[-1] == "armada: interrupted"
    assert "representations of teacher 'snail' are kept, the same command goes on from there" in one.err
    assert "Traceback" not in one.err
    kept = stored()
    assert 12 <= kept < 96
    assert nobody_left(process.pid)


@pytest.mark.parametrize("side_by_side", ["1", pytest.param("0", marks=pytest.mark.slow)])
def test_ctrl_c_in_training_leaves_a_checkpoint(recipe, tmp_path, side_by_side):
    path, runs = recipe(methods=ARMS, train=LONG), tmp_path / "runs"
    expected, _ = undisturbed(path, tmp_path / "whole")
    process = start("run", path, "--runs", runs, "--workers", side_by_side)
    one = interrupt(process, logged(runs, 9))
    assert one.status == 130, one.err
    assert one.err.splitlines()[-1] == "armada: interrupted"
    assert "Traceback" not in one.err
    assert nobody_left(process.pid)
    steps = [int(item.name.removeprefix("step-")) for item in runs.glob("trials/*/checkpoint/step-*")]
    assert any(step % 12 for step in steps), "only the checkpoints of whole epochs are there"
    assert train(path, runs).status == 0
    assert results(runs) == expected


def test_ctrl_c_while_workers_start_is_quiet(recipe, tmp_path):
    """They ignore it, from their first instruction on; the parent alone decides."""
    path, runs = recipe(methods="[undistilled]"), tmp_path / "runs"
    process = start("run", path, "--runs", runs, "--workers", "2")
    one = interrupt(process, lambda: len(workers(process.pid)) > 0)
    assert (one.status, one.err.strip()) == (130, "armada: interrupted")
    assert nobody_left(process.pid)


def test_ctrl_c_in_the_report_leaves_the_run_as_it_is(recipe, tmp_path):
    path, runs = recipe(methods="[undistilled]"), tmp_path / "runs"
    train(path, runs)
    before = results(runs)
    for item in (runs / "tiny").glob("report.*"):
        item.unlink()
    process = start("run", path, "--runs", runs)
    one = interrupt(process, some(runs, "tiny/report.*"))
    assert (one.status, one.err.strip()) in [(130, "armada: interrupted"), (0, "")]  # it may have been done already
    again = train(path, runs)
    assert again.status == 0
    assert results(runs) == before
    assert {item.name for item in (runs / "tiny").glob("report.*")} == {
        "report.html",
        "report.json",
        "report.md",
        "report.txt",
    }
    assert json.loads((runs / "tiny" / "report.json").read_text(encoding="utf-8"))
    assert by_method(runs)
