"""Reads a table from CSV, TSV, JSONL or Parquet: the wanted columns, and the line each row stands on.

Text formats are read with the standard library alone, so that `armada check` stays fast; Parquet imports pyarrow when rows
are read. Nothing is guessed silently: a file that can be read in two ways is an error that says which option settles it.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armada_cli import UserError
from armada_cli.data import encoding_fault
from armada_cli.reading import open_file, parse_json
from armada_task_files.faults import Faults, place, quoted

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
HEAD = 1 << 20
"""Bytes read to find a header."""

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


@dataclass(frozen=True)
class Table:
    """The wanted columns of one file.

    Attributes:
        path: the file, as the user named it.
        columns: name -> values, all of one length.
        numbers: the line of each row, from 1 as an editor counts (for Parquet the row, from 1).
        word: what `numbers` counts, ``line`` or ``row``.
    """

    path: str
    columns: dict[str, list[Any]]
    numbers: list[int]
    word: str = "line"

    def __len__(self) -> int:
        return len(self.numbers)

    def faults(self) -> Faults:
        """An empty collection of faults for this file."""
        return Faults(self.path, self.word)

    def place(self, row: int) -> str:
        """Where a row stands, e.g. ``reviews.csv:12``."""
        return place(self.path, self.numbers[row], self.word)


def read(path: str, columns: Sequence[str], form: Format) -> Table:
    """The rows of a file.

    Raises:
        UserError: no such file, no such column, or rows that cannot be read; with file, line and column.
    """
    kind = _kind(path)
    if kind == "parquet":
        table = _read_parquet(path, columns)
    else:
        text = _decode(path, _bytes(path), form.encoding)
        if not text.strip("\ufeff \t\r\n"):
            raise UserError(f"{path}: the file is empty", "Give a file with a header and at least two rows")
        table = _read_csv(path, text, columns, form) if kind == "csv" else _read_jsonl(path, text, columns)
        _refuse_undecoded(table, form)
    if not len(table):
        raise UserError(f"{path}: no row under the header", "Give a file with at least two rows")
    return table


def check_header(path: str, columns: Sequence[str], form: Format) -> None:
    """The cheap part of `read`: the file is there, and its header (JSONL: its first line) has the columns. Of Parquet only
    the file's first bytes are looked at.

    Raises:
        UserError: as `read`.
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
    # A byte that is not of the encoding matters only in the columns that are read, and `read` looks at those.
    text = data.decode(_codec(form.encoding), errors="replace")
    if kind == "csv":
        with _wide_fields():
            _, header = next(_records(path, text, form), (0, []))
        _check_names(path, _stripped(header), columns, _delimiter(path, text, form))
        return
    # A line that is no object is told by `read`, with the others of its kind.
    first = next(_objects(path, text, columns, Faults(path)), None)
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


def _bytes(path: str, size: int = -1) -> bytes:
    file = Path(path)
    if file.is_dir():
        raise UserError(f"{path}: a folder, not a file", _in_folder(file, "") or "Name a file")
    try:
        with open_file(file) as stream:
            return stream.read(size)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", _in_folder(file.parent, file.name) or "Check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", "Check the file and its permissions") from None


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


def _decode(path: str, data: bytes, encoding: str) -> str:
    """The text; a byte that is not of the encoding becomes a surrogate, which `_refuse_undecoded` finds and places."""
    _check_encoding(encoding)
    codec = _codec(encoding)
    _refuse_utf16(path, data, encoding)
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as strict:
        try:
            text = data.decode(codec, errors="surrogateescape")
        except UnicodeDecodeError:
            line = data.count(b"\n", 0, strict.start) + 1
            raise UserError(
                f"{path}:{line}: the bytes are not {encoding}", "Set `encoding` to what the file was saved in"
            ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path}:{line}: a NUL character", "Set `encoding: utf-16` if the file is UTF-16; otherwise remove it")
    return text


def _refuse_utf16(path: str, data: bytes, encoding: str) -> None:
    fault = encoding_fault(data) if _codec(encoding) == "utf-8-sig" else None
    if fault:
        what, hint = fault
        if "UTF-16" in what:
            # Python's utf-16 goes by the mark; without one the order must be named
            marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            hint = f"Set `encoding: utf-16{'' if marked else '-be' if data[:1] == bytes(1) else '-le'}`"
        raise UserError(f"{path}:1: {what}", hint)


def _refuse_undecoded(table: Table, form: Format) -> None:
    faults = table.faults()
    for row, number in enumerate(table.numbers):
        for name, values in table.columns.items():
            value = values[row]
            for text in value if isinstance(value, list) else (value,):
                bad = _surrogate(text)
                if bad is None:
                    continue
                if 0xDC80 <= bad <= 0xDCFF:
                    what = f"column {name!r} has the byte 0x{bad - 0xDC00:02x}, which is not {form.encoding.upper()}"
                    hint = (
                        "If the whole file is in another encoding, set it (e.g. `encoding: cp1252`); "
                        "if encodings are mixed, save these lines again"
                    )
                else:
                    what, hint = f"column {name!r} has half a character, \\u{bad:04x}", "Write the character whole"
                faults.add(number, what, hint)
                break
    faults.stop()


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


