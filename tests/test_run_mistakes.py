"""Wrong input to `armada run` and `armada check`: one clear line, the right exit status, nothing damaged."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributions import write_distribution
from running import Ended, armada, ended, mount, plugins_changed, recorded, results, small_disk, start, train

METHODS = "[undistilled, {name: armada, hidden: 48}]"


def mistake(found: Ended, *parts: str) -> None:
    """Exit status 2, one line on standard error that holds these parts, no traceback, no table."""
    assert found.status == 2, found.err
    lines = [line for line in found.err.splitlines() if line != "1 problem"]
    assert len(lines) == 1, found.err
    for part in parts:
        assert part in lines[0]
    assert "Traceback" not in found.err
    assert found.out == ""


def failure(found: Ended, *parts: str) -> None:
    """Exit status 1, and a line for the trial that failed which holds these parts."""
    assert found.status == 1, found.err
    (line,) = [line for line in found.err.splitlines() if "failed: " in line]
    for part in parts:
        assert part in line
    assert "Traceback" not in found.err


# ------------------------------------------------------------------------------------------------------ names and students


@pytest.mark.parametrize("verb", ["run", "check"])
def test_an_unknown_teacher_is_named_with_its_neighbour(recipe, tmp_path, verb):
    found = armada(verb, recipe(teacher="precomputd"), "--runs", tmp_path / "runs")
    mistake(found, "tiny.yaml:2:", "unknown teacher: 'precomputd'", "Did you mean 'precomputed'?")
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def copied(tiny_student, tmp_path) -> Path:
    """The tiny student's folder, to be damaged."""
    return Path(shutil.copytree(tiny_student, tmp_path / "student"))


def run_with(recipe, model: Path | str, tmp_path: Path, methods: str = "[undistilled]", verb: str = "run") -> Ended:
    path = recipe(student=f"{{name: encoder, model: {model}}}", methods=methods)
    more = ["--workers", "0"] if verb == "run" else []
    return armada(verb, path, "--runs", tmp_path / "runs", *more)


@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_student_folder_without_weights_is_refused(recipe, copied, tmp_path, verb):
    (copied / "model.safetensors").unlink()
    mistake(run_with(recipe, copied, tmp_path, verb=verb), str(copied), "no weights (*.safetensors or pytorch_model*.bin)")


@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_student_folder_without_configuration_is_refused(recipe, copied, tmp_path, verb):
    (copied / "config.json").unlink()
    mistake(run_with(recipe, copied, tmp_path, verb=verb), str(copied), "no config.json")


@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_student_folder_that_is_not_there_is_refused(recipe, tmp_path, verb):
    mistake(run_with(recipe, tmp_path / "nowhere", tmp_path, verb=verb), "there is no folder", "nowhere")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.write_bytes(b"\xff" * 5000),
        lambda path: path.write_bytes(b"\x02\0\0\0\0\0\0\0{}"),
    ],
    ids=["empty", "cut in its header", "cut at its end", "noise", "no tensors"],
)
def test_damaged_weights_are_said_to_be_damaged(recipe, copied, tmp_path, damage):
    damage(copied / "model.safetensors")
    for verb in ("check", "run"):
        mistake(run_with(recipe, copied, tmp_path, verb=verb), str(copied), "damaged weights", "model.safetensors")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("config.json", '{"model_type": "no-such-model"}'),
        ("tokenizer.json", "{"),
    ],
)
def test_a_damaged_student_folder_is_named(recipe, copied, tmp_path, name, content):
    (copied / name).write_text(content, encoding="utf-8")
    failure(run_with(recipe, copied, tmp_path), str(copied))


