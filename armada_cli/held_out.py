"""Rows of a training split that are held out to choose on (a recipe's ``select_on``): no student is trained on them. Which they
are depends on the split alone, so that every method and every seed of a task has the same."""

from __future__ import annotations

import random

from armada_cli.contracts import Split
from armada_cli.errors import UserError

SELECTION = "selection"
"""Name of the part that is held out, beside ``train`` and ``validation``."""


def split_of(name: str) -> str:
    """Which split of a task has the rows of a part: ``train`` for what is held out."""
    return "train" if name == SELECTION else name


def held_out_rows(count: int, share: float) -> list[int]:
    """The numbers of the rows that are held out of `count` training rows, going up: `share` of them, at least one.

    Raises:
        UserError: no row would be left to train on.
    """
    if count < 2:
        raise UserError(f"select_on holds rows out, and the training split has {count}", "Raise its limit or add rows")
    held = min(max(round(share * count), 1), count - 1)
    return sorted(random.Random("armada select_on rows").sample(range(count), held))


def take_part(split: Split, name: str, share: float | None) -> Split:
    """What a trial reads of a split of its task.

    Args:
        split: the one that `split_of` names, after its limit.
        name: ``train``, ``validation`` or `SELECTION`.
        share: of the training rows that is held out; None holds none out.

    Raises:
        UserError: as `held_out_rows`.
    """
    if share is None or split_of(name) != "train":
        return split
    held = held_out_rows(len(split), share)
    if name == SELECTION:
        return split.take(held)
    out = set(held)
    return split.take([row for row in range(len(split)) if row not in out])
