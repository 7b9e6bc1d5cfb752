"""What a run may be called, and that nothing outside of a folder is removed when the folder is emptied."""

from __future__ import annotations

import ast
import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from armada_cli import UserError
from armada_cli.contracts import Environment
from armada_cli.files import remove
from armada_cli.recipe.shipped import shipped_recipes
from armada_cli.recipe.smoke import prepare
from armada_cli.reporting.folder import read_run
from armada_cli.run_names import RESERVED, require_run_name
from armada_cli.runs import Runs
from tests.report_runs import full_run
from tests.running import armada

PACKAGE = Path(__file__).parents[1] / "armada_cli"
RECIPE = "student: minilm-offline\ntasks: [glue]\nmethods: [undistilled]\n"

WRONG = [
    "..",
    ".",
    "",
    ".hidden",
    "...",
    "a/b",
    "a\\b",
    "../b",
    "a\nb",
    "a\x1b[2Jb",
    "a\x7f",
    "a\u202eb",
    "a\u200bb",
    "a\u2028b",
    "a\udcffb",
    "é" * 51,
    "x" * 101,
    *RESERVED,
    "features.db-wal",
    "features.db-shm",
    "features.db.claims",
    "Trials",
    "FEATURES.DB",
    "ｓｍｏｋｅ",
]
RIGHT = [
    "quickstart",
    "my recipe",
    "versuch-größe",
    "v1.2",
    "x" * 100,
    "é" * 50,
    "feature",
    "trials2",
    "smoke_test",
    "~",
    "-x",
    "日本",
]


@pytest.mark.parametrize("name", WRONG, ids=ascii)
def test_a_name_that_is_no_new_folder_among_the_runs_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be the name of a run"):
        require_run_name(name, "Rename it")
    for use in (Runs(tmp_path).run, Runs(tmp_path).smoke, lambda name: prepare(Environment(runs=tmp_path), name)):
        with pytest.raises(UserError, match="cannot be the name of a run"):
            use(name)


@pytest.mark.parametrize("name", [*RIGHT, *shipped_recipes()], ids=ascii)
def test_an_ordinary_name_is_a_folder_among_the_runs(name: str, tmp_path: Path) -> None:
    require_run_name(name, "Rename it")
    assert Runs(tmp_path).run(name) == tmp_path / name
    assert Runs(tmp_path).smoke(name).parent == tmp_path / "smoke" != Runs(tmp_path).tiny.parent / name


@pytest.mark.parametrize("more", [(), ("--smoke",)], ids=["run", "smoke"])
@pytest.mark.parametrize(
    "file", ["...yaml", "....yaml", "features.db.yaml", "trials.yaml", "smoke.yml", "a\nb.yaml", "image-api"]
)
def test_a_recipe_with_a_harmful_name_touches_nothing(file: str, more: tuple[str, ...], tmp_path: Path) -> None:
    runs = tmp_path / "work" / "runs"
    (runs / "trials" / "0123456789abcdef").mkdir(parents=True)
    (runs / "features.db").write_bytes(b"the store")
    recipe = tmp_path / file
    recipe.write_text(RECIPE)
    before = everything(tmp_path)
    for command in ("run", "check"):
        found = armada(command, recipe, "--runs", runs, *(more if command == "run" else ()))
        assert found.status == 2
        assert len(found.err.strip().splitlines()) == 1
        assert "cannot be the name of a run" in found.err
        assert "Rename the recipe's file" in found.err
    assert everything(tmp_path) == before


def test_an_id_from_a_file_leads_nowhere(tmp_path: Path) -> None:
    """A run's folder may come from anybody."""
    for name in ("../../etc", "..", "/etc", "a/b"):
        with pytest.raises(UserError, match="cannot be the id of a trial"):
            Runs(tmp_path).trial(name)
    folder = full_run(tmp_path)
    file = folder / "run.json"
    file.write_text(file.read_text().replace("minilm-cola-undistilled-0", "../../secret"))
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        read_run(folder)


def everything(folder: Path) -> dict[str, bytes]:
    """Every file and folder below, with the files' bytes."""
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


