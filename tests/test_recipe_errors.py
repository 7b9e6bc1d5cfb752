"""Every mistake in a recipe is one line: where, what, and what to do. All of them are told at once."""

# ruff: noqa: E501  (the expected lines stand whole, as a user sees them)

from __future__ import annotations

from pathlib import Path

import pytest
from distributions import write_kitchen

from armada_cli.contracts import Environment
from armada_cli.errors import UserError
from armada_cli.recipe import RecipeErrors, load_recipe
from armada_cli.registry.catalog import Catalog

SOUND = "student: reader\ntasks: sorting\nmethods: alone\n"
TOP_KEYS = "extends, title, summary, student, teacher, tasks, methods, train, features, seeds, limit, select_on"


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARMADA_DISABLE", "armada-cli")
        patch.syspath_prepend(str(write_kitchen(tmp_path_factory.mktemp("kitchen"))))
        return Catalog.load()


@pytest.fixture
def problems_of(catalog, tmp_path, monkeypatch):
    """What is said of a recipe, line by line."""
    monkeypatch.chdir(tmp_path)

    def read(text: str | bytes, *overrides: str) -> list[str]:
        Path("r.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(RecipeErrors) as caught:
            load_recipe("r.yaml", catalog, Environment(), overrides)
        *lines, count = str(caught.value).splitlines()
        assert count == f"{len(lines)} problem" + ("" if len(lines) == 1 else "s")
        assert len(caught.value.problems) == len(lines)
        return lines

    return read


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"", "r.yaml:1:1: the file is empty. `armada list recipes` names recipes to start from"),
        (b"# only a comment\n", "r.yaml:1:1: the file is empty. `armada list recipes` names recipes to start from"),
        (b"- reader\n", "r.yaml:1:1: a recipe is a mapping, this is a list: '- reader'. Begin with `student: NAME`"),
        (
            b"student:reader\n",
            "r.yaml:1:1: a recipe is a mapping, this is a single value: 'student:reader'. Begin with `student: NAME`",
        ),
        (
            b"train:\n\tepochs: 1\n",
            "r.yaml:2:1: not YAML: a tab where only spaces may stand: 'epochs: 1'. Indent with spaces, not tabs",
        ),
        ("title: soufflé\n".encode("latin-1"), "r.yaml:1:14: the file is not UTF-8: '\\xe9'. Save it as UTF-8"),
        (b"student: a\n---\nstudent: b\n", "r.yaml:2:1: a second document begins here. Keep one recipe in one file"),
        (b"stu\x00dent: a\n", "r.yaml:1:4: a character that YAML does not allow: '\\x00'. Remove it; is this a text file?"),
        (
            b"title: one: two\n",
            "r.yaml:1:11: not YAML: mapping values are not allowed here: 'title: one: two'. "
            "Check the indentation; text with ': ' in it needs quotes",
        ),
        (b"title: 'never\nstudent: a\n", "r.yaml:1:8: not YAML: quotes that are not closed: 'title: 'never'. Close the quotes"),
        (
            b"tasks: [a, b\nstudent: c\n",
            "r.yaml:2:8: not YAML: expected ',' or ']', but got ':': 'student: c'. "
            "Close the bracket, or put a comma between two values",
        ),
        (
            b"train:\n  epochs: 1\n lr: 2\n",
            "r.yaml:3:2: not YAML: this line is indented differently from its neighbours: 'lr: 2'. "
            "Check the indentation of this line",
        ),
        (
            b"title: @home\n",
            "r.yaml:1:8: not YAML: found character '@' that cannot start any token: 'title: @home'. Put the text in quotes",
        ),
        (
            b"title: *gone\n",
            "r.yaml:1:8: not YAML: found undefined alias 'gone': 'title: *gone'. "
            "Define it before its use as `&name`; text that begins with * needs quotes",
        ),
        (b"title: " + b"[" * 3000, "r.yaml:1:28: lists and mappings are nested more than 20 deep. A recipe needs four levels"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_line(problems_of, text, line):
    assert problems_of(text) == [line]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("train: {epochs: 010}", "r.yaml:4:17: a number with a leading zero: '010'. Write 10, or '010' in quotes"),
        ("train: {epochs: 0x1F}", "r.yaml:4:17: a number that is not decimal: '0x1F'. Write 31, or '0x1F' in quotes"),
        ("train: {epochs: 0o17}", "r.yaml:4:17: a number that is not decimal: '0o17'. Write 15, or '0o17' in quotes"),
        ("train: {epochs: 1_000}", "r.yaml:4:17: a number with underscores: '1_000'. Write 1000, or '1_000' in quotes"),
        ("train: {lr: .nan}", "r.yaml:4:13: not a finite number: '.nan'. Write a number, or '.nan' in quotes"),
        ("train: {lr: -.inf}", "r.yaml:4:13: not a finite number: '-.inf'. Write a number, or '-.inf' in quotes"),
        ("train: {lr: nan}", "r.yaml:4:13: train.lr must be a number: 'nan'. Write a finite number"),
        ("train: {lr: 1e999}", "r.yaml:4:13: the number is too large: '1e999'. Write a smaller one, or put it in quotes"),
        ("train: {lr: '1e-4'}", "r.yaml:4:13: train.lr must be a number: '1e-4'. Remove the quotes"),
        ("train: {epochs: 1:30}", "r.yaml:4:17: train.epochs must be a whole number: '1:30'. The default is 10"),
        ("train: {epochs: 1e1}", "r.yaml:4:17: train.epochs must be a whole number: '1e1'. Write 10"),
        ("train: {epochs: true}", "r.yaml:4:17: train.epochs must be a whole number: 'true'. The default is 10"),
        ("train: {epochs: -3}", "r.yaml:4:17: train.epochs must be at least 1: '-3'. The default is 10"),
        ("train: {epochs: }", "r.yaml:4:16: train.epochs must be a whole number. Write a value, or remove the key"),
        ("train: {epochs: [1, 2]}", "r.yaml:4:17: train.epochs must be a whole number: '[1, 2]'. Write a single value"),
        ("train: {warmup: 1}", "r.yaml:4:17: train.warmup must be at least 0 and below 1: '1'. The default is 0.1"),
        ("train: {epoch: 1}", "r.yaml:4:9: unknown key of train: 'epoch'. Did you mean 'epochs'?"),
        (
            "train: {schedule: liner}",
            "r.yaml:4:19: train.schedule must be one of linear, constant, cosine: 'liner'. Did you mean 'linear'?",
        ),
        ("train: {epochs: 2, lr: 1, epochs: 3}", "r.yaml:4:27: this key is given twice (first on line 4): 'epochs'. Keep one of them"),
        ("student: talker", "r.yaml:4:1: this key is given twice (first on line 1): 'student'. Keep one of them"),
        ("features: {standardise: on}", "r.yaml:4:25: features.standardise must be true or false: 'on'. Write true, without quotes"),
        ("features: {standardise: No}", "r.yaml:4:25: features.standardise must be true or false: 'No'. Write false, without quotes"),
        ("seedz: 3", "r.yaml:4:1: unknown key: 'seedz'. Did you mean 'seeds'?"),
        ("quux: 3", f"r.yaml:4:1: unknown key: 'quux'. Known are {TOP_KEYS}"),
        (
            "seeds: many",
            "r.yaml:4:8: seeds must be a whole number or a list of them: 'many'. For example `seeds: 3` or `seeds: [0, 1, 2]`",
        ),
        ("seeds: 0", "r.yaml:4:8: seeds must be at least 1 and at most 1000: '0'. Name the number of seeds"),
        ("seeds: [1, 2, 1]", "r.yaml:4:15: this seed is given twice: '1'. Remove one of them"),
        ("seeds: [-1]", "r.yaml:4:9: seeds.0 must be at least 0 and at most 4294967295: '-1'. For example `seeds: [0, 1, 2]`"),
        ("seeds: []", "r.yaml:4:8: seeds is an empty list: '[]'. Name at least one seed"),
        ("limit: 60", "r.yaml:4:8: limit must be a mapping: '60'. For example `limit: {train: 600, validation: 400}`"),
        ("limit: {train: 0}", "r.yaml:4:16: limit.train must be at least 1: '0'. Name a number of rows"),
        ("limit: {test: 5}", "r.yaml:4:9: unknown key of limit: 'test'. Known are train, validation"),
        ("title: 2024", "r.yaml:4:8: title must be text: '2024'. Put it in quotes: '2024'"),
        ("title: !!python/name:os.system x", "r.yaml:4:8: a recipe has no tags, here !!python/name:os.system: 'x'. Remove it; text is written in quotes"),
        ("title: &a [*a]", "r.yaml:4:8: an alias contains itself: '&a [*a]'. Write the values out"),
        ("? [a, b]\n: 1", "r.yaml:4:3: a key must be a word: '[a, b]'. Put text with brackets in quotes"),
        ("train: {<<: 3}", "r.yaml:4:13: <<: takes a mapping or a list of mappings: '3'. Name an anchor, as in `<<: *shared`"),
        ("extends: none.yaml", "r.yaml:4:10: there is no recipe to extend: 'none.yaml'. `armada list recipes` shows the names"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line_with_its_place_and_a_way_out(problems_of, text, line):
    assert problems_of(SOUND + text) == [line]


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("{name: oven, heat: 20}", "r.yaml:1:29: student.heat must be at least 50 and at most 300: '20'. The default is 180"),
        ("{name: oven, heat: warm}", "r.yaml:1:29: student.heat must be a whole number: 'warm'. The default is 180"),
        ("{name: oven, heta: 60}", "r.yaml:1:23: unknown option of student 'oven': 'heta'. Did you mean 'heat'?"),
        ("{name: oven, heat:60}", "r.yaml:1:23: unknown option of student 'oven': 'heat:60'. Write a space after the colon: 'heat: 60'"),
        ("{name: oven, salt: 10}", "r.yaml:1:29: student.salt must be above 0 and below 10: '10'. The default is 0.5"),
        ("{name: oven, herb: tyme}", "r.yaml:1:29: student.herb must be one of thyme, sage, rosemary: 'tyme'. Did you mean 'thyme'?"),
        ("{name: oven, size: larg}", "r.yaml:1:29: student.size must be one of small, large: 'larg'. Did you mean 'large'?"),
        ("{name: oven, racks: 2}", "r.yaml:1:30: student.racks must be a list of whole numbers: '2'. Write a list: [2]"),
        ("{name: oven, racks: [1, top]}", "r.yaml:1:34: student.racks.1 must be a whole number: 'top'. The default is [1]"),
        ("{name: oven, racks: [1, -1]}", "r.yaml:1:34: student.racks must be at least 0: '-1'. The default is [1]"),
        ("{name: oven, notes: {wine: 7}}", "r.yaml:1:37: student.notes.wine must be text: '7'. Put it in quotes: '7'"),
        ("{name: oven, timer: long}", "r.yaml:1:30: student.timer must be a whole number or null: 'long'. The default is null"),
        ("{name: oven, fan: [yes]}", "r.yaml:1:29: student.fan must be true or false: 'yes'. Write true, without quotes"),
        ("{name: oven, heat: []}", "r.yaml:1:29: student.heat is an empty list: '[]'. Name at least one value"),
        ("{name: oven, fan: true, heat: 260}", "r.yaml:1:40: student 'oven': heat is too high for the fan: '260'. Lower it to 250"),
        ("{name: oven, sauce: motor-oil}", "r.yaml:1:30: student 'oven': nobody eats: 'motor-oil'"),
        ("ofen", "r.yaml:1:10: unknown student: 'ofen'. Did you mean 'oven'?"),
        ("{heat: 60}", "r.yaml:1:10: student has no name: '{heat: 60}'. Add `name:`; `armada list students` shows the names"),
        ("{oven: {heat: 60}}", "r.yaml:1:10: student has no name: '{oven: {heat: 60}}'. Write `{name: oven, ...}`"),
        ("{name: [oven]}", "r.yaml:1:17: student.name must be one name: '[oven]'. `armada list students` shows the names"),
        ("{name: 7}", "r.yaml:1:17: student.name must be text: '7'. Put it in quotes: '7'"),
        (
            "7",
            "r.yaml:1:10: student must be a name or a mapping with a name: '7'. "
            "Write it as `NAME`, or `{name: NAME, ...}`; `armada list students` shows the names",
        ),
        ("[]", "r.yaml:1:10: student is an empty list: '[]'. Name at least one student"),
        ("[reader, reader]", "r.yaml:1:19: the same student as at r.yaml:1:11: 'reader'. Remove one of them"),
        ("{name: oven, limit: {train: 1}}", "r.yaml:1:23: unknown option of student 'oven': 'limit'. Known are heat, fan, salt, herb, size, racks, notes, timer, sauce, cookbook, name, as, train"),
        ("{name: oven, train: {lr: fast}}", "r.yaml:1:35: student.train.lr must be a number: 'fast'. The default is 2e-5"),
        ("{name: reader, speed: 1}", "r.yaml:1:25: unknown option of student 'reader': 'speed'. Known are name, as, train"),
    ],
)  # fmt: skip
def test_a_wrong_component_is_one_line(problems_of, entry, line):
    assert problems_of(f"student: {entry}\ntasks: sorting\nmethods: alone\n") == [line]


