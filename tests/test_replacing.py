"""A file is the old one or the whole new one, and what a kill leaves behind is swept without touching anything else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from armada_cli import UserError
from armada_cli.features.prepare import write_tensors
from armada_cli.files import disk_error, replacing, sweep_halves, write_atomic
from armada_cli.run_names import RUN_FILES

WRITE = """
import os, signal, sys
from pathlib import Path
from armada_cli.files import replacing
with replacing(Path(sys.argv[1])) as stream:
    stream.write(b"half of i")
    stream.flush()
    print("begun", flush=True)
    sys.stdin.readline()
"""


def writer(path: Path) -> subprocess.Popen[str]:
    """A process in the middle of writing `path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("name", ["run.json", "report.txt", "key.safetensors"])
def test_what_a_killed_process_left_is_swept(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("old")
    process = writer(path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(tmp_path.iterdir())) == 2
    sweep_halves(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == [name]
    assert path.read_text() == "old"


def test_what_a_living_process_writes_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    process = writer(path)
    sweep_halves(tmp_path)
    process.communicate("go on\n")
    assert process.returncode == 0
    assert path.read_text() == "half of i"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_else_is_swept(tmp_path: Path) -> None:
    kept = [".gitignore", ".config.settings", ".run.json", ".part", "run.json.abcdefgh.part", ".run.json.abc.part", "..x.part"]
    for name in kept:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".run.json.abcdefg1.part").mkdir()
    (tmp_path / ".run.json.abcdefg2.part").symlink_to(tmp_path / ".gitignore")
    os.mkfifo(tmp_path / ".run.json.abcdefg3.part")
    before = sorted(path.name for path in tmp_path.iterdir())
    for name in (".run.json.abcdefg4", ".report.md.abcdefg5"):  # an earlier version's
        (tmp_path / name).write_text("")
    sweep_halves(tmp_path, RUN_FILES)
    sweep_halves(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_half_that_was_swept_before_its_lock_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    real, swept = fcntl.flock, []

    def flock(stream: object, kind: int) -> None:
        real(stream, kind)  # type: ignore[arg-type]
        if not swept:
            swept.append(next(tmp_path.glob(".*")))
            swept[0].unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    write_atomic(tmp_path / "run.json", "whole")
    assert (tmp_path / "run.json").read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == len(swept) == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_a_write_that_fails_leaves_the_old_file_and_no_half(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as stream:
            stream.write(b"new")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line_for_text_and_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (
        lambda path: write_atomic(path, "text"),
        lambda path: write_tensors(path, {"x": np.zeros(3, np.float32)}, {}),
    ):
        with pytest.raises(UserError, match=r"No space left on device.* Free some space"):
            write(tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_new_files_are_as_readable_as_any(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", "")
    (tmp_path / "other").write_text("")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_disk_that_fills_up_while_a_folder_is_copied_is_the_usual_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library gathers a reason for every file."""
    (tmp_path / "student").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "student" / name).write_text("{}")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(shutil.Error) as raised:
        shutil.copytree(tmp_path / "student", tmp_path / "copy")
    message = str(disk_error(tmp_path / "copy", raised.value))
    assert message.startswith(f"cannot write {tmp_path / 'copy'}: ")
    assert message.count("No space left on device") == 1
    assert "model.safetensors" not in message
