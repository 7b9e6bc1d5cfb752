"""A whole column of labels: which classes it has, and the number of each row's class."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from armada_cli import UserError
from armada_task_files import multihot
from armada_task_files.faults import Fault, quoted
from armada_task_files.options import FilesOptions
from armada_task_files.separators import other_separator
from armada_task_files.spelling import Spellings
from armada_task_files.survey import Survey
from armada_task_files.targets import NUMBER, label_name


class Labels:
    """The classes of the training table.

    Args:
        survey: the training table, looked over.
        options: how the column is read.

    Attributes:
        names: classification, multi-label: the classes; as the option `classes` orders them, else sorted (whole numbers by
            size). Regression: the name of the label column.
        numbers: for each of the survey's different targets, what `Split` has for it; empty for regression.
        notes: lines that the user should see.

    Raises:
        UserError: there is nothing to learn in the column, or it cannot be read.
    """

    def __init__(self, survey: Survey, options: FilesOptions) -> None:
        self.options, self.notes = options, list[str]()
        self.where = f"{survey.table.path}: column {options.label!r}"
        self.width: int | None = None
        self.spellings = Spellings({})
        self.numbers: list[Any] = []
        if options.target == "regression":
            self.names: tuple[str, ...] = (options.label,)
            self._refuse_one_number(survey)
            return
        targets = survey.column.targets
        if options.target == "multilabel":
            self.width = multihot.width(targets, survey.column.counts)
        if self.width is not None:
            self.names = self._positions(self.width)
            self.numbers = self.numbered(survey)
            self._refuse_same(survey, self.numbers)
            return
        counts: Counter[str] = Counter()
        for target, rows in zip(targets, survey.column.counts, strict=True):
            for name in _names(target):
                counts[name] += rows
        self.spellings = Spellings(counts, options.classes)
        meant = {self.spellings.meant(name) for name in counts}
        self.names = options.classes or tuple(sorted(meant, key=_label_order(meant)))
        note = self.spellings.note(self.where)
        self.notes += [note] if note else []
        self.numbers = self.numbered(survey)
        if options.target == "multilabel":
            self._look_for_separator(survey)
            self._refuse_same(survey, self.numbers)
        else:
            self._refuse_no_classes(survey, self.numbers)

    def numbered(self, survey: Survey) -> list[Any]:
        """For each of a table's different targets, what `Split` has for it; empty for regression. A label that training does
        not have is a fault of its rows.

        Raises:
            UserError: such a label, or a vector of another length; with file, line and column.
        """
        if self.options.target == "regression":
            return []
        numbers = {name: number for number, name in enumerate(self.names)}
        bad: dict[int, Fault] = {}
        numbered: list[Any] = []
        for code, target in enumerate(survey.column.targets):
            if self.width is not None:
                flags = multihot.vector(target)
                if flags is None or len(flags) != self.width:
                    bad[code] = self._vector_fault(target, flags)
                numbered.append(flags)
                continue
            given = [self.spellings.meant(name) for name in _names(target)]
            unseen = next((name for name in given if name not in numbers), None)
            if unseen is not None:
                bad[code] = self._unseen(unseen)
                numbered.append(None)
            elif self.options.target == "multilabel":
                numbered.append(tuple(int(name in given) for name in self.names))
            else:
                numbered.append(numbers[given[0]])
        if bad:
            faults = survey.table.faults()
            for line, code in survey.labelled_rows():
                if code in bad:
                    faults.add(line, *bad[code])
            faults.stop()
        return numbered

    def _positions(self, width: int) -> tuple[str, ...]:
        classes = self.options.classes
        if classes and len(classes) != width:
            raise UserError(
                f"{self.where} holds vectors of {width} zeros and ones, and `classes` has {len(classes)} names",
                "Give one name for each place of the vector",
            )
        if not classes:
            self.notes.append(
                f"{self.where} holds vectors of {width} zeros and ones, read as one class for each place; "
                "name them with `classes`"
            )
        return classes or tuple(str(place) for place in range(width))

    def _vector_fault(self, target: Any, flags: tuple[int, ...] | None) -> tuple[str, str]:
        what = f"column {self.options.label!r} holds {quoted(target)}"
        if flags is None:
            return f"{what}, where the column holds vectors of zeros and ones", "Write a 0 or a 1 for each class"
        return f"{what}, {len(flags)} places where the column has {self.width}", "Write a 0 or a 1 for each class"

    def _unseen(self, name: str) -> tuple[str, str]:
        what = f"column {self.options.label!r} holds {quoted(name)}, "
        what += "which is not among `classes`" if self.options.classes else "a label that training never has"
        near = difflib.get_close_matches(name, self.names, n=1, cutoff=0.7)
        if near:
            return what, f"Did you mean {near[0]!r}?"
        shown = ", ".join(repr(item) for item in self.names[:10]) + (", ..." if len(self.names) > 10 else "")
        return what, f"The {'classes' if self.options.classes else 'training labels'} are {shown}"

    def _look_for_separator(self, survey: Survey) -> None:
        """Stop where other characters than the one set must be what separates labels; note where they may be."""
        separator, label, column = self.options.separator, self.options.label, survey.column
        if self.options.classes or not column.has_texts:
            return
        guess = other_separator({name for target in column.targets for name in _names(target)}, separator)
        if guess is None:
            return
        mark, sure = guess
        code = next(code for code, target in enumerate(column.targets) if any(mark in name for name in _names(target)))
        name = next(name for name in _names(column.targets[code]) if mark in name)
        shown = {"\t": "\\t", "\n": "\\n"}.get(mark, mark)
        place = survey.table.place(column.firsts[code])
        what = f"{place}: column {label!r} holds {quoted(name)}, which looks like several labels"
        hint = f'Set `separator: "{shown}"`, or name all classes with `classes` if it is one'
        if sure and not column.has_separator:
            raise UserError(what, hint)
        self.notes.append(f"{what}. {hint}")

    def _refuse_one_number(self, survey: Survey) -> None:
        if survey.lowest == survey.highest:
            raise UserError(
                f"{self.where} holds {survey.first_number:g} in all {survey.count} rows",
                "There is nothing to predict: name another column",
            )

    def _refuse_same(self, survey: Survey, flags: Sequence[tuple[int, ...]]) -> None:
        if not any(map(any, flags)):
            raise UserError(f"{self.where} holds no label in any row", "Name another column")
        if len(set(flags)) == 1:
            raise UserError(
                f"{self.where} holds the same labels in all {survey.count} rows",
                "There is nothing to predict: name another column",
            )

    def _refuse_no_classes(self, survey: Survey, numbers: Sequence[int]) -> None:
        rows, used = survey.count, set(numbers)
        if len(used) == 1:
            only = self.names[numbers[0]]
            spelt = [spelling for spelling in self.spellings.counts if spelling != only]
            also = f" (also written {quoted(spelt[0])})" if len(self.spellings.counts) > 1 and spelt else ""
            raise UserError(
                f"{self.where} holds one class only, {quoted(only)}{also}, in all {rows} rows",
                "Training needs at least two classes: add rows of another class, or name another column",
            )
        if len(used) == rows and rows > 2 and not self.options.classes:
            numeric = all(NUMBER.fullmatch(name) for name in self.names)
            hint = "Set `target: regression`" if numeric else "Name the column that holds the classes"
            raise UserError(f"{self.where} holds another class in each of its {rows} rows", hint)
        if self.options.metric == "f1" and len(self.names) != 2:
            raise UserError(
                f"{self.where} holds {len(self.names)} classes, and metric 'f1' needs two", "Choose macro_f1 or micro_f1"
            )


def _names(target: Any) -> Iterator[str]:
    for item in target if isinstance(target, list) else [target]:
        name = label_name(item)
        if name:
            yield name


def _label_order(names: set[str]) -> Any:
    if all(re.fullmatch(r"[+-]?\d{1,18}", name) for name in names):
        return lambda name: (int(name), name)
    return lambda name: name
