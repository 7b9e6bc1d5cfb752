"""Label columns that hold, for every row, a 0 or a 1 per class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from armada_task_files.targets import label_name

ONES = {"1": 1, "0": 0, "true": 1, "false": 0, "1.0": 1, "0.0": 0}


def vector(items: Sequence[Any]) -> tuple[int, ...] | None:
    """A list made of 0 and 1, as numbers, booleans or texts; None for any other."""
    values = []
    for item in items:
        value = ONES.get((label_name(item) or "").lower())
        if value is None:
            return None
        values.append(value)
    return tuple(values)


def width(cells: Sequence[Sequence[Any]], rows_of: Sequence[int]) -> int | None:
    """How many classes the vectors of a column have; None where the column holds names or numbers of classes.

    Args:
        cells: the different lists of the column; rows_of: how many rows have each.

    Lists of 0 and 1 are vectors where all have one length. Where most have, those of another length are faults, if something
    shows that they are no numbers of classes: booleans, or a number that stands in one list twice.
    """
    vectors = [vector(items) for items in cells]
    lengths: Counter[int] = Counter()
    for places, count in zip(vectors, rows_of, strict=True):
        if places:
            lengths[len(places)] += count
    all_rows = sum(rows_of)
    if not lengths:
        return None
    common, rows = lengths.most_common(1)[0]
    if common == 1 and any(isinstance(item, str) for items in cells for item in items):
        # Cells with the one text "0" or "1": two classes like any others.
        return None
    if rows == all_rows:
        return common
    repeated = any(places and len(set(places)) < len(places) for places in vectors)
    booleans = any(isinstance(item, bool) for items in cells for item in items)
    return common if 2 * rows > all_rows and (booleans or repeated) else None
