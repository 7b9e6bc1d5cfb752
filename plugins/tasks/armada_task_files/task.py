"""A user's table as a task: every cell is checked before the first one is trained on.

A table is read twice: once to judge all of its rows and to choose which are trained on, once to fetch those. Nothing else of it
is kept, so that a limit bounds the memory, whatever the size of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from armada_cli import Environment, Split, limited_rows
from armada_cli.corpora.tasks import MeasuredTask, require_split
from armada_task_files.held_out import hold_out
from armada_task_files.labels import Labels
from armada_task_files.options import FilesOptions
from armada_task_files.survey import Survey, scratch
from armada_task_files.table import FileTable


@dataclass(frozen=True)
class _SplitPart:
    """Where the rows of a split stand.

    Attributes:
        numbers: for each of the survey's different labels, what `Split` has for it.
        held, side: the rows with this mark in `held` are the split's; None is all of the table.
        count: of them.
    """

    survey: Survey
    numbers: Sequence[Any]
    held: bytearray | None
    side: int
    count: int


class Files(MeasuredTask):
    """One or two text columns -> a class, a number, or several labels. The teacher is shown the texts joined by a space."""

    options: FilesOptions

    def __init__(self, options: FilesOptions, environment: Environment) -> None:
        super().__init__(options, environment)
        self.kind = options.kind()
        self._parts: dict[str, _SplitPart] = {}
        self._labels: tuple[str, ...] = ()

    def split(self, name: str) -> Split:
        """``train`` or ``validation``, in the order of the file.

        Raises:
            UserError: a file, line or cell that cannot be used; with file, line and column.
        """
        return self.sample(name, None)

    def sample(self, name: str, rows: int | None) -> Split:
        """The rows of `split` that a limit leaves, in the order of the file. The others are judged and not kept.

        Raises:
            UserError: as `split`.
        """
        require_split(name)
        self._load()
        return _fetch(self._parts[name], rows, name, regression=self.options.target == "regression")

    def labels(self) -> Sequence[str]:
        """Classification, multi-label: the option `classes`, or the labels of the training file, sorted (whole numbers by
        size); for vectors of zeros and ones the numbers of their places. Regression: the name of the label column."""
        self._load()
        return self._labels

    def _load(self) -> None:
        if self._parts:
            return
        options = self.options
        with scratch() as connection:
            training = Survey(FileTable(options.file, options.columns, options.format), options, connection, "training")
            labels = Labels(training, options)
            notes = [*labels.notes, *_missing_note(training)]
            if options.validation is None:
                classes = labels.numbers if options.target == "classification" else None
                held = hold_out(training, classes, options.validation_share)
                kept_back = sum(held)
                self._parts = {
                    "train": _SplitPart(training, labels.numbers, held, 0, training.count - kept_back),
                    "validation": _SplitPart(training, labels.numbers, held, 1, kept_back),
                }
            else:
                table = FileTable(options.validation, options.columns, options.format)
                validation = Survey(table, options, connection, "validation")
                notes += _missing_note(validation)
                self._parts = {
                    "train": _SplitPart(training, labels.numbers, None, 0, training.count),
                    "validation": _SplitPart(validation, labels.numbered(validation), None, 0, validation.count),
                }
                notes += _overlap_note(training, validation)
        self._labels = labels.names
        self.notes += notes


def _fetch(part: _SplitPart, limit: int | None, name: str, *, regression: bool) -> Split:
    """The rows of a split that a limit leaves."""
    part.survey.refuse_changed()
    chosen = limited_rows(part.count, limit, name)
    texts: list[tuple[str, ...]] = []
    labels: list[Any] = []
    place = -1
    for row, _, text, target in part.survey.rows():
        if part.held is not None and part.held[row] != part.side:
            continue
        place += 1
        if chosen is not None and (len(texts) == len(chosen) or place != chosen[len(texts)]):
            continue
        texts.append(text)
        labels.append(target if regression else part.numbers[target])
    part.survey.refuse_changed()
    return Split(texts, labels, [" ".join(text) for text in texts])


def _missing_note(survey: Survey) -> list[str]:
    if survey.missing is None:
        return []
    rows, line, word = survey.missing
    table = survey.table
    return [
        f"{table.path}: in {rows} of {survey.count} rows a text is a word for a missing value ({word!r}, first at "
        f"{table.place(line)}), and it is read as that word. Remove the rows if a text is missing there"
    ]


def _overlap_note(training: Survey, validation: Survey) -> list[str]:
    both, line = training.connection.execute(
        f"SELECT count(*), min(line) FROM {validation.name} WHERE digest IN (SELECT digest FROM {training.name})"
    ).fetchone()
    if not both:
        return []
    table = validation.table
    return [
        f"{table.path}: {both} of {validation.count} texts are in {training.table.path} too "
        f"(the first is at {table.place(line)}), so scores will flatter. Remove them from one of the files"
    ]
