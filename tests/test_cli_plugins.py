"""`armada list`, `show` and `plugins`, with healthy, broken, clashing and missing plugins: each runs as a user runs it."""

# ruff: noqa: E501  (the expected lines stand whole, as a user sees them)

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from distributions import write_distribution, write_kitchen

HOOK = "from armada_cli import Component, NoOptions, hookimpl\n"


@pytest.fixture
def armada(tmp_path):
    """Run the command with the given folders on the path; returns exit status, standard output and standard error."""

    def run(*arguments: str, path: tuple[Path, ...] = (), **environment: str) -> tuple[int, str, str]:
        keep = {key: value for key, value in os.environ.items() if not key.startswith(("ARMADA_", "COLUMNS", "PYTHONPATH"))}
        found = subprocess.run(
            [sys.executable, "-m", "armada_cli.main", *arguments],
            cwd=tmp_path,
            env={**keep, "PYTHONPATH": os.pathsep.join(map(str, path)), **environment},
            capture_output=True,
            text=True,
            timeout=180,
        )
        return found.returncode, found.stdout, found.stderr

    return run


@pytest.fixture
def kitchen(tmp_path):
    return write_kitchen(tmp_path / "kitchen")


def test_a_strangers_components_stand_beside_the_built_in_ones(armada, kitchen):
    status, output, errors = armada("list", "students", path=(kitchen,))
    assert (status, errors) == (0, "")
    rows = [line.split("\t") for line in output.splitlines()]
    assert ["reader", "The reader", "encoder", "kitchen (armada-kitchen)"] in rows
    assert [row[3] for row in rows if row[0] == "minilm-offline"] == ["student-encoders"]
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_without_a_kind_everything_is_listed_with_its_kind(armada, kitchen):
    _, output, _ = armada("list", path=(kitchen,), ARMADA_DISABLE="armada-cli")
    rows = [line.split("\t") for line in output.splitlines()]
    assert [row[:2] for row in rows if row[0] != "recipe"] == [
        ["teacher", "bell"],
        ["student", "oven"],
        ["student", "reader"],
        ["student", "talker"],
        ["task", "rows"],
        ["task", "sorting"],
        ["task", "storytelling"],
        ["loss", "flat"],
        ["method", "alone"],
        ["method", "fussy"],
        ["method", "taught"],
    ]


def test_a_list_for_machines_is_json(armada, kitchen):
    _, output, _ = armada("list", "teachers", "--json", path=(kitchen,), ARMADA_DISABLE="armada-cli")
    assert json.loads(output) == [
        {
            "kind": "teacher",
            "name": "bell",
            "summary": "The bell",
            "provides": ["audio"],
            "plugin": "kitchen",
            "distribution": "armada-kitchen",
            "version": "1.0",
            "missing_packages": ["no-such-package==9.9"],
        }
    ]


def test_the_singular_of_a_kind_is_understood(armada, kitchen):
    assert armada("list", "loss", path=(kitchen,)) == armada("list", "losses", path=(kitchen,))


def test_show_prints_options_with_type_default_and_meaning(armada, kitchen):
    status, output, errors = armada("show", "teacher", "bell", path=(kitchen,))
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    assert lines[:5] == [
        "bell (teacher): The bell",
        "provides\taudio",
        "plugin\tkitchen of armada-kitchen 1.0",
        lines[3],
        "install with\tpip install 'no-such-package==9.9'",
    ]
    assert lines[3].startswith("needs\tarmada-cli (installed: ")
    assert lines[3].endswith("), no-such-package==9.9 (not installed)")
    assert "reference\tA cook book" in lines
    assert lines[lines.index("option\ttype\tdefault\tmeaning") + 1 :][:10] == [
        "heat\ta whole number\t180\tDegrees (at least 50, at most 300)",
        "fan\ttrue or false\tfalse\tCirculate the air",
        "salt\ta number\t0.5\tGrams per portion (above 0, below 10)",
        "herb\ttext\tthyme\tWhat goes on top (one of thyme, sage, rosemary)",
        "size\tone of small, large\tsmall\tOf the tray",
        "racks\ta list of whole numbers\t[1]\tWhich racks are used (at least 0)",
        "notes\ta mapping to texts or null\tnull\tFree words by topic",
        "timer\ta whole number or null\tnull\tMinutes; null: until done",
        "sauce\tany value\tplain\tAny value",
        "cookbook\ttext or null\tnull\tA file",
    ]
    assert lines[-1] == "teacher: {name: bell, heat: 180, fan: false}"


