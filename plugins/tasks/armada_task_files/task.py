"""A user's table as a task: every cell is checked before the first one is trained on."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from armada_cli import Environment, Split, Task, UserError
from armada_cli.evaluation import metrics
from armada_task_files.faults import quoted
from armada_task_files.options import FilesOptions
from armada_task_files.table import Table, read

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


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
        """Classification, multi-label: the labels of the training file, sorted (whole numbers by size). Regression: the
        name of the label column."""
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
        self._labels = _label_names(table, targets, options)
        training = Split(texts, _numbered(table, targets, self._labels, options), [" ".join(text) for text in texts])
        if options.validation is None:
            held_out = _held_out(table, training, options)
            kept = [row for row in range(len(training)) if row not in held_out]
            self._splits = {"train": training.take(kept), "validation": training.take(sorted(held_out))}
            return
        other = read(options.validation, options.columns, options.format)
        texts, targets = _cells(other, options)
        validation = Split(texts, _numbered(other, targets, self._labels, options), [" ".join(text) for text in texts])
        self._splits = {"train": training, "validation": validation}
        self._note_overlap(other, training, validation)

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
    """Texts, and targets as a name, a float, or a list of names."""
    faults = table.faults()
    columns = [name for name in (options.text, options.text2) if name is not None]
    texts, targets = [], []
    for row, number in enumerate(table.numbers):
        fault = None
        text = []
        for name in columns:
            fault = fault or _text_fault(name, table.columns[name][row])
            text.append(table.columns[name][row])
        target, label_fault = _TARGETS[options.target](options, table.columns[options.label][row])
        fault = fault or label_fault
        if fault:
            faults.add(number, *fault)
            continue
        texts.append(tuple(text))
        targets.append(target)
    faults.stop()
    return texts, targets


Fault = tuple[str, str]


def _text_fault(name: str, value: Any) -> Fault | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return f"column {name!r} is empty", "Fill the text in, or remove the line"
    if not isinstance(value, str):
        return f"column {name!r} holds {quoted(value)}, not a text", "Put the text in quotes, or name another column"
    return None


def _class_name(options: FilesOptions, value: Any) -> tuple[str, Fault | None]:
    name, column = _name(value), f"column {options.label!r}"
    if name is None:
        hint = "Set `target: multilabel`" if isinstance(value, list) else "Give a text or a whole number"
        return "", (f"{column} holds {quoted(value)}, not a class", hint)
    if not name:
        return "", (f"{column} is empty", "Fill the label in, or remove the line")
    return name, None


def _number(options: FilesOptions, value: Any) -> tuple[float, Fault | None]:
    column = f"column {options.label!r}"
    if value is None or (isinstance(value, str) and not value.strip()):
        return 0.0, (f"{column} is empty", "Fill the number in, or remove the line")
    number = math.nan
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        number = _float(value)
        if not math.isfinite(number):
            return 0.0, (f"{column} holds {value}, not a finite number", "Fill the number in, or remove the line")
    elif isinstance(value, str):
        word = value.strip().lower()
        if word.lstrip("+-") in ("nan", "inf", "infinity"):
            return 0.0, (f"{column} holds {quoted(value)}, not a finite number", "Fill the number in, or remove the line")
        # Python would also take 1_000, which no table means.
        if NUMBER.fullmatch(word):
            number = _float(word)
    if not math.isfinite(number):
        hint = "Write a number, or set `target: classification`"
        if isinstance(value, str) and NUMBER.fullmatch(value.strip().replace(",", ".", 1)):
            hint = "Write the decimal point as a point"
        return 0.0, (f"{column} holds {quoted(value)}, not a number", hint)
    return number, None


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _label_list(options: FilesOptions, value: Any) -> tuple[list[str], Fault | None]:
    """An empty cell or list is a row to which no label applies."""
    column = f"column {options.label!r}"
    if isinstance(value, str):
        return list(dict.fromkeys(part.strip() for part in value.split(options.separator) if part.strip())), None
    if not isinstance(value, list):
        return [], (
            f"{column} holds {quoted(value)}, not labels",
            f"Write a list, or a text with {options.separator!r} between labels",
        )
    names = [_name(item) for item in value]
    if not all(names):
        return [], (f"{column} holds {quoted(value)}, not a list of labels", "Write each label as a text or a whole number")
    return list(dict.fromkeys(name for name in names if name)), None


_TARGETS: dict[str, Any] = {"classification": _class_name, "regression": _number, "multilabel": _label_list}


def _name(value: Any) -> str | None:
    """A label as a name, so that 1 and "1" are one class; None for what is no label."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        # A data frame turns whole numbers into floats as soon as one is missing.
        return str(int(value))
    if isinstance(value, int):
        return str(value)
    return value.strip() if isinstance(value, str) else None


