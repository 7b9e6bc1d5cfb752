"""`armada copy`: a recipe that comes with armada becomes a file of the user, and nothing is ever overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from armada_cli import Environment
from armada_cli.main import run
from armada_cli.recipe.loader import load_recipe
from armada_cli.recipe.shipped import reproduces, shipped_recipes
from armada_cli.registry.catalog import Catalog


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_copy_is_the_recipe_to_the_letter_and_says_what_to_run_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["copy", "bert_glue", "my.yaml"]) == 0
    assert Path("my.yaml").read_bytes() == shipped_recipes()["bert_glue"].read_bytes()
    assert capsys.readouterr().out == "my.yaml\nTry it:  armada run my.yaml --smoke\nCheck:   armada check my.yaml\n"


def test_a_copy_is_read_as_its_original_is() -> None:
    run(["copy", "quickstart", "mine.yaml"])
    catalog = Catalog.load(warn=False)
    mine, original = (load_recipe(name, catalog, Environment()) for name in ("mine.yaml", "quickstart"))
    assert mine.resolved == original.resolved


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["quickstart"], "quickstart.yaml"),
        (["quickstart.yaml"], "quickstart.yaml"),
        (["quickstart", "folder"], "folder/quickstart.yaml"),
        (["quickstart", "folder/other.yml"], "folder/other.yml"),
        (["quickstart", "a name.yaml"], "a name.yaml"),
    ],
)
def test_the_copy_lies_where_it_was_asked_for(arguments: list[str], file: str) -> None:
    Path("folder").mkdir()
    assert run(["copy", *arguments]) == 0
    assert [str(path) for path in Path().rglob("*.y*ml")] == [file]


def test_a_name_with_spaces_is_quoted_in_what_to_run_next(capsys: pytest.CaptureFixture[str]) -> None:
    run(["copy", "quickstart", "a name.yaml"])
    assert "armada run 'a name.yaml' --smoke" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bert_gleu"], "armada: armada brings no recipe 'bert_gleu'. Did you mean 'bert_glue'"),
        (["zzzz"], "armada: armada brings no recipe 'zzzz'. `armada list recipes` shows what there is\n"),
        (["quickstart", "there.yaml"], "armada: there.yaml is there already. Choose another name, or remove it first\n"),
        (["quickstart", "mine"], "armada: mine: a recipe's name ends in .yaml. Write it as mine.yaml\n"),
        (["quickstart", "no/mine.yaml"], "armada: no/mine.yaml: there is no folder no. Make it first: mkdir -p no\n"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(capsys, arguments: list[str], message: str) -> None:
    Path("there.yaml").write_text("mine\n")
    assert run(["copy", *arguments]) == 2
    assert capsys.readouterr().err.startswith(message)
    assert [path.name for path in Path().iterdir()] == ["there.yaml"]
    assert Path("there.yaml").read_text() == "mine\n"


def test_the_list_of_recipes_says_what_each_is_about_and_what_of_the_paper_it_is(capsys) -> None:
    assert run(["list", "recipes"]) == 0
    lines = {line.split("\t")[0]: line.split("\t")[1:3] for line in capsys.readouterr().out.splitlines()}
    assert lines["bert6l_glue_midjourney"] == ["Six-layer BERT on GLUE and SuperGLUE, taught by Midjourney", "Table 5"]
    assert lines["quickstart"] == ["Speech teaches MiniLM", ""]
    assert run(["list", "recipes", "--json"]) == 0
    found = {item["name"]: item for item in json.loads(capsys.readouterr().out)}
    assert found["ablation_noise"]["reproduces"] == "Figure 10"
    assert set(found) == set(shipped_recipes())


def test_what_a_recipe_reproduces_is_in_its_opening_comment_alone(inside: Path) -> None:
    recipe = inside / "r.yaml"
    recipe.write_text("# Words.\n# Reproduces: Table 7, a row\nstudent: x\n")
    assert reproduces(recipe) == "Table 7"
    recipe.write_text("student: x\n# Reproduces: Table 7\n")
    assert reproduces(recipe) == ""
