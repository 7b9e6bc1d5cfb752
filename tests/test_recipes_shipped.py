"""The recipes that come with armada: one per experiment of the paper, each readable, complete and true to its own words."""

from __future__ import annotations

import dataclasses
import re

import pytest

from armada_cli import Environment
from armada_cli.plan.planning import make_plan
from armada_cli.plan.trials import Plan
from armada_cli.recipe.loader import describe_recipe, load_recipe
from armada_cli.recipe.shipped import reproduces, shipped_recipes
from armada_cli.registry.catalog import Catalog
from armada_cli.runs import EVALUATED

RECIPES = shipped_recipes()
OWN = (
    "baselines_offline",
    "ensemble",
    "image_api",
    "instruct_offline",
    "minilm_speech_glue",
    "quickstart",
    "reasoning_offline",
)
"""Recipes that are no experiment of the paper."""

EXPERIMENTS = [f"Table {number}" for number in (2, 3, 4, 5, 7, 8, 9, 11, 12)]
EXPERIMENTS += ["Figure 3 A", "Figure 3 B", "Figure 3 C", *(f"Figure {number}" for number in (4, 5, 9, 10, 12))]


def opening(name: str) -> dict[str, str]:
    """The entries above a recipe: ``# Needs: one GPU`` and the indented lines that go on with it."""
    entries: dict[str, str] = {}
    key = ""
    for line in RECIPES[name].read_text(encoding="utf-8").splitlines():
        if found := re.match(r"# ([A-Z][a-z]+(?: run| for)?): +(.*)", line):
            key = found[1]
            entries[key] = found[2]
        elif not line.startswith("#"):
            break
        elif key and line.startswith("#     "):
            entries[key] += " " + line.removeprefix("#").strip()
        else:
            key = ""
    return entries


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.load(warn=False)


