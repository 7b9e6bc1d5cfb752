"""Weights in packages become a folder in the user's cache: once, whole or not at all, and only from the known files."""

from __future__ import annotations

import errno
import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from armada_cli import Component, Environment, MissingPackage, UserError
from armada_cli.models.packaged import NOTE, PackagedModel, Step, joined

CONTENT = (b"the first part, ", b"the second")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """A model in two installed distributions, neither of which can be imported, and an empty cache."""
    site = tmp_path / "site"
    for number, content in enumerate(CONTENT, start=1):
        install(site, f"grand-weights-{number}", {f"grand-weights/w.zip.00{number}": content})
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    parts = (("grand-weights-1", ".zip.001"), ("grand-weights-2", ".zip.002"))
    digest = hashlib.sha256(b"".join(CONTENT)).hexdigest()
    return PackagedModel("grand", "Grand", parts, digest, size=10**6, made_with=("torch",))


def install(site: Path, name: str, files: dict[str, bytes]) -> None:
    """What pip leaves of a wheel: the files, and their list."""
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)
    folder = site / f"{name.replace('-', '_')}-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (folder / "RECORD").write_text("".join(f"{path},,\n" for path in files), encoding="utf-8")


def write(sources: list[Path], folder: Path, step: Step) -> None:
    step("writing", 0.5)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "text").write_bytes(b"".join(path.read_bytes() for path in sources))
    save_file({"weight": torch.ones(2)}, folder / "model.safetensors")


def refuse(sources: list[Path], folder: Path, step: Step) -> None:
    raise AssertionError("it was there already")


def leftovers(model: PackagedModel) -> list[str]:
    return [path.name for path in model.folder().parent.iterdir() if path.name not in (model.folder().name, "old")]


def test_a_folder_is_made_once_with_a_note_of_its_source(model: PackagedModel) -> None:
    assert not model.ready()
    folder = model.prepare(write)
    assert (folder / "text").read_bytes() == b"the first part, the second"
    note = (folder / NOTE).read_text(encoding="utf-8")
    assert model.sha256 in note
    assert '"torch": "' in note
    assert "grand-weights-2: w.zip.002" in note
    assert model.prepare(refuse) == folder == model.folder()
    assert leftovers(model) == [f"{folder.name}.lock"]


def test_files_are_as_readable_as_any_new_file(model: PackagedModel) -> None:
    folder = model.prepare(write)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {(folder / "config.json").stat().st_mode & 0o777}


def test_standard_error_says_in_one_line_that_something_is_made(
    model: PackagedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    model.prepare(write)
    model.prepare(write)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"armada: Grand, converted once into {model.folder()}\n"


def test_the_identity_is_the_same_before_and_after(model: PackagedModel) -> None:
    before = model.identity()
    model.prepare(write)
    assert model.identity() == before


def test_a_package_with_other_content_is_refused(model: PackagedModel, tmp_path: Path) -> None:
    (tmp_path / "site" / "grand-weights" / "w.zip.002").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"the files of grand-weights-1, grand-weights-2 are not those of the known release"):
        model.prepare(write)
    assert not model.ready()


@pytest.mark.parametrize("fault", ["package", "file"])
def test_a_source_that_is_not_there_is_named(model: PackagedModel, tmp_path: Path, fault: str) -> None:
    site = tmp_path / "site"
    if fault == "file":
        (site / "grand-weights" / "w.zip.002").unlink()
        expected = r"the installed grand-weights-2 has no file \*\.zip\.002"
    else:
        (site / "grand_weights_2-1.0.dist-info" / "METADATA").unlink()
        (site / "grand_weights_2-1.0.dist-info" / "RECORD").unlink()
        (site / "grand_weights_2-1.0.dist-info").rmdir()
        expected = "the package grand-weights-2 is not installed"
    with pytest.raises(UserError, match=expected):
        model.prepare(write)


def test_what_a_killed_process_left_is_removed_and_made_anew(model: PackagedModel) -> None:
    def die(sources: list[Path], folder: Path, step: Step) -> None:
        write(sources, folder, step)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.prepare(die)
    assert not model.folder().exists()
    left = model.folder().with_name(f".{model.folder().name}.killed")
    (left / "folder").mkdir(parents=True)
    assert model.prepare(write) == model.folder()
    assert leftovers(model) == [f"{model.folder().name}.lock"]


def flip_last_bit(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("damage", ["cut", "one bit", "no note", "no weights", "another note"])
def test_a_damaged_folder_is_made_again(model: PackagedModel, damage: str) -> None:
    folder = model.prepare(write)
    weights = folder / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-3])
    elif damage == "one bit":
        flip_last_bit(weights)
    elif damage == "no weights":
        weights.unlink()
    elif damage == "no note":
        (folder / NOTE).unlink()
    else:
        (folder / NOTE).write_text('{"sha256": "0"}', encoding="utf-8")
    assert not model.ready()
    model.prepare(write)
    assert model.ready()


