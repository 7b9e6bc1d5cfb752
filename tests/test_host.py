"""Plugins as strangers ship them: wheels, installed by pip into a fresh environment, healthy, broken, slow, clashing, and gone.

All of them are installed at once, since the promise is that one of them harms no other.
"""

# ruff: noqa: E501  (the expected lines stand whole, as a user sees them)

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from distributions import FreshEnvironment, write_distribution, write_kitchen, write_wheel
from running import armada, plugins_changed, train, written

from armada_cli import __version__

HOOK = "from armada_cli import Component, hookimpl\n"
TEACHERS = HOOK + "@hookimpl\ndef armada_teachers():\n    "

RHYME = """
    from dataclasses import dataclass

    from armada_cli import Component, hookimpl, option

    @dataclass(frozen=True)
    class RhymeOptions:
        letters: int = option(3, "Letters at the end of a text that are heard", minimum=1, maximum=8)

    @hookimpl
    def armada_teachers():
        return [Component("rhyme", "How a text ends", "armada_teacher_rhyme_sound:Rhyme", RhymeOptions, {"text"})]
"""
RHYME_SOUND = """
    import numpy as np

    from armada_cli import Teacher

    class Rhyme(Teacher):
        def represent(self, inputs):
            vectors = np.zeros((len(inputs), 26 * self.options.letters), np.float32)
            for row, text in enumerate(inputs):
                ending = [letter for letter in text.lower() if "a" <= letter <= "z"][-self.options.letters :]
                for place, letter in enumerate(ending):
                    vectors[row, 26 * place + ord(letter) - ord("a")] = 1
            return vectors
"""
CITY = """
    from armada_cli import Component, Loss, hookimpl

    class City(Loss):
        def __call__(self, p_ts, p_s):
            return (p_ts - p_s).abs().sum(1).mean()

    @hookimpl
    def armada_losses():
        return [Component("city", "Distance along the axes", "armada_loss_city:City", provides={"manifold"})]
"""
OPERA = """
    from armada_cli import Component, hookimpl

    @hookimpl
    def armada_teachers():
        return [
            Component("opera", "Sings a text", "armada_opera_voice:Voice", provides={"audio"}, requires=("grand-voices==3.1",)),
            Component("humming", "Sings it, and says nothing of its package", "armada_opera_voice:Voice", provides={"audio"}),
        ]
"""
OPERA_VOICE = """
    import grand_voices

    from armada_cli import Teacher

    class Voice(Teacher):
        def represent(self, inputs):
            return grand_voices.sing(inputs)
"""
SLOW = """
    import time

    from armada_cli import Component, hookimpl

    time.sleep(0.6)

    @hookimpl
    def armada_teachers():
        return [Component("tortoise", "Arrives in the end", "armada_tortoise:Tortoise")]
"""
CHATTY = """
    from armada_cli import Component, hookimpl

    print("thank you for installing me")

    @hookimpl
    def armada_losses():
        print("and for asking")
        return [Component("small-talk", "Never far", "armada_chatty:Talk", provides={"manifold"})]
"""
BELL = HOOK + "@hookimpl\ndef armada_teachers():\n    return [Component('gong', 'From the {0}', 'a:B')]\n"

HEALTHY: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "armada-teacher-rhyme": (
        {"armada_teacher_rhyme": RHYME, "armada_teacher_rhyme_sound": RHYME_SOUND},
        {"teacher-rhyme": "armada_teacher_rhyme"},
    ),
    "armada-loss-city": ({"armada_loss_city": CITY}, {"loss-city": "armada_loss_city"}),
    "armada-opera": ({"armada_opera": OPERA, "armada_opera_voice": OPERA_VOICE}, {"opera": "armada_opera"}),
    "armada-tortoise": ({"armada_tortoise": SLOW}, {"tortoise": "armada_tortoise"}),
    "armada-chatty": ({"armada_chatty": CHATTY}, {"chatty": "armada_chatty"}),
    "armada-north": ({"armada_north": BELL.format("north")}, {"north": "armada_north"}),
    "armada-south": ({"armada_south": BELL.format("south")}, {"south": "armada_south"}),
}
"""Distribution -> its modules and entry points."""

