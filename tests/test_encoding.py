"""Output where "±", box lines or any other script cannot be encoded: replaced, with the exit status that it had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from armada_teacher_precomputed.teacher import read_texts
from report_runs import full_run

from armada_cli.errors import UserError
from armada_cli.reading import encoding_fault

ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "cp1252": {"PYTHONIOENCODING": "cp1252:strict"},
    "C locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
encodings = pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)


def armada(folder: Path, encoding: dict[str, str], *arguments: str) -> tuple[int, bytes, bytes]:
    """Exit status, standard output (a file) and standard error (a pipe)."""
    with (folder / "out").open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "armada_cli", *arguments],
            cwd=folder,
            env={**os.environ, **encoding},
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=180,
            check=False,
        )
    return done.returncode, (folder / "out").read_bytes(), done.stderr


@encodings
@pytest.mark.parametrize("format", ["rich", "txt", "md", "csv"])
def test_a_report_is_printed_whole(tmp_path: Path, encoding: dict[str, str], format: str):
    full_run(tmp_path)
    status, out, err = armada(tmp_path, encoding, "report", "hand", "--runs", ".", "--format", format)
    assert (status, err) == (0, b"")
    status, whole, _ = armada(tmp_path, {"PYTHONIOENCODING": "utf-8"}, "report", "hand", "--runs", ".", "--format", format)
    # one character for one, so that columns stay straight
    assert [len(line) for line in out.decode("latin-1").split("\n")] == [len(line) for line in whole.decode().split("\n")]


def test_a_minus_stays_a_minus_and_a_line_a_line(tmp_path: Path):
    full_run(tmp_path)
    _, whole, _ = armada(tmp_path, {"PYTHONIOENCODING": "utf-8"}, "report", "hand", "--runs", ".")
    _, out, _ = armada(tmp_path, ENCODINGS["ascii"], "report", "hand", "--runs", ".")
    assert out.decode("ascii") == whole.decode().translate(str.maketrans("±−─·…–", "~--..-"))


@encodings
def test_a_mistake_keeps_its_line_and_its_exit_status(tmp_path: Path, encoding: dict[str, str]):
    status, out, err = armada(tmp_path, encoding, "run", "雾…船")
    assert (status, out) == (2, b"")
    assert b"Traceback" not in err
    assert err.startswith(b"armada: ")


@encodings
def test_recipes_in_any_script_are_shown_and_checked(tmp_path: Path, encoding: dict[str, str]):
    (tmp_path / "own.yaml").write_text("title: 雾里 ± ─\nextends: quickstart\n", encoding="utf-8")
    for arguments in (("show", "recipe", "own.yaml"), ("check", "own.yaml"), ("check", "own.yaml", "--json")):
        status, out, err = armada(tmp_path, encoding, *arguments)
        assert (status, b"Traceback" in err, bool(out)) == (0, False, True), (arguments, err)


MARK = "\ufeff"
WRONG = {
    "utf-16 with a mark": ("{}".encode("utf-16"), "is UTF-16"),
    "utf-16-le": ("text: a\n".encode("utf-16-le"), "is UTF-16"),
    "utf-16-be": ("text: a\n".encode("utf-16-be"), "is UTF-16"),
    "two marks": ((MARK * 2 + "text: a\n").encode(), "two byte order marks"),
}


@pytest.mark.parametrize(("data", "words"), WRONG.values(), ids=WRONG)
def test_a_text_file_in_utf_16_or_with_two_marks_is_told_by_name(tmp_path: Path, data: bytes, words: str):
    (tmp_path / "own.yaml").write_bytes(data)
    (tmp_path / "ids.txt").write_bytes(data)
    status, _, err = armada(tmp_path, {}, "check", "own.yaml")
    assert (status, words in err.decode()) == (2, True), err
    with pytest.raises(UserError, match=words):
        read_texts(tmp_path / "ids.txt")


@pytest.mark.parametrize("text", ["", "a", "text: 雾\n", MARK + "text: a\n"])
def test_utf_8_is_no_fault(text: str):
    assert encoding_fault(text.encode()) is None
