"""The command line itself: help, mistakes, exit statuses, completion, and what it must never import."""

# ruff: noqa: E501  (the expected lines stand whole, as a user sees them)

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from distributions import write_kitchen

from armada_cli import __version__
from armada_cli.main import COMMANDS

HEAVY = ("torch", "transformers", "diffusers", "datasets", "numpy", "pandas")
EXIT = "armada: {0}\n"


def armada(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("ARMADA_", "_ARMADA"))}
    return subprocess.run(
        [sys.executable, "-m", "armada_cli.main", *arguments],
        cwd=cwd,
        env={**keep, **environment},
        capture_output=True,
        text=True,
        timeout=180,
    )


def test_the_package_runs_as_a_module_as_launchers_start_it():
    done = subprocess.run(
        [sys.executable, "-m", "armada_cli", "--version"], capture_output=True, text=True, timeout=180, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"armada {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("list",),
        ("list", "teachers"),
        ("list", "recipes", "--json"),
        ("show", "method", "armada"),
        ("show", "student", "minilm-offline", "--json"),
        ("plugins",),
        ("completion", "zsh"),
        *[(name, "--help") for name in ("run", "check", "list", "show", "plugins", "features", "report", "completion")],
    ],
)
def test_what_only_talks_imports_nothing_heavy(arguments):
    """The modules that are loaded at the end of the command, asked of the interpreter that ran it."""
    if arguments[0] in COMMANDS and not _is_written(arguments[0]):
        pytest.skip(f"`armada {arguments[0]}` is not part of this checkout yet")
    script = (
        "import sys\nfrom armada_cli.main import run\n"
        f"status = run({list(arguments)!r})\n"
        f"print('heavy:', status, sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=180)
    assert found.stderr.splitlines()[-1] == "heavy: 0 []"


def test_completion_of_names_imports_nothing_heavy():
    script = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('heavy:', sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr))\n"
        "from armada_cli.main import main\nmain()\n"
    )
    environment = {**os.environ, "_ARMADA_COMPLETE": "bash_complete", "COMP_WORDS": "armada show student ", "COMP_CWORD": "3"}
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=180)
    assert "plain,minilm-offline" in found.stdout.splitlines()
    assert found.stderr.splitlines()[-1] == "heavy: []"


def _is_written(name: str) -> bool:
    return Path(__file__).parent.parent.joinpath(*COMMANDS[name][0].split(".")).with_suffix(".py").is_file()


def test_help_names_every_command_with_its_summary_and_imports_none():
    found = armada("--help")
    text = " ".join(found.stdout.split())
    assert found.returncode == 0
    assert all(f" {name} " in text and summary in text for name, (_, summary) in COMMANDS.items())


def test_every_command_in_the_table_has_a_module_with_a_command():
    import importlib

    import click

    for name, (module, _) in COMMANDS.items():
        if not _is_written(name):
            continue
        assert isinstance(importlib.import_module(module).command, click.Command), name


def test_version_is_the_packages():
    assert armada("--version").stdout == f"armada {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plugns",), "no such command 'plugns'. Did you mean 'plugins'?"),
        (("wibble",), "no such command 'wibble'. `armada --help` names the commands"),
        (("list", "--jsn"), "no such option '--jsn'. Did you mean '--json'?"),
        (("completion", "csh"), "invalid value for '{bash|zsh|fish}': 'csh' is not one of 'bash', 'zsh', 'fish'. `armada completion --help` shows what it takes"),
        (("plugins", "all"), "got unexpected extra argument (all). `armada plugins --help` shows what it takes"),
    ],
)  # fmt: skip
def test_a_mistyped_command_line_is_one_line_and_status_2(arguments, message):
    found = armada(*arguments)
    assert (found.returncode, found.stdout, found.stderr) == (2, "", EXIT.format(message))


