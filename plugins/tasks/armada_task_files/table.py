"""Reads a table from CSV, TSV, JSONL or Parquet: the wanted columns, and the line each row stands on.

Text formats are read with the standard library alone, so that `armada check` stays fast; Parquet imports pyarrow when rows
are read. Nothing is guessed silently: a file that can be read in two ways is an error that says which option settles it.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import itertools
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armada_cli import UserError
from armada_cli.reading import encoding_fault, open_file, parse_json
from armada_task_files.faults import Fault, Faults, place, quoted

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
Rows = Generator[tuple[int, tuple[Any, ...]], None, None]
"""The line or number of each row, and its wanted cells."""

HEAD = 1 << 20
"""Bytes read to find a header."""

PARQUET_ROWS = 4096
"""Rows of Parquet turned into Python values at a time."""

EXCEL_LINE = re.compile(r'(")?sep=(?P<delimiter>[^\r\n])(?(1)")[ \t]*(?:\r\n|\r|\n)', re.IGNORECASE)
"""A first line that tells Excel the delimiter; it is not part of CSV, and not the header."""

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, or a byte that could not be decoded."""


@dataclass(frozen=True)
class Format:
    """How a text file is to be read; see the options of the same names."""

    encoding: str = "utf-8"
    delimiter: str = "auto"
    quotes: bool = True


class Table:
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
        self.kind = _kind(path)
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
            yield from _parquet_rows(self.path, self.columns)
            return
        with _text_stream(self.path, self.form, newline="" if self.kind == "csv" else "\n") as stream:
            if self.kind == "csv":
                yield from _csv_rows(self.path, stream, self.columns, self.form, faults, self._quotes_after_space)
            else:
                yield from _jsonl_rows(self.path, stream, self.columns, faults)

    def undecoded(self, cells: Sequence[Any]) -> Fault | None:
        """What is wrong with the first cell that holds half a character, or a byte that is not of the encoding."""
        for name, value in zip(self.columns, cells, strict=True):
            if isinstance(value, str) and value.isascii():
                continue
            for text in value if isinstance(value, list) else (value,):
                bad = _surrogate(text)
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
        UserError: as `Table`.
    """
    kind = _kind(path)
    data = _bytes(path, HEAD)
    if kind == "parquet":
        if not data.startswith(b"PAR1"):
            raise UserError(f"{path}: not a Parquet file", "Write it again, or name a .csv, .tsv or .jsonl file")
        return
    _check_encoding(form.encoding)
    _refuse_utf16(path, data, form.encoding)
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        raise UserError(f"{path}: the file is empty", "Give a file with a header and at least two rows")
    if len(data) == HEAD:
        # The cut may go through a character or a field: keep whole lines.
        data = data[: data.rfind(b"\n") + 1] or data
    # A byte that is not of the encoding matters only in the columns that are read, and `Table.undecoded` looks at those.
    text = data.decode(_codec(form.encoding), errors="replace")
    if kind == "csv":
        with _wide_fields():
            stream = io.StringIO(text, newline="")
            records = _records(path, stream, form, after_space=_quotes_after_space(text, _delimiter(path, text, form)))
            _, header = next(records, (0, []))
        _check_names(path, _stripped(header), columns, _delimiter(path, text, form))
        return
    # A line that is no object is told when rows are read, with the others of its kind.
    first = next(_objects(path, io.StringIO(text), columns, Faults(path)), None)
    if first is not None:
        _check_keys(path, *first, columns)


# ------------------------------------------------------------------------------------------------------------- the file


def _kind(path: str) -> str:
    suffix = Path(path).suffix.lower()
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    known = ".csv, .tsv, .jsonl or .parquet"
    hint = f"Name a {known} file"
    if suffix == ".json":
        hint = "Write one JSON object a line and call the file .jsonl"
    elif suffix in (".xlsx", ".xls", ".ods"):
        hint = "Save the sheet as CSV (UTF-8)"
    raise UserError(f"{path}: {suffix or 'no ending'} is not a format that is read here", hint)


def _opened(path: str) -> io.BufferedReader:
    file = Path(path)
    if file.is_dir():
        raise UserError(f"{path}: a folder, not a file", _in_folder(file, "") or "Name a file")
    try:
        return open_file(file)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", _in_folder(file.parent, file.name) or "Check the path") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be read ({error.strerror})", "Check the file and its permissions")


def _bytes(path: str, size: int) -> bytes:
    """The beginning of a file."""
    with _opened(path) as stream:
        try:
            return stream.read(size)
        except OSError as error:
            raise _unreadable(path, error) from None


def _in_folder(folder: Path, name: str) -> str:
    """What the user may have meant, among the tables of a folder."""
    if not folder.is_dir():
        return f"There is no folder {str(folder)!r} either"
    tables = sorted(item.name for item in folder.iterdir() if item.suffix.lower() in SUFFIXES and item.is_file())
    stems = {Path(item).stem.lower() for item in tables}
    close = difflib.get_close_matches(Path(name).stem.lower(), stems, n=2, cutoff=0.6)
    near = [item for item in tables if Path(item).stem.lower() in close]
    if near:
        return f"Did you mean {' or '.join(repr(item) for item in near)}?"
    if tables:
        shown = ", ".join(repr(item) for item in tables[:5]) + (", ..." if len(tables) > 5 else "")
        return f"The tables in that folder are {shown}"
    return "There is no table in that folder"


def _check_encoding(encoding: str) -> None:
    try:
        "".encode(encoding)
    except (LookupError, UnicodeError, ValueError):
        raise UserError(
            f"encoding: {encoding!r} is not an encoding of text that Python knows", "Try utf-8, cp1252 or utf-16"
        ) from None


def _codec(encoding: str) -> str:
    """UTF-8 with or without a byte order mark."""
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8", "u8") else encoding


def _stream_codec(path: str, encoding: str) -> str:
    """The codec with which a stream is decoded. Without a byte order mark Python takes UTF-16 in the machine's order where it
    decodes a text at once, and refuses it in a stream."""
    codec = _codec(encoding)
    name = codecs.lookup(codec).name
    marks = {"utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)}
    if name in marks and not _bytes(path, 4).startswith(marks[name]):
        return f"{name}-{'le' if sys.byteorder == 'little' else 'be'}"
    return codec


def _text_stream(path: str, form: Format, newline: str) -> io.TextIOWrapper:
    """The file's text; a byte that is not of the encoding becomes a surrogate, which `Table.undecoded` finds."""
    codec = _stream_codec(path, form.encoding)
    return io.TextIOWrapper(_opened(path), encoding=codec, errors="surrogateescape", newline=newline)


