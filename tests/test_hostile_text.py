"""Hostile text from every source of text, in every form that armada prints or writes: nothing raw comes out, nothing crashes.

The commands run in this process, once for a pipe and once for a terminal.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributions import write_distribution
from markdown_it import MarkdownIt
from report_runs import trial, trials, write_run
from running import Ended, plugins_changed, train

from armada_cli.features.identity import identity_key, input_hashes
from armada_cli.features.store import FeatureStore
from armada_cli.main import run
from armada_cli.reporting.report import write_reports

PARTS = {
    "window title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;http://evil.example\x1b\\here",
    "clear screen": "\x1b[2J\x1b[1;1H",
    "eight-bit sequence": "\x9b2Jx",
    "overwritten line": "all well\rdeleted",
    "backspaces": "safe\x08\x08\x08\x08evil",
    "reordered": "\u202egpj.exe\u2066",
    "other line ends": "one\u2028two\x0bthree\x85four",
    "half a pair": "caf\udce9",
    "nothing": "a\x00b\x7f",
    "markup": "tweets [/w noise] [bold]x[/bold] :smile: [link=http://evil.example]y[/link]",
    "Markdown": "![p](http://evil.example/p.png) [t](http://evil.example) <script>x</script> |`c` www.evil.example",
    "formula": "=HYPERLINK(\"http://evil.example\")",
    "LaTeX": r"[1cm] \input{secrets} % $x$ & # _ ^^5c",
    "two lines": "one\narmada: all is well",
    "braces": "{0} {task.description} %s %(a)s",
}  # fmt: skip
hostile = pytest.mark.parametrize("text", PARTS.values(), ids=PARTS)
ALL = " ".join(PARTS.values())
together = pytest.mark.parametrize(
    "text", [ALL, *(pytest.param(text, marks=pytest.mark.slow) for text in PARTS.values())], ids=["all", *PARTS]
)
"""All in one text, and with the slow tests each by itself."""

RAW = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")
OURS = re.compile(r"\x1b\[(\d+(;\d+)*)?m|\x1b\[\?25[lh]|\x1b\[\d*A|\x1b\[2K|\r(?=\x1b|\n)")
"""What rich sends itself: colours, and the movements of its bars."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def armada(*arguments: str | Path, stream: type[io.StringIO] = io.StringIO) -> Ended:
    out, err = stream(), stream()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run([str(argument) for argument in arguments])
    return Ended(status, out.getvalue(), err.getvalue())


def both(*arguments: str | Path) -> Iterator[Ended]:
    for stream in (io.StringIO, Terminal):
        ended = armada(*arguments, stream=stream)
        for text in (ended.out, ended.err):
            seen = OURS.sub("", text) if stream is Terminal else text
            assert not RAW.search(seen), (arguments, RAW.search(seen))
            assert not re.search("^armada: all is well", seen, re.MULTILINE), arguments
        yield ended


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")


# ----------------------------------------------------------------------------------------------------- words of a command


@together
def test_what_was_typed_comes_back_harmless(tmp_path: Path, text: str):
    if "\x00" in text:
        text = text.replace("\x00", "\x01")  # no command line holds it
    runs = ("--runs", tmp_path)
    for arguments in (
        (text,),
        ("--" + text,),
        ("run", text, *runs),
        ("check", text + ".yaml", *runs),
        ("check", "quickstart", "--set", text, *runs),
        ("check", "quickstart", "--set", f"{text}=1", *runs),
        ("check", "quickstart", "--set", f"seeds={text}", *runs),
        ("list", text),
        ("show", "teacher", text),
        ("show", text, text),
        ("copy", text),
        ("report", text, *runs),
        ("report", "--format", text),
        ("features", "prune", "--teacher", text, *runs),
        ("features", "export", tmp_path / "x", "--identity", text, *runs),
        ("features", "import", tmp_path / "none" / text.replace("/", "")[:50], *runs),
        ("export", text, "--output", tmp_path / "o", *runs),
        ("verify", "teacher", text, *runs),
        ("new", "teacher", text, "--output", tmp_path / "n"),
        ("run", "quickstart", "--device", text, *runs),
        ("run", "quickstart", "--workers", text, *runs),
    ):
        for ended in both(*arguments):
            assert ended.status == 2, (arguments, ended)
            assert ended.err.startswith("armada: ") or ": " in ended.err
            if not ended.err.rstrip().endswith("problem"):
                assert ended.err.count("\n") == 1, ended.err


# ------------------------------------------------------------------------------------------------------------ recipes