def test_weights_of_another_shape_are_not_taken_for_the_student(recipe, copied, tmp_path):
    """transformers would replace them by random ones without a word."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(copied / "model.safetensors")
    odd = {
        key: value[:, :16].contiguous() if "encoder.layer.0.attention" in key and value.ndim == 2 else value
        for key, value in tensors.items()
    }
    save_file(odd, copied / "model.safetensors", metadata={"format": "pt"})
    failure(run_with(recipe, copied, tmp_path), str(copied), "encoder.layer.0.attention")


def test_weights_of_another_architecture_are_not_taken_for_the_student(recipe, copied, tmp_path):
    from safetensors.torch import load_file, save_file

    tensors = {f"other.{key.replace('.', '_')}": value for key, value in load_file(copied / "model.safetensors").items()}
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    mistake(run_with(recipe, copied, tmp_path), str(copied), "lack all 2 layers of the model")


def test_a_model_that_is_not_here_offline_is_named_for_fetching(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = run_with(recipe, "nobody/no-such-model", tmp_path)
    mistake(found, "needs model nobody/no-such-model", "downloads are off", "hf download")
    check = run_with(recipe, "nobody/no-such-model", tmp_path, verb="check")
    assert check.status == 0
    assert "to download    model nobody/no-such-model from the Hugging Face hub" in check.out


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ("encoder", "model"),
        ("{name: encoder, model: /nowhere/at/all}", "there is no folder: '/nowhere/at/all'"),
        ("{name: encodr, model: x}", "'encoder'"),
        ("{name: encoder, modl: x}", "'model'"),
        ("{name: encoder, model: x, layers: 0}", "layers"),
        ("{name: encoder, model: x, layers: many}", "layers"),
        ("3", "3"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_wrong_text_teacher_is_a_mistake_of_the_recipe(recipe, tmp_path, verb, teacher, said):
    found = armada(verb, recipe(methods=f"[{{name: kd, teacher: {teacher}}}]"), "--runs", tmp_path / "runs")
    assert found.status == 2, found.err
    assert said in found.err
    assert "Traceback" not in found.err


# ---------------------------------------------------------------------------------------------------------------- plugins

BAZAAR = """
    from dataclasses import dataclass
    from typing import ClassVar
    from armada_cli import Component, hookimpl, option

    @dataclass(frozen=True)
    class Mood:
        mood: str = option("good", "How it fails")

    @hookimpl
    def armada_teachers():
        return [
            Component("moody", "Fails as told", "armada_bazaar_parts:Moody", Mood, {"any"}),
            Component("far", "Needs what is not here", "armada_bazaar_parts:Moody", requires=("no-such-package==9.9",)),
        ]

    @hookimpl
    def armada_students():
        return [
            Component("stillborn", "Cannot be made", "armada_bazaar_parts:Stillborn", provides={"encoder"}),
            Component("absent", "Its module is missing", "armada_bazaar_nowhere:Student", provides={"encoder"}),
            Component("unpacked", "Needs a package", "armada_bazaar_parts:Stillborn", requires=("no-such-package==9.9",)),
        ]

    @hookimpl
    def armada_methods():
        return [Component("sulk", "Cannot be made", "armada_bazaar_parts:Sulk", provides={"classification"})]
"""
BAZAAR_PARTS = """
    import numpy as np
    from armada_cli import Method, Student, Teacher

    class Moody(Teacher):
        batch_size = 8
        calls = 0

        def __init__(self, options, environment):
            super().__init__(options, environment)
            if options.mood == "construction":
                raise RuntimeError("no model,\\nno teacher")

        def represent(self, inputs):
            mood = self.options.mood
            self.calls += 1
            found = np.array([[len(text), text.count("a"), text.count("e")] for text in inputs], np.float32)
            if mood == "nan":
                found[-1, 1] = np.nan
            if mood == "rows":
                found = found[1:]
            if mood == "width" and self.calls > 1:
                found = found[:, :2]
            if mood == "raise":
                raise ZeroDivisionError("nothing left")
            return found

    class Stillborn(Student):
        build = encode = pad = forward = save = None

        def __init__(self, options, environment):
            raise RuntimeError("never\\nborn")

    class Sulk(Method):
        terms = None

        def __init__(self, options, setup):
            raise RuntimeError("not in the mood")