def _chunks(path: str, encoding: str, errors: str) -> Iterator[str]:
    """The text of a file, piece by piece.

    Raises:
        _Undecodable: bytes that are not of the encoding, with the place of the first.
    """
    decoder = codecs.getincrementaldecoder(_stream_codec(path, encoding))(errors)
    before = 0
    with _opened(path) as stream:
        while True:
            data = stream.read(HEAD)
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                raise _Undecodable(before - (len(error.object) - len(data)) + error.start) from None
            before += len(data)
            if text:
                yield text
            if not data:
                return


class _Undecodable(Exception):
    """Args: place: the offset of the first byte that is not of the encoding."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


def _scan(path: str, form: Format, *, csv_file: bool) -> bool:
    """Look over a text file before it is read, and tell whether fields are quoted behind a delimiter and a space.

    Raises:
        UserError: what `_text_stream` cannot give: another encoding, NUL characters, nothing at all.
    """
    _check_encoding(form.encoding)
    _refuse_utf16(path, _bytes(path, HEAD), form.encoding)
    try:
        return _look_over(path, form, _chunks(path, form.encoding, "strict"), csv_file=csv_file)
    except _Undecodable as strict:
        try:
            return _look_over(path, form, _chunks(path, form.encoding, "surrogateescape"), csv_file=csv_file)
        except _Undecodable:
            raise UserError(
                f"{path}:{_line_at(path, strict.place)}: the bytes are not {form.encoding}",
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
                delimiter = _delimiter(path, text, form)
            # Such a field stands on one line, so whole lines are looked at.
            edge = max(text.rfind("\n"), text.rfind("\r")) + 1
            if edge:
                after_space = _quotes_after_space(rest + text[:edge], delimiter)
                rest = text[edge:]
            else:
                rest += text
    if nul:
        raise UserError(f"{path}:{nul}: a NUL character", "Set `encoding: utf-16` if the file is UTF-16; otherwise remove it")
    if blank:
        raise UserError(f"{path}: the file is empty", "Give a file with a header and at least two rows")
    return after_space or bool(rest and delimiter is not None and _quotes_after_space(rest, delimiter))


def _line_at(path: str, place: int) -> int:
    """The line (from 1) on which a byte stands."""
    line = 1
    with _opened(path) as stream:
        while place > 0 and (data := stream.read(min(HEAD, place))):
            line += data.count(b"\n")
            place -= len(data)
    return line


def _refuse_utf16(path: str, data: bytes, encoding: str) -> None:
    fault = encoding_fault(data) if _codec(encoding) == "utf-8-sig" else None
    if fault:
        what, hint = fault
        if "UTF-16" in what:
            # Python's utf-16 goes by the mark; without one the order must be named
            marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            hint = f"Set `encoding: utf-16{'' if marked else '-be' if data[:1] == bytes(1) else '-le'}`"
        raise UserError(f"{path}:1: {what}", hint)


def _surrogate(text: Any) -> int | None:
    if not isinstance(text, str) or text.isascii():
        return None
    half = SURROGATE.search(text)
    return ord(half[0]) if half else None


# -------------------------------------------------------------------------------------------------------------- columns


def _stripped(header: Sequence[str]) -> list[str]:
    return [name.strip() for name in header]


def _check_names(path: str, there: Sequence[str], wanted: Sequence[str], delimiter: str = "") -> None:
    """Every wanted name once. Columns that nobody reads may have any name, none, or one name between them."""
    missing = [name for name in wanted if name not in there]
    if missing and len(there) == 1 and delimiter:
        other = next((mark for mark in (";", "\t", "|", ",") if mark != delimiter and mark in there[0]), None)
        if other:
            shown = "\\t" if other == "\t" else other
            raise UserError(f"{path}:1: one column only, {quoted(there[0])}", f'Set `delimiter: "{shown}"`')
    twice = _twice(there, wanted)
    if twice:
        raise UserError(f"{path}:1: two columns are called {twice[0]!r}", "Give each column a name of its own")
    if missing:
        raise _no_column(f"{path}:1", missing, there)


def _twice(there: Iterable[str], wanted: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(there).items() if count > 1 and name in wanted]


def _no_column(where: str, missing: Sequence[str], there: Sequence[str]) -> UserError:
    names = " and ".join(repr(name) for name in missing)
    hint = f"The columns are {', '.join(repr(name) for name in there[:20]) + (', ...' if len(there) > 20 else '')}"
    near = difflib.get_close_matches(missing[0].lower(), [name.lower() for name in there], n=1, cutoff=0.6)
    if near:
        meant = next(name for name in there if name.lower() == near[0])
        hint = f"Did you mean {meant!r}? {hint}"
    return UserError(f"{where}: no column {names}", hint)


# ------------------------------------------------------------------------------------------------------------------ CSV


class _wide_fields:
    """The csv module refuses fields over 128 KiB; an article may be longer. The limit is the module's, so it is put back."""

    def __enter__(self) -> None:
        self.limit = csv.field_size_limit(1 << 30)

    def __exit__(self, *_: object) -> None:
        csv.field_size_limit(self.limit)