def test_show_marks_required_options(armada, kitchen):
    _, output, _ = armada("show", "task", "rows", "--json", path=(kitchen,))
    record = json.loads(output)
    assert (record["options"][0]["name"], record["options"][0]["required"], record["options"][0]["default"]) == (
        "file",
        True,
        "required",
    )
    assert record["example"] == "tasks:\n  - {name: rows, file: ..., kind_: classification}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", "teechers"), "armada: unknown kind 'teechers'. Did you mean 'teachers'?\n"),
        (("list", "wibble"), "armada: unknown kind 'wibble'. Known are teachers, students, tasks, losses, methods, recipes\n"),
        (("show", "student", "raeder"), "armada: unknown student 'raeder'. Did you mean 'reader'?\n"),
        (("show", "studnt", "reader"), "armada: unknown kind 'studnt'. Did you mean 'student'?\n"),
        (("show", "recipe", "no-such-recipe-at-all"), "armada: unknown recipe 'no-such-recipe-at-all'. `armada list recipes` shows what there is\n"),
        (("show", "task"), "armada: missing argument 'NAME'. `armada show --help` shows what it takes\n"),
    ],
)  # fmt: skip
def test_a_name_that_is_wrong_is_one_line(armada, kitchen, arguments, message):
    assert armada(*arguments, path=(kitchen,), ARMADA_DISABLE="armada-cli") == (2, "", message)


def test_a_recipe_is_shown_as_it_is_written(armada, tmp_path):
    text = "title: Lunch\nsummary: For two\nstudent: reader # mine\n"
    (tmp_path / "lunch.yaml").write_text(text)
    assert armada("show", "recipe", "lunch.yaml") == (0, text, "")
    record = json.loads(armada("show", "recipe", "lunch.yaml", "--json")[1])
    assert (record["name"], record["title"], record["summary"], record["text"]) == ("lunch", "Lunch", "For two", text)


# fmt: off
BROKEN = (
    ("import no_such_module_here\n", "ModuleNotFoundError: No module named 'no_such_module_here'"),
    ("raise RuntimeError('two\\nlines')\n", "RuntimeError: two lines"),
    ("import sys\nsys.exit('leaving')\n", "SystemExit: leaving"),
    ("def broken(:\n", "SyntaxError: "),
    (HOOK + "@hookimpl\ndef armada_teachers():\n    raise ValueError('no bells')\n", "ValueError: no bells"),
    (HOOK + "@hookimpl\ndef armada_teachers():\n    return {'bell': 1}\n", "TypeError: armada_teachers() must return a list of Component, got dict"),
    (HOOK + "@hookimpl\ndef armada_teachers():\n    return ['bell']\n", "TypeError: armada_teachers() must return a list of Component, got a list with str"),
    (HOOK + "@hookimpl\ndef armada_teachers():\n    return None\n", "TypeError: armada_teachers() must return a list of Component, got NoneType"),
    (HOOK + "@hookimpl\ndef armada_teachers():\n    return [Component('Bell!', '', 'a:B')]\n", "ValueError: component name 'Bell!' is not lower-case words joined by hyphens"),
    (HOOK + "@hookimpl\ndef armada_teachers():\n    return [Component('bell', '', 'a.B')]\n", "ValueError: target 'a.B' of 'bell' is not of the form 'package.module:Class'"),
    (HOOK + "@hookimpl\ndef armada_techers():\n    return []\n", "PluginValidationError: unknown hook 'armada_techers' in plugin "),
    (HOOK + "@hookimpl\ndef armada_teachers(config):\n    return []\n", "PluginValidationError: Plugin 'armada-broken:{name}' for hook 'armada_teachers' "),
    (HOOK + "@hookimpl\ndef armada_teachers():\n    return [Component('bell', '', 'a:B')] * 2\n", "ValueError: it registers 'bell' twice"),
    (HOOK + "@hookimpl\ndef armada_teachers():\n    return [Component('bell', '', 'a:B', requires_armada=999)]\n", "ValueError: 'bell' is written for contract 999, this armada has "),
)
# fmt: on
"""Source of a module, and how the line about it goes on."""


