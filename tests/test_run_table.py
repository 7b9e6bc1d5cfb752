"""`armada run` from a recipe to its table: once, again, elsewhere, side by side, and with every kind of task."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from running import armada, by_method, recorded, results, train, written

from armada_cli.contracts import Environment, Task
from armada_cli.registry import catalog

LEARNS = "{epochs: 3, batch_size: 16, lr: 5e-3, log_every: 2, max_length: 32}"
ARMS = "[undistilled, {name: armada, manifold: euclid, hidden: 48, beta: 0.1}]"


def test_a_recipe_runs_to_its_table_and_again_at_no_cost(recipe, tmp_path, monkeypatch):
    """The second run trains nothing, makes no teacher and changes no byte of a result; a new trial uses the old vectors."""
    import armada_teacher_precomputed.teacher as module

    path, runs = recipe(methods=ARMS, train=LEARNS), tmp_path / "runs"
    first = train(path, runs)
    assert first.status == 0, first.err
    assert "undistilled" in first.out
    assert "hidden=48" in first.out
    assert sorted(item.name for item in (runs / "tiny").iterdir()) == [
        "contrasts.json",
        "origin.json",
        "recipe.yaml",
        "report.html",
        "report.json",
        "report.md",
        "report.txt",
        "resolved.json",
        "run.json",
    ]
    before = results(runs)
    assert len(before) == 2
    times = {name: (runs / "trials" / name / "result.json").stat().st_mtime_ns for name in before}
    for name, item in by_method(runs).items():
        heads = ["aligner.safetensors", "heads.safetensors"] if "hidden=48" in name else []
        assert sorted(file.name for file in item["folder"].iterdir() if file.name not in heads) == [
            ".lock",
            "digests.json",
            "log.jsonl",
            "predictions.safetensors",
            "result.json",
            "spec.json",
            "student",
            "timings.json",
        ]

    def never(*_: object) -> None:
        raise AssertionError("the teacher was made")

    monkeypatch.setattr(module.Precomputed, "__init__", never)
    second = train(path, runs)
    assert (second.status, second.err) == (0, "")
    assert results(runs) == before
    assert {name: (runs / "trials" / name / "result.json").stat().st_mtime_ns for name in before} == times
    assert second.out == first.out
    assert armada("report", "tiny", "--runs", runs).out == first.out

    more = recipe("more", methods=ARMS.replace("]", ", {name: armada, manifold: cosine, hidden: 48}]"), train=LEARNS)
    assert train(more, runs).status == 0
    assert len(results(runs)) == 3


def test_the_same_recipe_gives_the_same_bytes_anywhere(recipe, tmp_path):
    path = recipe(methods=ARMS, train=LEARNS)
    train(path, tmp_path / "here")
    train(path, tmp_path / "there")
    assert len(results(tmp_path / "here")) == 2
    assert results(tmp_path / "here") == results(tmp_path / "there")


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_trials_in_worker_processes_give_the_same_bytes_as_in_this_one(recipe, tmp_path, workers):
    path = recipe(methods=ARMS, train=LEARNS)
    train(path, tmp_path / "here")
    ended = armada("run", path, "--runs", tmp_path / "there", "--workers", workers)
    assert ended.status == 0, ended.err
    assert results(tmp_path / "here") == results(tmp_path / "there")


def test_two_recipes_share_their_undistilled_trial(recipe, tmp_path):
    runs = tmp_path / "runs"
    train(recipe("one", methods="[undistilled]"), runs)
    (shared,) = results(runs)
    when = (runs / "trials" / shared / "result.json").stat().st_mtime_ns
    ended = train(recipe("two", methods=ARMS), runs)
    assert ended.status == 0
    assert shared in {trial["id"] for trial in recorded(runs, "two")}
    assert len(results(runs)) == 2
    assert (runs / "trials" / shared / "result.json").stat().st_mtime_ns == when
    assert "[1/1]" in ended.err  # the other trial alone was run


def test_the_report_of_a_finished_run_stays_when_the_run_is_asked_again(recipe, tmp_path):
    path, runs = recipe(methods="[undistilled]"), tmp_path / "runs"
    train(path, runs)
    before = json.loads((runs / "tiny" / "run.json").read_text(encoding="utf-8"))
    assert before["finished"] is not None
    train(path, runs)
    after = json.loads((runs / "tiny" / "run.json").read_text(encoding="utf-8"))
    assert {key: after[key] for key in ("started", "finished")} == {key: before[key] for key in ("started", "finished")}
    assert after["provenance"]["stages"] == before["provenance"]["stages"]


# ------------------------------------------------------------------------------------------------------------------ arms


def test_armada_without_its_terms_is_undistilled_epoch_by_epoch(recipe, tmp_path):
    """Batches, head and dropout of one seed are the same in all arms."""
    path = recipe(
        methods="[undistilled, {name: armada, alpha: 0, beta: 0, gamma: 0, hidden: 48}, parameter-matched]", train=LEARNS
    )
    train(path, tmp_path / "runs")
    found = by_method(tmp_path / "runs")
    plain = next(value for key, value in found.items() if "undistilled" in key)
    empty = next(value for key, value in found.items() if "armada" in key)
    matched = next(value for key, value in found.items() if "parameter-matched" in key)
    assert [epoch["scores"] for epoch in empty["epochs"]] == [epoch["scores"] for epoch in plain["epochs"]]
    assert empty["terms"]["task"] == plain["terms"]["task"]
    assert weights(empty["folder"]) == weights(plain["folder"])
    assert weights(matched["folder"]) != weights(plain["folder"])


def test_seeds_differ_and_controls_differ(recipe, tmp_path, monkeypatch):
    """Every seed permutes and draws anew: one unlucky permutation must not stand in all of a control's rows."""
    from armada_cli.features import controls

    asked = []
    for name in ("shuffled", "noise"):
        given = getattr(controls, name)
        monkeypatch.setattr(
            controls,
            name,
            lambda h_t, seed, *more, name=name, given=given: asked.append((name, seed)) or given(h_t, seed, *more),
        )
    path = recipe(
        methods="[{name: armada, hidden: 48, beta: 0.1, features: {control: [none, shuffled, noise]}}]", seeds="[0, 1]"
    )
    assert train(path, tmp_path / "runs").status == 0
    found = [weights(folder) for folder in (tmp_path / "runs").glob("trials/*")]
    assert len(found) == 6
    assert len(set(found)) == 6
    assert sorted(name for name, _ in asked) == ["noise", "noise", "shuffled", "shuffled"]
    assert len({seed for _, seed in asked}) == 4