@pytest.fixture(scope="module")
def environment(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A data mirror with the few rows of its own that each task brings."""
    root = tmp_path_factory.mktemp("rows")
    for registered in catalog.components("task"):
        options = registered.component.options
        required = [
            item
            for item in dataclasses.fields(options)
            if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        ]
        if not required:
            options().smoke(root / "mirror" if registered.name == "mm-imdb" else root)
    return Environment(runs=root / "runs", data=root / "mirror", offline=True)


def planned(name: str, catalog: Catalog, environment: Environment) -> Plan:
    return make_plan(load_recipe(name, catalog, environment), environment)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_can_be_read_and_planned(name: str, catalog: Catalog, environment: Environment) -> None:
    plan = planned(name, catalog, environment)
    assert plan.trials
    assert {trial.method.name for trial in plan.trials} >= {"undistilled", "armada"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_opens_with_what_it_needs_and_takes_and_what_to_run_first(name: str) -> None:
    entries = opening(name)
    assert entries["Needs"]
    assert entries["Takes"]
    if name not in OWN:
        assert entries["Reproduces"]
        assert entries["Licences"]
        assert entries["First run"] == f"armada run {name} --smoke"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_a_title(name: str) -> None:
    title = describe_recipe(RECIPES[name])["title"]
    assert 10 < len(title) < 90
    assert [other for other in RECIPES if describe_recipe(RECIPES[other])["title"] == title] == [name]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_whole_in_one_file(name: str) -> None:
    text = RECIPES[name].read_text(encoding="utf-8")
    assert "extends:" not in text
    assert max(len(line) for line in text.splitlines()) <= 128


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_of_the_paper_has_its_recipe(experiment: str) -> None:
    assert any(reproduces(path) == experiment for path in RECIPES.values())


def test_nothing_else_claims_to_be_of_the_paper() -> None:
    claims = {name: reproduces(path) for name, path in RECIPES.items()}
    assert {name for name, claim in claims.items() if not claim} == set(OWN)
    assert set(claims.values()) - {""} == set(EXPERIMENTS)


@pytest.mark.parametrize("name", [name for name in RECIPES if "exported students of" in opening(name)["Needs"]])
def test_the_number_of_exported_students_is_the_plans(name: str, catalog: Catalog, environment: Environment) -> None:
    found = re.search(r"(\d+) GB of disk, most of it for (?:(\d+) )?exported students of ([\d.]+) GB", opening(name)["Needs"])
    assert found is not None
    trials = len(planned(name, catalog, environment).trials)
    assert int(found[2] or trials) == trials
    assert trials * float(found[3]) < int(found[1]) < trials * float(found[3]) + 10


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in OWN])
def test_an_experiment_has_the_three_seeds_of_a_test_or_says_what_one_costs(name, catalog, environment) -> None:
    seeds = load_recipe(name, catalog, environment).seeds
    said = re.search(r"One seed costs (\d+) hours", RECIPES[name].read_text(encoding="utf-8"))
    assert len(seeds) == (1 if said else 3)
    if said:
        assert f"about {said[1]} hours" in opening(name)["Takes"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("bert_glue", {"cola": (32, 10, 2e-5, 3e-3), "boolq": (8, 10, 2e-5, 1e-3)}),
        ("bert6l_glue", {"mrpc": (32, 10, 2e-5, 3e-3), "cb": (8, 10, 2e-5, 1e-3)}),
        ("deberta_glue", {"rte": (32, 10, 3e-6, 3e-3), "wic": (8, 10, 3e-6, 1e-3)}),
        ("opt_glue", {"stsb": (32, 10, 3e-6, 3e-3), "copa": (8, 10, 3e-6, 1e-3)}),
        ("bert_glue_large", {"mnli": (32, 10, 2e-5, 3e-3)}),
        ("table7_baselines", {"rte": (32, 10, 2e-5, 3e-3)}),
        ("bert_mmimdb", {"mm-imdb": (32, 20, 2e-5, None)}),
    ],
)
def test_rates_batches_and_epochs_are_those_of_appendix_c(name, settings, catalog, environment) -> None:
    trials = [trial for trial in planned(name, catalog, environment).trials if trial.task.name in settings]
    assert {trial.task.name for trial in trials} == set(settings)
    for trial in trials:
        batch, epochs, rate, aligner_rate = settings[trial.task.name]
        assert (trial.train["batch_size"], trial.train["epochs"], trial.train["lr"]) == (batch, epochs, rate)
        if trial.method.name == "armada":
            assert trial.method.options.aligner_lr == aligner_rate


@pytest.mark.parametrize("name", ["llama7b_reasoning", "llama3b_instruct", "llama8b_instruct"])
def test_llamas_learn_three_epochs_in_batches_of_four_with_lora_of_rank_eight(name, catalog, environment) -> None:
    for trial in planned(name, catalog, environment).everything:
        assert (trial.train["batch_size"], trial.train["epochs"], trial.train["lr"]) == (4, 3, 3e-4)
        assert trial.student.options.lora == 8


def test_a_llama_is_trained_once_for_all_the_sets_it_is_asked(catalog, environment) -> None:
    plan = planned("llama8b_instruct", catalog, environment)
    assert len(plan.trials) == 3 * 50
    trained = [trial for trial in plan.everything if EVALUATED not in trial.depends]
    assert [trial.task.name for trial in trained] == ["dolly"] * 3 * 10, (
        "undistilled, and three losses of each of three teachers"
    )
    reasoning = planned("llama7b_reasoning", catalog, environment)
    trained = [trial for trial in reasoning.everything if EVALUATED not in trial.depends]
    assert len(trained) == 3 * 8
    assert {trial.task.name: trial.limit.get("train") for trial in trained} == {"commonsense": 8000, "math": None}


def test_ablations_share_what_they_have_in_common_with_the_table(catalog, environment) -> None:
    table = {trial.id for trial in planned("bert_glue", catalog, environment).trials}
    for name, shared in (("ablation_alpha", 2), ("ablation_losses", 4), ("ablation_noise", 2), ("ablation_frozen_aligner", 4)):
        found = {trial.id for trial in planned(name, catalog, environment).trials}
        assert len(found & table) == shared * 8 * 3


def test_both_teachers_share_the_undistilled_students(catalog, environment) -> None:
    first, second = (planned(name, catalog, environment).trials for name in ("bert6l_glue", "bert6l_glue_midjourney"))
    shared = {trial.id for trial in first} & {trial.id for trial in second}
    assert shared == {trial.id for trial in first if trial.method.name == "undistilled"}