def test_a_required_option_that_is_missing_is_named_with_its_meaning(problems_of):
    assert problems_of("student: reader\ntasks: rows\nmethods: alone\n") == [
        "r.yaml:2:8: option of task 'rows' misses 'file'. Add `file:`, text: The rows"
    ]


def test_missing_keys_are_told_at_the_top_of_the_recipe(problems_of):
    assert problems_of("title: nothing else\n") == [
        "r.yaml:1:1: student is missing. Add `student: NAME`",
        "r.yaml:1:1: tasks is missing. Add `tasks: [NAME]`",
        "r.yaml:1:1: methods is missing. Add `methods: [NAME]`",
    ]


def test_a_misspelt_key_is_not_also_missing(problems_of):
    assert problems_of("studnet: reader\ntasks: sorting\nmethods: alone\n") == [
        "r.yaml:1:1: unknown key: 'studnet'. Did you mean 'student'?"
    ]


def test_all_problems_are_told_at_once_in_the_order_of_the_file(problems_of):
    assert problems_of(
        """\
student: raeder
teacher: {name: bell, heat: 1000}
tasks: [sorting, sortin]
methods:
  - alone
  - {name: taught, beta: -1}
train: {epochs: 010, lr: ten}
seed: 3
"""
    ) == [
        "r.yaml:1:10: unknown student: 'raeder'. Did you mean 'reader'?",
        "r.yaml:2:29: teacher.heat must be at least 50 and at most 300: '1000'. The default is 180",
        "r.yaml:3:18: unknown task: 'sortin'. Did you mean 'sorting' or 'storytelling'?",
        "r.yaml:6:26: methods.1.beta must be at least 0: '-1'. The default is 1",
        "r.yaml:7:17: a number with a leading zero: '010'. Write 10, or '010' in quotes",
        "r.yaml:7:26: train.lr must be a number: 'ten'. The default is 2e-5",
        "r.yaml:8:1: unknown key: 'seed'. Did you mean 'seeds'?",
    ]


