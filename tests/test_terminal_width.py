"""How `armada list` and `armada check` use the width of a terminal, and that a pipe gets whole lines."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "armada_cli"]
LONG = ("check", "quickstart", "--set", "seeds=" + str(list(range(40))))


def on_terminal(columns: int, *arguments: str) -> list[str]:
    """The lines that a terminal of so many columns shows, without colours."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen([*COMMAND, *arguments], stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    seen = b""
    try:
        while block := os.read(leader, 4096):
            seen += block
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(leader)
    assert process.wait(60) == 0, seen
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", seen.decode()).splitlines()]


def piped(*arguments: str) -> list[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_terminal_lists_recipes_by_name_and_gives_the_width_to_titles(columns: int):
    lines = on_terminal(columns, "list", "recipes")
    assert max(map(len, lines)) <= columns
    assert not any(".yaml" in line for line in lines)
    assert any(line.split()[:4] == ["quickstart", "Speech", "teaches", "MiniLM"] for line in lines)


def test_a_pipe_still_gets_the_file_of_each_recipe():
    assert all(line.split("\t")[-1].endswith(".yaml") for line in piped("list", "recipes"))


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_check_cuts_between_words_and_hangs_what_follows(columns: int):
    whole, lines = piped(*LONG), on_terminal(columns, *LONG)
    assert max(map(len, lines)) <= columns
    assert " ".join(lines).split() == " ".join(whole).split()
    start = next(number for number, line in enumerate(lines) if line.startswith("seeds"))
    assert lines[start + 1].startswith(" " * 15)
    assert lines[start + 1][15].isdigit()


def test_check_gives_a_pipe_one_line_each():
    assert f"seeds          {', '.join(map(str, range(40)))}" in piped(*LONG)
