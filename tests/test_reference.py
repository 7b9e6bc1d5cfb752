"""The reference pages are what the docstrings say, and their examples are plugins that run."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from distributions import write_distribution
from running import armada, by_method, plugins_changed, train

import armada_cli

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
PAGES = sorted(FOLDER.glob("*.md"))
EXAMPLES = sorted((FOLDER / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The script that writes the pages."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference"] = module  # where its dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_what_the_docstrings_say(reference: ModuleType) -> None:
    wanted = reference.pages()
    assert {path.name for path in PAGES} == wanted.keys()
    stale = [path.name for path in PAGES if path.read_text(encoding="utf-8") != wanted[path.name]]
    assert stale == [], "run: python docs/reference.py"


def test_everything_a_plugin_author_imports_is_explained(reference: ModuleType) -> None:
    headings = {name for path in PAGES for name in re.findall(r"^## `(\w+)`", path.read_text(encoding="utf-8"), re.MULTILINE)}
    assert set(armada_cli.__all__) - headings == {"__version__", "hookimpl"}
    assert not [name for page in reference.PAGES.values() for name in page.names if not reference.definitions()[name].doc]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_method_and_attribute_has_words(path: Path) -> None:
    parts = re.split(r"^(?=##)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    silent = [part.splitlines()[0] for part in parts if part.startswith("##") and part.rstrip().endswith("```")]
    assert [heading for heading in silent if heading != "## An example"] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (FOLDER / link).exists()] == []


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every example as a distribution of its own, and a recipe that is made of them."""
    for example in EXAMPLES:
        name = example.stem
        site = tmp_path / "site"
        points = {name.replace("_", "-"): name}
        write_distribution(site, f"armada-{name.replace('_', '-')}", {name: example.read_text(encoding="utf-8")}, points)
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "words.txt").write_text("the\nsnow\ntide\nice\n", encoding="utf-8")
    (tmp_path / "examples.yaml").write_text(
        "student: bytes\n"
        "teacher: [letters, {name: tally, words: words.txt, least: 4}]\n"
        "tasks: [sea-or-mountains]\n"
        "methods: [undistilled, hint, {name: armada, manifold: manhattan, hidden: 16}]\n"
        "train: {epochs: 2, batch_size: 4, max_length: 64}\n"
        "features: {reduce: none}\n"
    )
    with plugins_changed():
        yield tmp_path
    for example in EXAMPLES:
        sys.modules.pop(example.stem, None)


def test_the_examples_together_are_a_recipe_with_a_table(installed: Path) -> None:
    checked = armada("check", installed / "examples.yaml", "--runs", installed / "runs")
    assert checked.status == 0
    assert "to represent   letters on sea-or-mountains: 8 of 8" in checked.out
    found = train(installed / "examples.yaml", installed / "runs")
    assert found.status == 0, found.err
    trials = by_method(installed / "runs")
    assert len(list(installed.glob("runs/trials/*/result.json"))) == 5
    hint = next(value for title, value in trials.items() if "· hint ·" in title)
    assert hint["plugins"]["method"]["distribution"] == "armada-example-method"
    assert hint["plugins"]["student"]["distribution"] == "armada-example-student"
    assert 0 <= hint["scores"]["accuracy"] <= 100
    assert "manhattan" in found.out


def test_a_student_of_the_examples_says_after_a_save_what_it_said_before(installed: Path) -> None:
    import torch

    from armada_cli import Environment, Problem
    from armada_cli.registry.catalog import current

    registered = current().find("student", "bytes")
    student = registered.component.load()(registered.component.options(), Environment())
    problem = Problem("classification", 2, ("sea", "mountains"))
    model = student.build(problem).eval()
    batch = student.pad(student.encode([("a gull",), ("one more ridge",)], problem))
    student.save(model, problem, installed / "saved")
    again = student.build(problem, installed / "saved").eval()
    torch.testing.assert_close(student.forward(model, batch).logits, student.forward(again, batch).logits, rtol=0, atol=0)


def test_the_options_of_the_examples_are_checked_before_anything_is_loaded(installed: Path) -> None:
    recipe = installed / "examples.yaml"
    shutil.move(installed / "words.txt", installed / "elsewhere.txt")
    missing = armada("check", recipe)
    assert missing.status == 2
    assert "examples.yaml:2:41: teacher 'tally': words: there is no file" in missing.err
    assert "Name a text file with one word a line" in missing.err
    shown = json.loads(armada("show", "teacher", "tally", "--json").out)
    assert [(item["name"], item["default"]) for item in shown["options"]] == [
        ("words", "required"),
        ("unit", "count"),
        ("least", "1"),
        ("batch", "64"),
    ]
