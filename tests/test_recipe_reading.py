"""What a sound recipe means: values, grids, titles, inheritance and overrides."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from distributions import write_kitchen

from armada_cli.contracts import Environment
from armada_cli.recipe import Recipe, find_recipe, load_recipe, shipped_recipes
from armada_cli.registry.catalog import Catalog

SOUND = "student: reader\ntasks: sorting\nmethods: alone\n"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARMADA_DISABLE", "armada-cli")
        patch.syspath_prepend(str(write_kitchen(tmp_path_factory.mktemp("kitchen"))))
        return Catalog.load()


@pytest.fixture
def read(catalog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def read(text: str, *overrides: str) -> Recipe:
        Path("r.yaml").write_text(text, encoding="utf-8")
        return load_recipe("r.yaml", catalog, Environment(), overrides)

    return read


def titles(choices) -> list[str]:
    return [choice.title for choice in choices]


def test_the_smallest_recipe_has_one_of_each_and_one_seed(read):
    recipe = read(SOUND)
    assert (recipe.name, recipe.text, recipe.seeds, recipe.limit, recipe.train) == ("r", SOUND, (0,), {}, {})
    assert titles(recipe.students + recipe.tasks + recipe.methods) == ["reader", "sorting", "alone"]
    assert recipe.teachers == ()
    assert recipe.methods[0].place == "r.yaml:3:10"
    assert recipe.methods[0].registered.distribution == "armada-kitchen"


def test_short_and_long_form_mean_the_same(read):
    short = read("student: oven\ntasks: [sorting]\nmethods: [alone]\n")
    long = read("student: {name: oven}\ntasks: [{name: sorting}]\nmethods:\n  - name: alone\n")
    assert short.resolved == long.resolved
    assert short.students[0].options == long.students[0].options


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("salt: 1e-4", 1e-4),
        ("salt: 2.5E+0", 2.5),
        ("salt: .5", 0.5),
        ("salt: 3", 3.0),
        ("heat: +200", 200),
        ("sauce: on", "on"),
        ("sauce: no", "no"),
        ("sauce: 'yes'", "yes"),
        ("sauce: 12:30", "12:30"),
        ("sauce: 2024-01-02", "2024-01-02"),
        ("sauce: '010'", "010"),
        ("sauce: ~", None),
        ("sauce: {name: gravy, thick: true}", {"name": "gravy", "thick": True}),
        ("fan: true", True),
        ("fan: false", False),
        ("racks: [1, 3]", (1, 3)),
        ("racks: []", ()),
        ("notes: {wine: red, 7: seven}", {"wine": "red", "7": "seven"}),
        ("timer: null", None),
        ("timer: 9", 9),
        ("size: large", "large"),
    ],
)
def test_a_value_is_what_a_reader_expects(read, written, value):
    options = read(f"student:\n  name: oven\n  {written}\ntasks: sorting\nmethods: alone\n").students[0].options
    found = getattr(options, written.split(":")[0])
    assert found == value
    assert type(found) is type(value)


def test_seeds_are_a_count_or_a_list(read):
    assert read(SOUND + "seeds: 3").seeds == (0, 1, 2)
    assert read(SOUND + "seeds: [7, 3]").seeds == (7, 3)


def test_a_list_is_a_grid_in_written_order(read):
    recipe = read(
        "student: {name: oven, herb: [sage, thyme], heat: [200, 180]}\n"
        "tasks: sorting\nmethods: {name: alone, train: {lr: [1e-3, 1e-4]}}\n"
    )
    assert [(choice.options.herb, choice.options.heat) for choice in recipe.students] == [
        ("sage", 200),
        ("sage", 180),
        ("thyme", 200),
        ("thyme", 180),
    ]
    assert titles(recipe.students) == [
        "oven herb=sage heat=200",
        "oven herb=sage heat=180",
        "oven herb=thyme heat=200",
        "oven herb=thyme heat=180",
    ]
    assert [choice.train for choice in recipe.methods] == [{"lr": 1e-3}, {"lr": 1e-4}]
    assert titles(recipe.methods) == ["alone lr=0.001", "alone lr=0.0001"]


def test_a_list_of_a_list_option_is_one_value(read):
    recipe = read("student: {name: oven, racks: [1, 2]}\ntasks: sorting\nmethods: alone\n")
    assert titles(recipe.students) == ["oven racks=[1, 2]"]


def test_a_list_of_any_value_is_a_grid(read):
    recipe = read(
        "student: reader\nteacher: bell\ntasks: sorting\nmethods: {name: taught, manifold: [flat, {name: flat, x: 1}]}\n"
    )
    assert titles(recipe.methods) == ["taught manifold=flat", "taught manifold={name: flat, x: 1}"]


def test_an_alias_names_the_row_and_keeps_what_varies(read):
    recipe = read(
        "student: reader\nteacher: bell\ntasks: sorting\nmethods:\n- {name: taught, as: ours, beta: [1, 1e-5], manifold: m}\n"
    )
    assert titles(recipe.methods) == ["ours beta=1", "ours beta=1e-5"]


def test_titles_show_what_differs_in_the_order_it_was_written(read):
    recipe = read(
        "student: {name: oven, fan: true, salt: 0.5, heat: 90}\ntasks: sorting\nmethods:\n"
        "- {name: alone, train: {epochs: 3, lr: 2e-5}}\ntrain: {epochs: 3}\n"
    )
    assert titles(recipe.students) == ["oven fan=true heat=90"]
    assert titles(recipe.methods) == ["alone lr=2e-5"]


def test_one_task_with_two_limits_has_two_titles(read):
    recipe = read(SOUND.replace("sorting", "[{name: sorting, limit: {train: 10}}, {name: sorting, limit: {train: 20}}]"))
    assert titles(recipe.tasks) == ["sorting train=10", "sorting train=20"]
    assert [choice.limit for choice in recipe.tasks] == [{"train": 10}, {"train": 20}]


def test_a_task_keeps_its_name_beside_its_own_training_settings(read):
    recipe = read(SOUND.replace("sorting", "{name: sorting, train: {epochs: 2}}"))
    assert titles(recipe.tasks) == ["sorting"]
    assert recipe.tasks[0].train == {"epochs": 2}


def test_students_and_teachers_can_be_lists(read):
    recipe = read(
        "student: [reader, talker]\nteacher: [bell, {name: bell, heat: 60}]\ntasks: storytelling\nmethods: taught\n",
        "student=talker",
    )
    assert titles(recipe.students) == ["talker"]
    assert titles(recipe.teachers) == ["bell", "bell heat=60"]


def test_a_component_can_be_named_with_its_distribution(read):
    assert titles(read(SOUND.replace("reader", "'armada-kitchen:reader'")).students) == ["armada-kitchen:reader"]


def test_anchors_and_merge_keys_work(read):
    recipe = read(
        "student: reader\ntasks: sorting\nmethods:\n"
        "- {name: alone, train: &short {epochs: 2, lr: 1e-4}}\n- {name: alone, train: {<<: *short, epochs: 5}}\n"
    )
    assert [dict(choice.train) for choice in recipe.methods] == [{"epochs": 2, "lr": 1e-4}, {"epochs": 5, "lr": 1e-4}]


def test_a_path_is_relative_to_the_file_that_holds_it(read, tmp_path):
    Path("shared").mkdir()
    Path("shared/base.yaml").write_text("tasks: {name: rows, file: data/rows.csv}\nstudent: {name: oven, cookbook: ~}\n")
    recipe = read("extends: shared/base.yaml\nmethods: alone\nstudent: {cookbook: mine.txt}\n")
    assert recipe.tasks[0].options.file == str(tmp_path / "shared/data/rows.csv")
    assert recipe.tasks[0].title == "rows file=data/rows.csv"
    assert recipe.students[0].options.cookbook == str(tmp_path / "mine.txt")


def test_a_path_from_a_recipe_above_has_no_dots_in_it(read, tmp_path):
    Path("base.yaml").write_text("tasks: {name: rows, file: data/rows.csv}\nstudent: reader\nmethods: alone\n")
    Path("mine").mkdir()
    Path("mine/deeper").mkdir()
    Path("mine/recipe.yaml").write_text("extends: deeper/../../base.yaml\n")
    recipe = read("extends: mine/recipe.yaml\n")
    assert recipe.tasks[0].options.file == str(tmp_path / "data/rows.csv")
    assert recipe.resolved["tasks"][0]["file"] == str(tmp_path / "data/rows.csv")


def test_a_path_above_a_link_is_where_the_link_leads(read, tmp_path):
    Path("elsewhere/inner").mkdir(parents=True)
    Path("elsewhere/base.yaml").write_text("tasks: {name: rows, file: rows.csv}\nstudent: reader\nmethods: alone\n")
    Path("link").symlink_to(tmp_path / "elsewhere" / "inner")
    assert read("extends: link/../base.yaml\n").tasks[0].options.file == str(tmp_path / "elsewhere" / "rows.csv")


def test_a_path_in_an_override_is_relative_to_the_working_directory(read, tmp_path):
    Path("shared").mkdir()
    Path("shared/base.yaml").write_text("student: reader\ntasks: {name: rows, file: a.csv}\nmethods: alone\n")
    recipe = read("extends: shared/base.yaml\n", "tasks.file=b.csv")
    assert recipe.tasks[0].options.file == str(tmp_path / "b.csv")


def test_extends_merges_mappings_and_replaces_the_rest(read):
    Path("base.yaml").write_text(
        "title: Base\nstudent: {name: oven, heat: 60, fan: true}\nteacher: bell\n"
        "tasks: [sorting]\nmethods: [alone]\ntrain: {epochs: 2, lr: 1e-3}\nseeds: [1, 2]\n"
    )
    recipe = read("extends: base.yaml\nstudent: {heat: 90}\ntrain: {lr: 1e-4}\nseeds: 1\nteacher: ~\n")
    assert (recipe.students[0].options.heat, recipe.students[0].options.fan) == (90, True)
    assert recipe.train == {"epochs": 2, "lr": 1e-4}
    assert (recipe.seeds, recipe.teachers, recipe.title) == ((0,), (), "Base")


def test_another_component_does_not_inherit_the_first_ones_options(read):
    Path("base.yaml").write_text("student: {name: oven, heat: 60}\n")
    assert titles(read("extends: base.yaml\nstudent: {name: reader}\ntasks: sorting\nmethods: alone\n").students) == ["reader"]


def test_overrides_come_last_and_reach_into_short_forms(read):
    Path("base.yaml").write_text("train: {epochs: 2}\n")
    recipe = read(
        "extends: base.yaml\nstudent: oven\nteacher: bell\ntasks: sorting\nmethods: [alone, taught]\n",
        "train.epochs=7",
        "train.lr=1e-4",
        "seeds=[4, 5]",
        "student.heat=99",
        "methods.1.beta=[0.5, 2]",
        "methods.0.train.lr=3e-4",
        "limit.train=50",
        "teacher={name: bell, fan: true}",
    )
    assert recipe.train == {"epochs": 7, "lr": 1e-4}
    assert (recipe.seeds, recipe.limit) == ((4, 5), {"train": 50})
    assert titles(recipe.students + recipe.teachers) == ["oven heat=99", "bell fan=true"]
    assert titles(recipe.methods) == ["alone lr=0.0003", "taught beta=0.5", "taught beta=2"]


def test_the_resolved_recipe_is_a_recipe_that_means_the_same(read, tmp_path):
    Path("base.yaml").write_text("tasks: {name: rows, file: a.csv}\n")
    recipe = read(
        "extends: base.yaml\ntitle: 'Lunch: hot'\nstudent: {name: oven, notes: {wine: 'no'}, racks: [2]}\nteacher: bell\n"
        "methods: [alone, {name: taught, as: ours, beta: [1, 2], train: {lr: 1e-5}}]\nseeds: 2\nlimit: {train: 5}\n",
        "train.epochs=3",
    )
    again = read(yaml.safe_dump(dict(recipe.resolved)))
    assert again.resolved == recipe.resolved
    assert [(c.options, c.train, c.limit) for c in (*again.students, *again.tasks, *again.methods)] == [
        (c.options, c.train, c.limit) for c in (*recipe.students, *recipe.tasks, *recipe.methods)
    ]
    assert titles(again.methods) == titles(recipe.methods)


def test_a_byte_order_mark_and_other_alphabets_are_read(read):
    assert read("\ufefftitle: Βόρειος 北\n" + SOUND).title == "Βόρειος 北"


def test_shipped_recipes_are_found_by_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = shipped_recipes()
    assert all(path.is_file() and path.stem == name for name, path in shipped.items())
    assert all(find_recipe(name) == path for name, path in shipped.items())


@pytest.mark.parametrize(
    "name", sorted(shipped_recipes()) or [pytest.param("", marks=pytest.mark.skip("no recipe is shipped yet"))]
)
def test_every_shipped_recipe_is_sound_and_says_what_it_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(name, Catalog.load(), Environment())
    assert recipe.name == name
    assert recipe.title or recipe.summary


def test_a_recipe_may_extend_a_shipped_one_by_name(tmp_path, monkeypatch):
    if not shipped_recipes():
        pytest.skip("no recipe is shipped yet")
    monkeypatch.chdir(tmp_path)
    name = next(iter(shipped_recipes()))
    Path("mine.yaml").write_text(f"extends: {name}\nseeds: [41]\n")
    recipe = load_recipe("mine.yaml", Catalog.load(), Environment())
    assert recipe.seeds == (41,)
    assert titles(recipe.tasks) == titles(load_recipe(name, Catalog.load(), Environment()).tasks)
