"""`armada new`: what it writes is built, installed, listed, tested and run before anything of it is edited."""

# ruff: noqa: E501  (the expected lines stand whole, as a user sees them)

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from distributions import FreshEnvironment, write_distribution
from running import armada, plugins_changed, written

from armada_cli.contracts import KINDS
from armada_cli.scaffold import Names, render

NAMES = {"teacher": "rhyme", "student": "pupil", "task": "weather-talk", "loss": "moons", "method": "guess-work"}


@dataclass(frozen=True)
class Projects:
    """One project of each kind, each as a wheel in one fresh environment."""

    folder: Path
    wheels: dict[str, Path]
    environment: FreshEnvironment

    def project(self, kind: str) -> Path:
        return self.folder / Names(kind, NAMES[kind]).distribution


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Projects:
    folder = tmp_path_factory.mktemp("new")
    wheels = {}
    for kind, name in NAMES.items():
        ended = armada("new", kind, name, "--output", folder)
        assert (ended.status, ended.err) == (0, "")
        place = folder / Names(kind, name).distribution
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / kind)]
        subprocess.run(command, cwd=place, check=True, capture_output=True, timeout=300)
        (wheels[kind],) = (folder / kind).glob("*.whl")
    environment = FreshEnvironment(folder / "environment")
    environment.install(*wheels.values())
    return Projects(folder, wheels, environment)


# ------------------------------------------------------------------------------------------------------- what it writes


@pytest.mark.parametrize("kind", KINDS)
def test_a_project_is_whole_and_its_wheel_holds_the_package_alone(projects: Projects, kind: str) -> None:
    names = Names(kind, NAMES[kind])
    project = projects.project(kind)
    found = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    own = {f"{names.package}/{name}.py" for name in ("__init__", "options", kind)}
    around = {"pyproject.toml", "README.md", ".gitignore", ".github/workflows/test.yml", f"{names.name}.yaml"}
    assert found >= own | around | {f"tests/test_{names.module}.py"}
    package = {name for name in found if name.startswith(f"{names.package}/")}
    with zipfile.ZipFile(projects.wheels[kind]) as wheel:
        assert {name for name in wheel.namelist() if ".dist-info/" not in name} == package
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["entry-points"]["armada"] == {f"{kind}-{names.name}": names.package}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["ab", "x" * 15 + "-" + "y" * 16])
def test_what_is_written_is_tidy_whatever_its_name(kind: str, name: str, tmp_path: Path) -> None:
    pytest.importorskip("ruff", reason="ruff is not installed here")
    assert armada("new", kind, name, "--output", tmp_path).status == 0
    for check in (("check",), ("format", "--check")):
        found = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--no-cache", str(tmp_path)], capture_output=True, text=True, timeout=60
        )
        assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_no_mark_of_a_template_is_left(kind: str) -> None:
    for path, text in render(Names(kind, "rhyme")).items():
        assert "$" not in text.replace("${{", ""), path
        assert not path.endswith(".txt")


def test_what_to_do_next_is_printed_as_commands(tmp_path: Path) -> None:
    ended = armada("new", "teacher", "rhyme", "--output", tmp_path / "my plugins")
    assert ended.out.splitlines()[1:] == [
        "Next:",
        f"  cd '{tmp_path}/my plugins/armada-teacher-rhyme'",
        "  pip install -e '.[test]' && pytest",
        "  armada run rhyme.yaml --smoke",
    ]


