"""Regression is learned in units of the targets' own spread: years as well as shares, and told in the user's unit."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from running import Ended, armada, by_method, results, train
from test_run_table import vectors_for
from tiny_decoders import tiny_llama
from torch import nn

from armada_cli import Student, UserError
from armada_cli.targets import NONE, Scale, fold_into, read_rest, scale_of, write_rest

UNITS: dict[str, Callable[[int], float]] = {
    "shares": lambda count: count / 12,
    "percentages": lambda count: 100 * count / 12,
    "years": lambda count: 1985 + 3 * count,
}


def numbers(folder: Path, unit: str) -> tuple[Path, list[tuple[str, float]]]:
    """Texts whose number of words is the target, in some unit."""
    rows = [(f"{word} " * count + "garden", UNITS[unit](count)) for word in ("warm", "dull") for count in range(1, 13)]
    path = folder / f"{unit}.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows])
    return path, rows


def learn(recipe: Callable[..., Path], folder: Path, unit: str, **lines: str) -> tuple[Ended, dict[str, Any]]:
    """A run on these numbers, in float32, and its results by method."""
    file, rows = numbers(folder, unit)
    parts = {
        "tasks": f"[{{name: files, as: numbers, file: {file}, validation_share: 0.3, target: regression}}]",
        "teacher": vectors_for(folder, [*rows]),
        "train": "{epochs: 6, batch_size: 4, lr: 3e-3, log_every: 1, max_length: 32, precision: float32, evaluate: epoch}",
    }
    ended = train(recipe(unit, **parts | lines), folder / unit)
    assert ended.status == 0, ended.err
    return ended, by_method(folder / unit)


def test_every_unit_is_learned_alike(recipe, tmp_path, tiny_student):
    methods = (
        "[parameter-matched, {name: armada, manifold: euclid, hidden: 48}, "
        f"{{name: kd, teacher: {{name: encoder, model: {tiny_student}, layers: 1}}}}]"
    )
    found = {unit: learn(recipe, tmp_path, unit, methods=methods)[1] for unit in UNITS}
    assert len(found["shares"]) == 4, "the three, and the text teacher"
    for title, shares in found["shares"].items():
        # What float32 holds of a number near 2000 is 1e-4: a student that has learned next to nothing answers one number there,
        # and scores 0 by convention.
        for unit, close in (("percentages", 0.05), ("years", 1.0)):
            other = found[unit][title]
            for first, second in zip(shares["epochs"], other["epochs"], strict=True):
                if unit != "years" or second["scores"]["pearson"]:
                    assert second["scores"]["pearson"] == pytest.approx(first["scores"]["pearson"], abs=close), (title, unit)
            curves = [
                [json.loads(line)["loss"] for line in (item["folder"] / "log.jsonl").read_text().splitlines()]
                for item in (shares, other)
            ]
            assert curves[1] == pytest.approx(curves[0], rel=1e-3, abs=1e-4), (title, unit)
            beside = {"auxiliary": shares.get("auxiliary"), **shares["fits"]}
            for name, scores in beside.items():
                if scores:
                    again = other["auxiliary"] if name == "auxiliary" else other["fits"][name]
                    assert again["pearson"] == pytest.approx(scores["pearson"], abs=close), (title, unit, name)
    assert found["years"]["numbers · undistilled · seed 0"]["scores"]["pearson"] > 40


def test_an_exported_student_answers_in_the_users_unit(recipe, tmp_path):
    """With transformers alone, and with the score that the run has told."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    _, found = learn(recipe, tmp_path, "years", methods="[undistilled]")
    (result,) = found.values()
    folder = result["folder"] / "student"
    assert not (folder / "targets.json").exists()
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    from armada_task_files.options import FilesOptions
    from armada_task_files.task import Files

    from armada_cli import Environment

    options = FilesOptions(file=str(tmp_path / "years.csv"), validation_share=0.3, target="regression")
    task = Files(options, Environment())
    split = task.split("validation")
    with torch.no_grad():
        given = [model(**tokenizer(text[0], return_tensors="pt")).logits[0].tolist() for text in split.texts]
    assert all(1980 < answer < 2030 for (answer,) in given)
    # A number near 2000 has 1e-4 years of rounding in float32, and these students' answers differ by little.
    assert task.score(torch.tensor(given).numpy(), split.labels)["pearson"] == pytest.approx(
        result["scores"]["pearson"], abs=0.5
    )


def test_a_decoders_head_has_no_bias_so_the_mean_is_written_down(recipe, tmp_path):
    model = tiny_llama(tmp_path / "llama")
    _, found = learn(recipe, tmp_path, "years", methods="[undistilled]", student=f"{{name: decoder, model: {model}, lora: 4}}")
    (result,) = found.values()
    rest = read_rest(result["folder"] / "student")
    assert (rest.factor, 1985 < rest.shift < 2021) == (1.0, True)
    for more in ([], ["--merge"]):
        output = tmp_path / f"exported{len(more)}"
        ended = armada("export", result["folder"], "--output", output, *more)
        assert ended.status == 0, ended.err
        assert ended.out.splitlines()[-1] == (
            f"prediction = model(**tokenizer(text, return_tensors='pt')).logits + {rest.shift!r}"
        )
        assert read_rest(output) == rest


