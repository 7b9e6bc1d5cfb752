"""`armada run RECIPE --smoke`: every recipe in the box runs to its table on tiny models, and says what the real run costs."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from armada_task_glue.options import CoLA
from running import armada, ended, start

from armada_cli import Environment
from armada_cli.corpora.rows import write_rows
from armada_cli.execution import estimate
from armada_cli.plan.planning import make_plan
from armada_cli.recipe import load_recipe
from armada_cli.recipe.shipped import shipped_recipes
from armada_cli.registry import catalog

BANNER = "The numbers mean nothing"
PUBLISHED = {name for name, path in shipped_recipes().items() if "Reproduces: Table" in path.read_text(encoding="utf-8")}


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_recipes())
def test_every_recipe_runs_to_its_table(name: str, tmp_path: Path) -> None:
    done = ended(start("run", name, "--smoke", "--runs", tmp_path, HF_HUB_OFFLINE="1"), seconds=1200)
    assert done.status == 0, done.err
    assert BANNER in " ".join(done.out.split())
    assert "The real run, estimated:" in done.out
    record = json.loads((tmp_path / "smoke" / name / name / "run.json").read_text(encoding="utf-8"))
    assert record["smoke"] is True
    assert {trial["status"] for trial in record["trials"]} == {"done"}
    if name in PUBLISHED:
        assert re.search(r"published|printed|paper", done.out, re.IGNORECASE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["smoke"]


def test_a_smoke_run_begins_anew_and_leaves_the_real_runs_alone(tmp_path: Path) -> None:
    first = armada("run", "quickstart", "--smoke", "--runs", tmp_path, "--workers", "0")
    assert first.status == 0, first.err
    again = armada("run", "quickstart", "--smoke", "--runs", tmp_path, "--workers", "0")
    assert "[1/3]" in again.err
    assert "6, of which 0 done" in armada("check", "quickstart", "--runs", tmp_path).out


def test_grids_stay_whole_and_overrides_count(tmp_path: Path) -> None:
    done = armada(
        *("run", "quickstart", "--smoke", "--runs", tmp_path, "--workers", "0"),
        *("--set", "methods.1.manifold=[cosine, euclid]", "--set", "methods.2.features.control=noise"),
    )
    assert done.status == 0, done.err
    assert "4 trials (4 done)" in done.out


def test_rated_sentences_are_learnt_as_numbers_and_as_two_classes_without_their_archive(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tasks = "tasks=[{name: ratings-offline, source: news}, {name: ratings-offline, labels: sign}]"
    changes = [tasks, "methods=[undistilled]", "teacher=null"]
    overrides = [word for change in changes for word in ("--set", change)]
    done = armada("run", "quickstart", "--smoke", "--runs", tmp_path, "--workers", "0", *overrides)
    assert done.status == 0, done.err
    assert "2 trials (2 done)" in done.out
    assert re.search(r"^ +Pear\b", done.out, re.MULTILINE)
    assert re.search(r"\bAcc\b", done.out)
    assert "ratings-offline source=news 12 / 4; ratings-offline labels=sign 12 / 4" in " ".join(done.out.split())


def test_what_is_still_to_be_fetched_stops_no_smoke_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A component whose weights or rows are not on this machine is made tiny like any other: with nothing installed, nothing in
    the caches and no mirror, its options are no mistake."""
    for name in ("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    complaints = {}
    for kind in ("student", "teacher", "task"):
        for registered in catalog.current().components(kind):
            options = registered.component.options
            if registered.name == "texts":
                continue  # one of three options must be given, whatever is on the machine
            if all(field.default is not dataclasses.MISSING for field in dataclasses.fields(options)):
                complaints[f"{kind} {registered.name}"] = list(getattr(options(), "problems", lambda _: [])(Environment()))
    assert len(complaints) > 35
    assert {name: lines for name, lines in complaints.items() if lines} == {}


def estimated(recipe: str, *overrides: str, data: Path | None = None) -> dict:
    environment = Environment(device="cuda", data=data, offline=True)
    return estimate.estimate(
        make_plan(load_recipe(recipe, catalog.current(), environment, overrides), environment), environment
    )


def test_the_estimate_is_what_one_counts_by_hand() -> None:
    """CoLA: 8,551 training sentences of 14 tokens; undistilled, three manifolds and a control, three seeds each, ten epochs.
    Sixteen bytes for each of 66,955,008 weights; activations of 32 x 128 tokens in six layers of 768; a gigabyte besides."""
    found = estimated("bert6l_glue", "tasks=[cola]")
    assert (found["trainings"], found["evaluations"], found["unknown"]) == (5 * 3, 0, False)
    assert found["tokens"] == 15 * 10 * 8_551 * 14
    assert found["teachers"] == {"Stable Diffusion": {"texts": 8_551}}, "once for all trials"
    assert found["students"]["bert-6l"]["memory"] == 66_955_008 * 16 + 32 * 128 * 6 * 768 * 34 + 2**30


def test_the_estimate_knows_the_cost_of_a_large_model() -> None:
    found = estimated("llama8b_instruct")
    # Undistilled, and three manifolds with each of three teachers, on one corpus, of three seeds; each scored on five.
    assert (found["trainings"], found["evaluations"]) == (3 * (1 + 3 * 3), 30 * 5)
    (student,) = found["students"].values()
    assert student["size"]["parameters"] == pytest.approx(8.03e9, rel=0.01)
    assert 16e9 < student["memory"] < 60e9  # the frozen weights alone have 16 GB in half precision
    assert len(found["teachers"]) == 3
    assert all(item["texts"] > 10_000 for item in found["teachers"].values())


def test_four_bits_and_checkpointing_need_less_memory() -> None:
    plain = estimated("llama8b_instruct")
    small = estimated("llama8b_instruct", "student={name: llama-3.1-8b, gradient_checkpointing: true}")
    assert next(iter(small["students"].values()))["memory"] < next(iter(plain["students"].values()))["memory"]


def test_tokens_and_calls_follow_the_limit() -> None:
    whole, part = estimated("bert6l_glue"), estimated("bert6l_glue", "limit={train: 100}")
    assert part["tokens"] < whole["tokens"] / 10
    assert [item["texts"] for item in part["teachers"].values()] == [8 * 100]


@pytest.mark.parametrize("teacher", ["stable-diffusion", "null"])
@pytest.mark.parametrize(("limit", "rows"), [(None, 40), (100, 40), (10, 10)])
def test_tokens_and_calls_are_of_the_rows_at_hand(
    teacher: str, limit: int | None, rows: int, tmp_path: Path, monkeypatch
) -> None:
    """A mirror of 40 of CoLA's 8,551 sentences: asked for and trained on, with the published 14 tokens each; remembered as
    well as read."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for split in ("train", "validation"):
        table = [{"sentence": f"The {split} ferry has {n} lanterns.", "label": n % 2, "idx": n} for n in range(40)]
        write_rows(tmp_path, CoLA.dataset, CoLA.config, split, table)
    changes = ["tasks=[cola]", "seeds=1", *([f"limit={{train: {limit}}}"] if limit else [])]
    if teacher == "null":
        changes += ["teacher=null", "methods=[undistilled]"]
    for _ in range(2):
        found = estimated("bert6l_glue", *changes, data=tmp_path)
        assert found["tokens"] == found["trainings"] * 10 * rows * 14
        assert found["unknown"] is False
        assert [item["texts"] for item in found["teachers"].values()] == ([] if teacher == "null" else [rows])


def test_tokens_of_a_table_of_ones_own_are_counted(recipe: Callable[..., Path]) -> None:
    """Undistilled and armada, two epochs over 96 rows of at most 32 tokens; no size of such a task is published."""
    found = estimated(str(recipe()))
    assert (found["tokens"], found["unknown"]) == (2 * 2 * 96 * 32, False)
    assert [item["texts"] for item in found["teachers"].values()] == [96]