"""


@pytest.fixture
def bazaar(tmp_path, monkeypatch) -> Iterator[None]:
    """A distribution whose components fail, each in its way."""
    modules = {"armada_bazaar": BAZAAR, "armada_bazaar_parts": BAZAAR_PARTS}
    monkeypatch.syspath_prepend(write_distribution(tmp_path / "site", "armada-bazaar", modules, {"bazaar": "armada_bazaar"}))
    with plugins_changed():
        yield
    for name in modules:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("mood", "said"),
    [
        ("construction", "cannot be made: RuntimeError: no model, no teacher"),
        ("nan", "returned a vector that is not finite (NaN or infinity) for '"),
        ("rows", "returned shape [7, 3] for 8 inputs"),
        ("width", "returned width 2, before it was 3"),
        ("raise", "ZeroDivisionError: nothing left"),
    ],
)
@pytest.mark.usefixtures("bazaar")
def test_a_teacher_that_breaks_its_contract_is_named(recipe, tmp_path, mood, said):
    runs = tmp_path / "runs"
    assert train(recipe(methods="[undistilled]"), runs).status == 0
    before = results(runs)
    wrong = recipe(teacher=f"{{name: moody, mood: {mood}}}", methods=METHODS, features="{reduce: none}")
    mistake(train(wrong, runs), "teacher 'moody' (plugin armada-bazaar 1.0)", said)
    assert results(runs) == before
    well = recipe(teacher="moody", methods=METHODS, features="{reduce: none}")
    assert train(well, runs).status == 0  # the store is as sound as before


@pytest.mark.usefixtures("bazaar")
def test_a_method_that_cannot_be_made_fails_its_trial_alone(recipe, tmp_path):
    found = train(recipe(methods="[sulk, undistilled]"), tmp_path / "runs")
    failure(found, "not in the mood")
    assert {trial["method"]: trial["status"] for trial in recorded(tmp_path / "runs")} == {
        "sulk": "failed",
        "undistilled": "done",
    }


@pytest.mark.parametrize("side_by_side", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_what_depends_on_a_trial_that_failed_fails_with_it(recipe, copied, tmp_path, side_by_side):
    (copied / "tokenizer.json").write_text("{", encoding="utf-8")
    path = recipe(methods=f"[{{name: kd, teacher: {{name: encoder, model: {copied}}}}}]")
    found = armada("run", path, "--runs", tmp_path / "runs", "--workers", side_by_side)
    assert found.status == 1
    first, second, last = found.err.strip().splitlines()
    assert f"failed: student folder {copied}" in first
    assert "failed: a trial it depends on failed" in second
    assert last == "armada: 2 trials failed; the same command tries again"
    assert [(trial["status"], trial["reason"]) for trial in recorded(tmp_path / "runs")] == [
        ("failed", "a trial it depends on failed")
    ]


@pytest.mark.usefixtures("bazaar")
def test_a_student_that_cannot_be_made_is_named_with_its_plugin(recipe, tmp_path):
    failure(train(recipe(student="stillborn", methods="[undistilled]"), tmp_path / "runs"), "stillborn", "never born")


@pytest.mark.usefixtures("bazaar")
def test_a_student_whose_module_is_missing_is_named_with_its_plugin(recipe, tmp_path):
    found = train(recipe(student="absent", methods="[undistilled]"), tmp_path / "runs")
    failure(found, "absent", "armada-bazaar", "armada_bazaar_nowhere")


@pytest.mark.parametrize(
    "lines",
    [
        {"teacher": "far"},
        {"student": "unpacked"},
        {"methods": "[undistilled, {name: kd, teacher: unpacked}]"},
    ],
    ids=["teacher", "student", "text teacher"],
)
@pytest.mark.usefixtures("bazaar")
def test_a_missing_package_is_said_before_anything_starts(recipe, tmp_path, lines):
    runs = tmp_path / "runs"
    mistake(train(recipe(**lines), runs), "'no-such-package==9.9', not installed here", "Install with: pip install")
    assert not runs.exists()
    check = armada("check", recipe(**lines), "--runs", runs)
    assert check.status == 0
    assert re.search(r"to install +no-such-package==9.9 for \w+: pip install 'no-such-package==9.9'", check.out)


# ------------------------------------------------------------------------------------------------------------------ disks


def test_a_run_folder_that_is_a_file_is_refused(recipe, tmp_path):
    (tmp_path / "runs").write_text("a file", encoding="utf-8")
    found = train(recipe(), tmp_path / "runs")
    assert found.status == 2
    assert "Traceback" not in found.err
    assert len(found.err.strip().splitlines()) == 1


@pytest.mark.parametrize("done", [False, True])
def test_a_run_folder_that_cannot_be_written_is_refused(recipe, tmp_path, done):
    runs = tmp_path / "runs"
    path = recipe(methods="[undistilled]")
    if done:
        assert train(path, runs).status == 0
    runs.mkdir(exist_ok=True)
    with read_only(runs):
        mistake(train(path, runs), str(runs), "--runs")


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder on which nothing can be written: by its mode, or for root, whom modes do not stop, by a read-only mount."""
    if os.geteuid():
        folder.chmod(0o555)
        try:
            yield
        finally:
            folder.chmod(0o755)
        return
    mount("--bind", str(folder), str(folder))
    try:
        mount("-o", "remount,bind,ro", str(folder))
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def used(folder: Path) -> int:
    """KiB in a folder, in whole pages as tmpfs counts."""
    return sum(4 * (1 + -(-item.stat().st_size // 4096)) for item in folder.rglob("*"))


@pytest.mark.slow
def test_a_disk_that_fills_up_is_one_line_at_every_size(recipe, tmp_path):
    """From one that has no room for run.json to one that holds all but the last file: the run says that the disk is full, and
    goes on from there on a larger one to the same bytes."""
    path, whole = recipe(methods=METHODS), tmp_path / "whole"
    assert train(path, whole).status == 0
    need = used(whole)
    seen = set()
    for size in sorted({4, 16, 64, 100, *range(128, need + 160, 96)}):
        with small_disk(tmp_path / "disk", size) as disk:
            found = train(path, disk / "runs")
            if found.status == 0:
                assert results(disk / "runs") == results(whole)
                break
            assert found.status in (1, 2), f"{size} KiB: {found}"
            assert "Traceback" not in found.err, f"{size} KiB: {found.err}"
            for line in found.err.splitlines():
                if "failed: " in line or (line.startswith("armada: ") and "trials failed" not in line):
                    if "1 trial failed" in line:
                        continue
                    assert re.search(r"No space left|no space left|disk is full", line), f"{size} KiB: {line}"
                    assert re.search(r"Free some space", line), f"{size} KiB: {line}"
                    seen.add(re.sub(r"[0-9a-f]{16}|[0-9]+", "*", line.partition("cannot write ")[2].partition(":")[0]))
            kept = results(disk / "runs")
            assert all(results(whole)[name] == content for name, content in kept.items())
            assert not list((disk / "runs").glob("trials/*/.student.new"))
            subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
            again = train(path, disk / "runs")
            assert again.status == 0, f"{size} KiB: {again.err}"
            assert results(disk / "runs") == results(whole)
    assert len(seen) >= 3, seen


def test_a_report_that_cannot_be_printed_is_one_line(recipe, tmp_path):
    """Standard output on a full disk."""
    runs = tmp_path / "runs"
    path = recipe(methods="[undistilled]")
    assert train(path, runs).status == 0
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "armada_cli.main", "run", str(path), "--runs", str(runs)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "no space left on device" in done.stderr.lower()


@pytest.mark.slow
def test_a_worker_tells_of_the_full_disk_as_well(recipe, tmp_path):
    path = recipe(methods="[undistilled]")
    with small_disk(tmp_path / "disk", 300) as disk:
        found = ended(start("run", path, "--runs", disk / "runs", "--workers", "1"))
        assert found.status in (1, 2)
        assert "No space left" in found.err
        assert "Traceback" not in found.err