def test_a_full_disk_is_one_line_and_leaves_nothing(model: PackagedModel) -> None:
    def fill(sources: list[Path], folder: Path, step: Step) -> None:
        write(sources, folder, step)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="No space left on device") as caught:
        model.prepare(fill)
    assert "Grand needs 1 MB there, once; free some space, or name another cache with XDG_CACHE_HOME" in str(caught.value)
    assert leftovers(model) == [f"{model.folder().name}.lock"]


AT_ONCE = """
import sys, time
from pathlib import Path
from armada_cli.models.packaged import PackagedModel

def make(sources, folder, step):
    with open(sys.argv[2], "a") as log:
        log.write("made\\n")
    time.sleep(0.5)
    (folder / "model.safetensors").write_bytes(bytes.fromhex(sys.argv[3]))

model = PackagedModel("grand", "Grand", (("grand-weights-1", ".zip.001"), ("grand-weights-2", ".zip.002")), sys.argv[1], 1)
assert model.prepare(make) and model.ready()
"""


def test_of_two_processes_at_once_one_makes_it_and_the_other_waits(model: PackagedModel, tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "some.safetensors")
    weights = (tmp_path / "some.safetensors").read_bytes().hex()
    command = [sys.executable, "-c", AT_ONCE, model.sha256, str(tmp_path / "log"), weights]
    paths = [str(tmp_path / "site"), *(path for path in sys.path if path)]
    environment = {"PYTHONPATH": ":".join(paths), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": ""}
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert (tmp_path / "log").read_text(encoding="utf-8") == "made\n"


def test_nothing_heavy_is_imported_to_find_out_whether_a_folder_is_there(model: PackagedModel) -> None:
    code = (
        "import sys, armada_cli.models.packaged; sys.exit(bool({'torch', 'numpy', 'safetensors', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_parts_read_as_one_file_are_the_file(tmp_path: Path) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(5):
            archive.writestr(f"folder/{number}.txt", f"{number} " * 500)
    content = whole.getvalue()
    paths = []
    for number, start in enumerate(range(0, len(content), 100)):
        paths.append(tmp_path / f"part{number:03}")
        paths[-1].write_bytes(content[start : start + 100])
    with joined(paths) as stream:
        assert stream.read() == content
        for place, length in [(0, 3), (99, 2), (100, 250), (len(content) - 1, 5), (len(content) + 7, 5)]:
            stream.seek(place)
            assert stream.read(length) == content[place : place + length]
    with joined(paths) as stream, zipfile.ZipFile(stream) as archive:
        assert archive.testzip() is None
        assert archive.read("folder/3.txt") == b"3 " * 500


# --------------------------------------------------------------------------------------------- what has to be installed


def card(**more: object) -> Component:
    requires = ("grand-voices==3.1", "lone-weights==1.0")
    return Component("opera", "Sings", "opera.singer:Opera", requires=requires, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "command"),
    [
        ({}, "pip install 'grand-voices==3.1' 'lone-weights==1.0'"),
        ({"extra": "large"}, "pip install 'armada-cli[large]'"),
        (
            {"extra": "large", "no_deps": ("lone-weights==1.0",)},
            "pip install 'armada-cli[large]' && pip install --no-deps 'lone-weights==1.0'",
        ),
        (
            {"no_deps": ("lone-weights==1.0",)},
            "pip install 'grand-voices==3.1' && pip install --no-deps 'lone-weights==1.0'",
        ),
    ],
)
def test_a_missing_package_is_one_line_that_says_how_it_is_installed(more: dict[str, object], command: str) -> None:
    assert card(**more).install_command() == command
    with pytest.raises(MissingPackage) as caught:
        card(**more).load()
    assert caught.value.what == "opera needs 'grand-voices==3.1' 'lone-weights==1.0', not installed here"
    assert caught.value.hint == f"Install with: {command}"


def test_what_is_installed_needs_no_command() -> None:
    assert Component("opera", "Sings", "opera.singer:Opera", requires=("torch",)).install_command() == ""


def test_a_component_is_prepared_before_the_first_trial_and_not_for_a_check() -> None:
    """`EncoderOptions` has no `prepare`; the packaged ones do."""
    from armada_student_decoders.smollm2 import PACKAGE, SOURCE, SmolLM2Options
    from armada_student_encoders.mpnet import MPNetOptions

    for options in (SmolLM2Options(), MPNetOptions()):
        assert list(options.problems(Environment())) == []
        assert list(options.downloads(Environment(offline=True))) == []
        assert options.identity(Environment())["weights"].startswith("sha256:")
    assert SmolLM2Options().model == PACKAGE
    assert SmolLM2Options().place() == str(SOURCE.folder())
