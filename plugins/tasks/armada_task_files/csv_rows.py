"""Rows of CSV and TSV, read with the standard library."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from armada_cli import UserError
from armada_task_files.columns import Rows, check_names, strip_names
from armada_task_files.faults import Faults
from armada_task_files.text import (
    Format,
    find_surrogate,
)

EXCEL_LINE = re.compile(r'(")?sep=(?P<delimiter>[^\r\n])(?(1)")[ \t]*(?:\r\n|\r|\n)', re.IGNORECASE)
"""A first line that tells Excel the delimiter; it is not part of CSV, and not the header."""


class WideFields:
    """The csv module refuses fields over 128 KiB; an article may be longer. The limit is the module's, so it is put back."""

    def __enter__(self) -> None:
        self.limit = csv.field_size_limit(1 << 30)

    def __exit__(self, *_: object) -> None:
        csv.field_size_limit(self.limit)


def choose_delimiter(path: str, text: str, form: Format) -> str:
    if form.delimiter != "auto":
        return "\t" if form.delimiter == "\\t" else form.delimiter
    named = EXCEL_LINE.match(text)
    if named:
        return named["delimiter"]
    return "," if Path(path).suffix.lower() == ".csv" else "\t"


def read_records(path: str, stream: Iterable[str], form: Format, *, after_space: bool) -> Iterator[tuple[int, list[str]]]:
    """Records and the line each begins on. A record over several lines (a quoted line break) counts by its first.

    Args:
        after_space: a field may be quoted behind the delimiter and a space.
    """
    lines = iter(stream)
    first = next(lines, "")
    delimiter = choose_delimiter(path, first, form)
    above = 1 if EXCEL_LINE.match(first) else 0
    try:
        reader = csv.reader(
            lines if above else itertools.chain([first], lines),
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if form.quotes else csv.QUOTE_NONE,
            skipinitialspace=form.quotes and after_space,
            strict=True,
        )
    except (TypeError, ValueError):
        raise UserError(f"delimiter: {form.delimiter!r} is not one character", 'Give e.g. ";" or "\\t"') from None
    while True:
        line = reader.line_num + above + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            hint = 'Write a quote inside a quoted field twice (""), or set `quotes: false` if quotes are ordinary characters'
            if "end of data" in str(error):
                what = "a quoted field that begins here is never closed"
            elif "expected after" in str(error):
                what = "text or a space follows a closing quote"
                line = reader.line_num + above
            else:
                what, hint = f"cannot be read ({error})", "Save the file again as CSV"
            raise UserError(f"{path}:{line}: {what}", hint) from None
        if record:
            yield line, record


def has_quotes_after_space(text: str, delimiter: str) -> bool:
    """Whether a field is quoted behind the delimiter and a space, as in ``text, "label"``. RFC 4180 would count the quotes as
    part of the field; nobody who writes them means that."""
    if len(delimiter) != 1 or (delimiter.isspace() and delimiter != "\t"):
        return False
    mark = re.escape(delimiter)
    return re.search(rf'{mark} +"(?:[^"\r\n]|"")*"(?={mark}|[\r\n]|\Z)', text) is not None


def read_csv(path: str, stream: Iterable[str], columns: Sequence[str], form: Format, faults: Faults, after_space: bool) -> Rows:
    with WideFields():
        lines = iter(stream)
        first = next(lines, "")
        records = read_records(path, itertools.chain([first], lines), form, after_space=after_space)
        header_line, header = next(records, (1, []))
        names = strip_names(header)
        for name in names:
            if find_surrogate(name) is not None:
                raise UserError(
                    f"{path}:{header_line}: the header is not {form.encoding.upper()}", "Set `encoding`, e.g. cp1252"
                )
        check_names(path, names, columns, choose_delimiter(path, first, form))
        wanted = [names.index(name) for name in columns]
        width = len(header)
        for line, record in records:
            if len(record) != width:
                fields = "1 field" if len(record) == 1 else f"{len(record)} fields"
                faults.add(
                    line,
                    f"{fields} where the header has {width}",
                    "Put a field that contains the delimiter in double quotes, or remove the line",
                )
                continue
            yield line, tuple([record[position] for position in wanted])