def _records(path: str, text: str, form: Format) -> Iterator[tuple[int, list[str]]]:
    """Records and the line each begins on. A record over several lines (a quoted line break) counts by its first."""
    delimiter = _delimiter(path, text, form)
    excel = EXCEL_LINE.match(text)
    above = 1 if excel else 0
    try:
        reader = csv.reader(
            io.StringIO(text[excel.end() :] if excel else text, newline=""),
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if form.quotes else csv.QUOTE_NONE,
            skipinitialspace=form.quotes and _quotes_after_space(text, delimiter),
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


def _read_csv(path: str, text: str, columns: Sequence[str], form: Format) -> Table:
    faults = Faults(path)
    numbers: list[int] = []
    with _wide_fields():
        records = _records(path, text, form)
        header_line, header = next(records, (1, []))
        names = _stripped(header)
        for name in names:
            if _surrogate(name) is not None:
                raise UserError(
                    f"{path}:{header_line}: the header is not {form.encoding.upper()}", "Set `encoding`, e.g. cp1252"
                )
        _check_names(path, names, columns, _delimiter(path, text, form))
        wanted = [names.index(name) for name in columns]
        values: list[list[Any]] = [[] for _ in columns]
        for line, record in records:
            if len(record) != len(header):
                fields = "1 field" if len(record) == 1 else f"{len(record)} fields"
                faults.add(
                    line,
                    f"{fields} where the header has {len(header)}",
                    "Put a field that contains the delimiter in double quotes, or remove the line",
                )
                continue
            numbers.append(line)
            for column, position in zip(values, wanted, strict=True):
                column.append(record[position])
    faults.stop()
    return Table(path, dict(zip(columns, values, strict=True)), numbers)


# ---------------------------------------------------------------------------------------------------------------- JSONL


def _objects(path: str, text: str, columns: Sequence[str], faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        keys: list[str] = []
        try:
            row = parse_json(line.rstrip(), _pairs(keys))
        except ValueError as error:
            if number == 1 and line.lstrip().startswith("["):
                raise UserError(f"{path}:1: the file is one JSON list", "Write one object a line") from None
            faults.add(number, *_json_fault(line.rstrip(), error))
            continue
        if not isinstance(row, dict):
            kind = "list" if isinstance(row, list) else type(row).__name__
            faults.add(number, f"a JSON {kind}, not an object", 'Write each line as {"text": ..., "label": ...}')
            continue
        twice = _twice(keys, columns)
        if twice:
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


def _read_jsonl(path: str, text: str, columns: Sequence[str]) -> Table:
    faults = Faults(path)
    numbers: list[int] = []
    values: dict[str, list[Any]] = {name: [] for name in columns}
    for number, row in _objects(path, text, columns, faults):
        if not numbers:
            # The first row stands for the header: a name missing there is a wrong option rather than a bad row.
            _check_keys(path, number, row, columns)
        missing = [name for name in columns if name not in row]
        if missing:
            faults.add(
                number, f"no key {missing[0]!r}", f"Give every line the keys {', '.join(repr(name) for name in columns)}"
            )
            continue
        numbers.append(number)
        for name in columns:
            values[name].append(row[name])
    faults.stop()
    return Table(path, values, numbers)


# -------------------------------------------------------------------------------------------------------------- Parquet


def _read_parquet(path: str, columns: Sequence[str]) -> Table:
    if not _bytes(path, 4).startswith(b"PAR1"):
        raise UserError(f"{path}: not a Parquet file", "Write it again, or name a .csv, .tsv or .jsonl file")
    import pyarrow.parquet

    try:
        names = list(pyarrow.parquet.read_schema(path).names)
        twice = _twice(names, columns)
        if twice:
            raise UserError(f"{path}: two columns are called {twice[0]!r}", "Give each column a name of its own")
        missing = [name for name in columns if name not in names]
        if missing:
            raise _no_column(path, missing, names)
        loaded = pyarrow.parquet.read_table(path, columns=list(dict.fromkeys(columns)), partitioning=None)
        values = {name: [_text_of(value) for value in loaded.column(name).to_pylist()] for name in columns}
    except UserError:
        raise
    except Exception as error:  # damage surfaces as whatever type the damaged part leads to, a UnicodeDecodeError for one
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: damaged, or of a type that is not read here ({reason})", "Write the file again") from None
    return Table(path, values, list(range(1, loaded.num_rows + 1)), "row")


def _text_of(value: Any) -> Any:
    """Some writers store a text as bytes, without saying that it is one."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value
