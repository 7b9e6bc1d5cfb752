"""Opens and decodes a table's file, and says what is wrong where it cannot."""

from __future__ import annotations

import codecs
import difflib
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armada_cli import UserError
from armada_cli.reading import encoding_fault, open_file

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

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, or a byte that could not be decoded."""


@dataclass(frozen=True)
class Format:
    """How a text file is to be read; see the options of the same names."""

    encoding: str = "utf-8"
    delimiter: str = "auto"
    quotes: bool = True


def tell_kind(path: str) -> str:
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


def open_table(path: str) -> io.BufferedReader:
    file = Path(path)
    if file.is_dir():
        raise UserError(f"{path}: a folder, not a file", _in_folder(file, "") or "Name a file")
    try:
        return open_file(file)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", _in_folder(file.parent, file.name) or "Check the path") from None
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: str, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be read ({error.strerror})", "Check the file and its permissions")


def read_head(path: str, size: int) -> bytes:
    """The beginning of a file."""
    with open_table(path) as stream:
        try:
            return stream.read(size)
        except OSError as error:
            raise unreadable(path, error) from None


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


def check_encoding(encoding: str) -> None:
    try:
        "".encode(encoding)
    except (LookupError, UnicodeError, ValueError):
        raise UserError(
            f"encoding: {encoding!r} is not an encoding of text that Python knows", "Try utf-8, cp1252 or utf-16"
        ) from None


def choose_codec(encoding: str) -> str:
    """UTF-8 with or without a byte order mark."""
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8", "u8") else encoding


def _stream_codec(path: str, encoding: str) -> str:
    """The codec with which a stream is decoded. Without a byte order mark Python takes UTF-16 in the machine's order where it
    decodes a text at once, and refuses it in a stream."""
    codec = choose_codec(encoding)
    name = codecs.lookup(codec).name
    marks = {"utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)}
    if name in marks and not read_head(path, 4).startswith(marks[name]):
        return f"{name}-{'le' if sys.byteorder == 'little' else 'be'}"
    return codec


def open_text(path: str, form: Format, newline: str) -> io.TextIOWrapper:
    """The file's text; a byte that is not of the encoding becomes a surrogate, which `FileTable.undecoded` finds."""
    codec = _stream_codec(path, form.encoding)
    return io.TextIOWrapper(open_table(path), encoding=codec, errors="surrogateescape", newline=newline)


def read_chunks(path: str, encoding: str, errors: str) -> Iterator[str]:
    """The text of a file, piece by piece.

    Raises:
        Undecodable: bytes that are not of the encoding, with the place of the first.
    """
    decoder = codecs.getincrementaldecoder(_stream_codec(path, encoding))(errors)
    before = 0
    with open_table(path) as stream:
        while True:
            data = stream.read(HEAD)
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                raise Undecodable(before - (len(error.object) - len(data)) + error.start) from None
            before += len(data)
            if text:
                yield text
            if not data:
                return


class Undecodable(Exception):
    """Args: place: the offset of the first byte that is not of the encoding."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


def find_line(path: str, place: int) -> int:
    """The line (from 1) on which a byte stands."""
    line = 1
    with open_table(path) as stream:
        while place > 0 and (data := stream.read(min(HEAD, place))):
            line += data.count(b"\n")
            place -= len(data)
    return line


def refuse_utf16(path: str, data: bytes, encoding: str) -> None:
    fault = encoding_fault(data) if choose_codec(encoding) == "utf-8-sig" else None
    if fault:
        what, hint = fault
        if "UTF-16" in what:
            # Python's utf-16 goes by the mark; without one the order must be named
            marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
            hint = f"Set `encoding: utf-16{'' if marked else '-be' if data[:1] == bytes(1) else '-le'}`"
        raise UserError(f"{path}:1: {what}", hint)


def find_surrogate(text: Any) -> int | None:
    if not isinstance(text, str) or text.isascii():
        return None
    half = SURROGATE.search(text)
    return ord(half[0]) if half else None
