"""A user's table as a task: every cell is checked before the first one is trained on."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from armada_cli import Environment, Split, Task, UserError
from armada_cli.evaluation import metrics
from armada_task_files.faults import quoted
from armada_task_files.labels import Labels
from armada_task_files.options import FilesOptions
from armada_task_files.spelling import comparable, visible
from armada_task_files.table import Table, read
from armada_task_files.targets import MISSING, Fault, read_target


class Files(Task):
    """One or two text columns -> a class, a number, or several labels. The teacher is shown the texts joined by a space.

    Attributes:
        notes: lines the user should see though nothing is wrong enough to stop; filled when a split is first asked for.
    """

    options: FilesOptions

    def __init__(self, options: FilesOptions, environment: Environment) -> None:
        super().__init__(options, environment)
        self.kind = options.kind()
        self.notes: list[str] = []
        self._splits: dict[str, Split] = {}
        self._labels: tuple[str, ...] = ()

    def split(self, name: str) -> Split:
        """``train`` or ``validation``, in the order of the file.

        Raises:
            UserError: a file, line or cell that cannot be used; with file, line and column.
        """
        if name not in ("train", "validation"):
            raise ValueError(f"a task has the splits 'train' and 'validation', not {name!r}")
        self._load()
        return self._splits[name]

    def labels(self) -> Sequence[str]:
        """Classification, multi-label: the option `classes`, or the labels of the training file, sorted (whole numbers by
        size); for vectors of zeros and ones the numbers of their places. Regression: the name of the label column."""
        self._load()
        return self._labels

    @property
    def metric(self) -> str:
        """The option `metric`, or what fits the target."""
        return self.options.main_metric

    def score(self, outputs: Any, labels: Sequence[Any]) -> dict[str, float]:
        """The main metric and the others that fit the target, in percent."""
        return metrics.score(self.options.metrics, outputs, labels)

    def _load(self) -> None:
        if self._splits:
            return
        options = self.options
        table = read(options.file, options.columns, options.format)
        texts, targets = _cells(table, options)
        labels = Labels(table, targets, options)
        self._labels = labels.names
        self.notes += labels.notes
        self._note_missing(table, texts)
        training = Split(texts, labels.numbers, [" ".join(text) for text in texts])
        if options.validation is None:
            held_out = _held_out(table, training, options)
            kept = [row for row in range(len(training)) if row not in held_out]
            self._splits = {"train": training.take(kept), "validation": training.take(sorted(held_out))}
            return
        other = read(options.validation, options.columns, options.format)
        texts, targets = _cells(other, options)
        self._note_missing(other, texts)
        validation = Split(texts, labels.numbered(other, targets), [" ".join(text) for text in texts])
        self._splits = {"train": training, "validation": validation}
        self._note_overlap(other, training, validation)

    def _note_missing(self, table: Table, texts: Sequence[tuple[str, ...]]) -> None:
        rows = [row for row, text in enumerate(texts) if any(part.strip() in MISSING for part in text)]
        if rows:
            word = next(part.strip() for part in texts[rows[0]] if part.strip() in MISSING)
            self.notes.append(
                f"{table.path}: in {len(rows)} of {len(texts)} rows a text is a word for a missing value ({word!r}, first at "
                f"{table.place(rows[0])}), and it is read as that word. Remove the rows if a text is missing there"
            )

    def _note_overlap(self, table: Table, training: Split, validation: Split) -> None:
        known = {_key(text) for text in training.texts}
        both = [row for row, text in enumerate(validation.texts) if _key(text) in known]
        if both:
            self.notes.append(
                f"{table.path}: {len(both)} of {len(validation)} texts are in {self.options.file} too "
                f"(the first is at {table.place(both[0])}), so scores will flatter. Remove them from one of the files"
            )


# --------------------------------------------------------------------------------------------------------------- cells


def _cells(table: Table, options: FilesOptions) -> tuple[list[tuple[str, ...]], list[Any]]:
    """Texts, and targets as `read_target` gives them."""
    faults = table.faults()
    columns = [name for name in (options.text, options.text2) if name is not None]
    texts, targets = [], []
    # A column has few different cells, and reading a list in a text costs as much as all else about a row.
    known: dict[str, tuple[Any, Fault | None]] = {}
    for row, number in enumerate(table.numbers):
        fault = None
        text = []
        for name in columns:
            fault = fault or _text_fault(name, table.columns[name][row])
            text.append(table.columns[name][row])
        cell = table.columns[options.label][row]
        if not isinstance(cell, str):
            target, label_fault = read_target(options, cell)
        else:
            read_cell = known.get(cell)
            if read_cell is None:
                read_cell = known[cell] = read_target(options, cell)
            target, label_fault = read_cell
        fault = fault or label_fault
        if fault:
            faults.add(number, *fault)
            continue
        texts.append(tuple(text))
        targets.append(target)
    faults.stop()
    return texts, targets


def _text_fault(name: str, value: Any) -> Fault | None:
    if value is None or (isinstance(value, str) and not visible(value).strip()):
        return f"column {name!r} is empty", "Fill the text in, or remove the line"
    if isinstance(value, float) and math.isnan(value):
        return f"column {name!r} holds nan, not a text", "Fill the text in, or remove the line"
    if not isinstance(value, str):
        return f"column {name!r} holds {quoted(value)}, not a text", "Put the text in quotes, or name another column"
    return None


# --------------------------------------------------------------------------------------------------------------- split


def _key(text: tuple[str, ...]) -> tuple[str, ...]:
    """Texts that differ in case, spacing, Unicode form or invisible characters alone are the same text."""
    return tuple(comparable(part) for part in text)


def _held_out(table: Table, training: Split, options: FilesOptions) -> set[int]:
    """Rows kept back for validation: a function of the texts, the seed and the share. The same text never stands on both
    sides, and every class keeps at least one text to train on; for classification each class gives its share."""
    rows: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, text in enumerate(training.texts):
        rows[_key(text)].append(row)
    groups: dict[Any, list[tuple[str, ...]]] = defaultdict(list)
    for text, members in rows.items():
        groups[training.labels[members[0]] if options.target == "classification" else None].append(text)
    left = Counter(training.labels) if options.target == "classification" else None
    held: set[int] = set()
    for label in sorted(groups, key=lambda label: -len(groups[label])):
        texts = groups[label]
        texts.sort(key=lambda text: hashlib.sha256("\0".join((str(options.seed), *text)).encode()).digest())
        count = min(round(options.validation_share * len(texts)), len(texts) - 1)
        if not held and len(texts) > 1:
            count = max(count, 1)
        for text in texts[:count]:
            if left is not None:
                # A text that stands there with two labels may carry the last row of the other class.
                after = left - Counter(training.labels[row] for row in rows[text])
                if len(after) < len(left):
                    continue
                left = after
            held.update(rows[text])
    if not held:
        texts_there = "1 text is" if len(rows) == 1 else f"{len(rows)} different texts are"
        raise UserError(
            f"{table.path}: {texts_there} too few to keep some back for validation", "Add rows, or name a validation file"
        )
    return held