def test_each_broken_plugin_is_one_line_and_stops_nothing_else(armada, tmp_path, kitchen):
    modules = {f"armada_bad_{number}": source for number, (source, _) in enumerate(BROKEN)}
    entries = {f"bad-{number:02d}": module for number, module in enumerate(modules)}
    broken = write_distribution(tmp_path / "broken", "armada-broken", modules, entries)
    status, output, errors = armada("list", "teachers", path=(broken, kitchen))
    assert status == 0
    assert "bell\tThe bell\taudio\tkitchen (armada-kitchen)" in output.splitlines()
    lines = errors.splitlines()
    assert len(lines) == len(BROKEN)
    for name, line, (_, cause) in zip(entries, lines, BROKEN, strict=True):
        assert line.startswith(f"armada: plugin {name!r} of armada-broken 1.0 is skipped: {cause.format(name=name)}")
    status, output, errors = armada("plugins", "--json", path=(broken, kitchen))
    assert (status, errors) == (0, "")
    records = {item["plugin"]: item for item in json.loads(output)}
    assert records["kitchen"]["state"] == "ok"
    for (name, module), (_, cause) in zip(entries.items(), BROKEN, strict=True):
        record = records[name]
        assert (record["distribution"], record["version"], record["module"]) == ("armada-broken", "1.0", module)
        assert (record["state"], record["registers"]) == ("broken", [])
        assert record["error"].startswith(cause.format(name=name))


def test_an_entry_point_without_a_module_is_told_by_name(armada, tmp_path):
    broken = write_distribution(tmp_path / "broken", "armada-broken", {}, {"bad": "armada_gone"})
    _, output, _ = armada("plugins", path=(broken,))
    row = next(line.split("\t") for line in output.splitlines() if line.startswith("bad\t"))
    assert (row[:3], row[4:]) == (
        ["bad", "armada-broken 1.0", "armada_gone"],
        ["broken", "ModuleNotFoundError: No module named 'armada_gone'"],
    )


def test_a_component_of_a_broken_plugin_fails_with_that_plugins_error(armada, tmp_path):
    broken = write_distribution(
        tmp_path / "b", "armada-teacher-rhyme", {"armada_rhyme": "1 / 0\n"}, {"teacher-rhyme": "armada_rhyme"}
    )
    status, _, errors = armada("show", "teacher", "rhyme", path=(broken,))
    assert status == 2
    assert errors.splitlines()[-1] == (
        "armada: unknown teacher 'rhyme'. A plugin that could not be loaded may bring it: "
        "plugin 'teacher-rhyme' of armada-teacher-rhyme: ZeroDivisionError: division by zero"
    )


def test_strict_stops_at_a_broken_plugin_but_plugins_still_shows_it(armada, tmp_path):
    broken = write_distribution(tmp_path / "broken", "armada-broken", {"armada_bad": "1 / 0\n"}, {"bad": "armada_bad"})
    assert armada("list", "teachers", path=(broken,), ARMADA_STRICT="1") == (
        2,
        "",
        "armada: plugin 'bad' of armada-broken 1.0 is skipped: ZeroDivisionError: division by zero. "
        "Mend or uninstall it, or unset ARMADA_STRICT\n",
    )
    status, output, _ = armada("plugins", path=(broken,), ARMADA_STRICT="1")
    assert status == 0
    assert "ZeroDivisionError: division by zero" in output