HINT = """
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch.nn.functional import cross_entropy

from armada_cli import Method, Term


class Hint(Method):
    @dataclass(frozen=True)
    class Options:
        needs_teacher: ClassVar[bool] = True

    provides = {"classification"}

    def __init__(self, options, setup):
        super().__init__(options, setup)
        with (Path(__file__).parent / "seen.txt").open("a") as stream:
            stream.write(f"{setup.features.sum(0).tolist()} {setup.features[0].tolist()}\\n".replace(", ", ","))

    def terms(self, batch, output):
        return [Term("task", 1.0, cross_entropy(output.logits.float(), batch.labels), task=True)]
"""


def test_a_control_works_for_a_method_that_has_no_option_for_it(recipe, tmp_path):
    (tmp_path / "hint.py").write_text(HINT, encoding="utf-8")
    path = recipe(methods="[{file: hint.py, class: Hint, features: {control: [none, shuffled, noise]}}]", train="{epochs: 1}")
    done = train(path, tmp_path / "runs", "--allow-local-code")
    assert done.status == 0, done.err
    lines = [line.split() for line in (tmp_path / "seen.txt").read_text(encoding="utf-8").splitlines()]
    plain, shuffled, noise = ([json.loads(part) for part in line] for line in lines)
    assert shuffled[0] == pytest.approx(plain[0], abs=1e-3), "the same rows"
    assert shuffled[1] != plain[1], "in another order"
    assert noise[1] not in (plain[1], shuffled[1])
    assert [trial["control"] for trial in recorded(tmp_path / "runs")] == ["none", "shuffled", "noise"]


