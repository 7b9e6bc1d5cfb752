"""`armada list`, `show` and `plugins`, run as a user runs them. What becomes of plugins that are not well is in test_host.py."""

# ruff: noqa: E501  (the expected lines stand whole, as a user sees them)

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from distributions import write_distribution, write_kitchen

HOOK = "from armada_cli import Component, hookimpl\n"


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


def test_show_tells_how_a_method_can_be_shown_its_teachers_vectors(armada):
    _, output, _ = armada("show", "method", "armada", path=())
    assert "features.control\ttext\tnone\tshuffled: h_t permuted over the examples; noise: " in output
    (setting,) = json.loads(armada("show", "method", "armada", "--json", path=())[1])["features"]
    assert (setting["name"], setting["default"]) == ("control", "none")
    assert "features.control" not in armada("show", "method", "undistilled", path=())[1]


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
