"""Whatever is printed by whichever way, no control character of a stranger reaches the terminal or the log."""

from __future__ import annotations

import ast
import io
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from armada_cli.console import GuardedStream, guarded_streams, make_console, make_text_column, print_line, show_bars

HOSTILE = "a\x1b]8;;http://evil.example\x07b\x1b[2J\x9bc\u202ed\x00\x7fe\rf\ud800 [/w noise] [bold]:smile:"
SHOWN = r"a\x1b]8;;http://evil.example\x07b\x1b[2J\x9bc\u202ed\x00\x7fe\x0df\ud800 [/w noise] [bold]:smile:"
RAW = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def log(text: str) -> None:
    logger, handler = logging.Logger("one"), logging.StreamHandler()
    logger.addHandler(handler)
    logger.warning(text)


WAYS: dict[str, Callable[[str], object]] = {
    "print": lambda text: print(text),
    "print to standard error": lambda text: print("armada:", text, file=sys.stderr),
    "write": lambda text: sys.stdout.write(text),
    "writelines": lambda text: sys.stderr.writelines([text, text]),
    "click.echo": lambda text: click.echo(text, color=True),
    "click.echo to standard error": lambda text: click.echo(text, err=True, color=True),
    "a log handler": log,
    "a traceback": lambda text: sys.excepthook(ValueError, ValueError(text), None),
}
CONSOLE: dict[str, Callable[[], object]] = {
    "a text": lambda: make_console(width=200).print(HOSTILE),
    "a Text": lambda: make_console(width=200).print(Text(HOSTILE)),
    "a table": lambda: make_console(width=200).print(make_table()),
}


def make_table() -> Table:
    table = Table("head")
    table.add_row(Text(HOSTILE))
    return table


def printed(way: Callable[[], object], stream: type[io.StringIO] = Terminal) -> str:
    out = stream()
    before = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = out
    try:
        with guarded_streams():
            way()
    finally:
        sys.stdout, sys.stderr = before
    return out.getvalue()


@pytest.mark.parametrize("way", WAYS)
def test_control_characters_are_shown_and_not_sent(way: str):
    text = printed(lambda: WAYS[way](HOSTILE))
    assert SHOWN in text
    assert not RAW.search(text)


def test_a_line_is_one_line_on_either_stream():
    assert printed(lambda: print_line("a\n armada: b", error=True)) == "a armada: b\n"


def test_bytes_are_guarded_too():
    text = printed(lambda: click.echo(b"a\x1b[2Jb\xffc"))
    assert text == "a\\x1b[2Jb\\udcffc\n"


@pytest.mark.parametrize("way", CONSOLE)
def test_a_console_shows_them_too(way: str):
    text = printed(CONSOLE[way], io.StringIO)
    # rich leaves bells and carriage returns out
    assert way == "a table" or SHOWN.replace(r"\x07", "").replace(r"\x0d", "") in text
    assert not RAW.search(text)


def test_a_console_still_has_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert printed(lambda: make_console().print(Text("bold", "bold"))) == "\x1b[1mbold\x1b[0m\n"


def test_a_bar_shows_a_title_with_markup_and_what_is_printed_beside_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")

    def run() -> None:
        with show_bars(make_text_column("{task.description} {task.fields[note]}")) as bars:
            bars.add_task("tweets [/w noise]", note=HOSTILE)
            bars.refresh()
            for way in WAYS.values():
                way(HOSTILE)

    monkeypatch.setenv("COLUMNS", "400")
    text = printed(run)
    assert "tweets [/w noise] a\\x1b]8;;" in text
    assert "\x1b]" not in text  # no link, no window title
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)
    assert "\x1b[2J" not in text
    assert SHOWN in text


def test_a_librarys_bar_moves_and_its_title_does_not():
    def run() -> None:
        for _ in tqdm(range(2), desc="model\x1b[2J\rx", file=sys.stderr, mininterval=0):
            pass

    text = printed(run)
    assert text.startswith("\rmodel\\x1b[2J\\x0dx:")
    assert "\x1b[2J" not in text


def test_nobody_else_moves_to_the_lines_begin():
    assert printed(lambda: print("\rok", "\x1b[A")) == "\\x0dok \\x1b[A\n"


def test_a_guarded_stream_answers_as_the_one_it_guards():
    inner = Terminal()
    stream = GuardedStream(inner)
    assert (stream.isatty(), stream.encoding, stream.rich_proxied_file) == (True, None, inner)
    assert not hasattr(stream, "buffer")  # nor a way around it


CODE = [path for folder in ("armada_cli", "plugins") for path in (Path(__file__).parents[1] / folder).rglob("*.py")]
ELSEWHERE = {"Console", "Progress", "TextColumn", "from_markup", "render_str", "__stdout__", "__stderr__"}
"""Ways to a terminal that only `armada_cli.console` takes; its makers are for everybody else."""


def ways_around(path: Path) -> set[str]:
    """Names by which a file makes a console, a bar or a column of rich itself, or reads markup."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    called = {getattr(node.func, "attr", getattr(node.func, "id", "")) for node in nodes if isinstance(node, ast.Call)}
    called |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and node.attr.startswith("__std")}
    ours = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    return (called & ELSEWHERE) - ours


def test_only_one_module_makes_consoles():
    found = {path.name: ways for path in CODE if (ways := ways_around(path)) and path.name != "console.py"}
    assert found == {}