def _delimiter(path: str, text: str, form: Format) -> str:
    if form.delimiter != "auto":
        return "\t" if form.delimiter == "\\t" else form.delimiter
    named = EXCEL_LINE.match(text)
    if named:
        return named["delimiter"]
    return "," if Path(path).suffix.lower() == ".csv" else "\t"


def _records(path: str, stream: Iterable[str], form: Format, *, after_space: bool) -> Iterator[tuple[int, list[str]]]:
    """Records and the line each begins on. A record over several lines (a quoted line break) counts by its first.

    Args:
        after_space: a field may be quoted behind the delimiter and a space.
    """
    lines = iter(stream)
    first = next(lines, "")
    delimiter = _delimiter(path, first, form)
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


def _quotes_after_space(text: str, delimiter: str) -> bool:
    """Whether a field is quoted behind the delimiter and a space, as in ``text, "label"``. RFC 4180 would count the quotes as
    part of the field; nobody who writes them means that."""
    if len(delimiter) != 1 or (delimiter.isspace() and delimiter != "\t"):
        return False
    mark = re.escape(delimiter)
    return re.search(rf'{mark} +"(?:[^"\r\n]|"")*"(?={mark}|[\r\n]|\Z)', text) is not None


def _csv_rows(
    path: str, stream: Iterable[str], columns: Sequence[str], form: Format, faults: Faults, after_space: bool
) -> Rows:
    with _wide_fields():
        lines = iter(stream)
        first = next(lines, "")
        records = _records(path, itertools.chain([first], lines), form, after_space=after_space)
        header_line, header = next(records, (1, []))
        names = _stripped(header)
        for name in names:
            if _surrogate(name) is not None:
                raise UserError(
                    f"{path}:{header_line}: the header is not {form.encoding.upper()}", "Set `encoding`, e.g. cp1252"
                )
        _check_names(path, names, columns, _delimiter(path, first, form))
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