BROKEN = {
    "import": ("import no_such_module_here\n", "ModuleNotFoundError: No module named 'no_such_module_here'"),
    "raises": ("raise RuntimeError('two\\nlines')\n", "RuntimeError: two lines"),
    "leaves": ("import sys\nsys.exit('leaving')\n", "SystemExit: leaving"),
    "cancels": ("import asyncio\nraise asyncio.CancelledError('not today')\n", "CancelledError: not today"),
    "syntax": ("def broken(:\n", "SyntaxError: "),
    "registration": (TEACHERS + "raise ValueError('no bells')\n", "ValueError: no bells"),
    "mapping": (TEACHERS + "return {'bell': 1}\n", "TypeError: armada_teachers() must return a list of Component, got dict"),
    "names": (TEACHERS + "return ['bell']\n", "TypeError: armada_teachers() must return a list of Component, got a list with str"),
    "nothing": (TEACHERS + "return None\n", "TypeError: armada_teachers() must return a list of Component, got NoneType"),
    "yields": (TEACHERS + "yield Component('bell', '', 'a:B')\n", "TypeError: armada_teachers() must return a list of Component, got generator"),
    "name": (TEACHERS + "return [Component('Bell!', '', 'a:B')]\n", "ValueError: component name 'Bell!' is not lower-case words joined by hyphens"),
    "target": (TEACHERS + "return [Component('bell', '', 'a.B')]\n", "ValueError: target 'a.B' of 'bell' is not of the form 'package.module:Class'"),
    "options": (TEACHERS + "return [Component('bell', '', 'a:B', options=dict)]\n", "TypeError: options of 'bell' is not a dataclass"),
    "hook": (HOOK + "@hookimpl\ndef armada_techers():\n    return []\n", "ValueError: unknown hook 'armada_techers'; did you mean 'armada_teachers'?"),
    "signature": (HOOK + "@hookimpl\ndef armada_teachers(config):\n    return []\n", "ValueError: armada_teachers(config) asks for arguments; a hook takes none"),
    "undecorated": (HOOK + "def armada_teachers():\n    return []\n", "ValueError: armada_teachers() is no hook: it lacks the decorator @hookimpl of armada_cli"),
    "empty": ("", "ValueError: it has no hook, so it registers nothing; decorate a function such as armada_teachers() with @hookimpl"),
    "twice": (TEACHERS + "return [Component('bell', '', 'a:B')] * 2\n", "ValueError: it registers 'bell' twice"),
    "reserved": (
        "from dataclasses import make_dataclass\n" + TEACHERS + "return [Component('bell', '', 'a:B', options=make_dataclass('Options', [('name', str, '')]))]\n",
        "ValueError: 'bell' has an option 'name', which means something else in a recipe; give it another name",
    ),
    "newer": (TEACHERS + "return [Component('carillon', '', 'a:B', requires_armada=999)]\n", "ValueError: 'carillon' is written for contract 999, this armada has 2; upgrade armada-cli"),
    "older": (TEACHERS + "return [Component('harpsichord', '', 'a:B', requires_armada=1)]\n", "ValueError: 'harpsichord' is written for contract 1, this armada has 2; upgrade the plugin, or adapt it as armada's CHANGELOG says"),
    "newer-card": (TEACHERS + "return [Component('bell', '', 'a:B', colour='red')]\n", "TypeError: Component.__init__() got an unexpected keyword argument 'colour'; it may be written for another armada-cli than this one: "),
    "newer-import": ("from armada_cli import Conductor\n", "ImportError: cannot import name 'Conductor' from 'armada_cli' ("),
}  # fmt: skip
"""What is wrong -> source of a module, and how the line about it begins."""


