"""The first look at a table: every row is read and judged, and only what choosing rows needs is kept of it.

Of each row that is its line, a digest of its text and the number of its label among the column's different ones. They lie in a
temporary SQLite database that moves to the disk as it grows, so that a table may be larger than the memory.
"""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from armada_cli import UserError
from armada_task_files.faults import Fault, quoted
from armada_task_files.options import FilesOptions
from armada_task_files.spelling import comparable, visible
from armada_task_files.table import FileTable
from armada_task_files.targets import MISSING, read_target

BATCH = 4096
"""Rows handed to the database at a time."""

DIGEST = 16
"""Bytes kept of a text's SHA-256. Two texts that share them are not to be expected among 10^18."""

CACHE = 32 << 10
"""KiB of the database that stay in memory."""


@contextmanager
def scratch() -> Iterator[sqlite3.Connection]:
    """A database that nobody else sees and that is gone when it is closed.

    Raises:
        UserError: there is no room on the disk for temporary files.
    """
    with closing(sqlite3.connect("", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA cache_size = -{CACHE}")
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        try:
            yield connection
        except sqlite3.OperationalError as error:
            raise UserError(
                f"no room for temporary files while a table is read ({error})",
                "Free some space, or set SQLITE_TMPDIR to a folder that has it",
            ) from None


class Column:
    """The different labels of a column, each read once.

    Attributes:
        targets: what `read_target` gives for each; counts: rows that have it; firsts: the line of its first row.
        has_texts, has_separator: whether a cell is a text, and whether the option `separator` stands in one.
    """

    def __init__(self, options: FilesOptions) -> None:
        self.options = options
        self.targets: list[Any] = []
        self.counts: list[int] = []
        self.firsts: list[int] = []
        self.has_texts = self.has_separator = False
        self._codes: dict[Any, int] = {}

    def code(self, cell: Any) -> int | None:
        """The number of a cell among the different ones; None for one that has not been added."""
        return self._codes.get(_key_of_cell(cell))

    def add(self, cell: Any, line: int) -> tuple[int, Fault | None]:
        """The number of a cell of a row, or what is wrong with it."""
        key = _key_of_cell(cell)
        code = self._codes.get(key)
        if code is None:
            target, fault = read_target(self.options, cell)
            if fault:
                return 0, fault
            code = self._codes[key] = len(self.targets)
            self.targets.append(target)
            self.counts.append(0)
            self.firsts.append(line)
            if isinstance(cell, str):
                self.has_texts = True
                self.has_separator = self.has_separator or self.options.separator in cell
        self.counts[code] += 1
        return code, None


def _key_of_cell(cell: Any) -> Any:
    """Cells are told apart by type too: 1, 1.0 and True are equal and need not be one label."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, list):
        return (list, *((type(item), repr(item)) for item in cell))
    return type(cell), repr(cell)


class Survey:
    """What is known of a table without its rows.

    Args:
        table: which is read once, whole.
        options: how its cells are read.
        connection: of `scratch`; needed until the rows are chosen.
        name: of the table's rows in that database.

    Attributes:
        count: rows of the table.
        column: the different labels; empty for regression.
        lowest, highest, first_number: of the labels, for regression.
        missing: rows in which a text is a word for a missing value, the first one's line, and the word.

    Raises:
        UserError: a file, line or cell that cannot be used; with file, line and column.
    """

    def __init__(self, table: FileTable, options: FilesOptions, connection: sqlite3.Connection, name: str) -> None:
        self.table, self.options, self.connection, self.name = table, options, connection, name
        self.count = 0
        self.column = Column(options)
        self.lowest, self.highest, self.first_number = math.inf, -math.inf, math.nan
        self.missing: tuple[int, int, str] | None = None
        self.mark = _mark(table.path)
        connection.execute(f"CREATE TABLE {name} (row INTEGER PRIMARY KEY, line INTEGER, code INTEGER, digest BLOB)")
        self._read()

    def labelled_rows(self) -> Iterator[tuple[int, int]]:
        """The line and the label's number of each row."""
        return self.connection.execute(f"SELECT line, code FROM {self.name} ORDER BY row")

    def rows(self) -> Iterator[tuple[int, int, tuple[str, ...], Any]]:
        """The table, read again: each row's number (from 0), line, texts and target: the number of its label among the
        different ones or, for regression, the number itself.

        Raises:
            UserError: the file is not the one that was looked over.
        """
        faults, row = self.table.faults(), -1
        regression = self.options.target == "regression"
        with closing(self.table.rows(faults)) as rows:
            for row, (line, cells) in enumerate(rows):
                target = read_target(self.options, cells[-1])[0] if regression else self.column.code(cells[-1])
                if row >= self.count or target is None:
                    raise self._changed()
                yield row, line, cells[:-1], target
        if row + 1 != self.count:
            raise self._changed()

    def refuse_changed(self) -> None:
        """Raises UserError: the file is not the one that was looked over."""
        if _mark(self.table.path) != self.mark:
            raise self._changed()

    def _changed(self) -> UserError:
        return UserError(f"{self.table.path}: changed while it was read", "Leave the file alone, and run the command again")

    def _read(self) -> None:
        table, column = self.table, self.column
        shapes, characters, cells_bad = table.faults(), table.faults(), table.faults()
        regression = self.options.target == "regression"
        seed = str(self.options.seed)
        names = table.columns[:-1]
        batch: list[tuple[int, int, int, bytes]] = []
        faulty = False
        with closing(table.rows(shapes)) as rows:
            for line, cells in rows:
                self.count += 1
                if table.word == "line" and (undecoded := table.undecoded(cells)):
                    characters.add(line, *undecoded)
                    faulty = True
                    continue
                texts, cell, code = cells[:-1], cells[-1], 0
                fault = _first_fault(names, texts)
                if regression:
                    number, label_fault = read_target(self.options, cell)
                    if not label_fault:
                        self._measure(number)
                else:
                    code, label_fault = column.add(cell, line)
                fault = fault or label_fault
                if fault:
                    cells_bad.add(line, *fault)
                    faulty = True
                if faulty:
                    continue
                self._note_missing(texts, line)
                key = "\0".join((seed, *map(comparable, texts)))
                batch.append((self.count - 1, line, code, hashlib.sha256(key.encode()).digest()[:DIGEST]))
                if len(batch) == BATCH:
                    self._keep(batch)
        for faults in (shapes, characters):
            faults.stop()
        if not self.count:
            raise UserError(f"{table.path}: no row under the header", "Give a file with at least two rows")
        cells_bad.stop()
        self._keep(batch)

    def _keep(self, batch: list[tuple[int, int, int, bytes]]) -> None:
        self.connection.executemany(f"INSERT INTO {self.name} VALUES (?, ?, ?, ?)", batch)
        batch.clear()

    def _measure(self, number: float) -> None:
        if math.isnan(self.first_number):
            self.first_number = number
        self.lowest, self.highest = min(self.lowest, number), max(self.highest, number)

    def _note_missing(self, texts: Sequence[str], line: int) -> None:
        for text in texts:
            word = text.strip()
            if word in MISSING:
                rows, first, shown = self.missing or (0, line, word)
                self.missing = rows + 1, first, shown
                return


def _mark(path: str) -> tuple[int, int, int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0, 0, 0
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _first_fault(names: Sequence[str], texts: Sequence[Any]) -> Fault | None:
    for name, text in zip(names, texts, strict=True):
        fault = _text_fault(name, text)
        if fault:
            return fault
    return None


def _text_fault(name: str, value: Any) -> Fault | None:
    if isinstance(value, str) and visible(value).strip():
        return None
    if value is None or isinstance(value, str):
        return f"column {name!r} is empty", "Fill the text in, or remove the line"
    if isinstance(value, float) and math.isnan(value):
        return f"column {name!r} holds nan, not a text", "Fill the text in, or remove the line"
    return f"column {name!r} holds {quoted(value)}, not a text", "Put the text in quotes, or name another column"