@together
def test_a_recipe_is_shown_and_checked_harmlessly(tmp_path: Path, recipe: Callable[..., Path], text: str):
    quoted = json.dumps(text)
    path = recipe(title=quoted, summary=quoted, tasks=recipe_tasks(recipe, quoted))
    for command in (("show", "recipe"), ("check",), ("check", "--json"), ("show", "--json", "recipe")):
        for ended in both(*command, path, *(("--runs", tmp_path / "runs") if command[0] == "check" else ())):
            assert ended.status in (0, 2)
            if "--json" in command and ended.status == 0:
                json.loads(ended.out)


@together
@pytest.mark.parametrize("key", ["student", "teacher", "tasks", "methods", "train", "seeds", "device", "extends"])
def test_a_wrong_value_comes_back_harmless(recipe: Callable[..., Path], key: str, text: str):
    path = recipe(**{key: json.dumps(text)})
    for ended in both("check", path):
        assert ended.status == 2
        assert ended.err.rstrip().endswith(("problem", "problems")) or ended.err.count("\n") == 1


def recipe_tasks(recipe: Callable[..., Path], name: str) -> str:
    line = next(line for line in recipe().read_text(encoding="utf-8").splitlines() if line.startswith("tasks: "))
    return line.removeprefix("tasks: ").replace("as: words", f"as: {name}")


def test_file_names_of_any_bytes_are_shown(tmp_path: Path, recipe: Callable[..., Path]):
    for name in ("\x1b[2J.yaml", "caf\udce9.yaml", "a\nb.yaml", "=\u202e.yaml"):
        path = tmp_path / name
        path.write_bytes(recipe().read_bytes())
        for command in (("show", "recipe"), ("check",), ("check", "--json")):
            list(both(*command, path))


# ------------------------------------------------------------------------------------------------------------- plugins

CARDS = """
    from dataclasses import dataclass

    from armada_cli import Component, hookimpl, option

    TEXT = {text}


    @dataclass(frozen=True)
    class Options:
        value: str = option(TEXT, TEXT)


    @hookimpl
    def armada_losses():
        return [
            Component(
                "odd-loss", TEXT, "armada_odd:Loss", Options, frozenset({{TEXT, "class"}}), requires=(TEXT,), reference=TEXT
            )
        ]
"""
BROKEN = """
    raise ImportError({text})
"""


@together
def test_a_plugins_words_are_shown_harmlessly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str):
    cards = CARDS.format(text=ascii(text))
    write_distribution(tmp_path, "armada-odd", {"armada_odd": cards}, {"odd": "armada_odd"}, version="1\x1b[2J")
    broken = BROKEN.format(text=ascii(text))
    write_distribution(tmp_path, "armada-bad", {"armada_bad": broken}, {"bad\x1b": "armada_bad"})
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("ARMADA_DISABLE", text.replace("\x00", ""))
    with plugins_changed():
        for command in (("list",), ("list", "losses"), ("show", "loss", "odd-loss"), ("plugins",)):
            for more in ((), ("--json",)):
                for ended in both(*command, *more):
                    assert ended.status in (0, 2), ended
                    if more and ended.status == 0:
                        json.loads(ended.out)


# ------------------------------------------------------------------------------------------------------------ features


@hostile
def test_an_imported_identity_is_shown_harmlessly(tmp_path: Path, text: str):
    if "\udce9" in text:
        pytest.skip("a key is a hash of UTF-8")
    identity = {"name": text, "options": {text: text, "list": [text]}}
    for number, place in enumerate(("from", "to")):
        store = FeatureStore(tmp_path / place / "features.db")
        if not number:
            store.put(identity, input_hashes([text]), np.ones((1, 4), np.float32))
        store.close()
    file, origin, target = tmp_path / "carried.safetensors", tmp_path / "from", tmp_path / "to"
    for number, ended in enumerate(both("features", "export", file, "--runs", origin)):
        assert ended.status == 0 or number, ended  # the second time the file is there
    for command in (("import", file), ("list",), ("list", "--json"), ("prune", "--all", "--dry-run"), ("verify",)):
        for ended in both("features", *command, "--runs", target):
            assert ended.status == 0, ended
            if "--json" in command:
                assert json.loads(ended.out)[0]["description"] == identity
    key = identity_key(identity)
    for ended in both("features", "prune", "--identity", key, "--teacher", text + "x", "--runs", target):
        assert ended.status == 2


# ------------------------------------------------------------------------------------------------------------- reports


