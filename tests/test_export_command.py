"""`armada export`: the student of one trial, as a folder that loads where armada is not installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from armada_student_decoders.options import DecoderOptions
from armada_student_decoders.student import Decoder
from running import Ended, armada, by_method, small_disk, train
from tiny_decoders import tiny_llama, tiny_opt

from armada_cli import Environment, Problem
from armada_cli.execution.exporting import loading
from armada_cli.files import unfinished_folder
from armada_cli.registry.restore import restore
from armada_cli.runs import EVALUATED

METHODS = "[undistilled, parameter-matched]"
SHORT = "{epochs: 1, batch_size: 16, lr: 1e-2, max_length: 24, precision: float32, evaluate: end}"
TEXTS = ["the harbour was splendid", "a grim letter", "what a warm kitchen we saw"]

ALONE = """
import json, sys

class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0].startswith("armada"):
            raise ImportError(f"{name} is barred here")

sys.meta_path.insert(0, Barred())
import torch

every, texts = json.loads(sys.argv[1])
found = []
for imports, load in every:
    exec(imports)
    exec(load)
    model.eval()
    with torch.no_grad():
        found.append([model(**tokenizer([text], return_tensors="pt")).logits[0].flatten().tolist() for text in texts])
print(json.dumps(found))
"""
"""What a user does with the two lines that `export` prints."""


def loaded_alone(every: list[list[str]]) -> list[list[list[float]]]:
    """The logits that each exported model gives for `TEXTS`, loaded by its two lines where armada cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE, json.dumps([every, TEXTS])],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def with_armada(item: dict) -> list[list[float]]:
    """The same by the trial's own student."""
    registered, options = restore("student", item["spec"]["build"]["student"])
    student = registered.component.load()(options, Environment(offline=True))
    problem = Problem("classification", 2, ("bad", "good"), 64)
    model = student.build(problem, weights=item["folder"] / "student").eval()
    with torch.no_grad():
        return student.forward(model, student.pad(student.encode([(text,) for text in TEXTS], problem))).logits.tolist()


def saved_writer(folder: Path, form: str) -> list[list[float]]:
    """Saves an OPT whose adapters do something; returns its logits for `TEXTS`."""
    base = tiny_opt(folder.with_name(f"{folder.name}-base"))
    student = Decoder(DecoderOptions(model=str(base), export=form, lora=4), Environment(offline=True))
    problem = Problem("generation", 0, (), 64)
    model = student.build(problem).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
        student.save(model, problem, folder)
        return [model(**student.reader.tokenizer([text], return_tensors="pt")).logits.flatten().tolist() for text in TEXTS]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, table: dict[str, Path]) -> Path:
    """The runs of a LoRA'd LLaMA: two methods, two seeds, one task."""
    folder = tmp_path_factory.mktemp("export")
    llama = tiny_llama(folder / "llama")
    (folder / "small.yaml").write_text(
        f"student: {{name: decoder, model: {llama}}}\n"
        f"tasks: [{{name: files, as: words, file: {table['train']}, validation: {table['validation']}}}]\n"
        f"methods: {METHODS}\ntrain: {SHORT}\nlimit: {{train: 32, validation: 16}}\nseeds: [0, 1]\n"
    )
    ended = train(folder / "small.yaml", folder / "runs")
    assert ended.status == 0, ended.err
    return folder / "runs"


def export(runs: Path, *arguments: str | Path) -> Ended:
    return armada("export", *arguments, "--runs", runs)


def test_of_several_trials_a_table_is_printed_and_nothing_written(finished: Path, tmp_path: Path) -> None:
    ended = export(finished, "small", "--output", tmp_path / "mine")
    assert ended.status == 2
    assert ended.complaint == (
        "armada: 4 trials of small have a student. Add --trial ID, or choose with --student, --task, --method, --seed"
    )
    head, *rows = [line.split("\t") for line in ended.out.splitlines()]
    assert head == ["trial", "student", "method", "seed", "scores"]
    assert sorted(row[2:4] for row in rows) == [
        ["parameter-matched", "0"],
        ["parameter-matched", "1"],
        ["undistilled", "0"],
        ["undistilled", "1"],
    ]
    assert all(row[4].startswith("words ") for row in rows)
    assert list(tmp_path.iterdir()) == []