# -------------------------------------------------------------------------------------------------------------- labels


def _label_names(table: Table, targets: Sequence[Any], options: FilesOptions) -> tuple[str, ...]:
    column = f"{table.path}: column {options.label!r}"
    if options.target == "regression":
        if min(targets) == max(targets):
            raise UserError(
                f"{column} holds {targets[0]:g} in all {len(targets)} rows", "There is nothing to predict: name another column"
            )
        return (options.label,)
    if options.target == "multilabel":
        names = {name for target in targets for name in target}
        if not names:
            raise UserError(f"{column} holds no label in any row", "Name another column")
        if all(len(target) == len(names) for target in targets):
            raise UserError(
                f"{column} holds the same labels in all {len(targets)} rows", "There is nothing to predict: name another column"
            )
        return tuple(sorted(names, key=_label_order(names)))
    names = set(targets)
    if len(names) == 1:
        raise UserError(
            f"{column} holds one class only, {quoted(targets[0])}, in all {len(targets)} rows",
            "Training needs at least two classes: add rows of another class, or name another column",
        )
    if len(names) == len(targets) and len(targets) > 2:
        numeric = all(NUMBER.fullmatch(name) for name in names)
        hint = "Set `target: regression`" if numeric else "Name the column that holds the classes"
        raise UserError(f"{column} holds another class in each of its {len(targets)} rows", hint)
    if options.metric == "f1" and len(names) != 2:
        raise UserError(f"{column} holds {len(names)} classes, and metric 'f1' needs two", "Choose macro_f1 or micro_f1")
    return tuple(sorted(names, key=_label_order(names)))


def _label_order(names: set[str]) -> Any:
    if all(re.fullmatch(r"[+-]?\d{1,18}", name) for name in names):
        return lambda name: (int(name), name)
    return lambda name: name


def _numbered(table: Table, targets: Sequence[Any], names: Sequence[str], options: FilesOptions) -> list[Any]:
    """Targets as `Split` has them. A label that training does not have is a fault of its row."""
    if options.target == "regression":
        return list(targets)
    numbers = {name: number for number, name in enumerate(names)}
    faults = table.faults()
    found: list[Any] = []
    for number, target in zip(table.numbers, targets, strict=True):
        given = target if isinstance(target, list) else [target]
        unseen = next((name for name in given if name not in numbers), None)
        if unseen is not None:
            faults.add(
                number,
                f"column {options.label!r} holds {quoted(unseen)}, a label that training never has",
                _nearest(unseen, names),
            )
        elif options.target == "multilabel":
            found.append(tuple(int(name in given) for name in names))
        else:
            found.append(numbers[target])
    faults.stop()
    return found


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    if near:
        return f"Did you mean {near[0]!r}?"
    shown = ", ".join(repr(item) for item in names[:10]) + (", ..." if len(names) > 10 else "")
    return f"The training labels are {shown}"


# --------------------------------------------------------------------------------------------------------------- split


def _key(text: tuple[str, ...]) -> tuple[str, ...]:
    """Texts that differ in case, spacing or Unicode form alone are the same text."""
    return tuple(" ".join(unicodedata.normalize("NFKC", part).casefold().split()) for part in text)


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