def test_accumulation_changes_the_memory_and_hardly_the_losses(recipe, tmp_path):
    """Without dropout, two half batches are one whole one up to rounding: the mean is weighted by their rows."""
    import shutil

    model = tmp_path / "calm"
    shutil.copytree(_student(recipe()), model)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    losses = {}
    for parts in (1, 2, 3):
        path = recipe(
            student=f"{{name: encoder, model: {model}}}",
            methods="[undistilled]",
            train=f"{{epochs: 1, batch_size: 20, lr: 1e-3, log_every: 1, max_length: 32, accumulation: {parts}}}",
        )
        assert train(path, tmp_path / str(parts)).status == 0
        (log,) = (tmp_path / str(parts)).glob("trials/*/log.jsonl")
        losses[parts] = [json.loads(line)["loss"] for line in log.read_text(encoding="utf-8").splitlines()]
    assert len(losses[1]) == 5
    assert losses[2] == pytest.approx(losses[1], abs=2e-4)
    assert losses[3] == pytest.approx(losses[1], abs=2e-4)


# -------------------------------------------------------------------------------------------------------------- methods


def test_a_text_teacher_is_trained_once_for_all_seeds(recipe, tmp_path):
    student = _student(recipe())
    methods = f"[undistilled, {{name: kd, teacher: {{name: encoder, model: {student}, layers: 1}}}}]"
    path, runs = recipe(methods=methods, seeds="[0, 1]", train=LEARNS), tmp_path / "runs"
    ended = train(path, runs)
    assert ended.status == 0, ended.err
    trials = [json.loads(item.read_text(encoding="utf-8")) for item in runs.glob("trials/*/spec.json")]
    teachers = {spec["depends"]["teacher"] for spec in trials if spec["depends"]}
    assert len(trials) == 5
    assert len(teachers) == 1
    (teacher,) = teachers
    assert teacher not in {trial["id"] for trial in recorded(runs)}
    assert len(list((runs / "outputs" / teacher).glob("*/values.npy"))) == 1
    assert (runs / "trials" / teacher / "student" / "model.safetensors").is_file()


def test_soft_labels_are_the_text_teachers_predictions_row_by_row_without_dropout(recipe, table, tmp_path):
    import numpy as np
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    methods = f"[{{name: kd, teacher: {{name: encoder, model: {_student(recipe())}, layers: 1}}}}]"
    assert train(recipe(methods=methods, train=LEARNS), tmp_path / "runs").status == 0
    (path,) = (tmp_path / "runs").glob("outputs/*/*/values.npy")
    student = tmp_path / "runs" / "trials" / path.parts[-3] / "student"
    tokenizer = AutoTokenizer.from_pretrained(student)
    model = AutoModelForSequenceClassification.from_pretrained(student).eval()
    with table["train"].open(encoding="utf-8") as stream:
        texts = [row["text"] for row in csv.DictReader(stream)]
    with torch.no_grad():
        expected = torch.cat([model(**tokenizer([text], return_tensors="pt")).logits for text in texts])
    torch.testing.assert_close(torch.from_numpy(np.load(path)), expected, rtol=0, atol=1e-5)
    assert expected.std(0).min() > 5e-4, "it predicts the same for every text, so this proved nothing"


def test_a_missing_text_teacher_is_trained_again(recipe, tmp_path):
    """Somebody removed the teacher's folder after its students were made: a new student needs it again."""
    import shutil

    student = _student(recipe())
    methods = f"[{{name: kd, teacher: {{name: encoder, model: {student}, layers: 1}}}}]"
    runs = tmp_path / "runs"
    assert train(recipe(methods=methods), runs).status == 0
    (teacher,) = {name for spec in runs.glob("trials/*/spec.json") for name in json.loads(spec.read_text())["depends"].values()}
    before = results(runs)
    shutil.rmtree(runs / "trials" / teacher)
    assert train(recipe(methods=methods, seeds="[0, 1]"), runs).status == 0
    assert results(runs)[teacher] == before[teacher]


def test_a_list_is_a_grid_and_set_overrides(recipe, tmp_path):
    path, runs = recipe(methods="[{name: armada, manifold: [cosine, euclid], hidden: 48}]"), tmp_path / "runs"
    ended = train(path, runs, "--set", "train.epochs=1", "--set", "seeds=[3]")
    assert ended.status == 0, ended.err
    found = by_method(runs).values()
    assert sorted(item["spec"]["build"]["method"]["options"]["manifold"]["name"] for item in found) == ["cosine", "euclid"]
    assert {len(item["epochs"]) for item in found} == {1}
    assert {item["spec"]["seed"] for item in found} == {3}


