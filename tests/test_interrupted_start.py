"""Ctrl-C while the command is still starting: one line and status 130, whatever is being imported, and nothing is begun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WATCH = """
import os, signal, sys

def watch(event, arguments):
    if event == "import" and arguments[0] == os.environ["INTERRUPTED_AT"]:
        os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(watch)
"""
COMMANDS = {"armada": [str(Path(sys.executable).with_name("armada"))], "module": [sys.executable, "-m", "armada_cli"]}
MODULES = [
    "armada_cli.main",
    "click",
    "armada_cli.console",
    "armada_cli.contracts",
    "armada_cli.recipe.loader",
    "pluggy",
    "yaml",
    "armada_task_files.options",
    "armada_cli.execution.forecast",
]


def environment(**more: str) -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("ARMADA_", "_ARMADA"))} | more


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("command", COMMANDS)
def test_an_interrupt_during_an_import_is_one_line(command: str, module: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    ended = subprocess.run(
        [*COMMANDS[command], "check", "quickstart", "--runs", str(tmp_path / "runs")],
        env=environment(PYTHONPATH=str(tmp_path), INTERRUPTED_AT=module),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr.lstrip("\n")) == (130, "armada: interrupted\n")
    assert not (tmp_path / "runs").exists()


def test_at_any_moment_it_never_is_a_traceback_of_ours(tmp_path: Path) -> None:
    """Before Python has its own handler the signal ends the process by itself, which a shell shows as 130 too. While Python
    still comes to the first line of ours, the traceback is Python's."""
    for number in range(8):
        process = subprocess.Popen(
            [*COMMANDS["armada"], "run", "quickstart", "--runs", str(tmp_path / "runs")],
            env=environment(HF_HUB_OFFLINE="1"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(0.025 * number)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (130, -signal.SIGINT, 1), errors
        assert f"{os.sep}armada_cli{os.sep}" not in errors, errors


def test_a_shell_that_ignores_interrupts_in_the_background_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    ended = subprocess.run(
        [*COMMANDS["armada"], "--version"],
        env=environment(PYTHONPATH=str(tmp_path), INTERRUPTED_AT="click"),
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert ended.returncode == 0
    assert ended.stdout.startswith("armada ")