# ---------------------------------------------------------------------------------------------------------------- JSONL


def _objects(path: str, stream: Iterable[str], columns: Sequence[str], faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
    keys: list[str] = []
    hook = _pairs(keys)
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line.rstrip(), hook)
        except ValueError as error:
            if number == 1 and line.lstrip().startswith("["):
                raise UserError(f"{path}:1: the file is one JSON list", "Write one object a line") from None
            faults.add(number, *_json_fault(line.rstrip(), error))
            continue
        if not isinstance(row, dict):
            kind = "list" if isinstance(row, list) else type(row).__name__
            faults.add(number, f"a JSON {kind}, not an object", 'Write each line as {"text": ..., "label": ...}')
            continue
        if len(keys) > len(row) and (twice := _twice(keys, columns)):
            faults.add(number, f"the key {twice[0]!r} stands there twice", "Give each key a name of its own")
            continue
        yield number, row


def _pairs(keys: list[str]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """A hook that leaves the keys of the outermost object in `keys`: json calls it for inner objects first."""

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys[:] = [name for name, _ in pairs]
        return dict(pairs)

    return build


def _json_fault(line: str, error: Exception) -> tuple[str, str]:
    """What a line that is not JSON has instead, where that can be told."""
    whole = "Write one whole JSON object a line"
    if not isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error})", whole
    # Python 3.13 points at the comma, earlier versions at the bracket.
    comma = len(line[: error.pos].rstrip()) - 1 if line[error.pos : error.pos + 1] in ("}", "]") else error.pos
    if line[comma : comma + 1] == "," and line[comma + 1 :].lstrip()[:1] in ("}", "]"):
        return f"not JSON at column {comma + 1}: a comma before a closing bracket", "Remove the comma behind the last entry"
    if line[error.pos : error.pos + 1] == "'":
        return f"not JSON at column {error.colno}: single quotes", "Write texts in double quotes, as json.dumps does"
    return f"not JSON at column {error.colno}", whole


def _check_keys(path: str, number: int, row: dict[str, Any], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in row]
    if missing:
        raise _no_column(f"{path}:{number}", missing, list(row))


def _jsonl_rows(path: str, stream: Iterable[str], columns: Sequence[str], faults: Faults) -> Rows:
    first = True
    for number, row in _objects(path, stream, columns, faults):
        if first:
            # The first row stands for the header: a name missing there is a wrong option rather than a bad row.
            _check_keys(path, number, row, columns)
        missing = [name for name in columns if name not in row]
        if missing:
            faults.add(
                number, f"no key {missing[0]!r}", f"Give every line the keys {', '.join(repr(name) for name in columns)}"
            )
            continue
        first = False
        yield number, tuple([row[name] for name in columns])


# -------------------------------------------------------------------------------------------------------------- Parquet


def _parquet_rows(path: str, columns: Sequence[str]) -> Rows:
    if not _bytes(path, 4).startswith(b"PAR1"):
        raise UserError(f"{path}: not a Parquet file", "Write it again, or name a .csv, .tsv or .jsonl file")
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            names = list(file.schema_arrow.names)
            twice = _twice(names, columns)
            if twice:
                raise UserError(f"{path}: two columns are called {twice[0]!r}", "Give each column a name of its own")
            missing = [name for name in columns if name not in names]
            if missing:
                raise _no_column(path, missing, names)
            number = 0
            for batch in file.iter_batches(PARQUET_ROWS, columns=list(dict.fromkeys(columns))):
                cells = [[_text_of(value) for value in batch.column(name).to_pylist()] for name in columns]
                for row in zip(*cells, strict=True):
                    number += 1
                    yield number, row
    except UserError:
        raise
    except Exception as error:  # damage surfaces as whatever type the damaged part leads to, a UnicodeDecodeError for one
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: damaged, or of a type that is not read here ({reason})", "Write the file again") from None


def _text_of(value: Any) -> Any:
    """Some writers store a text as bytes, without saying that it is one."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value
