"""What an installer gets: the same armada from checkout, sdist and wheel, in any working directory, and nothing undeclared."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from armada_teacher_speech.options import BASE_REQUIRES
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from report_runs import trials, write_run

from armada_cli.contracts import KINDS
from armada_cli.registry import catalog
from armada_cli.registry.registered import OWN_DISTRIBUTION, Registered

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PLUGIN_FOLDERS = sorted(path.parent for path in ROOT.glob("plugins/*/*/__init__.py"))


def requirements(lines: list[str]) -> dict[str, Requirement]:
    """Canonical name -> requirement."""
    return {canonicalize_name(item.name): item for item in map(Requirement, lines)}


DEPENDENCIES = requirements(PROJECT["project"]["dependencies"])
EXTRAS = {name: requirements(lines) for name, lines in PROJECT["project"]["optional-dependencies"].items()}


def pins() -> dict[str, str]:
    """Canonical name -> version, of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


# --------------------------------------------------------------------------------------------------- what is declared


def test_every_plugin_folder_has_its_entry_point_and_travels_in_the_wheel() -> None:
    entry_points = set(PROJECT["project"]["entry-points"]["armada"].values())
    assert entry_points == {"armada_cli.builtins", *(folder.name for folder in PLUGIN_FOLDERS)}
    packages = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert packages == {"armada_cli", *(folder.relative_to(ROOT).as_posix() for folder in PLUGIN_FOLDERS)}


def test_the_installed_entry_points_are_those_of_the_project() -> None:
    found = importlib.metadata.distribution("armada-cli").entry_points.select(group="armada")
    assert {item.name: item.value for item in found} == PROJECT["project"]["entry-points"]["armada"], "install again"


def test_the_version_is_the_same_in_the_package_and_in_the_project() -> None:
    import armada_cli

    assert armada_cli.__version__ == PROJECT["project"]["version"]


OF_OPTIONS = {"hdf5", "quantised"}
"""Extras that a component needs with some of its options only."""


def own_components() -> Iterator[Registered]:
    for kind in KINDS:
        yield from (item for item in catalog.current().components(kind) if item.distribution == OWN_DISTRIBUTION)


def without_dependencies() -> set[str]:
    """What is installed with ``--no-deps``, as the cards pin it."""
    return {name for item in own_components() for name in item.component.no_deps}


def test_what_is_installed_without_its_dependencies_is_required_pinned_and_in_no_extra() -> None:
    for item in own_components():
        assert set(item.component.no_deps) <= set(item.component.requires)
    found = {f"{name}=={version}" for name, version in pins().items()}
    assert without_dependencies() <= found
    assert not {str(line) for lines in EXTRAS.values() for line in lines.values()} & without_dependencies()


def test_ci_and_the_docs_install_what_the_cards_name() -> None:
    names = {name.partition("==")[0] for name in without_dependencies()}
    for path, command in ((".ci/run", "pip install .*--no-deps .*"), ("docs/offline.md", "    pip install --no-deps .*")):
        found = re.search(command, (ROOT / path).read_text(encoding="utf-8"))
        assert found is not None, path
        said = re.sub(r"(\S+)\{([\d,]+)\}", lambda m: " ".join(m[1] + number for number in m[2].split(",")), found[0])
        assert names <= set(said.split()), path


def test_an_extra_is_exactly_what_the_cards_that_name_it_require() -> None:
    wanted: dict[str, set[str]] = {}
    for item in own_components():
        if item.component.extra:
            wanted.setdefault(item.component.extra, set()).update(
                map(str, requirements(sorted(set(item.component.requires) - set(item.component.no_deps))).values())
            )
    wanted["offline-large"] |= set(BASE_REQUIRES)  # of an option, beside what cards require
    extras = {name: {str(item) for item in lines.values()} for name, lines in EXTRAS.items()}
    assert {name: extras[name] for name in extras.keys() - {"test"} - OF_OPTIONS} == wanted


@pytest.mark.parametrize("extra", sorted(OF_OPTIONS))
def test_an_extra_that_an_option_needs_is_what_its_error_says_to_install(extra: str) -> None:
    sources = [path.read_text(encoding="utf-8") for folder in PLUGIN_FOLDERS for path in folder.rglob("*.py")]
    assert any(f"armada-cli[{extra}]" in text for text in sources)