def test_what_cannot_be_trained_together_is_told_before_anything_loads(problems_of):
    assert problems_of("student: reader\ntasks: [sorting, storytelling]\nmethods: [alone, taught]\n") == [
        "r.yaml:1:10: student 'reader' is an encoder and cannot do task 'storytelling' (generation): 'reader'. "
        "Name a decoder; `armada list students` shows which are",
        "r.yaml:3:11: method 'alone' cannot train task 'storytelling' (generation): 'alone'. It trains classification",
        "r.yaml:3:18: method 'taught' needs a teacher, the recipe has none: 'taught'. "
        "Add `teacher: NAME`; `armada list teachers` shows the names",
    ]


def test_the_kind_of_a_task_can_depend_on_its_options(problems_of):
    assert problems_of("student: talker\ntasks: {name: rows, file: a.csv, kind_: generation}\nmethods: alone\n") == [
        "r.yaml:3:10: method 'alone' cannot train task 'rows' (generation): 'alone'. It trains classification"
    ]


def test_a_misspelt_teacher_is_not_also_missing(problems_of):
    assert problems_of("student: reader\nteacher: bel\ntasks: sorting\nmethods: taught\n") == [
        "r.yaml:2:10: unknown teacher: 'bel'. Did you mean 'bell'?"
    ]