def wheel(folder: Path, name: str, version: str = "1.0", **changed: str) -> Path:
    """A healthy distribution's wheel, with some modules changed."""
    modules, points = HEALTHY[name]
    return write_wheel(folder, name, modules | changed, points, version=version)


def site(folder: Path, name: str, version: str, **changed: str) -> Path:
    """A healthy distribution in a folder that hides the installed one where it comes first on the path, as pip leaves it and
    in a hundredth of the time."""
    modules, points = HEALTHY[name]
    return write_distribution(folder / f"{name}-{version}", name, modules | changed, points, version=version)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    folder = tmp_path_factory.mktemp("host")
    wheels = [wheel(folder, name) for name in HEALTHY]
    for what, (source, _) in BROKEN.items():
        module = f"armada_bad_{what.replace('-', '_')}"
        wheels.append(write_wheel(folder, f"armada-bad-{what}", {module: source}, {f"bad-{what}": module}))
    wheels.append(write_wheel(folder, "armada-bad-gone", {}, {"bad-gone": "armada_bad_gone"}))
    found = FreshEnvironment(folder / "environment")
    found.install(*wheels)
    return found


@pytest.fixture(scope="module")
def plugins(host: FreshEnvironment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What `armada plugins --json` says of each."""
    status, output, errors = host.armada(tmp_path_factory.mktemp("plugins"), "plugins", "--json")
    assert status == 0
    assert "is skipped" not in errors, "the errors are in the table"
    return {item["plugin"]: item for item in json.loads(output)}


ALL_BROKEN = ",".join([*(f"bad-{what}" for what in BROKEN), "bad-gone"])


# -------------------------------------------------------------------------------------------------- broken ones


def test_a_broken_plugin_is_one_line_and_stops_nothing_else(host: FreshEnvironment, tmp_path: Path) -> None:
    status, output, errors = host.armada(tmp_path, "list", "teachers")
    assert status == 0
    assert "rhyme\tHow a text ends\ttext\tteacher-rhyme (armada-teacher-rhyme)" in output.splitlines()
    lines = {match[1]: line for line in errors.splitlines() if (match := re.match(r"armada: plugin 'bad-([\w-]+)'", line))}
    assert lines.keys() == {*BROKEN, "gone"}
    for what, (_, cause) in BROKEN.items():
        assert lines[what].startswith(f"armada: plugin 'bad-{what}' of armada-bad-{what} 1.0 is skipped: {cause}")


@pytest.mark.parametrize("what", BROKEN)
def test_plugins_tells_what_is_wrong(plugins: dict[str, dict[str, Any]], what: str) -> None:
    record = plugins[f"bad-{what}"]
    assert (record["distribution"], record["version"]) == (f"armada-bad-{what}", "1.0")
    assert (record["state"], record["registers"]) == ("broken", [])
    assert record["error"].startswith(BROKEN[what][1])
    assert "\n" not in record["error"]


def test_an_entry_point_without_a_module_is_told_by_name(plugins: dict[str, dict[str, Any]]) -> None:
    record = plugins["bad-gone"]
    assert (record["module"], record["state"]) == ("armada_bad_gone", "broken")
    assert record["error"] == "ModuleNotFoundError: No module named 'armada_bad_gone'"


def test_plugins_for_machines_is_json_with_these_fields(plugins: dict[str, dict[str, Any]]) -> None:
    record = plugins["teacher-rhyme"]
    assert record.pop("milliseconds") > 0
    assert record == {
        "plugin": "teacher-rhyme",
        "distribution": "armada-teacher-rhyme",
        "version": "1.0",
        "module": "armada_teacher_rhyme",
        "slow": False,
        "imports": [],
        "state": "ok",
        "registers": [{"kind": "teacher", "name": "rhyme"}],
        "error": "",
    }
    assert {item["state"] for item in plugins.values()} == {"ok", "broken"}


@pytest.mark.parametrize(("what", "name"), [("newer", "carillon"), ("older", "harpsichord")])
def test_a_component_of_a_plugin_for_another_contract_is_refused_with_that_reason(
    what: str, name: str, host: FreshEnvironment, tmp_path: Path
) -> None:
    status, _, errors = host.armada(tmp_path, "show", "teacher", name)
    assert status == 2
    assert errors.splitlines()[-1] == (
        f"armada: unknown teacher {name!r}. A plugin that could not be loaded may bring it: plugin 'bad-{what}' of "
        f"armada-bad-{what}: {BROKEN[what][1]}"
    )


def test_a_misspelt_name_is_told_as_one_though_plugins_are_broken(host: FreshEnvironment, tmp_path: Path) -> None:
    assert host.armada(tmp_path, "show", "teacher", "rhime")[2].splitlines()[-1] == (
        "armada: unknown teacher 'rhime'. Did you mean 'rhyme'?"
    )


def test_strict_stops_at_the_first_broken_plugin_and_plugins_shows_it_still(host: FreshEnvironment, tmp_path: Path) -> None:
    status, output, errors = host.armada(tmp_path, "list", "teachers", ARMADA_STRICT="1")
    assert (status, output) == (2, "")
    assert errors.splitlines()[-1] == (
        "armada: plugin 'bad-cancels' of armada-bad-cancels 1.0 is skipped: CancelledError: not today. "
        "Mend or uninstall it, or unset ARMADA_STRICT"
    )
    status, output, _ = host.armada(tmp_path, "plugins", ARMADA_STRICT="1")
    assert status == 0
    assert "CancelledError: not today" in output


def test_what_is_disabled_is_neither_imported_nor_broken(host: FreshEnvironment, tmp_path: Path) -> None:
    """By the names of entry points, and of a distribution; strict mode is then content."""
    disabled = f"{ALL_BROKEN}, armada-teacher-rhyme"
    status, output, errors = host.armada(tmp_path, "list", "teachers", ARMADA_DISABLE=disabled, ARMADA_STRICT="1")
    assert status == 0
    assert "is skipped" not in errors
    names = [line.split("\t")[0] for line in output.splitlines()]
    assert "opera" in names
    assert "rhyme" not in names
    _, output, _ = host.armada(tmp_path, "plugins", "--json", ARMADA_DISABLE=disabled)
    records = {item["plugin"]: item for item in json.loads(output)}
    assert {name for name, item in records.items() if item["state"] == "disabled"} == {*ALL_BROKEN.split(","), "teacher-rhyme"}
    assert (records["bad-leaves"]["milliseconds"], records["bad-leaves"]["error"]) == (0, "")


def test_a_disabled_name_that_nothing_has_is_told_where_plugins_are_looked_at(host: FreshEnvironment, tmp_path: Path) -> None:
    status, _, errors = host.armada(tmp_path, "plugins", ARMADA_DISABLE="teacher-rime,armada-opera")
    assert status == 0
    assert [line for line in errors.splitlines() if "ARMADA_DISABLE" in line] == [
        "armada: ARMADA_DISABLE names 'teacher-rime', and no plugin is called that; did you mean 'teacher-rhyme' or 'teacher-image-api'?"
    ]


# ------------------------------------------------------------------------------------------- slow, and loud ones


def test_a_slow_plugin_is_named(host: FreshEnvironment, plugins: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    assert plugins["tortoise"]["slow"]
    assert plugins["tortoise"]["milliseconds"] >= 600
    assert not plugins["loss-city"]["slow"]
    _, output, _ = host.armada(tmp_path, "plugins")
    rows = {line.split("\t")[0]: line.split("\t") for line in output.splitlines()}
    assert rows["tortoise"][4:] == ["ok, slow", "teacher: tortoise"]


def test_a_slow_plugin_is_told_with_what_it_imports(tmp_path: Path) -> None:
    from armada_cli.commands.plugins import describe_plugin, slow_line
    from armada_cli.registry.catalog import SLOW_SECONDS, Plugin

    record = describe_plugin(Plugin("harp", "armada-harp", "2.0", "armada_harp", SLOW_SECONDS + 1, imports=["numpy", "torch"]))
    assert slow_line(record) == "harp of armada-harp delays every command by 1500 ms. It imports numpy, torch; cards need not."


def test_what_a_plugin_prints_is_no_part_of_an_answer(host: FreshEnvironment, tmp_path: Path) -> None:
    status, output, errors = host.armada(tmp_path, "list", "losses", "--json")
    assert status == 0
    assert "small-talk" in [item["name"] for item in json.loads(output)]
    assert [line for line in errors.splitlines() if line.startswith(("thank you", "and for"))] == [
        "thank you for installing me",
        "and for asking",
    ]


# ----------------------------------------------------------------------------------------------------- one name twice


def test_two_distributions_with_one_name_are_told_apart(host: FreshEnvironment, tmp_path: Path) -> None:
    _, output, _ = host.armada(tmp_path, "list", "teachers")
    assert [line for line in output.splitlines() if line.startswith("gong\t")] == [
        "gong\tFrom the north\t\tnorth (armada-north)",
        "gong\tFrom the south\t\tsouth (armada-south)",
    ]
    status, output, errors = host.armada(tmp_path, "show", "teacher", "gong")
    assert (status, output) == (2, "")
    assert errors.splitlines()[-1] == (
        "armada: teacher 'gong' is brought by two distributions. Name one of them: 'armada-north:gong' or 'armada-south:gong'"
    )
    assert host.armada(tmp_path, "show", "teacher", "armada-south:gong")[1].startswith("gong (teacher): From the south\n")


def test_a_built_in_is_not_shadowed_silently(host: FreshEnvironment, tmp_path: Path) -> None:
    mine = write_distribution(
        tmp_path / "mine",
        "armada-mine",
        {"armada_mine": HOOK + "@hookimpl\ndef armada_losses():\n    return [Component('euclid', 'Mine', 'a:B')]\n"},
        {"mine": "armada_mine"},
    )
    status, _, errors = host.armada(tmp_path, "show", "loss", "euclid", PYTHONPATH=str(mine))
    assert status == 2
    assert "'armada-cli:euclid' or 'armada-mine:euclid'" in errors
    recipe = "student: minilm-offline\nteacher: rhyme\ntasks: [tweets-offline]\nmethods: [{name: armada, manifold: %s}]\n"
    (tmp_path / "unclear.yaml").write_text(recipe % "euclid")
    (tmp_path / "clear.yaml").write_text(recipe % "'armada-cli:euclid'")
    status, _, errors = host.armada(tmp_path, "check", "unclear.yaml", PYTHONPATH=str(mine))
    assert status == 2
    assert "unclear.yaml:4:" in errors
    assert "Name one of them: 'armada-cli:euclid' or 'armada-mine:euclid'" in errors
    assert host.armada(tmp_path, "check", "clear.yaml", PYTHONPATH=str(mine))[0] == 0


def test_a_built_in_whose_entry_point_is_removed_vanishes(host: FreshEnvironment, tmp_path: Path) -> None:
    """An older copy of armada's metadata, first on the path, takes the place of the installed one."""
    own = write_distribution(tmp_path / "own", "armada-cli", {}, {"core": "armada_cli.builtins"}, version="0.0.1")
    kitchen = write_kitchen(tmp_path / "own")
    _, output, _ = host.armada(tmp_path, "list", "students", PYTHONPATH=str(kitchen))
    assert own == kitchen
    assert [line.split("\t")[0] for line in output.splitlines()] == ["oven", "reader", "talker"]


# ---------------------------------------------------------------------------------------------- what is not installed


@pytest.fixture
def opera(recipe: Callable[..., Path]) -> Callable[[str], Path]:
    return lambda teacher: recipe(teacher=teacher, methods="[{name: armada, manifold: city, hidden: 16}]")


def test_a_teacher_whose_package_is_missing_is_listed_and_shown_with_what_to_install(
    host: FreshEnvironment, tmp_path: Path
) -> None:
    rows = {item["name"]: item for item in json.loads(host.armada(tmp_path, "list", "teachers", "--json")[1])}
    assert rows["opera"]["missing_packages"] == ["grand-voices==3.1"]
    lines = host.armada(tmp_path, "show", "teacher", "opera")[1].splitlines()
    assert "needs\tgrand-voices==3.1 (not installed)" in lines
    assert "install with\tpip install 'grand-voices==3.1'" in lines


def test_to_use_it_is_answered_with_what_to_install(
    host: FreshEnvironment, opera: Callable[[str], Path], tmp_path: Path
) -> None:
    path = opera("opera")
    status, output, _ = host.armada(tmp_path, "check", path)
    assert status == 0
    assert "to install     grand-voices==3.1 for opera: pip install 'grand-voices==3.1'" in output.splitlines()
    status, _, errors = host.armada(tmp_path, "run", path)
    assert status == 2
    assert errors.splitlines()[-1] == (
        "armada: teacher opera needs 'grand-voices==3.1', not installed here. Install with: pip install 'grand-voices==3.1'"
    )
    assert not (tmp_path / "runs").exists()


def test_a_package_that_the_card_keeps_quiet_about_is_told_with_the_plugins_name(
    host: FreshEnvironment, opera: Callable[[str], Path], tmp_path: Path
) -> None:
    status, _, errors = host.armada(tmp_path, "run", opera("humming"), "--workers", "0")
    assert status == 2
    assert errors.splitlines()[-1].startswith(
        "armada: teacher 'humming' (plugin armada-opera 1.0) cannot be made: ModuleNotFoundError"
    )
    assert "No module named 'grand_voices'" in errors.splitlines()[-1]


# ------------------------------------------------------------------------------------------- where a number comes from


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, tiny_student: Path, table: dict[str, Path]) -> Path:
    """A folder with a recipe of the teacher rhyme and the loss city."""
    folder = tmp_path_factory.mktemp("stage")
    (folder / "verse.yaml").write_text(
        f"student: {{name: encoder, model: {tiny_student}}}\n"
        "teacher: rhyme\n"
        f"tasks: [{{name: files, as: words, file: {table['train']}, validation: {table['validation']}}}]\n"
        "methods: [undistilled, {name: armada, manifold: city, hidden: 16}]\n"
        "train: {epochs: 1, batch_size: 16, lr: 1e-3, max_length: 32}\n"
        "features: {width: 8}\n"
    )
    return folder


