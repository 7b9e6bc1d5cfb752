"""Which rows of a table are kept back for validation."""

from __future__ import annotations

import itertools
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence

from armada_cli import UserError
from armada_task_files.survey import BATCH, Survey


def hold_out(survey: Survey, classes: Sequence[int] | None, share: float) -> bytearray:
    """A 1 for each row that is kept back, else 0: a function of the texts, the seed and the share. The same text never stands
    on both sides, and every class keeps at least one text to train on; for classification each class gives its share.

    Args:
        classes: the class of each of the survey's different labels, for classification.
        share: of the texts, above 0 and below 1.

    Raises:
        UserError: there are too few texts.
    """
    connection = survey.connection
    connection.execute("CREATE TABLE texts (class INTEGER, members BLOB)")
    texts: Counter[int] = Counter()
    first_rows: dict[int, int] = {}
    left: Counter[int] = Counter()

    def count_texts() -> Iterator[tuple[int, bytes]]:
        for text_class, members in _texts(survey, classes):
            texts[text_class] += 1
            first_rows[text_class] = min(members[0], first_rows.get(text_class, members[0]))
            for number in members[1::2]:
                left[number] += 1
            yield text_class, members.tobytes()

    connection.executemany("INSERT INTO texts VALUES (?, ?)", count_texts())
    connection.execute("CREATE INDEX texts_of_class ON texts (class)")
    held = bytearray(survey.count)
    some = False
    for text_class in sorted(texts, key=lambda number: (-texts[number], first_rows[number])):
        count = min(round(share * texts[text_class]), texts[text_class] - 1)
        if not some and texts[text_class] > 1:
            count = max(count, 1)
        query = "SELECT members FROM texts WHERE class = ? ORDER BY rowid LIMIT ?"
        for (packed,) in connection.execute(query, (text_class, count)):
            members = array("q", packed)
            if classes is not None:
                # A text that stands there with two labels may carry the last row of the other class.
                if len(members) == 2:
                    if left[members[1]] <= 1:
                        continue
                    left[members[1]] -= 1
                else:
                    taken = Counter(members[1::2])
                    if any(left[number] <= rows for number, rows in taken.items()):
                        continue
                    left.subtract(taken)
            for row in members[::2]:
                held[row] = 1
            some = True
    if not some:
        total = texts.total()
        there = "1 text is" if total == 1 else f"{total} different texts are"
        raise UserError(
            f"{survey.table.path}: {there} too few to keep some back for validation", "Add rows, or name a validation file"
        )
    return held


def _texts(survey: Survey, classes: Sequence[int] | None) -> Iterator[tuple[int, array[int]]]:
    """The class of each different text (that of its first row) and its rows, each followed by its class; in the order of the
    digests, which is another for each seed."""
    rows = survey.connection.execute(f"SELECT digest, row, code FROM {survey.name} ORDER BY digest, row")
    rows.arraysize = BATCH
    for _, members in itertools.groupby(rows, key=lambda row: row[0]):
        packed = array("q")
        for _, row, code in members:
            packed.extend((row, 0 if classes is None else classes[code]))
        yield packed[1], packed
