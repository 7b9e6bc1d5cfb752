"""A run's folder belongs to one recipe: another of the same name is refused, and a project may be moved as a whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from armada_cli import Environment, UserError
from armada_cli.execution.ownership import note_origin, origin_of, require_own_folder
from armada_cli.recipe.loader import load_recipe
from armada_cli.recipe.model import Recipe
from armada_cli.recipe.shipped import shipped_recipes
from armada_cli.registry.catalog import Catalog
from armada_cli.runs import Runs
from tests.running import armada, train

TEXT = "student: minilm-offline\ntasks: [{name: files, file: table.csv}]\nmethods: [undistilled]\n"
CATALOG = Catalog.load(warn=False)


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(place: str, text: str = TEXT) -> Recipe:
    path = Path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    (path.parent / "table.csv").write_text("text,label\n" + "a,b\nc,d\n" * 20)
    return load(place)


def load(place: str) -> Recipe:
    return load_recipe(place, CATALOG, Environment())


def ran(recipe: Recipe, runs: Path = Path("runs")) -> None:
    """Leave a run folder as a run begins it."""
    require_own_folder(recipe, Runs(runs))
    note_origin(recipe, Runs(runs))
    (runs / recipe.name / "recipe.yaml").write_text(recipe.text, encoding="utf-8")
    (runs / recipe.name / "run.json").write_text("{}", encoding="utf-8")


@pytest.mark.parametrize("other", ["b/mine.yaml", "a/mine.yml", "mine.yaml", "a/deep/mine.yaml"])
def test_a_second_recipe_of_the_same_name_is_refused(other: str) -> None:
    ran(write("a/mine.yaml"))
    second = write(other)
    with pytest.raises(UserError) as raised:
        require_own_folder(second, Runs(Path("runs")))
    assert raised.value.what == f"runs/mine holds the run of another recipe of this name, {Path('a/mine.yaml').absolute()}"
    assert raised.value.hint == f"Rename {other}, or choose another folder of runs with --runs"
    ran(second, Path("others"))


def test_the_same_recipe_may_be_called_and_reached_in_many_ways() -> None:
    ran(write("a/mine.yaml"))
    Path("link").symlink_to("a")
    Path("linked-runs").symlink_to("runs")
    for place in ("a/mine.yaml", "./a/../a/mine.yaml", str(Path("a/mine.yaml").absolute()), "link/mine.yaml"):
        for runs in (Path("runs"), Path("runs").absolute(), Path("linked-runs"), Path("a/../runs")):
            ran(load(place), runs)
    ran(write("a/mine.yaml", TEXT + "seeds: 2\n"))  # edited


def test_one_file_linked_beside_two_tables_is_two_recipes() -> None:
    write("common/shared.yaml")
    for folder in ("first", "second"):
        write(f"{folder}/other.yaml")
        Path(folder, "mine.yaml").symlink_to("../common/shared.yaml")
    ran(load("first/mine.yaml"))
    ran(load("first/mine.yaml"))
    with pytest.raises(UserError, match="another recipe of this name"):
        require_own_folder(load("second/mine.yaml"), Runs(Path("runs")))


def test_a_recipe_of_the_box_and_a_changed_copy_are_two() -> None:
    shipped = load("quickstart")
    assert origin_of(shipped, Runs(Path("runs"))) == {"shipped": "quickstart"}
    assert origin_of(load(str(shipped_recipes()["quickstart"])), Runs(Path("runs"))) == {"shipped": "quickstart"}
    ran(shipped)
    ran(load("quickstart"))
    shutil.copy(shipped.path, "quickstart.yaml")
    with pytest.raises(
        UserError, match=r"runs/quickstart holds the run of the recipe 'quickstart' that comes with armada\. Rename"
    ):
        require_own_folder(load("quickstart.yaml"), Runs(Path("runs")))
    ran(load("quickstart.yaml"), Path("own"))
    with pytest.raises(UserError, match=r"another recipe of this name, .*quickstart\.yaml"):
        require_own_folder(load(str(shipped.path)), Runs(Path("own")))


def test_a_project_that_is_moved_or_copied_as_a_whole_keeps_its_runs() -> None:
    ran(write("project/recipes/mine.yaml"), Path("project/runs"))
    shutil.copytree("project", "copy")
    Path("project").rename("moved")
    for project in ("moved", "copy"):
        write(f"{project}/recipes/mine.yaml", TEXT + "seeds: 2\n")
        ran(load(f"{project}/recipes/mine.yaml"), Path(project, "runs"))


def test_a_recipe_that_was_moved_keeps_its_run_as_long_as_its_text_is_the_same() -> None:
    ran(write("a/mine.yaml"))
    Path("b").mkdir()
    shutil.copy("a/table.csv", "b")
    Path("a/mine.yaml").rename("b/mine.yaml")
    ran(load("b/mine.yaml"))
    with pytest.raises(UserError, match="another recipe of this name"):
        require_own_folder(write("a/mine.yaml"), Runs(Path("runs")))
    Path("a/mine.yaml").unlink()
    Path("b/mine.yaml").rename("a/mine.yaml")
    changed = write("a/mine.yaml", TEXT + "seeds: 2\n")
    with pytest.raises(UserError, match=r"is gone and had another text\. If that was this recipe, remove runs/mine"):
        require_own_folder(changed, Runs(Path("runs")))
    shutil.rmtree("runs/mine")
    ran(changed)


@pytest.mark.parametrize(
    "damage", ["", "[]", "{}", '{"file": 3}', '{"file": "\\u0000"}', '{"shipped": 3}', '{"shipped": "gone"}', "{"]
)
def test_a_damaged_or_missing_origin_is_no_dead_end(damage: str) -> None:
    recipe = write("mine.yaml")
    ran(recipe)
    Path("runs/mine/origin.json").write_text(damage)
    ran(recipe)
    assert "mine.yaml" in Path("runs/mine/origin.json").read_text()
    Path("runs/mine/origin.json").unlink()  # an earlier version's
    ran(write("mine.yaml", TEXT + "seeds: 2\n"))


def test_a_folder_that_is_no_runs_is_not_written_into(tmp_path: Path) -> None:
    recipe = write("docs.yaml")
    Path("docs").mkdir()
    Path("docs/chapter.md").write_text("mine")
    ran(recipe, tmp_path)  # nothing there that a run writes
    shutil.rmtree("docs")
    Path("docs").mkdir()
    Path("docs/report.md").write_text("mine")
    with pytest.raises(UserError, match=r"docs is no run's folder and holds a report\.md that would be written over\. Rename"):
        require_own_folder(recipe, Runs(tmp_path))
    shutil.rmtree("docs")
    Path("elsewhere").mkdir()
    Path("runs").mkdir()
    Path("runs/docs").symlink_to("../elsewhere")
    with pytest.raises(UserError, match="does not lie inside"):
        require_own_folder(recipe, Runs(Path("runs")))


def test_run_and_check_refuse_and_change_nothing_but_a_smoke_run_may(recipe, tmp_path: Path) -> None:
    path, runs = recipe(methods="[undistilled]"), tmp_path / "runs"
    assert train(path, runs).status == 0
    before = {file: file.read_bytes() for file in runs.rglob("*") if file.is_file()}
    second = tmp_path / "elsewhere" / path.name
    second.parent.mkdir()
    second.write_text(path.read_text(encoding="utf-8").replace("seeds: [0]", "seeds: 2"), encoding="utf-8")
    for found in (train(second, runs), armada("check", second, "--runs", runs)):
        assert found.status == 2
        assert found.err == (
            f"armada: {runs / 'tiny'} holds the run of another recipe of this name, {path}. "
            f"Rename {second}, or choose another folder of runs with --runs\n"
        )
    assert {file: file.read_bytes() for file in runs.rglob("*") if file.is_file()} == before
    assert train(path, runs).status == 0
    assert list((runs / "tiny").glob("origin.json"))


def test_a_run_sweeps_what_kills_left_in_its_folder_and_among_the_features(recipe, tmp_path: Path) -> None:
    path, runs = recipe(methods="[undistilled]"), tmp_path / "runs"
    assert train(path, runs).status == 0
    (runs / "features").mkdir(exist_ok=True)
    halves = [
        runs / "tiny" / ".run.json.abcd_123.part",
        runs / "tiny" / ".report.md.abcd_123",
        runs / "features" / ".0123456789abcdef.abcd_123.part",
    ]
    kept = [runs / "tiny" / ".gitignore", runs / "features" / "notes.txt"]
    for file in (*halves, *kept):
        file.write_text("half")
    assert train(path, runs).status == 0
    assert [file for file in halves if file.exists()] == []
    assert all(file.exists() for file in kept)