@pytest.fixture(scope="module")
def finished(host: FreshEnvironment, stage: Path) -> Path:
    """The folder in which that recipe was run."""
    status, _, errors = host.armada(stage, "run", "verse.yaml", "--workers", "0", ARMADA_DISABLE=ALL_BROKEN)
    assert status == 0, errors
    return stage


def done(host: FreshEnvironment, folder: Path, **environment: str) -> str:
    """How many of the recipe's trials are done, as `armada check` says it."""
    output = host.armada(folder, "check", "verse.yaml", ARMADA_DISABLE=ALL_BROKEN, **environment)[1]
    return next(line for line in output.splitlines() if line.startswith("trials")).removeprefix("trials").strip()


def own(name: str, plugin: str) -> dict[str, str]:
    return {"name": name, "distribution": "armada-cli", "version": __version__, "plugin": plugin}


def strangers(name: str, plugin: str) -> dict[str, str]:
    return {"name": name, "distribution": f"armada-{plugin}", "version": "1.0", "plugin": plugin}


def test_a_result_says_which_plugins_made_it(finished: Path) -> None:
    found = [json.loads(path.read_text()) for path in finished.glob("runs/trials/*/result.json")]
    both = {"student": own("encoder", "student-encoders"), "task": own("files", "task-files")}
    by_method = {item["plugins"]["method"]["name"]: item["plugins"] for item in found}
    assert by_method == {
        "undistilled": {**both, "method": own("undistilled", "core")},
        "armada": {
            **both,
            "method": own("armada", "core"),
            "manifold": strangers("city", "loss-city"),
            "teacher": strangers("rhyme", "teacher-rhyme"),
        },
    }


