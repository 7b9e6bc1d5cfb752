"""Text of strangers -> text that a terminal, a Markdown page, a LaTeX table, a spreadsheet or a JSON reader takes for text.

A title, a name, a path, a service's message or an imported identity may hold anything: escape sequences that rewrite the
screen, links, formulas. Each function here is the only one for its format, and leaves ordinary text as it is.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import Any

_CONTROLS = re.compile(
    "["
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # C0 without tab and line ends, DEL, C1 (0x9b alone begins a sequence)
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # the order of what is shown (UAX #9) and its deprecated relatives
    "\u2028\u2029\ufeff\ufff9-\ufffb"  # line ends that few expect, marks that are not shown
    "\ud800-\udfff"  # halves of pairs: bytes of a file name that are no UTF-8
    "]|\r(?!\n)"
)

_LINE_ENDS = re.compile(r"[ \t]*[\r\n][ \t\r\n]*")


def escape_for_terminal(text: str) -> str:
    """Control characters and the marks that reorder a line are written out, as ``\\x1b`` or ``\\u202e``; line ends and tabs
    stay. Text that was escaped before is not changed."""
    return text if text.isprintable() else _CONTROLS.sub(_written_out, text)


def escape_line(text: object) -> str:
    """`escape_for_terminal` for what has to stay on one line, such as a title within a sentence: line ends become a space."""
    line = str(text)
    return line.strip() if line.isprintable() else escape_for_terminal(_LINE_ENDS.sub(" ", line).replace("\t", " ").strip())


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


_MARKDOWN = re.compile(
    r"[\\`*_|>#\[\]~$]"  # emphasis, code, cells, quotes, headings, links and pictures, formulas
    r"|[<&]|@+|/(?=/)"
    r"|(?<=http):|(?<=https):|(?<=ftp):|(?<=xmpp):|(?<=www)\.",
    re.IGNORECASE,
)
_MARKDOWN_BLOCK = re.compile(r"()[-+=](?=[-+=\s]|$)|(\d{1,9})[.)](?=\s|$)")


def escape_for_markdown(text: object) -> str:
    """One line that Markdown shows as it is: no emphasis, link, picture, HTML, code, list, heading, table cell or formula.

    Bare addresses are broken too, which GitHub and others make links of. HTML's ``<`` and ``&`` become entities, since not
    every Markdown takes a backslash before them.
    """
    line = escape_line(text)
    block = _MARKDOWN_BLOCK.match(line)
    start = len(block[1] or block[2] or "") if block else -1
    return (line[:start] + "\\" if block else "") + _MARKDOWN.sub(_for_markdown, line[max(start, 0) :])


def _for_markdown(match: re.Match[str]) -> str:
    if match[0] == "&":
        return "&amp;"
    if match[0] == "<" and not re.match(r"\s|\d|$", match.string[match.end() : match.end() + 1]):
        return "&lt;"
    if match[0][0] == "@":  # GitHub makes a link of an escaped address too, but not across code
        return f"`{match[0]}`"
    return f"\\{match[0]}"


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    # behind the end of a row these would be read as its argument and its star
    "[": "{[}",
    "*": "{*}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def escape_for_latex(text: object) -> str:
    """One line that LaTeX sets as it is, in a cell or a caption."""
    return "".join(_LATEX.get(sign, sign) for sign in escape_line(text))


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z", re.ASCII)
_FORMULA = re.compile(r"(^|;)(?=\s*[=+\-@＝＋－＠])")


def escape_for_csv(cell: Any) -> Any:
    """A cell that a spreadsheet takes for text (behind an apostrophe, as OWASP advises) and not for a formula; numbers stay.

    Where a comma is the decimal sign, spreadsheets split at semicolons: what follows one counts as a cell's beginning.
    """
    if not isinstance(cell, str) or _NUMBER.match(cell):
        return cell
    line = escape_line(cell)
    return _FORMULA.sub(r"\1'", line)


def dump_json(value: Any, *, indent: int | None = None, sort_keys: bool = False, encoding: str | None = "utf-8") -> str:
    """JSON that means `value` exactly, with ``\\u`` escapes for what a terminal must not see and `encoding` may lack.

    Args:
        encoding: of where it goes; all but ASCII is escaped unless it is a form of Unicode (None: it takes every character).
    """
    ascii_only = not _holds_all(encoding)
    try:
        text = json.dumps(value, indent=indent, sort_keys=sort_keys, ensure_ascii=ascii_only, allow_nan=False)
    except ValueError:  # a number that JSON has not
        text = json.dumps(_finite(value), indent=indent, sort_keys=sort_keys, ensure_ascii=ascii_only)
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _finite(value: Any) -> Any:
    """Null in the place of infinities and of what is not a number."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _holds_all(encoding: str | None) -> bool:
    if encoding is None:
        return True
    try:
        return codecs.lookup(encoding).name.startswith("utf")
    except LookupError:
        return False