def test_a_student_that_folds_nothing_is_asked_through_what_is_written_down(recipe, tmp_path, tiny_student, monkeypatch):
    """A text teacher of another plugin, whose last layer its author has not told of."""
    from armada_student_encoders.student import Encoder

    methods = f"[{{name: kd, teacher: {{name: encoder, model: {tiny_student}, layers: 1}}}}]"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    _, folded = learn(recipe, tmp_path / "one", "years", methods=methods)
    monkeypatch.setattr(Encoder, "fold", Student.fold)
    _, written = learn(recipe, tmp_path / "two", "years", methods=methods)
    assert folded.keys() == written.keys()
    for title, item in written.items():
        rest = read_rest(item["folder"] / "student")
        assert (rest.factor > 1, rest.shift > 1985) == (True, True)
        assert item["scores"]["pearson"] == pytest.approx(folded[title]["scores"]["pearson"], abs=0.5)


def test_a_training_that_was_stopped_goes_on_in_the_same_unit(recipe, tmp_path):
    from armada_cli import Environment
    from armada_cli.errors import Interrupted
    from armada_cli.execution.trial import run_trial
    from armada_cli.plan.planning import make_plan
    from armada_cli.recipe import load_recipe
    from armada_cli.registry import catalog

    file, _ = numbers(tmp_path, "years")
    path = recipe(
        tasks=f"[{{name: files, file: {file}, target: regression}}]",
        methods="[undistilled]",
        train="{epochs: 2, batch_size: 4, lr: 3e-3, max_length: 32, precision: float32}",
    )
    kept = []
    for name in ("whole", "stopped"):
        environment = Environment(runs=tmp_path / name, device="cpu")
        (trial,) = make_plan(load_recipe(str(path), catalog.current(), environment), environment).trials
        if name == "stopped":
            steps = iter([False, False, True])
            with pytest.raises(Interrupted):
                run_trial(trial.spec(), environment, stopping=steps.__next__)
        run_trial(trial.spec(), environment)
        folder = environment.runs / "trials" / trial.id
        kept.append((results(environment.runs), (folder / "student" / "model.safetensors").read_bytes()))
    assert kept[0] == kept[1]


def test_no_other_kind_of_task_has_another_id(recipe, tmp_path, table):
    """Old results of a regression are another training's; those of classes are what they were."""
    from armada_cli import Environment
    from armada_cli.plan.planning import make_plan
    from armada_cli.recipe import load_recipe
    from armada_cli.registry import catalog

    file, _ = numbers(tmp_path, "years")
    path = recipe(
        tasks=f"[{{name: files, file: {file}, target: regression}}, {{name: files, as: words, file: {table['train']}}}]",
        methods="[undistilled]",
    )
    environment = Environment(runs=tmp_path / "runs")
    trials = make_plan(load_recipe(str(path), catalog.current(), environment), environment).trials
    assert [trial.identity.get("targets") for trial in trials] == ["standardised", None]


# ----------------------------------------------------------------------------------------------------------- the arithmetic


def test_a_scale_is_the_mean_and_the_standard_deviation_of_the_rows():
    scale = scale_of([1990, 2000.0, 2010])
    assert (scale.shift, scale.factor) == (2000.0, pytest.approx(math.sqrt(200 / 3)))
    values = torch.tensor([1990.0, 2000.0, 2010.0], dtype=torch.float64)
    learned = scale.standardise(values)
    assert learned.dtype == torch.float32
    assert learned.tolist() == pytest.approx([-math.sqrt(1.5), 0.0, math.sqrt(1.5)])
    assert scale.restore(learned).tolist() == pytest.approx(values.tolist())


@pytest.mark.parametrize("labels", [[3.0], [2000, 2000.0, 2000], [0.1] * 7])
def test_equal_targets_are_one_line(labels):
    with pytest.raises(UserError, match=rf"^all {len(labels)} training rows have the target {labels[0]:g}: there is nothing"):
        scale_of(labels)


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_takes_in_what_it_can(bias):
    torch.manual_seed(0)
    layer, inputs, scale = nn.Linear(4, 1, bias=bias), torch.randn(5, 4), Scale(12.5, 1985.0)
    before = layer(inputs).detach()
    rest = fold_into(layer, scale)
    assert rest == (NONE if bias else Scale(1.0, 1985.0))
    assert torch.allclose(rest.restore(layer(inputs)), scale.restore(before), rtol=1e-6)


@pytest.mark.parametrize(("labels", "noted"), [([1.7e9, 1.7e9 + 100], True), ([1990, 2000], False), ([0, 1e-9], False)])
def test_numbers_that_float32_can_hardly_tell_apart_are_noted(labels, noted):
    assert bool(scale_of(labels).note()) == noted


def test_a_rest_is_kept_in_a_file_only_where_there_is_one(tmp_path):
    write_rest(tmp_path, NONE)
    assert (list(tmp_path.iterdir()), read_rest(tmp_path)) == ([], NONE)
    write_rest(tmp_path, Scale(1.0, 0.1 + 0.2))
    assert read_rest(tmp_path) == Scale(1.0, 0.1 + 0.2)
