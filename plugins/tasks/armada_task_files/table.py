"""Reads a table from CSV, TSV, JSONL or Parquet: the wanted columns, and the line each row stands on.

Text formats are read with the standard library alone, so that `armada check` stays fast; Parquet imports pyarrow when rows
are read. Nothing is guessed silently: a file that can be read in two ways is an error that says which option settles it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

from armada_cli import UserError
from armada_task_files.columns import Rows, check_names, strip_names
from armada_task_files.csv_rows import WideFields, choose_delimiter, has_quotes_after_space, read_csv, read_records
from armada_task_files.faults import Fault, Faults, place
from armada_task_files.json_rows import check_keys, read_jsonl, read_objects
from armada_task_files.parquet_rows import read_parquet
from armada_task_files.text import (
    HEAD,
    Format,
    Undecodable,
    check_encoding,
    choose_codec,
    find_line,
    find_surrogate,
    open_text,
    read_chunks,
    read_head,
    refuse_utf16,
    tell_kind,
)


class FileTable:
    """The wanted columns of one file, read as a stream each time it is iterated: the file is never held whole.

    Args:
        path: the file, as the user named it.
        columns: names of the columns.
        form: how a text file is to be read.

    Attributes:
        word: what counts a row, ``line`` (from 1, as an editor counts) or ``row`` (of Parquet, from 1).

    Raises:
        UserError: no such file, or one that cannot be decoded (`form`), or is empty.
    """

    def __init__(self, path: str, columns: Sequence[str], form: Format) -> None:
        self.path, self.columns, self.form = path, tuple(columns), form
        self.kind = tell_kind(path)
        self.word = "row" if self.kind == "parquet" else "line"
        self._quotes_after_space = False
        if self.kind != "parquet":
            self._quotes_after_space = _scan(path, form, csv_file=self.kind == "csv")

    def faults(self) -> Faults:
        """An empty collection of faults for this file."""
        return Faults(self.path, self.word)

    def place(self, number: int) -> str:
        """Where a row stands, by its line or number, e.g. ``reviews.csv:12``."""
        return place(self.path, number, self.word)

    def rows(self, faults: Faults) -> Rows:
        """The line (or number) and the wanted cells of each row, in the order of `columns`. Rows of another shape than the
        header's go into `faults`. Close the iterator where it is not read to its end.

        Raises:
            UserError: no such column, or a file that cannot be read on; with file, line and column.
        """
        if self.kind == "parquet":
            yield from read_parquet(self.path, self.columns)
            return
        with open_text(self.path, self.form, newline="" if self.kind == "csv" else "\n") as stream:
            if self.kind == "csv":
                yield from read_csv(self.path, stream, self.columns, self.form, faults, self._quotes_after_space)
            else:
                yield from read_jsonl(self.path, stream, self.columns, faults)

    def undecoded(self, cells: Sequence[Any]) -> Fault | None:
        """What is wrong with the first cell that holds half a character, or a byte that is not of the encoding."""
        for name, value in zip(self.columns, cells, strict=True):
            if isinstance(value, str) and value.isascii():
                continue
            for text in value if isinstance(value, list) else (value,):
                bad = find_surrogate(text)
                if bad is None:
                    continue
                if 0xDC80 <= bad <= 0xDCFF and self.kind != "parquet":
                    return (
                        f"column {name!r} has the byte 0x{bad - 0xDC00:02x}, which is not {self.form.encoding.upper()}",
                        "If the whole file is in another encoding, set it (e.g. `encoding: cp1252`); "
                        "if encodings are mixed, save these lines again",
                    )
                return f"column {name!r} has half a character, \\u{bad:04x}", "Write the character whole"
        return None


def check_header(path: str, columns: Sequence[str], form: Format) -> None:
    """The cheap part of reading: the file is there, and its header (JSONL: its first line) has the columns. Of Parquet only
    the file's first bytes are looked at.

    Raises:
        UserError: as `FileTable`.
    """
    kind = tell_kind(path)
    data = read_head(path, HEAD)
    if kind == "parquet":
        if not data.startswith(b"PAR1"):
            raise UserError(f"{path}: not a Parquet file", "Write it again, or name a .csv, .tsv or .jsonl file")
        return
    check_encoding(form.encoding)
    refuse_utf16(path, data, form.encoding)
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        raise UserError(f"{path}: the file is empty", "Give a file with a header and at least two rows")
    if len(data) == HEAD:
        # The cut may go through a character or a field: keep whole lines.
        data = data[: data.rfind(b"\n") + 1] or data
    # A byte that is not of the encoding matters only in the columns that are read, and `FileTable.undecoded` looks at those.
    text = data.decode(choose_codec(form.encoding), errors="replace")
    if kind == "csv":
        with WideFields():
            stream = io.StringIO(text, newline="")
            records = read_records(
                path, stream, form, after_space=has_quotes_after_space(text, choose_delimiter(path, text, form))
            )
            _, header = next(records, (0, []))
        check_names(path, strip_names(header), columns, choose_delimiter(path, text, form))
        return
    # A line that is no object is told when rows are read, with the others of its kind.
    first = next(read_objects(path, io.StringIO(text), columns, Faults(path)), None)
    if first is not None:
        check_keys(path, *first, columns)


def _scan(path: str, form: Format, *, csv_file: bool) -> bool:
    """Look over a text file before it is read, and tell whether fields are quoted behind a delimiter and a space.

    Raises:
        UserError: what `open_text` cannot give: another encoding, NUL characters, nothing at all.
    """
    check_encoding(form.encoding)
    refuse_utf16(path, read_head(path, HEAD), form.encoding)
    try:
        return _look_over(path, form, read_chunks(path, form.encoding, "strict"), csv_file=csv_file)
    except Undecodable as strict:
        try:
            return _look_over(path, form, read_chunks(path, form.encoding, "surrogateescape"), csv_file=csv_file)
        except Undecodable:
            raise UserError(
                f"{path}:{find_line(path, strict.place)}: the bytes are not {form.encoding}",
                "Set `encoding` to what the file was saved in",
            ) from None


def _look_over(path: str, form: Format, chunks: Iterable[str], *, csv_file: bool) -> bool:
    lines, nul, blank = 1, 0, True
    after_space, rest, delimiter = False, "", None
    for text in chunks:
        blank = blank and not text.strip("\ufeff \t\r\n")
        if not nul:
            place = text.find("\0")
            nul = lines + text.count("\n", 0, place) if place >= 0 else 0
            lines += text.count("\n")
        if csv_file and form.quotes and not after_space:
            if delimiter is None:
                delimiter = choose_delimiter(path, text, form)
            # Such a field stands on one line, so whole lines are looked at.
            edge = max(text.rfind("\n"), text.rfind("\r")) + 1
            if edge:
                after_space = has_quotes_after_space(rest + text[:edge], delimiter)
                rest = text[edge:]
            else:
                rest += text
    if nul:
        raise UserError(f"{path}:{nul}: a NUL character", "Set `encoding: utf-16` if the file is UTF-16; otherwise remove it")
    if blank:
        raise UserError(f"{path}: the file is empty", "Give a file with a header and at least two rows")
    return after_space or bool(rest and delimiter is not None and has_quotes_after_space(rest, delimiter))