def hostile_run(root: Path, text: str) -> Path:
    """A run whose every text is `text`."""
    more: dict[str, Any] = {
        **{key: text for key in ("group", "metric", "student", "student_name", "teacher", "teacher_name")},
        "options": {text: text},
        "components": {text: text},
        "rows": {text: 3, "train": 5, "validation": 6},
    }
    result = {
        "warnings": [text],
        "auxiliary": {text: 1.0},
        "fits": {text: {text: 2.0}},
        "parameters": {"student": 5, "own": {text: 5}},
        "precision": text,
        "scored_in": text,
        "epochs": [{text: text}],
    }
    entries = [
        *trials("cola", text, [18.2, 19.6], result=result, method_name=text, **more),
        *trials("cola", "undistilled", [17.2, 19.5], result=result, **{**more, "teacher": None}),
        *trials("cola", f"armada {text}", [20.2, 21.4], result=result, **more),
        *trials("cola", f"armada {text} control=shuffled", [20.1, 21.4], result=result, **more, control="shuffled"),
        trial("cola", "armada", 0, status="failed", reason=text, **more),
        trial("cola", "armada", 1, status=text, reason=text, **more),
    ]
    for number, entry in enumerate(entries):
        entry |= {"id": f"trial{number}", "task": text}
    provenance = {
        "versions": {text: text},
        "components": [{"plugin": text, "distribution": text, "version": text, "kind": text, "name": text}],
        "teachers": [{"name": text, "identity": {text: text}, "key": text}],
        "stages": [{"stage": text, "wall": 1.0}],
        **{key: text for key in ("python", "platform", "cpu", "git", "other")},
    }
    words = {key: text for key in ("title", "summary", "command", "recipe", "started", "finished")}
    return write_run(root, entries, provenance=provenance, smoke=True, **words)


@pytest.mark.parametrize("format", ["rich", "txt", "md", "csv", "latex", "json", "html"])
@hostile
def test_a_report_is_harmless_in_every_form(tmp_path: Path, format: str, text: str):
    hostile_run(tmp_path, text)
    for ended in both("report", "hand", "--runs", tmp_path, "--format", format):
        assert (ended.status, ended.err) == (0, "")
        CHECKS.get(format, len)(ended.out)
    for ended in both("report", "hand", "--runs", tmp_path, "--format", format, "--output", tmp_path / "out"):
        assert ended.status == 0 or "is there" in ended.err, ended
    written = (tmp_path / "out").read_text(encoding="utf-8")
    assert not RAW.search(written)
    CHECKS.get(format, len)(written)


def check_markdown(page: str) -> None:
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(page)
    structure = {"h1", "h2", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "br", "strong", "em", "blockquote"}
    assert set(re.findall(r"</?(\w+)", html)) <= structure | {"code"}
    assert html.count("<h1>") == 1
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        assert len({row.count("<td>") + row.count("<th>") for row in table.split("</tr>")[:-1]}) == 1
    assert not re.search(r"https?://|www\.", page)


def check_csv(page: str) -> None:
    rows = list(csv.reader(io.StringIO(page)))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert not [cell for row in rows for cell in row if cell[:1] in "=+-@\t\r" and cell and not is_number(cell)]
    assert [row for row in rows[1:] if is_number(row[rows[0].index("mean")])]


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def check_latex(page: str) -> None:
    for line in page.splitlines():
        assert not line.startswith(("[", "*"))
    assert r"\input{" not in page
    assert "^^" not in page
    assert page.count(r"\begin{tabular}") == page.count(r"\end{tabular}") > 0
    rows = [line for line in page.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    body = page.partition(r"\end{tabular}")[0]
    first = [line for line in rows if line in body]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in first}) == 1


PAGE_TAGS = set(
    [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "h1",
        "h2",
        "h3",
        "p",
        "main",
        "section",
        "div",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "button",
        "br",
        "small",
        "strong",
        "figure",
        "figcaption",
        "svg",
        "polyline",
        "ul",
        "li",
        "details",
        "summary",
        "script",
        "span",
        "i",
    ]
)


def check_page(page: str) -> None:
    """Nothing that a stranger wrote is a tag, an attribute or a script of the page."""
    tags = re.findall(r"<(\w+)", page.partition("<script>")[0])
    assert set(tags) <= PAGE_TAGS, set(tags) - PAGE_TAGS
    assert page.count("<script>") == page.count("<style>") == 1
    assert not re.search(r"<[^>]+\s(on\w+|src|href|srcset|action)\s*=", page)


CHECKS: dict[str, Callable[[str], object]] = {
    "md": check_markdown,
    "csv": check_csv,
    "latex": check_latex,
    "json": json.loads,
    "html": check_page,
}


def test_the_list_of_runs_is_harmless(tmp_path: Path):
    hostile_run(tmp_path, ALL.replace("\n", " "))
    (tmp_path / "bad\x1b[2J").mkdir()
    (tmp_path / "bad\x1b[2J" / "run.json").write_text("{")
    for ended in both("report", "--runs", tmp_path):
        assert ended.status == 0