# --------------------------------------------------------------------------------------------------------- what it does


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(["teacher"], id="teacher"),
        # Students and methods train while they are checked.
        pytest.param(["student", "task", "loss", "method"], id="others", marks=pytest.mark.slow),
    ],
)
def test_the_projects_own_tests_pass_as_they_are(projects: Projects, kinds: list[str]) -> None:
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("ARMADA_", "PYTHONPATH", "PYTEST"))}
    folders = [str(projects.project(kind) / "tests") for kind in kinds]
    found = subprocess.run(
        [projects.environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *folders],
        cwd=projects.folder,
        env={**keep, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert found.returncode == 0, found.stdout
    assert "warning" not in found.stdout.lower()


def test_every_component_is_listed_and_no_plugin_is_slow_or_loads_anything_heavy(projects: Projects, tmp_path: Path) -> None:
    status, output, errors = projects.environment.armada(tmp_path, "list", "--json")
    assert (status, errors) == (0, "")
    listed = {(item["kind"], item["name"]): item for item in json.loads(output) if item["kind"] != "recipe"}
    for kind, name in NAMES.items():
        item = listed[kind, name]
        assert (item["distribution"], item["missing_packages"]) == (Names(kind, name).distribution, [])
    _, output, _ = projects.environment.armada(tmp_path, "plugins", "--json")
    own = [item for item in json.loads(output) if item["distribution"] != "armada-cli"]
    assert [item["state"] for item in own] == ["ok"] * len(KINDS)
    assert {package for item in own for package in item["imports"]} == set()


@pytest.mark.parametrize("kind", KINDS)
def test_its_recipe_has_no_problem(projects: Projects, kind: str) -> None:
    status, output, errors = projects.environment.armada(projects.project(kind), "check", f"{NAMES[kind]}.yaml")
    assert (status, errors) == (0, "")
    assert output.startswith(f"{NAMES[kind]}: no problems\n")


def test_a_recipe_of_the_five_runs_to_its_table(projects: Projects, tmp_path: Path) -> None:
    (tmp_path / "five.yaml").write_text(
        "student: pupil\nteacher: rhyme\ntasks: [weather-talk]\n"
        "methods: [undistilled, guess-work, {name: armada, manifold: moons}]\n"
    )
    status, output, errors = projects.environment.armada(tmp_path, "run", "five.yaml", "--smoke", "--workers", "0")
    assert status == 0, errors
    report = json.loads((tmp_path / "runs/smoke/five/five/report.json").read_text(encoding="utf-8"))
    assert {trial["status"] for trial in report["trials"]} == {"done"}
    assert "run five: 3 trials (3 done)" in output
    text = written(tmp_path / "runs/smoke/five", "five")
    for kind, name in NAMES.items():
        assert f"plugin {kind}-{name} ({Names(kind, name).distribution} 0.1.0)" in text


# ------------------------------------------------------------------------------------------------------ what it refuses


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("teacher", "Rhyme", "'Rhyme' is not a name: lower-case words joined by hyphens, beginning with a letter. Try 'rhyme'"),
        ("teacher", "end_rhyme", "'end_rhyme' is not a name: lower-case words joined by hyphens, beginning with a letter. Try 'end-rhyme'"),
        ("teacher", "EndRhyme", "'EndRhyme' is not a name: lower-case words joined by hyphens, beginning with a letter. Try 'end-rhyme'"),
        ("teacher", "../escape", "'../escape' is not a name: lower-case words joined by hyphens, beginning with a letter. Try 'escape'"),
        ("teacher", "3d", "'3d' is not a name: lower-case words joined by hyphens, beginning with a letter. For example 'end-rhyme'"),
        ("teacher", "", "'' is not a name: lower-case words joined by hyphens, beginning with a letter. For example 'end-rhyme'"),
        ("teacher", "x" * 33, f"'{'x' * 33}' has 33 letters. Choose a name of 32 at most"),
        ("task", "import", "'import' is a keyword of Python. Choose another, for example 'my-import'"),
        ("task", "none", "'none' is a keyword of Python. Choose another, for example 'my-none'"),
        ("loss", "random", "'random' is a module of Python's standard library. Choose another, for example 'my-random'"),
        ("loss", "sum", "'sum' is a name built into Python. Choose another, for example 'my-sum'"),
        ("teacher", "speech-offline", "teacher 'speech-offline' is taken by armada-cli 0.1.0 (plugin 'teacher-speech'). Choose another, for example 'my-speech-offline'"),
        ("teacher", "speech", "the module armada_teacher_speech is taken by armada-cli. Choose another, for example 'my-speech'"),
        ("recipe", "mine", "`armada new` makes teachers, students, tasks, losses, methods. For a recipe: armada copy quickstart my.yaml"),
        ("techer", "mine", "unknown kind 'techer'. Did you mean 'teacher'?"),
    ],
)  # fmt: skip
def test_a_name_that_will_not_do_is_one_line_and_nothing_is_written(kind: str, name: str, message: str, tmp_path: Path) -> None:
    ended = armada("new", kind, name, "--output", tmp_path)
    assert (ended.status, ended.out, ended.err) == (2, "", f"armada: {message}\n")
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_another_kinds_component_is_free(tmp_path: Path) -> None:
    assert armada("new", "method", "cola", "--output", tmp_path).status == 0


def test_a_name_that_an_installed_plugin_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "from armada_cli import Component, hookimpl\n\n@hookimpl\ndef armada_teachers():\n"
        "    return [Component('rhyme', 'Mine', 'a:B')]\n"
    )
    site = write_distribution(tmp_path / "site", "armada-poets", {"armada_poets": source}, {"poets": "armada_poets"})
    monkeypatch.syspath_prepend(str(site))
    with plugins_changed():
        ended = armada("new", "teacher", "rhyme", "--output", tmp_path)
    assert ended.err == (
        "armada: teacher 'rhyme' is taken by armada-poets 1.0 (plugin 'poets'). Choose another, for example 'my-rhyme'\n"
    )


def test_a_folder_that_exists_is_never_touched(tmp_path: Path) -> None:
    mine = tmp_path / "armada-teacher-rhyme"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    ended = armada("new", "teacher", "rhyme", "--output", tmp_path)
    assert ended.err == f"armada: {mine} is there already. Choose another name or --output, or remove it first\n"
    assert ended.status == 2
    assert [path.name for path in tmp_path.rglob("*")] == ["armada-teacher-rhyme", "notes.txt"]


def test_an_output_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = armada("new", "teacher", "rhyme", "--output", tmp_path / "file")
    assert (ended.status, ended.err) == (2, f"armada: {tmp_path / 'file'} is not a folder. Name a folder with --output\n")


def test_it_is_written_into_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert armada("new", "loss", "moons").out.startswith("armada-loss-moons: a loss that works as it is.")
    assert [path.name for path in tmp_path.iterdir()] == ["armada-loss-moons"], "no half-written folder is left beside it"