def test_a_reader_that_leaves_early_is_no_error():
    command = f"{sys.executable} -m armada_cli.main list | head -c 1; echo ${{PIPESTATUS[0]}}"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=180)
    assert found.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        found = subprocess.run(
            [sys.executable, "-m", "armada_cli.main", "list"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=180
        )
    assert found.returncode == 2
    assert found.stderr == EXIT.format("no space left on device. Free some space, or choose another disk with --runs")


def test_an_interrupt_is_one_word_and_status_130(tmp_path):
    """A plugin that takes its time to import is interrupted in it."""
    from distributions import write_distribution

    source = "import sys, time\nprint('loading', flush=True)\ntime.sleep(30)\n"
    slow = write_distribution(tmp_path, "armada-slow", {"armada_slow": source}, {"slow": "armada_slow"})
    process = subprocess.Popen(
        [sys.executable, "-m", "armada_cli.main", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(slow)},
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "loading\n"  # what a plugin prints stays out of the output
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output, errors.strip()) == (130, "", "armada: interrupted")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("armada p", ["plugins"]),
        ("armada list lo", ["losses"]),
        ("armada show met", ["method"]),
        ("armada show student ta", ["talker"]),
        ("armada show recipe lu", ["lunch.yaml"]),
        ("armada list --j", ["--json"]),
    ],
)
def test_the_shell_completes_commands_kinds_and_names(tmp_path, words, expected):
    (tmp_path / "lunch.yaml").write_text("title: Lunch\n")
    (tmp_path / "notes.txt").write_text("no recipe\n")
    kitchen = write_kitchen(tmp_path / "kitchen")
    found = armada(
        cwd=tmp_path,
        PYTHONPATH=str(kitchen),
        _ARMADA_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
    )
    assert [line.partition(",")[2] for line in found.stdout.splitlines()] == expected
    assert found.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_calls_armada(shell):
    found = armada("completion", shell)
    assert found.returncode == 0
    assert f"_ARMADA_COMPLETE={shell}_complete" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        ([], {}, ("runs", None, False)),
        ([], {"ARMADA_RUNS": "r", "ARMADA_DATA": "d", "HF_HUB_OFFLINE": "1"}, ("r", "d", True)),
        (
            ["--runs", "x", "--data", "y"],
            {"ARMADA_RUNS": "r", "ARMADA_DATA": "d", "TRANSFORMERS_OFFLINE": "true"},
            ("x", "y", True),
        ),
        ([], {"ARMADA_DATA": "", "HF_HUB_OFFLINE": "0"}, ("runs", None, False)),
    ],
)
def test_the_environment_comes_from_options_then_variables_then_defaults(monkeypatch, arguments, variables, expected):
    import click
    from click.testing import CliRunner

    from armada_cli.commands import environment_options

    for name in ("ARMADA_RUNS", "ARMADA_DATA", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)

    @click.command()
    @environment_options
    def command(environment):
        click.echo(f"{environment.runs} {environment.data} {environment.offline}")

    found = CliRunner().invoke(command, arguments, env=variables, catch_exceptions=False)
    assert found.output.split() == [str(item) for item in expected]


def test_check_tells_every_problem_with_status_2(tmp_path):
    """Lines begin with file:line:column, so that an editor can jump there."""
    if not _is_written("check"):
        pytest.skip("`armada check` is not part of this checkout yet")
    (tmp_path / "r.yaml").write_text("student: minilm-ofline\ntasks: cola\nmethods: [undistilled, {name: armada, beta: -1}]\n")
    found = armada("check", "r.yaml", "--set", "train.epoch=1", cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.splitlines() == [
        "r.yaml:1:10: unknown student: 'minilm-ofline'. Did you mean 'minilm-offline' or 'smollm2-offline'?",
        "r.yaml:3:45: methods.1.beta must be at least 0: '-1'. The default is 1",
        "--set train.epoch=1: unknown key of train: 'epoch'. Did you mean 'epochs'?",
        "3 problems",
    ]


def test_check_of_a_sound_recipe_imports_nothing_heavy(tmp_path):
    if not _is_written("check"):
        pytest.skip("`armada check` is not part of this checkout yet")
    script = (
        "import sys\nfrom armada_cli.main import run\n"
        "status = run(['check', 'r.yaml'])\n"
        f"print('heavy:', status, sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)\n"
    )
    (tmp_path / "r.yaml").write_text("student: minilm-offline\ntasks: cola\nmethods: undistilled\n")
    found = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert found.stderr.splitlines()[-1] == "heavy: 0 []"
