"""Files of a run folder that are no longer what was written: noticed when they are read, and made again."""

from __future__ import annotations

import contextlib
import json
import runpy
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from running import armada, by_method, results, train
from torch import nn

from armada_cli.digests import DamagedDigests, differences, read_digests, write_digests
from armada_cli.errors import UserError
from armada_cli.execution.outputs import keep_outputs, read_outputs, write_outputs
from armada_cli.runs import Runs
from armada_cli.training import checkpoint
from armada_cli.training.optimizer import adamw
from armada_cli.training_log import read_log

QUICK = "{epochs: 1, batch_size: 32, lr: 1e-3, log_every: 2, max_length: 32}"


def flip(path: Path, place: int = -3) -> None:
    """Turn one bit around."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


# ---------------------------------------------------------------------------------------------------------------- digests


def test_digests_tell_which_files_changed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("one", "two", "deep/three", "deep/four"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    write_digests(tmp_path, ("one", "two", "deep", "not there"), {"five": b"later"})
    digests = read_digests(tmp_path)
    assert digests is not None
    assert list(differences(tmp_path, digests)) == ["five is missing"]
    (tmp_path / "five").write_bytes(b"later")
    (tmp_path / "two").write_text("twofold", encoding="utf-8")
    flip(tmp_path / "deep" / "three")
    assert list(differences(tmp_path, digests)) == [
        "deep/three does not match its digest",
        "two has 7 bytes, 3 were written",
    ]
    assert list(differences(tmp_path, digests, ["one", "six"])) == ["six has no digest"]


def test_no_byte_of_the_digests_can_change_unseen(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1", encoding="utf-8")
    write_digests(tmp_path, ["one"])
    path, before = tmp_path / "digests.json", read_digests(tmp_path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        flip(path, place)
        with contextlib.suppress(DamagedDigests):
            assert read_digests(tmp_path) == before  # white space
        path.write_bytes(whole)


# ------------------------------------------------------------------------------------------------------------ checkpoints


def trained_state() -> checkpoint.State:
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    optimizer = adamw(list(module.parameters()), 0.1, 0.0)
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return checkpoint.State({"student": module}, {"student": optimizer})


EXTRA = {"epochs": [{"epoch": 1, "scores": {"accuracy": 50.0}}], "seconds": {}}


def test_no_byte_of_a_checkpoint_can_change_unseen(tmp_path: Path) -> None:
    state = trained_state()
    checkpoint.save(tmp_path, 3, state, EXTRA)
    expected = {name: value.clone() for name, value in state.tensors().items()}
    for path in sorted((tmp_path / "step-3").iterdir()):
        whole = path.read_bytes()
        for place in range(0, len(whole), len(whole) // 40):
            flip(path, place)
            assert checkpoint.load(tmp_path, state) is None or path.name == "digests.json"
            path.write_bytes(whole)
    assert checkpoint.load(tmp_path, state) == (3, EXTRA, {})
    assert all(torch.equal(value, expected[name]) for name, value in state.tensors().items())


@pytest.mark.parametrize(
    "settings",
    ["[]", "null", "7", "{}", '{"step": 3}', '{"step": 3, "groups": [], "extra": {}}', '{"step": 3, "groups": {}, "extra": {}}',
     '{"step": 3, "groups": {"student": [1]}, "extra": {}}', '{"step": "3", "groups": {}, "extra": {}}', "{\xff"],
)  # fmt: skip
def test_settings_of_an_old_checkpoint_that_are_something_else_are_passed_over(tmp_path: Path, settings: str) -> None:
    state = trained_state()
    checkpoint.save(tmp_path, 3, state, EXTRA)
    (tmp_path / "step-3" / "digests.json").unlink()
    assert checkpoint.load(tmp_path, state) is not None
    (tmp_path / "step-3" / "state.json").write_text(settings, encoding="latin-1")
    before = {name: value.clone() for name, value in state.tensors().items()}
    assert checkpoint.load(tmp_path, state) is None
    assert all(torch.equal(value, before[name]) for name, value in state.tensors().items())


# -------------------------------------------------------------------------------------------------------------------- log


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe", b'{"step": 4, "terms": {"task": [0,31, 1.0]}}', b'{"step": 4, "terms": {"task": [1e999, 1.0]}}', b'{"step": ',
     b'{"step": "4"}', b"[]", b'{"step": 4, "terms": [1]}', b'{"step": 4, "terms": {"task": 1.0}}'],
)  # fmt: skip
def test_a_log_is_cut_where_it_is_damaged(tmp_path: Path, line: bytes) -> None:
    good = [json.dumps({"step": step, "terms": {"task": [0.5, "unknown"]}}).encode() for step in (0, 2, 6)]
    (tmp_path / "log.jsonl").write_bytes(b"\n".join([*good[:2], line, good[2], b""]))
    assert [record["step"] for record in read_log(tmp_path)] == [0, 2]


# --------------------------------------------------------------------------------------------------- trials and their kin


@pytest.fixture
def taught(recipe: Callable[..., Path], tmp_path: Path) -> tuple[Callable[[str], Path], Path, Path]:
    """A finished run of a student with a text teacher: its recipe for other seeds, its runs folder and the teacher's trial."""
    student = recipe().read_text(encoding="utf-8").split("model: ")[1].split("}")[0]
    methods = f"[{{name: kd, teacher: {{name: encoder, model: {student}, layers: 1}}}}]"

    def of(seeds: str) -> Path:
        return recipe(methods=methods, train=QUICK, seeds=seeds)

    runs = tmp_path / "runs"
    ended = train(of("[0]"), runs)
    assert ended.status == 0, ended.err
    (teacher,) = by_method(runs)[next(title for title in by_method(runs) if "kd" in title)]["spec"]["depends"].values()
    return of, runs, runs / "trials" / teacher