def imported(folder: Path) -> set[str]:
    """Top-level modules that the code imports anywhere, the standard library's and our own left out."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").split(".")[0])
    return {name for name in found if name not in sys.stdlib_module_names and not name.startswith("armada_")}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    distributions = importlib.metadata.packages_distributions()
    core = imported(ROOT / "armada_cli")
    plugins = set().union(*map(imported, PLUGIN_FOLDERS))
    optional = {name for extra, lines in EXTRAS.items() if extra != "test" for name in lines}
    missing = {name for name in core | plugins if name not in distributions}
    if missing:
        pytest.skip(f"the modules {', '.join(sorted(missing))} of the extra 'offline' are not installed here")

    def names(modules: set[str]) -> set[str]:
        return {canonicalize_name(distributions[module][0]) for module in modules}

    assert names(core) <= DEPENDENCIES.keys()
    assert names(plugins) <= DEPENDENCIES.keys() | optional
    assert DEPENDENCIES.keys() <= names(core | plugins)


def test_constraints_pin_every_requirement_to_a_version_that_it_allows() -> None:
    found = pins()
    # Weights in four bits need a GPU, and the tests run without one.
    for lines in (DEPENDENCIES, *(lines for extra, lines in EXTRAS.items() if extra != "quantised")):
        for name, requirement in lines.items():
            assert requirement.specifier.contains(found[name]), f"{requirement}, pinned to {found[name]}"


def test_constraints_mean_the_same_on_every_machine() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    # No paths, no addresses, no local versions such as 2.13.0+cpu that one index has and another has not.
    odd = [line for line in lines[1:] if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line)]
    assert odd == []


def test_the_tests_run_with_the_versions_that_are_pinned() -> None:
    if os.environ.get("CI") != "true":
        pytest.skip("another environment than CI's may have other versions")
    found = {name: importlib.metadata.version(name).partition("+")[0] for name in pins()}
    assert found == pins()


# -------------------------------------------------------------------------------------------------- what is installed


@dataclass(frozen=True)
class Installed:
    """The files of both archives, without the sdist's own folder, and the console script in an environment of its own."""

    sdist: set[str]
    wheel: set[str]
    script: Path

    def armada(self, folder: Path, *arguments: str) -> str:
        """Standard output of a command that must succeed, in `folder`."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("ARMADA_") and name != "PYTHONPATH"
        }
        found = subprocess.run(
            [self.script, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=180
        )
        assert (found.returncode, found.stderr) == (0, "")
        return found.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """checkout -> sdist -> wheel -> a new environment. The dependencies are those of this one, by links: nothing is
    downloaded, and no trace of the checkout is on the path."""
    folder = tmp_path_factory.mktemp("distribution")

    def build(kind: str, source: Path) -> Path:
        command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
        subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=300)
        return next(folder.glob("*.whl" if kind == "wheel" else "*.tar.gz"))

    with tarfile.open(build("sdist", ROOT)) as archive:
        sdist = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(folder, filter="data")
    wheel = build("wheel", next(folder.glob("armada_cli-*/")))

    environment = folder / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    dependencies = folder / "dependencies"
    dependencies.mkdir()
    for module in [numpy_place(), *map(Path, sys.path)]:
        if module.name in ("site-packages", "dist-packages") and module.is_dir():
            for item in module.iterdir():
                link = dependencies / item.name
                if "armada" not in item.name and item.suffix != ".pth" and not link.exists():
                    link.symlink_to(item)
    own = next((environment / "lib").glob("python*/site-packages"))
    (own / "dependencies.pth").write_text(f"{dependencies}\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True, timeout=300)
    with zipfile.ZipFile(wheel) as zipped:
        return Installed(sdist, set(zipped.namelist()), environment / "bin" / "armada")


def numpy_place() -> Path:
    """The folder that this environment's packages are in."""
    import numpy

    return Path(numpy.__file__).parents[1]


def files(folder: Path) -> set[str]:
    """Every file below a folder that belongs to the project, relative to the folder's parent."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder.parent).as_posix() for path in found if not path.name.startswith(".")}


def test_the_sdist_has_what_a_build_and_a_test_run_need(installed: Installed) -> None:
    wanted = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "constraints.txt", ".ci/run"}
    for name in ("armada_cli", "plugins", "recipes", "tests", "docs"):
        wanted |= files(ROOT / name)
    assert wanted - installed.sdist == set()


def test_the_wheel_has_code_plugins_recipes_and_published_numbers_and_nothing_else(installed: Installed) -> None:
    wanted = files(ROOT / "armada_cli").union(*map(files, PLUGIN_FOLDERS))
    wanted |= {f"armada_cli/{name}" for name in files(ROOT / "recipes")}
    assert {name for name in wanted if name.endswith(".yaml")} >= {
        "armada_cli/recipes/quickstart.yaml",
        "armada_cli/reporting/published/table02.yaml",
    }
    assert {name for name in installed.wheel if ".dist-info/" not in name} == wanted


def test_an_installed_wheel_lists_what_the_checkout_lists(installed: Installed, tmp_path: Path) -> None:
    for kind in KINDS:
        plural = "losses" if kind == "loss" else f"{kind}s"
        found = {row["name"] for row in json.loads(installed.armada(tmp_path, "list", plural, "--json"))}
        assert found == {item.name for item in own_components() if item.kind == kind}


def test_the_recipes_travel_inside_the_wheel(installed: Installed, tmp_path: Path) -> None:
    (recipe,) = [line for line in installed.armada(tmp_path, "list", "recipes").splitlines() if line.startswith("quickstart\t")]
    assert not Path(recipe.split("\t")[-1]).is_relative_to(ROOT)
    assert installed.armada(tmp_path, "check", "quickstart").startswith("quickstart: no problems\n")


def test_an_installed_wheel_reports_a_run_beside_the_published_numbers(installed: Installed, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", trials("cola", "undistilled", [40.0, 42.0]), name="voyage")
    text = installed.armada(tmp_path, "report", "voyage", "--format", "txt")
    assert "41.0" in text, folder