def test_the_chosen_trials_folder_is_copied(finished: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "mine"
    ended = export(finished, "small", "--output", output, "--method", "undistilled", "--seed", "1", "--task", "words")
    assert ended.status == 0, ended.err
    item = next(
        item
        for item in by_method(finished).values()
        if item["spec"]["seed"] == 1 and item["spec"]["build"]["method"]["name"] == "undistilled"
    )
    source = item["folder"] / "student"
    assert {path.name: path.read_bytes() for path in output.iterdir()} == {p.name: p.read_bytes() for p in source.iterdir()}
    assert (output / "adapter_model.safetensors").is_file()


def test_every_form_predicts_alike_when_loaded_with_the_printed_lines(finished: Path, tmp_path: Path) -> None:
    """Adapters and merged models that classify and that write, by peft and transformers alone."""
    item = next(iter(by_method(finished).values()))
    lines, expected = [], []
    for name, more in (("adapter", []), ("merged", ["--merge"])):
        ended = export(finished, item["id"][:8], "--output", tmp_path / name, *more)
        assert ended.status == 0, ended.err
        lines.append(ended.out.splitlines())
        expected.append(with_armada(item))
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    for form in ("adapter", "merged"):
        expected.append(saved_writer(tmp_path / f"writer-{form}", form))
        lines.append(loading(tmp_path / f"writer-{form}"))
    assert ["peft" in imports for imports, _ in lines] == [True, False, True, False]
    for ours, theirs in zip(expected, loaded_alone(lines), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert other == pytest.approx(one, abs=1e-3)


def test_a_trial_is_named_by_its_folder_too(finished: Path, tmp_path: Path) -> None:
    item = next(iter(by_method(finished).values()))
    ended = armada("export", item["folder"], "--output", tmp_path / "mine", "--runs", tmp_path / "elsewhere")
    assert ended.status == 0, ended.err
    assert (tmp_path / "mine" / "adapter_model.safetensors").is_file()


def test_an_encoders_student_is_copied_and_merging_changes_nothing(recipe, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    runs = tmp_path / "runs"
    assert train(recipe(methods="[undistilled]", train=SHORT), runs).status == 0
    for name, more in (("plain", []), ("merged", ["--merge"])):
        ended = export(runs, "tiny", "--output", tmp_path / name, *more)
        assert ended.status == 0, ended.err
        assert "AutoModelForSequenceClassification" in ended.out
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("plain", "merged")]
    assert files[0] == files[1]


def test_what_is_there_is_never_overwritten(finished: Path, tmp_path: Path) -> None:
    item = next(iter(by_method(finished).values()))["id"][:8]
    (tmp_path / "mine").mkdir()
    assert export(finished, item, "--output", tmp_path / "mine").status == 0  # an empty folder is as good as none
    before = {path: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    ended = export(finished, item, "--output", tmp_path / "mine", "--merge")
    assert (ended.status, ended.complaint) == (2, f"armada: {tmp_path / 'mine'} is not empty. Name a new folder")
    assert {path: path.read_bytes() for path in (tmp_path / "mine").iterdir()} == before
    (tmp_path / "file").write_text("kept")
    assert export(finished, item, "--output", tmp_path / "file").complaint == (
        f"armada: {tmp_path / 'file'} is a file. Name a new folder"
    )


@pytest.mark.parametrize("kilobytes", [8, 24])
@pytest.mark.parametrize("more", [[], ["--merge"]], ids=["copied", "merged"])
def test_a_disk_that_fills_up_is_the_usual_line(finished: Path, tmp_path: Path, more: list[str], kilobytes: int) -> None:
    """Copied files are the system's to refuse, merged weights are written by a library with errors of its own."""
    item = next(iter(by_method(finished).values()))["id"][:8]
    with small_disk(tmp_path / "disk", kilobytes) as disk:
        ended = export(finished, item, "--output", disk / "mine", *more)
        assert ended.status == 2, ended
        expected = f"armada: cannot write {disk / 'mine'}: No space left on device. Free some space, or name another place with"
        assert ended.complaint.startswith(expected), ended.err
        assert list(disk.iterdir()) == []


def test_what_a_killed_export_left_is_swept_by_the_next_one_to_that_place(finished: Path, tmp_path: Path) -> None:
    item = next(iter(by_method(finished).values()))["id"][:8]
    for name in (".mine.a1b2c3d4.part", ".mine.old", ".other.a1b2c3d4.part"):
        (tmp_path / name / "student").mkdir(parents=True)
    with unfinished_folder(tmp_path / "mine") as living:
        assert export(finished, item, "--output", tmp_path / "mine").status == 0
        there = sorted(path.name for path in tmp_path.iterdir())
        assert there == sorted([living.name, ".mine.old", ".other.a1b2c3d4.part", "mine"])


@pytest.mark.parametrize("circle", [["a" * 16], ["a" * 16, "b" * 16]], ids=["itself", "each other"])
def test_a_trial_that_scores_itself_is_one_line(finished: Path, tmp_path: Path, circle: list[str]) -> None:
    item = next(iter(by_method(finished).values()))
    spec = json.loads((item["folder"] / "spec.json").read_text(encoding="utf-8"))
    for name, scored in zip(circle, [*circle[1:], circle[0]], strict=True):
        (tmp_path / "runs" / "trials" / name).mkdir(parents=True)
        damaged = json.dumps({**spec, "id": name, "depends": {EVALUATED: scored}})
        (tmp_path / "runs" / "trials" / name / "spec.json").write_text(damaged, encoding="utf-8")
    ended = export(tmp_path / "runs", "aaaaaaaa", "--output", tmp_path / "mine")
    assert ended.status == 2
    assert ended.err.count("\n") == 1
    assert "spec.json is damaged: what trial aaaaaaaaaaaaaaaa scores is no training" in ended.err


def test_a_failed_merge_leaves_nothing_behind(finished: Path, tmp_path: Path) -> None:
    item = next(iter(by_method(finished).values()))
    runs = tmp_path / "runs"
    folder = runs / "trials" / item["id"]
    folder.mkdir(parents=True)
    spec = json.loads((item["folder"] / "spec.json").read_text())
    spec["build"]["student"]["options"]["model"] = str(tiny_llama(tmp_path / "wide", hidden=64))
    (folder / "spec.json").write_text(json.dumps(spec))
    os.symlink(item["folder"] / "student", folder / "student")
    before = sorted(tmp_path.iterdir())
    ended = export(runs, item["id"], "--output", tmp_path / "mine", "--merge")
    assert ended.status == 2
    assert "Traceback" not in ended.err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["smal"], "no run 'smal' in {runs}. Did you mean 'small'?"),
        (
            ["small", "--method", "undistiled"],
            "no finished trial of method 'undistiled' among the 4. Did you mean 'undistilled'?",
        ),
        (["small", "--seed", "7"], "no finished trial of seed '7' among the 4. There is 0, 1"),
        (["small", "--task", "cola"], "no finished trial of task 'cola' among the 4. There is files, words"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(arguments: list[str], complaint: str, finished: Path, tmp_path: Path) -> None:
    ended = export(finished, *arguments, "--output", tmp_path / "mine")
    assert (ended.status, ended.complaint) == (2, "armada: " + complaint.format(runs=finished))


def test_a_trial_without_its_student_says_how_to_get_one(finished: Path, tmp_path: Path) -> None:
    item = next(iter(by_method(finished).values()))
    folder = tmp_path / "runs" / "trials" / item["id"]
    folder.mkdir(parents=True)
    (folder / "spec.json").write_bytes((item["folder"] / "spec.json").read_bytes())
    ended = export(tmp_path / "runs", item["id"], "--output", tmp_path / "mine")
    assert ended.complaint == (
        f"armada: trial {item['id']} has no student in {folder}. "
        f"Remove {folder / 'result.json'} and run the recipe again: it is trained anew"
    )


def test_a_damaged_student_is_never_handed_out(finished: Path, tmp_path: Path) -> None:
    item = next(iter(by_method(finished).values()))
    runs = tmp_path / "runs"
    folder = Path(shutil.copytree(item["folder"], runs / "trials" / item["id"]))
    weights = next((folder / "student").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    ended = export(runs, item["id"], "--output", tmp_path / "mine")
    assert ended.complaint == (
        f"armada: the student of trial {item['id']} is damaged ({weights} does not match its digest). "
        f"Remove {folder / 'result.json'} and run the recipe again: it is trained anew"
    )
    assert not (tmp_path / "mine").exists()