def test_choices_that_are_the_same_or_share_a_title_are_told(problems_of):
    text = "student: reader\nteacher: bell\ntasks: sorting\nmethods:\n- {name: taught, as: a}\n- taught\n"
    assert problems_of(text + "- {name: taught, beta: 2, as: a}\n") == [
        "r.yaml:6:3: the same method as at r.yaml:5:10: 'taught'. Remove one of them",
        "r.yaml:7:10: two methods have one title, the other at r.yaml:5:10: 'a'. Give one an `as:`",
    ]


def test_an_options_class_that_raises_is_told_with_its_plugin(problems_of):
    assert problems_of("student: reader\ntasks: sorting\nmethods: {name: fussy, mood: bad}\n") == [
        "r.yaml:3:17: method 'fussy': plugin 'kitchen' of armada-kitchen refuses these options: RuntimeError: not today: 'fussy'"
    ]


def test_a_grid_too_large_to_be_meant_is_refused(problems_of):
    numbers = ", ".join(str(number) for number in range(60))
    heats = ", ".join(str(number) for number in range(60, 120))
    assert problems_of(f"student: {{name: oven, timer: [{numbers}], heat: [{heats}]}}\ntasks: sorting\nmethods: alone\n") == [
        "r.yaml:1:10: student is a grid of 3600 points: '{name: oven, timer: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, …'. "
        "Keep it to 2000"
    ]