def test_the_files_beside_a_run_are_harmless(tmp_path: Path):
    folder = hostile_run(tmp_path, ALL)
    write_reports(folder)
    for name in ("report.txt", "report.md", "report.json", "report.html"):
        assert not RAW.search((folder / name).read_text(encoding="utf-8"))
    data = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert data["run"]["title"] == ALL  # JSON keeps what it was


# --------------------------------------------------------------------------------------------------------------- runs


def test_a_run_with_hostile_names_ends_as_any_other(tmp_path: Path, recipe: Callable[..., Path]):
    """Bars on a terminal took a title for markup: `tweets [/w noise]` ended the run."""
    name = json.dumps("tweets [/w noise] \x1b]0;owned\x07")
    brief = {"methods": "[undistilled]", "train": "{epochs: 1, batch_size: 48, lr: 1e-3, max_length: 32}"}
    path = recipe(title=name, tasks=recipe_tasks(recipe, name), **brief)
    ended = armada("run", path, "--runs", tmp_path / "runs", "--workers", "0", stream=Terminal)
    assert ended.status == 0, ended.err
    assert "tweets [/w noise]" in ended.out
    assert "tweets [/w noise]" in ended.err
    assert "\x1b]" not in ended.out + ended.err


def test_a_reason_and_a_warning_are_one_line_of_the_log(tmp_path: Path, recipe: Callable[..., Path], monkeypatch):
    from armada_cli.execution import trial as module

    def fail(*_: object, **__: object) -> None:
        raise ValueError(ALL)

    monkeypatch.setattr(module, "run_trial", fail)
    ended = train(recipe(), tmp_path / "runs")
    assert ended.status == 1
    assert not RAW.search(ended.err + ended.out)
    assert not any(line.startswith("armada: all is well") for line in ended.err.splitlines())


NOISY = """
    import sys

    from armada_cli import Component, NoOptions, hookimpl


    @hookimpl
    def armada_losses():
        return []


    print("\\u96fe \\u00b1 \\x1b]0;owned\\x07", file=sys.stderr)
    print("\\u96fe \\u00b1 \\x1b]0;owned\\x07")
"""


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1:strict", "utf-8:strict"])
def test_a_worker_prints_what_its_stream_can_hold(tmp_path: Path, recipe: Callable[..., Path], encoding: str):
    """A spawned worker has streams of its own: a line that ASCII lacks failed its trial."""
    write_distribution(tmp_path / "noisy", "armada-noisy", {"armada_noisy": NOISY}, {"noisy": "armada_noisy"})
    path = recipe(methods="[undistilled]", train="{epochs: 1, batch_size: 48, lr: 1e-3, max_length: 32}")
    done = subprocess.run(
        [sys.executable, "-m", "armada_cli", "run", path, "--runs", tmp_path / "runs", "--workers", "1"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "noisy"), "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(b"\\x1b]0;owned\\x07") >= 4  # twice here, twice in the worker
    assert b"\x1b" not in done.stdout + done.stderr


WORKER = """
import multiprocessing, os, sys, types
sys.modules["armada_cli.execution.trial"] = types.SimpleNamespace(failure_line=None, run_trial=None)
from armada_cli.execution.pool import serve
ours, theirs = multiprocessing.Pipe()
ours.close()
serve(theirs, {"runs": "runs", "data": None, "offline": True, "device": "cpu", "local_code": False}, os.getppid())
print("\u96fe \u00b1 \x1b]0;owned\x07")
"""


@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1:strict", "cp1252:strict", "utf-8:strict"])
def test_a_workers_streams_hold_any_line(encoding: str):
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(rb"\x1b]0;owned\x07")


# -------------------------------------------------------------------------------------------------------- JSON and ASCII


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252:strict", "utf-8"])
def test_json_is_whole_in_every_encoding(tmp_path: Path, encoding: str):
    hostile_run(tmp_path, "雾 ± \x1b \u202e")
    (tmp_path / "own.yaml").write_text("title: 雾里 ± ─ 🙂\nextends: quickstart\n", encoding="utf-8")
    for arguments, read in (
        (("report", "hand", "--runs", ".", "--format", "json"), lambda data: data["run"]["title"] == "雾 ± \x1b \u202e"),
        (("show", "recipe", "own.yaml", "--json"), lambda data: data["title"] == "雾里 ± ─ 🙂"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "armada_cli", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            timeout=120,
            check=True,
        )
        assert read(json.loads(done.stdout.decode(encoding.partition(":")[0])))
