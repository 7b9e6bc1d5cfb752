"""Recipes as an attacker, a slip of the hand and a damaged disk leave them: shipped recipes, changed at random by a fixed seed.

`check` runs `armada check` on one of them in this process, and says what it did: a plan, or a complaint.
"""

from __future__ import annotations

# ruff: noqa: E501  (the tables of hostile words are denser to read in long lines)
import contextlib
import io
import os
import random
import re
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from armada_cli.main import run
from armada_cli.recipe.shipped import shipped_recipes

OWN = {
    "grid": """student: {name: bert-6l, layers: [1, 2]}
teacher: [{name: speecht5}, {name: precomputed, path: vectors.npy, ids: texts.txt}]
tasks: [{name: files, file: rows.csv, text: text, label: label, limit: {train: 8, validation: 4}}]
methods:
  - undistilled
  - {name: armada, manifold: {name: cosine}, beta: [0.5, 1], train: {lr: [1e-4, 2e-5]}}
train: {epochs: 1}
features: {reduce: none}
seeds: [0, 1]
""",
    "anchors": """student: {name: encoder, model: a/b}
teacher: speech-offline
tasks: [{name: files, file: rows.csv, train: &shared {epochs: 1, lr: 1e-3}}]
methods: [{name: armada, train: {<<: *shared, batch_size: 4}}, undistilled]
train: *shared
""",
    "child": "extends: quickstart\ntrain: {epochs: 1}\nmethods: [undistilled]\nseeds: 3\n",
    "ensemble": """student: {name: bert-base}
teacher: {name: ensemble, teachers: [{name: speecht5}, {name: stable-diffusion, steps: 5}], combine: aligners}
tasks: [sst2, rte]
methods: [armada]
""",
}
"""Recipes of few lines in which every construct occurs: grids, aliases, merge keys, `extends`, components inside others."""

VALUES = [
    "0x_", "0x" + "f" * 4_000, "0b" + "1" * 5_000, "0o7_7", "0b_", "9" * 5_000, "9" * 299, "-" + "9" * 30, "1_000", "0" * 4_000 + "x",
    "1e400", "-1e400", "1e-400", ".inf", "-.INF", ".nan", "nan", "Infinity", "-0", "+1", "007", "1.", ".5", "1e5", "0.0", "-1", "0", "1",
    "2024-01-01", "2024-01-01T00:00:00Z", "12:30:45", "yes", "no", "on", "~", "null", "true", "''", '""', "=", "<<", "?", "-", ": x", "!",
    "!!binary aGVsbG8=", "!!python/object/apply:os.system [id]", "!!int '3'", "!!set {a, b}", "!<tag> x", "!t!x y", "*shared", "*nobody",
    "&a [*a]", "&a {b: *a}", "&a {<<: *a}", "{<<: [{a: 1}, {b: 2}]}", "{<<: 3}", "[" * 330 + "]" * 330, "{a: " * 330 + "1" + "}" * 330,
    "[" * 5_000, "- " * 3_000 + "x", "[]", "{}", "[[]]", "[{}]", "{name: }", "{name: [a, b]}", "{name: armada}", "{name: undistilled, x: 1}",
    "{? [a] : b}", "{'': 1}", "{a: 1, a: 2}", "[1, [2, [3]]]", "[" + "1, " * 3_000 + "]", "[" + "x, " * 1_500 + "x]", "{" + ", ".join(f"k{i}: {i}" for i in range(900)) + "}",
    "x" * 300, "x" * 60_000, "'" + "y" * 25_000 + "'", "[" + ", ".join(map(str, range(1_001))) + "]", '"\\0"', '"\\ud800"', '"\\x1b[31m"', '"\\UFFFFFFFF"',
    '"\\u202e"', '"a\\nb"', '"\\t"', "/dev/zero", "/dev/stdin", "/dev/tty", "/proc/self/mem", "./pipe.csv", "./pipe", "/etc/passwd", "../../x",
    "~nosuchuser/x", "~", "~/", ".", "..", "/", "a/" * 3_000, "C:\\x", "file:///etc/passwd", "http://127.0.0.1:1/x", "CON", "quickstart", "armada",
    "cosine", "ensemble", "files", "sst2", "dolly", "speecht5", "encoder", "./model", "rows.csv", "linear", "[linear, cosine]", "[bf16, auto]",
    "{file: x.py, class: X}", "{class: X}", "{file: ./pipe, class: X}", "{name: files, file: ./pipe.csv}", "{name: dolly, split: ../../x}",
    "{name: ensemble, teachers: [ensemble]}", "{name: ensemble, teachers: []}", "[0, 0]", "2147483648", "4294967296", "9223372036854775807",
    "९", "²", "½", "\u2028", "\ufeff", "é" * 200, "日本", "\U0001f600", "a: b: c", "#x", "'open", '"open', "|\n  a", ">-\n  a", "@x", "`x", "%x", "\t1",
]  # fmt: skip
"""What a value is replaced with."""