def test_aliases_that_unfold_without_end_are_refused(problems_of):
    bomb = "title: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for outer, inner in (("summary", "a"), ("limit", "b"), ("seeds", "c"), ("train", "d")):
        bomb += f"{outer}: &{chr(ord(inner) + 1)} [{', '.join(['*' + inner] * 10)}]\n"
    assert any("the recipe holds more than 5000 values, those of its aliases included" in line for line in problems_of(bomb))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("train.epoch=1", "--set train.epoch=1: unknown key of train: 'epoch'. Did you mean 'epochs'?"),
        ("train.epochs=010", "--set train.epochs=010: a number with a leading zero: '010'. Write 10, or '010' in quotes"),
        ("train.epochs=-1", "--set train.epochs=-1: train.epochs must be at least 1: '-1'. The default is 10"),
        ("epochs=1", f"--set epochs=1: unknown key: 'epochs'. Known are {TOP_KEYS}"),
        ("train.epochs", "--set train.epochs: an override is KEY=VALUE. For example --set train.epochs=1"),
        ("seeds=[0, 1", "--set seeds=[0, 1: not YAML: expected ',' or ']', but got '<stream end>': '[0, 1'. Close the bracket, or put a comma between two values"),
        ("methods.4.beta=1", "--set methods.4.beta=1: methods has no such entry: '4'. They are numbered 0 to 0"),
        ("methods.beta=1", "--set methods.beta=1: unknown option of method 'alone': 'beta'. Known are name, as, train, features"),
        ("title.x=1", "--set title.x=1: title is a value and has no parts: 'x'. Set it whole: --set title=VALUE"),
        ("student=raeder", "--set student=raeder: unknown student: 'raeder'. Did you mean 'reader'?"),
        ("student=", "--set student=: student is missing. Add `student: NAME`"),
        ("extends=a.yaml", "--set extends=a.yaml: extends cannot be overridden. Copy the recipe, and extend the other one"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_located_as_it_was_typed(problems_of, override, line):
    assert problems_of(SOUND + "title: Lunch\n", override) == [line]


def test_a_list_is_overridden_by_number(problems_of):
    assert problems_of("student: reader\ntasks: sorting\nmethods: [alone]\n", "methods.alone=1") == [
        "--set methods.alone=1: methods is a list: 'alone'. Name one of its entries by number, as in methods.0.alone"
    ]


def test_recipes_that_extend_each_other_are_told_with_the_circle(problems_of):
    Path("a.yaml").write_text("extends: r.yaml\n")
    assert problems_of("extends: a.yaml\n") == [
        "a.yaml:1:10: recipes extend each other in a circle, r.yaml -> a.yaml -> r.yaml: 'r.yaml'. Remove one `extends`"
    ]


def test_a_problem_in_the_extended_file_is_located_there(problems_of):
    Path("base.yaml").write_text("# shared\ntrain: {lr: fast}\n")
    assert problems_of("extends: base.yaml\n" + SOUND) == [
        "base.yaml:2:13: train.lr must be a number: 'fast'. The default is 2e-5"
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lunhc", "unknown recipe 'lunhc'. Did you mean 'lunch.yaml'?"),
        ("lunhc.yaml", "there is no recipe file 'lunhc.yaml'. Did you mean 'lunch.yaml'?"),
        ("attic/lunch.yaml", "there is no recipe file 'attic/lunch.yaml'. There is no folder 'attic'"),
        ("qqqq", "unknown recipe 'qqqq'. `armada list recipes` shows what there is"),
        ("folder", "folder is a folder, not a recipe. Name a YAML file in it"),
    ],
)
def test_a_recipe_that_is_not_there_is_one_line(catalog, tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    Path("lunch.yaml").write_text(SOUND)
    Path("folder").mkdir()
    with pytest.raises(UserError) as caught:
        load_recipe(name, catalog, Environment())
    assert str(caught.value) == message