def test_one_run_may_train_its_methods_in_several_precisions(recipe, tmp_path):
    """One process runs trials of either, one after the other."""
    methods = "[{name: undistilled, train: {precision: bf16}}, {name: parameter-matched, train: {precision: float32}}]"
    ended = train(recipe(methods=methods), tmp_path / "runs")
    assert ended.status == 0, ended.err
    assert {item["precision"] for item in by_method(tmp_path / "runs").values()} == {"bf16", "float32"}
    assert {item["scored_in"] for item in by_method(tmp_path / "runs").values()} == {"float32"}
    said = written(tmp_path / "runs")
    assert (
        "undistilled precision=bf16: trained in bf16, scored in float32; parameter-matched precision=float32: trained" in said
    )


# ---------------------------------------------------------------------------------------------------------------- tasks


def test_a_number_is_learned_by_regression(recipe, tmp_path):
    rows = [(f"{word} " * count + "garden", count) for word in ("warm", "dull") for count in range(1, 13)]
    file = _write(tmp_path / "numbers.csv", ("text", "label"), rows)
    path = recipe(tasks=f"[{{name: files, file: {file}, target: regression}}]", teacher=vectors_for(tmp_path, rows))
    ended = train(path, tmp_path / "runs", "--set", "train.lr=3e-3")
    assert ended.status == 0, ended.err
    assert {item["metric"] for item in by_method(tmp_path / "runs").values()} == {"pearson"}


def test_several_labels_are_learned_at_once(recipe, tmp_path):
    names = ["garden", "teapot", "ferry"]
    rows = [(f"the {a} and the {b}", ";".join(dict.fromkeys((a, b)))) for a in names for b in names for _ in range(4)]
    file = _write(tmp_path / "several.csv", ("text", "label"), rows)
    path = recipe(
        tasks=f"[{{name: files, file: {file}, target: multilabel}}]",
        teacher=vectors_for(tmp_path, rows),
        methods="[undistilled, {name: armada, hidden: 48}, parameter-matched]",
    )
    ended = train(path, tmp_path / "runs")
    assert ended.status == 0, ended.err
    assert len(results(tmp_path / "runs")) == 3
    assert all(item["metric"] == "micro_f1" for item in by_method(tmp_path / "runs").values())


def test_one_of_two_choices_is_learned(recipe, tmp_path, mirror):
    path = recipe(tasks="[copa]", teacher=vectors_for(tmp_path, [(text, "") for text in mirror.seen]))
    ended = train(path, tmp_path / "runs", "--data", str(mirror.folder))
    assert ended.status == 0, ended.err
    assert len(results(tmp_path / "runs")) == 2


class Mirror:
    """COPA in the layout of the hub, of our own sentences; `seen` is what its teacher is shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        things = ["teapot", "lantern", "violin", "letter", "garden", "ferry", "kitchen", "meadow"]
        rows = [
            {
                "premise": f"The {thing} was {'dull' if cause else 'bright'}.",
                "choice1": f"nobody saw the {thing}",
                "choice2": f"the old {other} was warm",
                "question": "cause" if cause else "effect",
                "idx": number,
                "label": int(cause),
            }
            for number, (thing, other) in enumerate(zip(things, things[1:] + things[:1], strict=True))
            for cause in (True, False)
        ]
        place = folder / "aps" / "super_glue" / "copa"
        place.mkdir(parents=True)
        for split in ("train", "validation"):
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (place / f"{split}.jsonl").write_text(lines, encoding="utf-8")

    @property
    def task(self) -> Task:
        component = catalog.current().find("task", "copa").component
        return component.load()(component.options(), Environment(data=self.folder, offline=True))

    @property
    def seen(self) -> list[str]:
        return list(self.task.split("train").teacher_inputs)


@pytest.fixture
def mirror(tmp_path):
    return Mirror(tmp_path / "mirror")


# -------------------------------------------------------------------------------------------------------------- helpers


def weights(folder: Path) -> bytes:
    return (folder / "student" / "model.safetensors").read_bytes()


def _student(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("model: ")[2].partition("}")[0]


def _write(path: Path, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def vectors_for(folder: Path, rows: list[tuple[object, ...]]) -> str:
    """A teacher for the given texts, as a recipe's value."""
    import numpy as np

    texts = sorted({str(row[0]) for row in rows})
    np.save(folder / "some.npy", np.random.default_rng(2).standard_normal((len(texts), 20)).astype(np.float32))
    (folder / "some.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return f"{{name: precomputed, path: {folder / 'some.npy'}, ids: {folder / 'some.txt'}}}"
