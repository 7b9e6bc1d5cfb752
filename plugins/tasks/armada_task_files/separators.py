"""Cells with several labels between which another character stands than the one that is set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

CERTAIN = ("|", "\t", "\n")
"""Stand in no name of a class."""

LIKELY = (";", ",")
"""May stand in a name, as in "Paris, France"; not where the same parts are found in other cells."""

POSSIBLE = ("/", "+", "&", " ")


def other_separator(names: Iterable[str], separator: str) -> tuple[str, bool] | None:
    """Another character that seems to separate labels, and whether that is (nearly) sure; None where none does.

    Args:
        names: the labels, as the set separator gives them.
    """
    distinct = set(names)
    for mark in (*CERTAIN, *LIKELY):
        if mark != separator and any(_shared(distinct, mark, sure=mark in CERTAIN)):
            return mark, True
    for mark in POSSIBLE:
        shared = list(_shared(distinct, mark, sure=False))
        if mark != separator and len(shared) > 1 and all(shared):
            return mark, False
    return None


def _shared(names: set[str], mark: str, *, sure: bool) -> list[bool]:
    """For every name with the mark in it: whether its parts (for a mark that is sure: whether they are parts at all) stand in
    other names too."""
    parts = {name: _parts(name, mark) for name in names}
    counts = Counter(part for words in parts.values() for part in set(words))
    several = [words for words in parts.values() if len(words) > 1]
    strict = mark in POSSIBLE
    decide = all if strict else any
    return [sure or decide(counts[part] > 1 for part in words) for words in several]


def _parts(name: str, mark: str) -> Sequence[str]:
    return [part.strip() for part in name.split(mark) if part.strip()]