def test_two_distributions_with_one_name_are_told_apart(armada, tmp_path):
    bell = HOOK + "@hookimpl\ndef armada_teachers():\n    return [Component('bell', 'From {0}', 'a:B')]\n"
    paths = tuple(
        write_distribution(tmp_path / name, f"armada-{name}", {f"armada_{name}": bell.format(name)}, {name: f"armada_{name}"})
        for name in ("north", "south")
    )
    _, output, errors = armada("list", "teachers", path=paths)
    assert [line for line in output.splitlines() if line.startswith("bell\t")] == [
        "bell\tFrom north\t\tnorth (armada-north)",
        "bell\tFrom south\t\tsouth (armada-south)",
    ]
    assert errors == ""
    assert armada("show", "teacher", "bell", path=paths) == (
        2,
        "",
        "armada: teacher 'bell' is brought by two distributions. Name one of them: 'armada-north:bell' or 'armada-south:bell'\n",
    )
    assert armada("show", "teacher", "armada-south:bell", path=paths)[1].startswith("bell (teacher): From south\n")


def test_a_built_in_is_not_shadowed_silently(armada, tmp_path):
    source = HOOK + "@hookimpl\ndef armada_methods():\n    return [Component('undistilled', 'Mine', 'a:B')]\n"
    mine = write_distribution(tmp_path / "mine", "armada-mine", {"armada_mine": source}, {"mine": "armada_mine"})
    status, _, errors = armada("show", "method", "undistilled", path=(mine,))
    assert status == 2
    assert "'armada-cli:undistilled' or 'armada-mine:undistilled'" in errors


def test_a_disabled_plugin_vanishes_from_lists_and_is_shown_as_disabled(armada, kitchen):
    _, output, _ = armada("list", "students", path=(kitchen,), ARMADA_DISABLE="kitchen")
    assert "reader" not in [line.split("\t")[0] for line in output.splitlines()]
    _, output, _ = armada("plugins", "--json", path=(kitchen,), ARMADA_DISABLE="kitchen")
    assert next(item["state"] for item in json.loads(output) if item["plugin"] == "kitchen") == "disabled"


def test_a_built_in_whose_entry_point_is_removed_vanishes(armada, tmp_path):
    """An older copy of armada's metadata, first on the path, takes the place of the installed one."""
    own = write_distribution(tmp_path / "own", "armada-cli", {}, {"core": "armada_cli.builtins"}, version="0.0.1")
    _, output, errors = armada("list", path=(own,))
    kinds = {line.split("\t")[0] for line in output.splitlines()}
    assert kinds - {"recipe"} == {"loss", "method"}
    assert errors == ""


def test_plugins_says_what_each_brings_and_how_long_it_takes(armada, kitchen):
    _, output, _ = armada("plugins", path=(kitchen,))
    rows = {line.split("\t")[0]: line.split("\t") for line in output.splitlines()}
    row = rows["kitchen"]
    assert row[1:3] == ["armada-kitchen 1.0", "armada_kitchen"]
    assert row[3].endswith(" ms")
    assert float(row[3].removesuffix(" ms")) > 0
    assert row[4:] == [
        "ok",
        "teacher: bell; student: reader, talker, oven; task: sorting, storytelling, rows; loss: flat; method: alone, taught, fussy",
    ]


def test_a_summary_that_looks_like_markup_is_printed_as_it_is(tmp_path):
    pty = pytest.importorskip("pty")
    source = (
        HOOK
        + "@hookimpl\ndef armada_losses():\n    return [Component('odd', '[red]not markup[/red]', 'a:B', provides={'manifold'})]\n"
    )
    odd = write_distribution(tmp_path / "odd", "armada-odd", {"armada_odd": source}, {"odd": "armada_odd"})
    leader, follower = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(odd), "COLUMNS": "100", "TERM": "xterm", "ARMADA_DISABLE": "armada-cli"}
    process = subprocess.Popen(
        [sys.executable, "-m", "armada_cli.main", "list", "losses"], stdout=follower, stderr=follower, env=environment
    )
    os.close(follower)
    seen = b""
    try:
        while block := os.read(leader, 4096):
            seen += block
    except OSError:  # how Linux says that the other end is closed
        pass
    assert process.wait(30) == 0
    text = seen.decode()
    assert "Losses" in text
    assert "[red]not markup[/red]" in text
    assert "─" in text