KEYS = [
    "name", "as", "train", "limit", "seeds", "methods", "tasks", "student", "teacher", "features", "extends", "title", "summary", "epochs",
    "lr", "path", "file", "model", "layers", "manifold", "beta", "teachers", "<<", "?", "''", "file", "class", "x" * 500, "0", "1e400", "null", "!!int 3",
    "[a]", "{b: c}", "*shared", "&k key", "é", "²", "a.b", "split", "precision", "batch_size", "validation", "reduce", "width", "seed",
]  # fmt: skip

PATHS = [
    "methods.²", "methods.५", "methods." + "9" * 5_000, "methods.-1", "methods.0.beta", "methods.1", "methods.0.train.lr", "seeds", "seeds.0",
    "train.epochs", "train", "tasks.0.limit.train", "student.model", "student.0.0.0", "teacher.name", "title", "as", "extends", "", ".", "..",
    "a." * 40 + "b", "." * 500, "x" * 3_000, "methods.0." + "y" * 3_000, "\udcff", "methods.\udcff", "\x1b[31m", "train.\n", "a\0b", "limit", "features.width",
    "tasks.0", "tasks.0.name", "tasks.0.file", "methods.0.manifold", "methods.0.manifold.name", "teacher.teachers.0.name", "0", "methods.00", "methods.+1",
]  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One recipe, the overrides of its command line, and what the file is called."""

    number: int
    text: bytes
    overrides: tuple[str, ...]
    name: bytes


@dataclass(frozen=True)
class Outcome:
    """How `armada check` ended, in how many seconds of the processor (others use it too); `crash` is a traceback, empty where
    there is none."""

    status: int
    said: str
    seconds: float
    crash: str


def originals() -> list[str]:
    """The recipes that are changed, in a fixed order. Comments are left out: they are most of the text, and a change there
    changes nothing."""
    texts = [path.read_text(encoding="utf-8") for _, path in sorted(shipped_recipes().items())]
    return [re.sub(r"(?m)^#.*\n", "", text) for text in texts] + [*OWN.values()] * 3


def mutate(number: int, texts: list[str]) -> Mutant:
    """The mutant of a number: the same one each time."""
    chance = random.Random(number)
    text = chance.choice(texts)
    for _ in range(chance.choice((0, 1, 1, 1, 1, 1, 2, 3))):
        text = chance.choice(_CHANGES)(text, chance)
    data = text.encode("utf-8", "surrogatepass")
    if chance.random() < 0.05 and data:
        position = chance.randrange(len(data))
        damage = chance.choice((b"\xff", b"\x00", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1b[2J", b"\x85", b"\r"))
        data = data[:position] + damage + data[position + chance.randrange(2) :]
    overrides = [_override(chance) for _ in range(chance.choice((0, 0, 0, 0, 1, 2)))]
    name = chance.choice(
        (b"r.yaml",) * 20 + (b"\xff.yaml", b"\xc3\xa9.yaml", b"a b.yaml", b"\x1b[31m.yaml", b"-x.yaml", b"[b].yaml")
    )
    return Mutant(number, data, tuple(overrides), name)


def _override(chance: random.Random) -> str:
    key, value = chance.choice(PATHS), chance.choice(VALUES)
    return chance.choice((f"{key}={value}",) * 6 + (key, f"={value}", f"{key}=={value}", f"{key}= ", f"{key}\n={value}"))


def _replace_value(text: str, chance: random.Random) -> str:
    spots = [match.span() for match in re.finditer(r"(?<=[:\[,] )[^\n,\]\}\[\{]+", text)] or [(0, len(text))]
    begin, end = chance.choice(spots)
    return text[:begin] + chance.choice(VALUES) + text[end:]


def _replace_key(text: str, chance: random.Random) -> str:
    spots = [match.span() for match in re.finditer(r"[\w-]+(?=:)", text)] or [(0, 0)]
    begin, end = chance.choice(spots)
    return text[:begin] + chance.choice(KEYS) + text[end:]


def _insert_entry(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    place = chance.randrange(len(lines) + 1)
    lines.insert(place, " " * chance.choice((0, 0, 0, 2, 4)) + f"{chance.choice(KEYS)}: {chance.choice(VALUES)}")
    return "\n".join(lines)


def _insert_option(text: str, chance: random.Random) -> str:
    spots = [match.end() for match in re.finditer(r"\{", text)] or [0]
    place = chance.choice(spots)
    return text[:place] + f"{chance.choice(KEYS)}: {chance.choice(VALUES)}, " + text[place:]


def _drop_line(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    lines.pop(chance.randrange(len(lines)))
    return "\n".join(lines)


def _repeat_line(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    place = chance.randrange(len(lines))
    return "\n".join(lines[:place] + [lines[place]] * chance.choice((2, 3, 40, 3_000)) + lines[place + 1 :])


def _indent_line(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    place = chance.randrange(len(lines))
    lines[place] = chance.choice((" ", "  ", "\t", "- ", "? ", "    ")) + lines[place]
    return "\n".join(lines)


def _edit_character(text: str, chance: random.Random) -> str:
    place = chance.randrange(len(text) + 1)
    new = chance.choice([*"{}[]:,-#&*!|>'\"%@` \n\t.~=<?0aé", "", "\x7f", "\u2028", "\ufeff", "\ud800", "---\n", "...\n"])
    return text[:place] + new + text[place + chance.randrange(2) :]


def _cut(text: str, chance: random.Random) -> str:
    return text[: chance.randrange(len(text) + 1)]


def _alias_bomb(text: str, chance: random.Random) -> str:
    wide = chance.choice((3, 10, 100))
    levels = [f"b0: &b0 [{', '.join('x' * wide)}]"]
    levels += [f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * wide)}]" for n in range(1, chance.choice((3, 9)))]
    return "\n".join([*levels, text, f"{chance.choice(KEYS[:13])}: *b{len(levels) - 1}"])


def _many_keys(text: str, chance: random.Random) -> str:
    count, length = chance.choice(((150, 5), (1_500, 8), (2_400, 20), (60, 3_000)))
    where = chance.choice(("", "train:\n", "features:\n", "limit:\n"))
    return text + "\n" + where + "".join(f"{'  ' if where else ''}{'k' * length}{n}: {n}\n" for n in range(count))


def _big_grid(text: str, chance: random.Random) -> str:
    values = ", ".join(str(n / 1_000) for n in range(1, chance.choice((20, 1_990, 2_100))))
    seeds = chance.choice((1, 1_000, 10**9))
    return f"{text}\nmethods: [{{name: armada, beta: [{values}], gamma: [{values}]}}, {{name: armada, beta: [{values}]}}]\nseeds: {seeds}\n"


_CHANGES = [
    _replace_value, _replace_value, _replace_value, _replace_value, _replace_key, _insert_entry, _insert_entry, _insert_option, _insert_option,
    _drop_line, _repeat_line, _indent_line, _edit_character, _cut, _alias_bomb, _many_keys, _big_grid,
]  # fmt: skip


def prepare(folder: Path) -> None:
    """The files that the recipes name: a table, a folder that is no model yet, and named pipes, at which a reader would wait."""
    (folder / "rows.csv").write_text("text,label\n" + "".join(f"row {n},{'ab'[n % 2]}\n" for n in range(40)), encoding="utf-8")
    (folder / "texts.txt").write_text("".join(f"row {n}\n" for n in range(40)), encoding="utf-8")
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (40, 2), }".ljust(117) + "\n"
    (folder / "vectors.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00" + header.encode() + bytes(320))
    (folder / "model").mkdir(exist_ok=True)
    for name in ("pipe", "pipe.csv", "model/model.safetensors"):
        if hasattr(os, "mkfifo") and not (folder / name).exists():
            os.mkfifo(folder / name)


def check(mutant: Mutant, folder: Path) -> Outcome:
    """`armada check` of a mutant in a folder that `prepare` filled, which is the working directory."""
    path = folder / os.fsdecode(mutant.name)
    path.write_bytes(mutant.text)
    arguments = ["check", "--runs", str(folder / "runs")]
    for override in mutant.overrides:
        arguments += ["--set", override]
    out, err = io.StringIO(), io.StringIO()
    crash, status = "", -1
    start = time.process_time()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run([*arguments, "--", str(path)])
    except BaseException:
        crash = traceback.format_exc()
    seconds = time.process_time() - start
    path.unlink()
    return Outcome(status, out.getvalue() + err.getvalue(), seconds, crash)


def fault(mutant: Mutant, outcome: Outcome) -> str:
    """What is wrong with an outcome; empty for a plan, or for lines with places."""
    if outcome.crash:
        return outcome.crash
    if "Traceback" in outcome.said:
        return outcome.said
    if outcome.status == 0:
        return "" if "no problems" in outcome.said else f"no plan: {outcome.said[:200]!r}"
    if outcome.status != 2:
        return f"exit status {outcome.status}: {outcome.said[:200]!r}"
    lines = outcome.said.splitlines()
    if any(len(line) > 2_000 for line in lines):
        return f"a line of {max(map(len, lines))} characters: {max(lines, key=len)[:300]!r}"
    return "" if lines else "nothing was said"