def test_every_form_of_the_report_says_which_plugins_made_it(host: FreshEnvironment, finished: Path) -> None:
    written = finished / "runs" / "verse"
    lines = (
        "plugin teacher-rhyme (armada-teacher-rhyme 1.0): teacher rhyme",
        "plugin loss-city (armada-loss-city 1.0): loss city",
        f"plugin student-encoders (armada-cli {__version__}): student encoder",
        f"plugin core (armada-cli {__version__}): method undistilled, armada",
    )
    text = (written / "report.txt").read_text().splitlines()
    markdown = (written / "report.md").read_text().splitlines()
    for line in lines:
        assert line in text
        assert f"- {line}" in markdown
    for report in ((written / "report.json").read_text(), host.armada(finished, "report", "verse", "--format", "json")[1]):
        (trial,) = [item for item in json.loads(report)["trials"] if item["method_name"] == "armada"]
        assert trial["plugins"]["teacher"] == strangers("rhyme", "teacher-rhyme")


def test_the_members_of_an_ensemble_are_named_each(tmp_path: Path) -> None:
    from armada_cli import Environment
    from armada_cli.plan.planning import make_plan
    from armada_cli.recipe import load_recipe
    from armada_cli.registry import catalog

    path = tmp_path / "choir.yaml"
    path.write_text(
        "student: minilm-offline\ntasks: [tweets-offline]\nmethods: [armada]\n"
        "teacher: {name: ensemble, teachers: [speech-offline, pictures-offline]}\n"
    )
    environment = Environment(runs=tmp_path / "runs")
    (trial,) = make_plan(load_recipe(str(path), catalog.current(), environment), environment).trials
    assert trial.spec()["plugins"] == {
        "student": own("minilm-offline", "student-encoders"),
        "task": own("tweets-offline", "task-tweets"),
        "method": own("armada", "core"),
        "manifold": own("euclid", "core"),
        "teacher": own("ensemble", "core"),
        "teacher 1": own("speech-offline", "teacher-speech"),
        "teacher 2": own("pictures-offline", "teacher-pictures"),
    }
    plugins = [item["plugin"] for item in trial.identity["teacher"]["plugins"]]
    assert plugins == ["core", "teacher-speech", "teacher-pictures"]


