"""What each function of `armada_cli.escaping` makes of hostile text, and that it leaves ordinary text alone."""

from __future__ import annotations

import csv
import io
import json
import re
import sys

import pytest
from markdown_it import MarkdownIt

from armada_cli.escaping import (
    dump_json,
    escape_for_csv,
    escape_for_latex,
    escape_for_markdown,
    escape_for_terminal,
    escape_line,
)

ORDINARY = ["", "SST-2", "雾里看花", "naïve café", "0.50 ± 0.82", "a, b; c (d) {e}: 'f' \"g\"", "🙂👩‍🚀", "run.yaml", "−1.2"]


@pytest.mark.parametrize("code", [*range(9), 11, 12, *range(14, 32), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x202E, 0x2066, 0x2028])
def test_a_control_character_is_written_out(code: int):
    number = f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    assert escape_for_terminal(f"a{chr(code)}b") == f"a{number}b"


def test_half_a_pair_is_written_out_and_can_be_encoded():
    assert escape_for_terminal("caf\udce9").encode() == rb"caf\udce9"


def test_lines_and_tabs_stay_and_a_lone_carriage_return_does_not():
    assert escape_for_terminal("a\tb\nc\r\nd\re") == "a\tb\nc\r\nd\\x0de"


def test_a_line_stays_one_line():
    assert escape_line(" a \r\n\n  b\tc\x0bd\u2028e\n") == "a b c\\x0bd\\u2028e"


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_left_alone(text: str):
    assert escape_for_terminal(text) == text
    assert escape_line(text) == text
    assert escape_for_csv(text) == text
    assert dump_json(text) == json.dumps(text, ensure_ascii=False)


MARKDOWN = [
    *("[text](http://evil.example)", "![picture](http://evil.example/p.png)", "[r]: http://evil.example", "[^1]", "- [ ] task"),
    *("http://evil.example/a", "HTTPS://evil.example", "ftp://x.y/z", "www.evil.example", "a@b.example", "<http://e.example>"),
    *("<script>alert(1)</script>", "\\<b>x</b>", "\\\\<i>x</i>", "<img src=x onerror=a()>", "<!-- x", "&#x202e;x", "&lt;b&gt;"),
    *("# heading", "> quote", "* item", "- item", "+ item", "1. item", "2) item", "---", "===", "***", "___", "    code"),
    *(
        "**bold**",
        "_x_",
        "__x__",
        "~~gone~~",
        "`code`",
        "```",
        "$x$",
        "a|b",
        "\\|",
        "foo\\",
        "a\n\n# heading",
        "//evil.example",
    ),
]


@pytest.mark.parametrize("text", MARKDOWN)
def test_markdown_shows_the_text_itself(text: str):
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    escaped = escape_for_markdown(text)
    for before, after, within in (("x ", " y", "p"), ("- ", "", "li"), ("", "", "p"), ("# ", "", "h1")):
        html = page.render(f"{before}{escaped}{after}")
        tags = set(re.findall(r"</?\w+|<!", html)) - {
            "<p",
            "</p",
            "<ul",
            "</ul",
            "<li",
            "</li",
            "<h1",
            "</h1",
            "<code",
            "</code",
        }
        assert not tags, html
        assert html.count(f"<{within}>") == 1, html
    html = page.render(f"| a | {escaped} |\n| --- | --- |\n| {escaped} | c |")
    assert (html.count("<th>"), html.count("<td>")) == (2, 2), html


@pytest.mark.parametrize("text", MARKDOWN)
def test_what_markdown_shows_reads_as_the_text(text: str):
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(f"x {escape_for_markdown(text)} y")
    shown = re.sub(r"<[^>]*>", "", html).strip()
    for name, sign in (("lt", "<"), ("gt", ">"), ("quot", '"'), ("amp", "&")):
        shown = shown.replace(f"&{name};", sign)
    assert shown == f"x {escape_line(text)} y"


@pytest.mark.parametrize("text", [text for text in MARKDOWN if re.search(r"://|www|@", text)])
def test_no_address_is_left_that_github_makes_a_link_of(text: str):
    assert not re.search(r"(?i)https?://|ftp://|www\.|\w@\w", escape_for_markdown(text))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", " =", "\n=", "＝", "＋", "－", "＠"])
def test_a_spreadsheet_gets_text_where_a_formula_would_be(start: str):
    stream = io.StringIO()
    csv.writer(stream).writerow([escape_for_csv(f"{start}cmd|' /C calc'!A0"), escape_for_csv(f"a;{start}HYPERLINK(1)")])
    whole, behind = next(csv.reader(io.StringIO(stream.getvalue())))
    assert whole[0] == "'"
    assert behind.split(";")[1].startswith("'")  # where semicolons part the cells


@pytest.mark.parametrize("cell", [-1.5, -1, 0, 3.25, None, "-1.5", "+3", "1e-5", "-.5", "-0"])
def test_numbers_stay_numbers(cell: object):
    assert escape_for_csv(cell) == cell


def test_what_only_looks_like_a_number_does_not():
    assert [escape_for_csv(text) for text in ("-1+cmd", "-inf", "-", "+-1", "-1 ", "=1")] == [
        "'-1+cmd",
        "'-inf",
        "'-",
        "'+-1",
        "'-1",
        "'=1",
    ]


def test_latex_takes_no_text_for_a_command_or_an_argument():
    assert escape_for_latex(r"[2cm] \input{x} 5% a&b $x$ #1 _ ^^5c ~ <|>") == (
        r"{[}2cm] \textbackslash{}input\{x\} 5\% a\&b \$x\$ \#1 \_ "
        r"\textasciicircum{}\textasciicircum{}5c \textasciitilde{} $<$\textbar{}$>$"
    )
    assert escape_for_latex("*a\n\nb") == "{*}a b"


HOSTILE = "\x1b[2J\x07\x7f\x9b1m\u202e\ud800 雾 ± 🙂"


@pytest.mark.parametrize("encoding", ["utf-8", "UTF-16", "ascii", "latin-1", "cp1252", "no such encoding", None])
def test_json_means_the_same_in_every_encoding_and_holds_no_control_characters(encoding: str | None):
    text = dump_json({HOSTILE: [HOSTILE]}, indent=1, encoding=encoding)
    assert json.loads(text) == {HOSTILE: [HOSTILE]}
    assert escape_for_terminal(text) == text
    assert ("雾" in text) == (encoding in ("utf-8", "UTF-16", None))
    assert text.isascii() != ("雾" in text)


def test_json_of_a_number_that_json_has_not_can_be_read_by_all():
    assert dump_json({"a": [float("nan"), float("inf"), 1.5]}) == '{"a": [null, null, 1.5]}'


def test_every_character_ends_as_something_that_can_be_shown():
    """All of Unicode, in one text."""
    text = escape_line("".join(map(chr, range(sys.maxunicode + 1))))
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert escape_line(text) == text  # nothing is escaped twice
