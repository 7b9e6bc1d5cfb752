"""Finds the wanted columns among those of a file."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from typing import Any

from armada_cli import UserError
from armada_task_files.faults import quoted

Rows = Generator[tuple[int, tuple[Any, ...]], None, None]
"""The line or number of each row, and its wanted cells."""


def strip_names(header: Sequence[str]) -> list[str]:
    return [name.strip() for name in header]


def check_names(path: str, there: Sequence[str], wanted: Sequence[str], delimiter: str = "") -> None:
    """Every wanted name once. Columns that nobody reads may have any name, none, or one name between them."""
    missing = [name for name in wanted if name not in there]
    if missing and len(there) == 1 and delimiter:
        other = next((mark for mark in (";", "\t", "|", ",") if mark != delimiter and mark in there[0]), None)
        if other:
            shown = "\\t" if other == "\t" else other
            raise UserError(f"{path}:1: one column only, {quoted(there[0])}", f'Set `delimiter: "{shown}"`')
    twice = find_repeated(there, wanted)
    if twice:
        raise UserError(f"{path}:1: two columns are called {twice[0]!r}", "Give each column a name of its own")
    if missing:
        raise no_column(f"{path}:1", missing, there)


def find_repeated(there: Iterable[str], wanted: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(there).items() if count > 1 and name in wanted]


def no_column(where: str, missing: Sequence[str], there: Sequence[str]) -> UserError:
    names = " and ".join(repr(name) for name in missing)
    hint = f"The columns are {', '.join(repr(name) for name in there[:20]) + (', ...' if len(there) > 20 else '')}"
    near = difflib.get_close_matches(missing[0].lower(), [name.lower() for name in there], n=1, cutoff=0.6)
    if near:
        meant = next(name for name in there if name.lower() == near[0])
        hint = f"Did you mean {meant!r}? {hint}"
    return UserError(f"{where}: no column {names}", hint)