def test_another_version_of_a_plugin_makes_another_trial(host: FreshEnvironment, finished: Path, tmp_path: Path) -> None:
    assert done(host, finished) == "2, of which 2 done and 0 begun"
    for name in ("armada-teacher-rhyme", "armada-loss-city"):
        newer = site(tmp_path, name, "1.1")
        assert done(host, finished, PYTHONPATH=str(newer)) == "2, of which 1 done and 0 begun", name


def test_vectors_of_another_version_are_used_and_the_table_says_so(
    recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, runs = "armada-teacher-rhyme", tmp_path / "runs"
    path = recipe(
        teacher="rhyme",
        methods="[{name: armada, manifold: euclid, hidden: 16}]",
        train="{epochs: 1, batch_size: 16, max_length: 32}",
        features="{width: 8}",
    )
    places = {version: site(tmp_path, name, version) for version in ("1.0", "1.1")}
    sentence = (
        "vectors of teacher 'rhyme' are from armada-teacher-rhyme 1.0, and armada-teacher-rhyme 1.1 is installed: its card says "
        "the same revision, so they are used as they are (`armada features prune --teacher rhyme` drops them)"
    )

    def run(version: str) -> tuple[str, list[str], list[str]]:
        """What a run with a version of the plugin prints and says of vectors, and who made those that there are then."""
        with monkeypatch.context() as patch, plugins_changed():
            patch.syspath_prepend(str(places[version]))
            ended = train(path, runs)
            assert ended.status == 0, ended.err
            listed = json.loads(armada("features", "list", "--json", "--runs", runs).out)
        return written(runs), [line for line in ended.err.splitlines() if "vectors of teacher" in line], listed[0]["makers"]

    assert run("1.0")[1:] == ([], ["armada-teacher-rhyme 1.0"])
    output, said, makers = run("1.1")
    assert said == [f"armada: {sentence}"]
    assert sentence in output
    assert makers == ["armada-teacher-rhyme 1.0"]
    armada("features", "prune", "--teacher", "rhyme", "--yes", "--runs", runs)
    for result in runs.glob("trials/*/result.json"):
        result.unlink()
    output, said, makers = run("1.1")
    assert said == []
    assert "vectors of teacher" not in output
    assert makers == ["armada-teacher-rhyme 1.1"]


def test_a_run_whose_plugins_were_removed_names_them_and_its_report_still_prints(
    host: FreshEnvironment, finished: Path, tmp_path: Path
) -> None:
    host.uninstall("armada-teacher-rhyme", "armada-loss-city")
    try:
        status, output, errors = host.armada(finished, "run", "verse.yaml", "--set", "seeds=2", ARMADA_DISABLE=ALL_BROKEN)
        report = host.armada(finished, "report", "verse", "--format", "json", ARMADA_DISABLE=ALL_BROKEN)
    finally:
        host.install(*(wheel(tmp_path, name) for name in ("armada-teacher-rhyme", "armada-loss-city")))
    assert (status, output) == (2, "")
    assert [line for line in errors.splitlines() if not line.startswith(("thank you", "and for"))] == [
        "verse.yaml:2:10: unknown teacher: 'rhyme'. It came from armada-teacher-rhyme 1.0 when this was run, "
        "which is not installed now: pip install 'armada-teacher-rhyme==1.0'",
        "verse.yaml:4:49: unknown loss: 'city'. It came from armada-loss-city 1.0 when this was run, "
        "which is not installed now: pip install 'armada-loss-city==1.0'",
        "2 problems",
    ]
    assert report[:2] == (0, (finished / "runs" / "verse" / "report.json").read_text())


@pytest.mark.parametrize(
    ("changed", "disabled", "why"),
    [
        ({}, ",teacher-rhyme", "which ARMADA_DISABLE leaves out now"),
        ({"armada_teacher_rhyme": "1 / 0\n"}, "", "which cannot be loaded now: ZeroDivisionError: division by zero"),
        ({"armada_teacher_rhyme": RHYME.replace('"rhyme"', '"verse"')}, "", "; 1.1 is installed now and does not bring it"),
    ],
    ids=["disabled", "broken", "renamed"],
)
def test_a_run_whose_plugin_is_there_and_does_not_bring_it_says_why(
    host: FreshEnvironment, finished: Path, tmp_path: Path, changed: dict[str, str], disabled: str, why: str
) -> None:
    newer = {"PYTHONPATH": str(site(tmp_path, "armada-teacher-rhyme", "1.1", **changed))} if changed else {}
    status, _, errors = host.armada(finished, "check", "verse.yaml", ARMADA_DISABLE=ALL_BROKEN + disabled, **newer)
    assert status == 2
    assert f"It came from armada-teacher-rhyme 1.0 when this was run{'' if why.startswith(';') else ', '}{why}" in errors
