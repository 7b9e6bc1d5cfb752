"""A recipe may be damaged, huge or hostile: it is a plan or a line with a place, soon."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import mutated_recipes
import pytest
from mutated_recipes import Mutant

from armada_cli.recipe.tree import shorten

SOUND = "student: bert-6l\ntasks: [sst2]\nmethods: [undistilled]\n"
Check = Callable[..., list[str]]

pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with the files that mutated recipes name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    mutated_recipes.prepare(tmp_path)
    return tmp_path


@pytest.fixture
def complaints(folder) -> Check:
    """The lines that `armada check` says of a recipe; a plan is none."""

    def check(text: str | bytes, *overrides: str, name: bytes = b"r.yaml") -> list[str]:
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        mutant = Mutant(0, data, overrides, name)
        outcome = mutated_recipes.check(mutant, folder)
        assert mutated_recipes.fault(mutant, outcome) == ""
        return outcome.said.splitlines() if outcome.status else []

    return check


@pytest.mark.parametrize("number", ["0x_", "0o_", "0b__", "-0x_"])
def test_a_prefix_without_digits_is_text(complaints: Check, number: str) -> None:
    assert complaints(f"title: {number}\n{SOUND}") == []


@pytest.mark.parametrize("sign", ["", "-", "+"])
@pytest.mark.parametrize(
    "digits",
    ["0x" + "f" * 4_000, "0b" + "1" * 15_000, "9" * 5_000, "1_" * 3_000 + "1", "0" * 5_000, "9" * 19, "1e400", "." + "9" * 400],
)
def test_a_number_that_is_too_large_is_one_short_line(complaints: Check, digits: str, sign: str) -> None:
    line = complaints(f"{SOUND}seeds: {sign}{digits}\n")[0]
    assert line.startswith("r.yaml:4:8: the number is too large: '")
    assert len(line) < 200


def test_the_largest_number_is_that_of_sixty_four_bits(complaints: Check) -> None:
    assert "seeds.0 must be at least 0 and at most 4294967295" in complaints(f"{SOUND}seeds: [{2**63 - 1}]\n")[0]
    assert "the number is too large" in complaints(f"{SOUND}seeds: [{2**63}]\n")[0]


@pytest.mark.parametrize("index", ["²", "½", "५", "9" * 5_000, "-1", "+1", " ", "1e3", "0x1"])
def test_an_index_that_is_none_is_one_line(complaints: Check, index: str) -> None:
    line = complaints(SOUND, f"methods.{index}=armada")[0]
    assert line.startswith("--set methods.")
    assert len(line) < 400


def test_an_index_with_leading_zeros_is_an_index(complaints: Check) -> None:
    assert complaints(SOUND, "methods.00=undistilled") == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("a." * 5_000 + "b=1", "an override's key has at most 10 parts"),
        ("train.epochs=" + "9" * 5_000, "the number is too large"),
        ("x" * 100_000 + "=1", "unknown key"),
        ("title=" + "[" * 5_000, "nested more than 20 deep"),
        ('title="\\0"', "a character that no text may hold, '\\x00'"),
        ("\udcff=1", "unknown key"),
        ("title=\udcff", "a character that YAML does not allow"),
        ("\x1b[31m=1", "unknown key: '\\x1b[31m'"),
    ],
)
def test_an_override_of_any_length_is_one_short_line(complaints: Check, override: str, message: str) -> None:
    line = complaints(SOUND, override)[0]
    assert message in line
    assert len(line) < 500
    assert line.isprintable() or "\udcff" in line


@pytest.mark.parametrize("nested", ["[" * 330 + "]" * 330, "{a: " * 330 + "1" + "}" * 330, "[" * 100_000])
def test_what_nests_too_deep_is_told_where(complaints: Check, nested: str) -> None:
    assert "more than 20 deep" in complaints(f"{SOUND}title:\n{'- ' * 100_000}x\n")[0]
    for text in (f"{SOUND}title: {nested}", f"{SOUND}teacher: {{name: ensemble, teachers: {nested}}}"):
        line = complaints(text)[0]
        assert "lists and mappings are nested more than 20 deep. A recipe needs four levels" in line
        assert line.startswith(("r.yaml:4:", "r.yaml:5:"))


@pytest.mark.parametrize("text", ["title: {}\n" + SOUND, SOUND + "features: {{reduce: {}}}", SOUND + "{}: 1"])
def test_a_value_of_any_length_is_one_short_line(complaints: Check, text: str) -> None:
    lines = complaints(text.format("x" * 100_000))
    assert lines
    assert max(map(len, lines)) < 400


@pytest.mark.parametrize(
    ("escape", "message"),
    [
        ("\\0", "r.yaml:1:8: a character that no text may hold, '\\x00'"),
        ("\\ud800", "r.yaml:1:8: a character that no text may hold, '\\ud800'"),
        ("\\UFFFFFFFF", "r.yaml:1:11: not YAML: an escape or a version that does not exist"),
        ("\\U00110000", "r.yaml:1:11: not YAML: an escape or a version that does not exist"),
    ],
)
def test_a_character_that_no_file_can_hold_is_refused(complaints: Check, escape: str, message: str) -> None:
    assert complaints(f'title: "{escape}"\n{SOUND}')[0].startswith(message)


def test_a_version_of_thousands_of_digits_is_one_line(complaints: Check) -> None:
    assert "not YAML: an escape or a version that does not exist" in complaints("%YAML " + "9" * 5_000 + ".1\n---\n" + SOUND)[0]


def test_thousands_of_unknown_keys_end_after_a_hundred(complaints: Check) -> None:
    lines = complaints(SOUND + "".join(f"method{number}: 1\n" for number in range(2_000)))
    assert len(lines) == 101
    assert lines[0].startswith("r.yaml:4:1: unknown key: 'method0'. Did you mean 'methods'")
    assert lines[-1] == "100 problems, and the recipe was not read further"


def test_one_problem_met_again_and_again_ends_too(complaints: Check) -> None:
    wrong = f"&wrong {{name: armada, {'k' * 90}: 1}}"
    lines = complaints(f"student: bert-6l\nteacher: speecht5\ntasks: [sst2]\nmethods: [{wrong}{', *wrong' * 1_500}]\n")
    assert lines[-1] == "1 problem, and the recipe was not read further"


@pytest.mark.parametrize("values", ["[" + "1, " * 20_000 + "1]", "\n" + "- x\n" * 20_000])
def test_a_recipe_of_too_many_values_is_told_so(complaints: Check, values: str) -> None:
    assert any("the recipe holds more than 5000 values" in line for line in complaints(f"{SOUND}seeds: {values}"))


def test_a_list_of_too_many_components_is_told_by_its_count(complaints: Check) -> None:
    line = complaints("student: bert-6l\ntasks: [sst2]\nmethods: [" + "undistilled, " * 2_001 + "]\n")[0]
    assert line.startswith("r.yaml:3:10: methods is a list of 2001: ")


def test_grids_in_many_entries_are_counted_together(complaints: Check) -> None:
    betas = ", ".join(str(number / 1_000) for number in range(1, 1_200))
    methods = f"[{{name: armada, beta: [{betas}]}}, {{name: armada, gamma: [{betas}]}}]"
    text = f"student: bert-6l\nteacher: speecht5\ntasks: [sst2]\nmethods: {methods}\n"
    assert complaints(text)[0].startswith("r.yaml:4:10: methods is more than 2000 points, with all grids: ")


def test_a_product_of_lists_is_refused_by_its_count_before_it_is_unfolded(complaints: Check) -> None:
    betas = ", ".join(str(number / 1_000) for number in range(1, 101))
    text = (
        f"student: {{name: bert-6l, layers: [1, 2, 3, 4, 5, 6]}}\nteacher: [speecht5, pictures-offline]\n"
        f"tasks: [sst2, rte, cola]\nmethods: [{{name: armada, beta: [{betas}]}}]\nseeds: 1000\n"
    )
    (line,) = complaints(text)
    assert "r.yaml: it asks for 3600000 trials, and 10000 are the most. Shorten the longest of its lists and grids (" in line
    assert "6 students, 2 teachers, 3 tasks, 100 methods, 1000 seeds" in line


@pytest.mark.parametrize("cycle", ["&a [*a]", "&a {b: *a}", "&a {<<: *a}", "&a {<<: [*a, {b: 1}]}"])
def test_an_alias_inside_itself_is_one_line(complaints: Check, cycle: str) -> None:
    assert any("an alias contains itself" in line for line in complaints(f"{SOUND}train: {cycle}\n"))


@pytest.mark.parametrize("name", [b"\xff.yaml", b"\x1b[31m.yaml", b"a b.yaml", b"[b].yaml", b"-x.yaml", "é.yaml".encode()])
def test_a_file_of_any_name_is_a_plan_or_a_line(complaints: Check, name: bytes) -> None:
    complaints(SOUND, name=name)
    assert complaints("student: nobody\n", name=name)


@pytest.mark.parametrize(
    "name", ["~nosuchuser/x.yaml", "x" * 300, "x/" * 5_000 + "y", ".", "..", "./pipe", "/dev/null", "pipe.csv", "nobody"]
)
def test_a_base_that_cannot_be_is_one_line(complaints: Check, name: str) -> None:
    lines = complaints(f"extends: {name}\n")
    assert lines[0].startswith("r.yaml:1:10: ")


def test_a_long_chain_of_bases_is_one_line(complaints: Check, folder: Path) -> None:
    for number in range(30):
        (folder / f"b{number}.yaml").write_text(f"extends: b{number + 1}.yaml\n", encoding="utf-8")
    assert "more than 10 recipes extend each other, one the next" in complaints("extends: b0.yaml\n")[0]


@pipes
def test_a_named_pipe_is_no_recipe(folder: Path) -> None:
    from running import armada

    ended = armada("check", "./pipe")
    assert ended.status == 2
    assert "pipe cannot be read: not an ordinary file" in ended.complaint


def test_a_recipe_of_a_megabyte_is_refused_unread(complaints: Check) -> None:
    assert complaints("#" * (1 << 20))[0] == "armada: r.yaml is larger than 256 kB. Is it a recipe?"


def test_a_text_is_cut_before_it_is_worked_on() -> None:
    assert shorten("a b " * 1_000_000) == ("a b " * 15)[:59] + "…"
    assert shorten(" " * 5_000 + "a") == "…"


def test_mutated_recipes_give_a_plan_or_a_line(folder: Path) -> None:
    assert _faults(folder, range(40)) == {}


def _faults(folder: Path, numbers: range) -> dict[int, str]:
    """Number -> what went wrong, of those where something did. ``benchmarks/recipes.py`` runs 5,000."""
    texts = mutated_recipes.originals()
    faults = {}
    for number in numbers:
        mutant = mutated_recipes.mutate(number, texts)
        if said := mutated_recipes.fault(mutant, mutated_recipes.check(mutant, folder)):
            faults[number] = said[-1_000:]
    return faults


def test_a_mutant_is_the_same_each_time() -> None:
    texts = mutated_recipes.originals()
    assert [mutated_recipes.mutate(number, texts) for number in range(20)] == [
        mutated_recipes.mutate(number, texts) for number in range(20)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1_000, 4_000, 500))
def test_thousands_of_mutated_recipes_are_a_plan_or_lines_with_a_place(folder: Path, first: int) -> None:
    assert _faults(folder, range(first, first + 500)) == {}
