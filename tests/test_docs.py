"""The documentation is true: its commands, names, tables, links and examples are compared with the code, or run."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from armada_teacher_speech.options import BASE_REQUIRES
from distributions import write_distribution

from armada_cli.commands.show import describe_component
from armada_cli.contracts import KINDS, Environment
from armada_cli.main import COMMANDS
from armada_cli.recipe import load_recipe
from armada_cli.recipe.values import bounds, default_of, literal
from armada_cli.registry import catalog
from armada_cli.registry.registered import OWN_DISTRIBUTION
from armada_cli.settings import Features, MethodFeatures, Train

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def files(text: str) -> dict[str, str]:
    """Name -> content of the blocks that stand under a heading of the form ### `name`."""
    return {
        name: content
        for part in re.split(r"^(?=#+ )", text, flags=re.MULTILINE)
        if (heading := re.match(r"### `([^`]+)`\n", part))
        for name, content in [(heading[1], re.findall(r"^```\w+\n(.*?)^```$", part, re.DOTALL | re.MULTILINE)[0])]
    }


def armada(folder: Path, *arguments: str, path: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A command line in `folder`, with the distributions in the folders of `path` installed as well."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("ARMADA_", "_ARMADA"))}
    environment = {**keep, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-m", "armada_cli.main", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


# -------------------------------------------------------------------------------------------------------- the README


def one_liners() -> list[str]:
    return re.findall(r"^    (python3 -m venv .*)$", README, re.MULTILINE)


def test_the_readme_has_one_line_that_runs_the_quickstart_and_one_that_runs_the_tests() -> None:
    run, test = one_liners()
    for line, extras, last in ((run, "[offline]", "armada run quickstart"), (test, "[offline,test]", "pytest -n 2")):
        assert line.split(" && ") == [
            "python3 -m venv .venv",
            f".venv/bin/pip install -c constraints.txt -e '.{extras}'",
            f".venv/bin/{last}",
        ]


def test_ci_installs_and_tests_as_the_readme_does() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    _, install, test = one_liners()[1].split(" && ")
    assert f" {install.partition('pip install ')[2]}\n" in script
    last, leave = script.splitlines()[-2:]
    assert last.startswith(f"{test.removeprefix('.venv/bin/')} "), "pytest's summary is the last thing printed"
    assert leave == 'exit "$status"'


def test_the_readme_describes_every_command_and_no_other() -> None:
    assert re.findall(r"^\| `armada (\w+)", README, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_readme_names_every_component_in_the_box(kind: str) -> None:
    plural = "losses" if kind == "loss" else f"{kind}s"
    # A row goes on in rows without a name.
    ((_, row),) = re.findall(rf"^\| ({plural}) \| (.*(?:\n\| \| .*)*) \|$", README, re.MULTILINE)
    own = {item.name for item in catalog.current().components(kind) if item.distribution == OWN_DISTRIBUTION}
    assert set(re.findall(r"`([^`]+)`", row)) == own


def tree() -> list[str]:
    """The paths of the README's tree."""
    (text,) = [block for block in blocks(README, "text") if block.startswith("pyproject.toml")]
    found: list[str] = []
    folders: list[str] = []
    for line in text.splitlines():
        depth, name = (len(line) - len(line.lstrip())) // 4, line.split()[0]
        folders[depth:] = [name] if name.endswith("/") else []
        found.append("".join(folders[:depth]) + name)
    return found


def test_the_readmes_tree_is_the_codes() -> None:
    named = tree()
    assert [name for name in named if not (ROOT / name).exists()] == []
    tops = {path.name: path for folder in ("armada_cli", "plugins") for path in (ROOT / folder).iterdir()}
    parts = {
        path.relative_to(ROOT).as_posix() + "/" * path.is_dir()
        for path in tops.values()
        if not path.name.startswith(("__pycache__", "."))
    }
    assert parts == {name for name in named if name.count("/") >= 1 and name.rstrip("/").count("/") == 1}


def test_the_readmes_recipe_is_a_recipe(tmp_path: Path) -> None:
    (recipe,) = blocks(README, "yaml")
    (tmp_path / "recipe.yaml").write_text(recipe, encoding="utf-8")
    (tmp_path / "reviews.csv").write_text("text,stars\nthe ferry was late,two\nwhat a view,five\n", encoding="utf-8")
    found = load_recipe(str(tmp_path / "recipe.yaml"), catalog.current(), Environment())
    assert (len(found.methods), found.seeds) == (7, (0, 1, 2))


# ------------------------------------------------------------------------------------------------------------- links


def test_the_experiments_page_names_every_recipe_and_what_it_reproduces() -> None:
    from armada_cli.recipe.shipped import reproduces, shipped_recipes

    rows = dict(re.findall(r"^\| `([a-z0-9_]+)` \| ([^|]+) \| `", page("experiments.md"), flags=re.MULTILINE))
    recipes = {name: reproduces(path) or "an example of ours" for name, path in shipped_recipes().items()}
    assert rows == recipes


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_example_of_statistics_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    text = page("statistics.md")
    (example,), (printed,) = blocks(text, "python"), blocks(text, "text")
    exec(compile(example, "statistics.md", "exec"), {})
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        page = (path.parent / name) if name else path
        assert page.exists(), target
        assert not anchor or anchor in anchors(page.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_paths_into_the_code_exist(path: Path) -> None:
    found = re.findall(r"`((?:armada_cli|plugins|tests|recipes|benchmarks)/[\w/.-]+)`", path.read_text(encoding="utf-8"))
    placeholders = ("NAME",)
    assert [name for name in found if not any(word in name for word in placeholders) and not (ROOT / name).exists()] == []


def test_the_design_names_every_module_in_its_layers() -> None:
    from test_layers import LAYERS

    (table,) = re.findall(r"^\| layer \|.*\n((?:\|.*\n)*)", page("design.md"), re.MULTILINE)
    named = {name.rstrip("/").removesuffix(".py") for name in re.findall(r"`([a-z_]+(?:\.py|/))`", table)}
    assert named == set.union(*LAYERS) - {"__init__", "__main__"}


def test_the_plugins_page_names_every_module_that_a_plugin_may_import() -> None:
    from test_layers import PUBLIC

    (sentence,) = re.findall(
        r"^A plugin imports `armada_cli` and, below it, (.*?)\. ", page("plugins.md"), re.MULTILINE | re.DOTALL
    )
    parents = {"armada_cli", "armada_cli.corpora", "armada_cli.evaluation", "armada_cli.models"}
    allowed = PUBLIC - parents | {"armada_cli.conformance"}
    assert {f"armada_cli.{name}" for name in re.findall(r"`([^`]+)`", sentence)} == allowed


# ------------------------------------------------------------------------------------------------------------ tables


def settings(cls: type) -> list[tuple[str, str, str]]:
    """Name, default and meaning of each setting, as `armada show` words them."""
    rows = []
    for item in dataclasses.fields(cls):
        limits, meaning = bounds(item.metadata), item.metadata["help"]
        rows.append((item.name, literal(default_of(item)), f"{meaning} ({limits})" if limits else meaning))
    return rows


SETTINGS = {"train": Train, "features": Features, "method features": MethodFeatures}


def documented(what: str) -> list[tuple[str, str, str]]:
    """What the table after the comment ``options: what`` has to say."""
    if what in SETTINGS:
        return settings(SETTINGS[what])
    record = describe_component(catalog.current().find(*what.split()))
    return [(item["name"], item["default"], item["meaning"]) for item in record["options"]]


TABLES = [
    (path.name, what)
    for path in PAGES
    for what in re.findall(r"^<!-- options: (.*) -->$", path.read_text(encoding="utf-8"), re.MULTILINE)
]


@pytest.mark.parametrize(("name", "what"), TABLES)
def test_tables_of_options_are_the_codes(name: str, what: str) -> None:
    text = page(name)
    found = text.partition(f"<!-- options: {what} -->\n")[2].partition("\n\n")[0].rstrip("\n").splitlines()
    wanted = [f"| `{option}` | {default} | {meaning} |" for option, default, meaning in documented(what)]
    assert found == ["| option | default | meaning |", "| --- | --- | --- |", *wanted], "\n".join(wanted)


def test_there_are_tables_for_training_features_and_every_method_with_options() -> None:
    own = [item for item in catalog.current().components("method") if item.distribution == OWN_DISTRIBUTION]
    wanted = {f"method {item.name}" for item in own if dataclasses.fields(item.component.options)}
    assert {what for _, what in TABLES} >= wanted | set(SETTINGS)


def test_the_table_of_offline_packages_is_what_the_cards_require() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|", page("offline.md"), re.MULTILINE)
    wanted = {
        (requirement, item.name)
        for kind in KINDS
        for item in catalog.current().components(kind)
        if item.component.extra in ("offline", "offline-large") and item.distribution == OWN_DISTRIBUTION
        for requirement in item.component.requires
    }
    wanted |= {(requirement, "speech-offline") for requirement in BASE_REQUIRES}  # of an option
    assert set(rows) == wanted


# ----------------------------------------------------------------------------------------------------------- recipes


def test_every_recipe_of_the_recipes_page_can_be_read(tmp_path: Path) -> None:
    recipes = [block for block in blocks(page("recipes.md"), "yaml") if "ofline" not in block]
    assert len(recipes) == 4
    for recipe in recipes:
        (tmp_path / "recipe.yaml").write_text(recipe, encoding="utf-8")
        assert load_recipe(str(tmp_path / "recipe.yaml"), catalog.current(), Environment()).methods


def test_the_recipes_page_shows_every_key_of_a_recipe() -> None:
    from armada_cli.recipe.loader import KEYS

    named = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", page("recipes.md").partition("## Changing")[0], re.MULTILINE)
    assert {name for row in named for name in re.findall(r"\w+", row)} == set(KEYS)


def test_the_recipes_pages_mistakes_get_the_answers_it_shows(tmp_path: Path) -> None:
    part = page("recipes.md").partition("<!-- mistakes -->")[2]
    (recipe,), (answer,) = blocks(part, "yaml"), blocks(part, "text")
    (tmp_path / "wrong.yaml").write_text(recipe, encoding="utf-8")
    found = armada(tmp_path, "check", "wrong.yaml")
    assert (found.returncode, found.stdout, found.stderr) == (2, "", answer)


def test_the_overrides_of_the_recipes_page_work() -> None:
    (line,) = re.findall(r"^    armada run (quickstart .*)$", page("recipes.md"), re.MULTILINE)
    name, *words = line.split()
    found = load_recipe(name, catalog.current(), Environment(), words[1::2])
    assert found.seeds == (0, 1, 2, 3, 4)
    assert found.students[0].options.layers == 3
    assert found.methods[1].options.manifold.name == "euclid"


# ----------------------------------------------------------------------------------------------------------- plugins


@pytest.fixture(scope="module")
def metre(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin of docs/plugins.md, built as its author would build it; the folder of its unpacked wheel."""
    folder = tmp_path_factory.mktemp("metre")
    for name, content in files(page("plugins.md")).items():
        if name.startswith("armada_teacher_metre/") or name == "pyproject.toml":
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    with zipfile.ZipFile(next((folder / "dist").glob("*.whl"))) as wheel:
        wheel.extractall(folder / "installed")
    return folder / "installed"


def test_the_plugin_of_the_docs_is_listed_as_they_show(metre: Path, tmp_path: Path) -> None:
    (shown,) = re.findall(r"^(metre\t.*)$", page("plugins.md"), re.MULTILINE)
    found = armada(tmp_path, "list", "teachers", path=(metre,))
    assert (found.returncode, found.stderr) == (0, "")
    assert shown in found.stdout.splitlines()


def test_the_plugin_of_the_docs_is_checked_before_it_is_loaded(metre: Path, tmp_path: Path) -> None:
    recipe = files(page("plugins.md"))["metre.yaml"].replace("words: 12", "words: 0")
    (tmp_path / "metre.yaml").write_text(recipe, encoding="utf-8")
    found = armada(tmp_path, "check", "metre.yaml", path=(metre,))
    assert found.returncode == 2
    assert found.stderr.startswith("metre.yaml:2:31: teacher.words must be at least 1: '0'")


def test_the_plugins_of_the_docs_teach_a_student(
    metre: Path, tmp_path: Path, tiny_student: Path, table: dict[str, Path]
) -> None:
    city = write_distribution(
        tmp_path / "city",
        "armada-loss-city",
        {"armada_loss_city": files(page("plugins.md"))["armada_loss_city.py"]},
        {"loss-city": "armada_loss_city"},
    )
    (tmp_path / "metre.yaml").write_text(files(page("plugins.md"))["metre.yaml"], encoding="utf-8")
    changes: dict[str, Any] = {
        "student": f"{{name: encoder, model: {tiny_student}}}",
        "tasks": f"[{{name: files, as: words, file: {table['train']}, validation: {table['validation']}}}]",
        "methods.1": "{name: armada, manifold: city, hidden: 32}",
        "methods.2": "{name: armada, manifold: city, hidden: 32, features: {control: shuffled}}",
        "limit": "{train: 48, validation: 24}",
    }
    overrides = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    both = (metre, city)
    found = armada(tmp_path, "run", "metre.yaml", *overrides, "--workers", "0", path=both)
    assert found.returncode == 0, found.stderr
    record = json.loads((tmp_path / "runs" / "metre" / "run.json").read_text(encoding="utf-8"))
    assert [trial["status"] for trial in record["trials"]] == ["done"] * 3
    assert "armada-teacher-metre" in {item["distribution"] for item in record["provenance"]["plugins"]}
    again = armada(tmp_path, "features", "list", "--json", path=both)
    assert [(item["teacher"], item["width"], item["rows"]) for item in json.loads(again.stdout)] == [("metre", 12, 48)]
