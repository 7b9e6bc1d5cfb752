"""Options that name a model of the hub or a folder: what is a path, relative to what, and that `check` and `run` agree."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from armada_student_decoders.options import DecoderOptions
from armada_student_encoders.mpnet import MPNetOptions
from armada_student_encoders.options import EncoderOptions, MiniLMOptions
from armada_teacher_diffusers.options import MidjourneyOptions
from running import Ended, armada, results, train

from armada_cli import Environment, option
from armada_cli.content import content_fingerprint
from armada_cli.contracts import KINDS, Component
from armada_cli.models import hub
from armada_cli.recipe.document import parse
from armada_cli.recipe.keys import read_settings
from armada_cli.recipe.problems import Problems
from armada_cli.recipe.tree import Source, Table
from armada_cli.registry import catalog

PLACES = [
    (f"{kind} {component.name}", component.component.options, item.name)
    for kind in KINDS
    for component in catalog.current().components(kind)
    for item in dataclasses.fields(component.component.options)
    if item.metadata.get("place")
]

SPELLINGS = {
    "~/x": "home/x",
    "~/not-there": "home/not-there",
    "./x": "recipes/x",
    "./not-there": "recipes/not-there",
    "../x": "x",
    ".": "recipes",
    "x": "recipes/x",
    "owner/x": "recipes/owner/x",
}
"""A value, and the path it means below the folder that holds `home`, `recipes` and `elsewhere`, the working directory."""

NAMES = ("gpt2", "google-bert/bert-base-uncased", "owner/y", "package:some_package/model", "here")
"""Values that stay as they are; the working directory has a folder `here`."""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("home/x", "recipes/x", "recipes/owner/x", "x", "elsewhere/here"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def read_value(options: type, key: str, written: str, folder: Path) -> tuple[Any, list[str]]:
    """The value of one option in a recipe in `folder`, and what is wrong with it."""
    problems = Problems()
    required = {item.name: '""' for item in dataclasses.fields(options) if item.default is dataclasses.MISSING}
    text = "".join(f"{name}: {value}\n" for name, value in {**required, key: f'"{written}"'}.items())
    table = parse(Source(str(folder / "r.yaml"), text, folder), problems.add)
    assert isinstance(table, Table)
    settings = read_settings(table, options, "it", problems, grid=True)
    found = [str(problem) for problem in problems.noted]
    return next((values[0].value for values in settings or [] if values[0].key == key), None), found


def test_every_option_that_may_be_a_folder_is_known_as_one() -> None:
    """Each whose help speaks of a model id or a folder; a teacher that asks a service has a `model` that is neither."""
    marked = {(title, name) for title, _, name in PLACES}
    described = {
        (f"{kind} {registered.name}", item.name)
        for kind in KINDS
        for registered in catalog.current().components(kind)
        for item in dataclasses.fields(registered.component.options)
        if "local folder" in item.metadata.get("help", "") or "local one" in item.metadata.get("help", "")
    }
    assert described <= marked
    assert {name for _, name in marked} == {"model", "encoder", "vocoder", "lora", "tokenizer"}
    assert len(marked) >= 17
    assert ("teacher image-api", "model") not in marked


@pytest.mark.parametrize(("title", "options", "key"), PLACES, ids=[f"{title} {key}" for title, _, key in PLACES])
def test_a_place_is_a_path_or_stays_a_name(title: str, options: type, key: str, tree: Path) -> None:
    for written, meant in SPELLINGS.items():
        value, problems = read_value(options, key, written, tree / "recipes")
        assert problems == []
        assert Path(value).is_absolute(), written
        assert Path(value).resolve() == tree / meant, written
    absolute = str(tree / "x")
    assert read_value(options, key, absolute, tree / "recipes")[0] == absolute
    for name in NAMES:
        assert read_value(options, key, name, tree / "recipes")[0] == name


def test_the_home_of_nobody_is_a_line(tree: Path) -> None:
    value, (problem,) = read_value(EncoderOptions, "model", "~nobody-of-that-name/x", tree / "recipes")
    assert value is None
    assert "it.model names a home folder that is not known" in problem


@pytest.mark.parametrize("options", [EncoderOptions, MiniLMOptions, MPNetOptions, DecoderOptions])
def test_what_a_loader_is_given_is_a_whole_path(options: type, tree: Path) -> None:
    assert options(model="~/x").place() == str(tree / "home/x")
    assert options(model=str(tree / "x")).place() == str(tree / "x")
    assert options(model="owner/y").place() == "owner/y"


def test_a_folder_of_the_working_directory_never_stands_in_for_a_model_of_the_hub(tree: Path) -> None:
    assert hub.local_folder("here") is None
    (line,) = hub.problems("here")
    assert "the working directory holds a folder 'here'" in line
    assert list(hub.problems("owner/y")) == []
    lines = list(MidjourneyOptions(lora="here", lora_file="a.safetensors").problems(Environment()))
    assert any("the working directory holds a folder 'here'" in line for line in lines)


def test_a_place_of_a_plugin_is_known_by_its_content(tree: Path) -> None:
    @dataclass(frozen=True)
    class Options:
        model: str = option("owner/y", "A model id, or a local folder", place=True)

    card = Component("painter", "A model", "somewhere:Else", Options)
    assert card.identity(Options(), Environment())["options"] == {"model": "owner/y"}
    folder = tree / "x"
    (folder / "weights").write_text("1")
    assert card.identity(Options(str(folder)), Environment())["options"] == {"model": content_fingerprint(folder)}


# --------------------------------------------------------------------------------------------------- check equals run


@pytest.fixture
def models(tree: Path, tiny_student: Path) -> Path:
    for folder in ("home/tiny", "recipes/tiny", "tiny", "elsewhere/other"):
        shutil.copytree(tiny_student, tree / folder)
    return tree


@pytest.fixture
def both(models: Path, recipe: Callable[..., Path]) -> Callable[..., tuple[Ended, Ended]]:
    """`check`, then `run`, of a recipe in the folder `recipes` with this student."""

    def both(model: str, *more: str) -> tuple[Ended, Ended]:
        student = f"{{name: encoder, model: {model}}}"
        path = models / "recipes" / "tiny.yaml"
        shutil.move(recipe(student=student, methods="undistilled", train="{epochs: 1, batch_size: 48, max_length: 16}"), path)
        return armada("check", path, "--runs", models / "runs", *more), train(path, models / "runs", *more)

    return both


def test_every_spelling_of_a_folder_trains_the_same_trial(models: Path, both: Callable[..., tuple[Ended, Ended]]) -> None:
    for spelling in ("~/tiny", "./tiny", "../tiny", "tiny", str(models / "tiny")):
        checked, ran = both(spelling)
        assert (checked.status, ran.status) == (0, 0), (spelling, checked.err, ran.err)
    assert len(results(models / "runs")) == 1
    (run,) = (models / "runs").glob("*/run.json")
    assert json.loads(run.read_text(encoding="utf-8"))["trials"][0]["status"] == "done"


@pytest.mark.parametrize("spelling", ["other", "./other", "~/tiny"])
def test_an_override_is_relative_to_the_working_directory(spelling: str, both: Callable[..., tuple[Ended, Ended]]) -> None:
    checked, ran = both("owner/y", "--set", f"student.model={spelling}")
    assert (checked.status, ran.status) == (0, 0), (checked.err, ran.err)


@pytest.mark.parametrize(
    ("spelling", "complaint"),
    [
        ("./nowhere", "there is no folder"),
        ("~/nowhere", "there is no folder"),
        ("./other", "there is no folder"),
        ("other", "the working directory holds a folder 'other'"),
        ("./x", "holds no config.json"),
    ],
)
def test_check_and_run_refuse_alike_and_at_the_value(
    spelling: str, complaint: str, both: Callable[..., tuple[Ended, Ended]]
) -> None:
    checked, ran = both(spelling)
    assert (checked.status, ran.status) == (2, 2)
    assert checked.err == ran.err
    assert complaint in " ".join(checked.err.split())
    assert "tiny.yaml:1:33" in checked.err
