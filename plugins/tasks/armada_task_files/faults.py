"""What is wrong with rows: all are gathered, the first few are told."""

from __future__ import annotations

from typing import Any

from armada_cli import UserError

SHOWN = 3

Fault = tuple[str, str]
"""What is wrong, and what to do."""


class Faults:
    """Gathers what is wrong with the rows of one file, then speaks once.

    Args:
        path: the file, as the user named it.
        word: what counts a row: ``line`` in a text file, ``row`` in Parquet.
    """

    def __init__(self, path: str, word: str = "line") -> None:
        self.path, self.word = path, word
        self._found: list[tuple[int, str, str]] = []
        self._last, self._count = 0, 0

    def add(self, number: int, what: str, hint: str) -> None:
        """Note that line or row `number` (from 1) has the fault `what`; of one line only the first fault counts. Numbers never
        go down from one call to the next."""
        if number == self._last:
            return
        self._last, self._count = number, self._count + 1
        if len(self._found) < SHOWN:
            self._found.append((number, what, hint))

    def stop(self) -> None:
        """Raise what was gathered, if anything was.

        Raises:
            UserError: the first three faults, the number of bad lines, and what to do about each kind of fault.
        """
        if not self._found:
            return
        number, what, _ = self._found[0]
        told = [f"{place(self.path, number, self.word)}: {what}"]
        told += [f"{self.word} {number}: {what}" for number, what, _ in self._found[1:]]
        if self._count > SHOWN:
            told.append(f"{self._count} bad {self.word}s in all")
        raise UserError("; ".join(told), ". ".join(dict.fromkeys(hint for _, _, hint in self._found)))


def place(path: str, number: int, word: str = "line") -> str:
    """``reviews.csv:12``, which editors and terminals open; a row of Parquet has no line: ``reviews.parquet, row 12``."""
    return f"{path}:{number}" if word == "line" else f"{path}, {word} {number}"


def quoted(value: Any, width: int = 40) -> str:
    """A cell in a message: quoted, and cut where it is long."""
    if isinstance(value, str) and len(value) > width:
        return repr(value[: width - 3] + "...")
    text = repr(value)
    return text if len(text) <= width else text[: width - 3] + "..."