# ------------------------------------------------------------------------------------------------------------- removing


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A folder that nobody may empty, beside ``runs``."""
    folder = tmp_path / "precious"
    (folder / "checkpoint" / "deep").mkdir(parents=True)
    (folder / "checkpoint" / "deep" / "thesis.txt").write_text("years of work")
    (folder / ".profile").write_text("mine")
    (tmp_path / "runs").mkdir()
    return folder


def test_what_lies_inside_goes_at_any_depth(tmp_path: Path) -> None:
    for place in ("a/b/c", "x"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "file").write_text("")
    remove(tmp_path / "a" / "b", tmp_path)
    remove(tmp_path / "x" / "file", tmp_path)
    remove(tmp_path / "was never there", tmp_path, must=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "x"]


@pytest.mark.parametrize(
    "place",
    ["runs", "runs/..", "runs/../precious", "precious", "precious/checkpoint", "runs/a/../..", "/", "runs/link/checkpoint"],
)
def test_what_lies_elsewhere_is_refused(place: str, tmp_path: Path, precious: Path) -> None:
    (tmp_path / "runs" / "link").symlink_to(precious)
    before = everything(precious)
    with pytest.raises(UserError, match="does not lie inside"):
        remove(tmp_path / place, tmp_path / "runs")
    assert everything(precious) == before


def test_of_a_link_only_the_link_goes(tmp_path: Path, precious: Path) -> None:
    link = tmp_path / "runs" / "link"
    link.symlink_to(precious)
    before = everything(precious)
    remove(link, tmp_path / "runs")
    assert not link.is_symlink()
    assert everything(precious) == before


def test_a_runs_folder_that_is_itself_a_link_is_emptied_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "disk" / "smoke" / "mine").mkdir(parents=True)
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    prepare(Environment(runs=tmp_path / "runs"), "mine")
    assert not (tmp_path / "disk" / "smoke" / "mine").exists()


def test_a_smoke_run_empties_nothing_that_a_link_leads_to(tmp_path: Path, precious: Path) -> None:
    before = everything(precious)
    (tmp_path / "runs" / "smoke").symlink_to(precious)
    with pytest.raises(UserError, match="does not lie inside"):
        prepare(Environment(runs=tmp_path / "runs"), "checkpoint")
    (tmp_path / "runs" / "smoke").unlink()
    (tmp_path / "runs" / "smoke").mkdir()
    (tmp_path / "runs" / "smoke" / "mine").symlink_to(precious)
    prepare(Environment(runs=tmp_path / "runs"), "mine")
    assert everything(precious) == before
    assert not (tmp_path / "runs" / "smoke" / "mine").exists()


def test_a_smoke_run_that_cannot_be_emptied_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smoke" / "mine").mkdir(parents=True)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(UserError, match=r"cannot remove .*Permission denied"):
        prepare(Environment(runs=tmp_path), "mine")


def test_a_trial_that_is_a_link_is_not_swept(tmp_path: Path, precious: Path) -> None:
    runs = Runs(tmp_path / "runs")
    runs.trials.mkdir()
    runs.trial("0123456789abcdef").symlink_to(precious)
    before = everything(precious)
    for sweep in (partial(runs.sweep, finished=True), runs.drop_progress, lambda trial: runs.lock(trial).__enter__()):
        with pytest.raises(UserError, match="does not lie inside"):
            sweep("0123456789abcdef")
    assert everything(precious) == before


def test_only_one_module_removes_files() -> None:
    """Whoever deletes says which folder it means to empty."""
    removers = ("rmtree", "unlink", "rmdir", "removedirs", "copytree", "os.remove")
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and (node.attr in removers or ast.unparse(node) in removers)
    }
    assert found == {"files.py", "execution/exporting.py", "contracts/student.py"}  # the last two only copy


# ------------------------------------------------------------------------------------------------------- writing over


@pytest.mark.parametrize(
    "place",
    [
        "runs/features.db",
        "runs/features.db-wal",
        "runs/Features.DB",
        "runs/features/key.safetensors",
        "runs/trials/0123456789abcdef/result.json",
        "runs/trials/new",
        "runs/hand/run.json",
        "runs/hand/report.md",
        "runs/smoke/x",
        "runs/image-api/x",
        "runs/hand/../features.db",
        "link",
        "other/features.db",
        "runs",
        ".",
    ],
)
@pytest.mark.parametrize("command", ["features export", "report", "export"])
@pytest.mark.parametrize("force", [False, True], ids=["", "force"])
def test_what_belongs_to_the_runs_is_never_written_over(
    command: str, place: str, force: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    full_run(Path("runs"))
    for name in ("features.db", "features.db-wal"):
        Path("runs", name).write_bytes(b"bought at a price")
    Path("runs/features").mkdir()
    Path("runs/smoke").mkdir()
    Path("runs/image-api").mkdir()
    Path("link").symlink_to("runs/features.db")
    Path("other").symlink_to("runs")
    before = everything(tmp_path)
    given = {
        "features export": ["features", "export", place],
        "report": ["report", "hand", "--output", place],
        "export": ["export", "hand", "--output", place],
    }[command]
    more = ["--force"] if force and command != "export" else []
    found = armada(*given, *more)
    assert found.status == 2
    assert len(found.err.strip().splitlines()) == 1
    assert everything(tmp_path) == before


@pytest.mark.parametrize("command", ["features export", "report"])
def test_a_file_that_is_there_is_written_over_only_by_force(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from armada_cli.features.store import FeatureStore
    from tests.test_features_store import HASHES, IDENTITY, VECTORS

    monkeypatch.chdir(tmp_path)
    full_run(Path("runs"))
    with FeatureStore(Path("runs/features.db")) as store:
        store.put(IDENTITY, HASHES, VECTORS)
    Path("mine.safetensors").write_text("mine")
    given = (
        ["features", "export", "mine.safetensors"]
        if command != "report"
        else ["report", "hand", "--output", "mine.safetensors"]
    )
    found = armada(*given)
    assert found.status == 2
    assert found.err == "armada: mine.safetensors is there already. Name another file, or add --force to write over it\n"
    assert Path("mine.safetensors").read_text() == "mine"
    assert armada(*given, "--force").status == 0
    assert Path("mine.safetensors").read_bytes() != b"mine"


# ------------------------------------------------------------------------------------------------------------- homes


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "teachers", "--runs"],
        ["report", "--runs"],
        ["features", "list", "--runs"],
        ["check", "quickstart", "--runs"],
        ["check", "quickstart", "--data"],
        ["check"],
        ["run"],
        ["report"],
        ["export", "--output", "x"],
        ["copy", "quickstart"],
        ["new", "loss", "five", "--output"],
        ["check", "quickstart", "--set"],
    ],
    ids=" ".join,
)
def test_the_home_of_nobody_is_one_line(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[0] == "list":
        monkeypatch.setenv("ARMADA_RUNS", "~nosuchuser/x")
        arguments = ["report"]
    place = "~nosuchuser/x" if arguments[-1] != "--set" else "tasks=[{name: files, train: ~nosuchuser/x.csv}]"
    found = armada(*arguments, place)
    assert found.status == 2
    assert "nosuchuser" in found.err
    assert "Traceback" not in found.err
    assert not os.listdir(tmp_path)