def lose(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def write(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(text, encoding="utf-8") and None


DAMAGES = {
    "lost student": ("student", lose),
    "flipped weights": ("student/model.safetensors", flip),
    "spec without anything": ("spec.json", write("{}")),
    "flipped result": ("result.json", flip),
}
RARER = {
    "lost weights": ("student/model.safetensors", lose),
    "cut weights": ("student/model.safetensors", cut),
    "flipped configuration": ("student/config.json", flip),
    "flipped tokenizer": ("student/tokenizer.json", flip),
    "spec of another kind": ("spec.json", write("[]")),
    "flipped spec": ("spec.json", flip),
    "lost spec": ("spec.json", lose),
    "result without scores": ("result.json", write('{"id": "x", "metric": "accuracy", "scores": {}}')),
    "digests of nothing": ("digests.json", write("{}")),
    "cut digests": ("digests.json", cut),
}


@pytest.mark.parametrize("damages", [DAMAGES, pytest.param(RARER, marks=pytest.mark.slow)])
def test_whatever_a_text_teacher_loses_is_made_again(
    taught: tuple[Callable[[str], Path], Path, Path], tmp_path: Path, damages: dict[str, tuple[str, Callable[[Path], None]]]
) -> None:
    of, runs, teacher = taught
    whole = tmp_path / "whole"
    shutil.copytree(runs, whole)
    for title, (name, damage) in damages.items():
        shutil.rmtree(runs)
        shutil.copytree(whole, runs)
        shutil.rmtree(runs / "outputs")
        next(path for path in runs.glob("trials/*/result.json") if path.parent != teacher).unlink()
        damage(teacher / name)
        ended = train(of("[0]"), runs)
        assert (title, ended.status) == (title, 0), ended.err
        assert results(runs) == results(whole), title
        assert Runs(runs).damage(teacher.name) is None
        assert f"armada: trial {teacher.name} is made again: " in ended.err


@pytest.mark.parametrize("damage", [flip, cut, write(""), write("{}")], ids=["flipped", "cut", "empty", "something else"])
def test_outputs_of_a_text_teacher_that_are_damaged_are_computed_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder, logits = tmp_path / "outputs", torch.randn(5, 2)
    write_outputs(folder, 5, logits.split(2))
    assert torch.equal(read_outputs(folder, 5), logits)
    assert read_outputs(folder, 6) is None
    damage(folder / "values.npy")
    assert read_outputs(folder, 5) is None
    assert torch.equal(keep_outputs(folder, 5, lambda: logits.split(3)), logits)
    assert torch.equal(keep_outputs(folder, 5, lambda: pytest.fail("they are there")), logits)


def test_outputs_in_half_precision_are_what_float16_holds_of_them(tmp_path: Path) -> None:
    states = torch.randn(5, 2, 3)
    kept = keep_outputs(tmp_path / "outputs", 5, lambda: states.split(2), "float16")
    assert torch.equal(kept, states.half())
    assert (tmp_path / "outputs" / "values.npy").stat().st_size < 5 * 2 * 3 * 2 + 200


def test_outputs_too_large_for_half_precision_are_refused_and_not_kept(tmp_path: Path) -> None:
    states = torch.tensor([[[1.0], [-7e4]]])
    with pytest.raises(UserError, match=r"reach 7e[+]04, and float16 holds 65504 at most") as refused:
        keep_outputs(tmp_path / "outputs", 1, lambda: [states], "float16")
    assert "float32" in refused.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_result_without_a_score_is_no_result(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """Of an earlier version: nothing tells its bytes are not what was written."""
    path, runs = recipe(methods="[undistilled]", train=QUICK), tmp_path / "runs"
    train(path, runs)
    before = results(runs)
    (folder,) = (runs / "trials").iterdir()
    for content in ({"scores": {}}, {"scores": {"accuracy": "high"}}, {"scores": {"accuracy": 50.0}, "metric": None}):
        (folder / "digests.json").unlink()
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        (folder / "result.json").write_text(json.dumps(result | content), encoding="utf-8")
        assert train(path, runs).status == 0
        assert results(runs) == before


def test_a_trial_of_an_earlier_version_is_used_as_it_is(taught: tuple[Callable[[str], Path], Path, Path]) -> None:
    of, runs, teacher = taught
    for path in runs.glob("trials/*/digests.json"):
        path.unlink()
    ended = train(of("[0, 1]"), runs)
    assert ended.status == 0, ended.err
    assert "is made again" not in ended.err
    assert not (teacher / "digests.json").exists()


# ----------------------------------------------------------------------------------------------------------- armada verify


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_verify_names_every_damage_of_a_folder_of_runs_and_changes_nothing(
    taught: tuple[Callable[[str], Path], Path, Path],
) -> None:
    _, runs, teacher = taught
    sound = armada("verify", "runs", "--runs", runs)
    assert (sound.status, sound.out.splitlines()[-1].split()[-2:]) == (0, ["0", "damaged"]), sound.out + sound.err
    (outputs,) = (runs / "outputs" / teacher.name).glob("*/values.npy")
    checkpoint.save(teacher / "checkpoint", 3, trained_state(), EXTRA)
    (pupil,) = (path for path in (runs / "trials").iterdir() if path != teacher)
    (pupil / "digests.json").unlink()
    for path in (teacher / "student" / "model.safetensors", outputs, teacher / "checkpoint" / "step-3" / "state.json"):
        flip(path)
    lose(teacher / "log.jsonl")
    before = listing(runs)
    ended = armada("verify", runs)
    assert ended.status == 1
    assert ended.out.splitlines()[:-2] == [
        f"{pupil}: no digest, an earlier version made it; only what shows by itself was checked",
        f"{teacher / 'log.jsonl'} is missing",
        f"{teacher / 'student' / 'model.safetensors'} does not match its digest",
        f"{teacher / 'checkpoint' / 'step-3' / 'state.json'} does not match its digest",
        f"{outputs} does not match its digest",
    ]
    assert "5 damaged" not in ended.out
    assert ended.out.splitlines()[-2].endswith(", 4 damaged")
    assert listing(runs) == before


def test_verify_checks_features_and_their_store(recipe: Callable[..., Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert armada("features", "build", recipe(), "--runs", runs).status == 0
    assert armada("verify", "runs", "--runs", runs).out.splitlines()[-1].endswith("96 vectors checked, 0 damaged")
    with sqlite3.connect(runs / "features.db") as store:
        store.execute("UPDATE vectors SET vector = zeroblob(length(vector)) WHERE id = 3")
    (prepared,) = (runs / "features").glob("*.safetensors")
    flip(prepared)
    ended = armada("verify", "runs", "--runs", runs)
    assert ended.status == 1
    assert "1 of 96 vectors of precomputed" in ended.out
    assert f"{prepared}: is damaged" in ended.out
    assert ended.out.splitlines()[-2].endswith("2 damaged")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["verify", "{there}"], "is no folder of runs: it has no trials and no features"),
        (["verify", "runs", "--runs", "{there}/none"], "there is no folder"),
        (["verify", "teacher"], "which teacher should be verified was not said"),
        (["verify", "runs", "mine"], "takes no name"),
        (["verify", "nonsense"], "unknown kind 'nonsense'"),
    ],
)
def test_what_cannot_be_verified_is_one_line(tmp_path: Path, words: list[str], complaint: str) -> None:
    ended = armada(*(word.format(there=tmp_path) for word in words))
    assert ended.status == 2
    assert complaint in ended.complaint


@pytest.mark.slow
def test_no_flipped_byte_gives_another_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small sample of what `benchmarks/flips.py` tries."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    flips = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "flips.py"))
    counts = flips["try_flips"](tmp_path, 12, seed=2)
    assert sum(counts.values()) == 12
    assert {verdict for _, verdict in counts} <= {"harmless", "repaired", "named"}
