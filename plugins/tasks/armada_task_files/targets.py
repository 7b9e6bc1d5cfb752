"""One label cell, read as the option `target` says; or what is wrong with it and what to do."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

from armada_task_files.cells import BrokenList, parse_list
from armada_task_files.faults import Fault, quoted
from armada_task_files.options import FilesOptions
from armada_task_files.spelling import visible

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

MISSING = frozenset(("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>")).union(
    ("N/A", "NA", "NULL", "NaN", "NaT", "None", "n/a", "nan", "null")
)
"""Words that data frames write and read for a missing value (the list of `pandas.read_csv`)."""


def read_target(options: FilesOptions, value: Any) -> tuple[Any, Fault | None]:
    """classification: the name of a class. regression: a float. multilabel: a list of items, still names or zeros and ones."""
    return {"classification": _class_name, "regression": _number, "multilabel": _items}[options.target](options, value)


def _class_name(options: FilesOptions, value: Any) -> tuple[str, Fault | None]:
    name, column = label_name(value), f"column {options.label!r}"
    if _missing(options, value):
        return "", _missing_fault(options, value)
    if name is None:
        hint = "Give a text or a whole number"
        if isinstance(value, list):
            hint = "Set `target: multilabel`"
        elif isinstance(value, float):
            hint = "Give a text or a whole number, or set `target: regression`"
        return "", (f"{column} holds {quoted(value)}, not a class", hint)
    if not visible(name).strip():
        return "", (f"{column} is empty", "Fill the label in, or remove the line")
    if isinstance(value, str) and name not in options.classes and _holds_list(name):
        return "", (f"{column} holds {quoted(name)}, a list and not a class", "Set `target: multilabel`")
    return name, None


def _holds_list(text: str) -> bool:
    if text[:1] != "[" or text[1:].lstrip()[:1] not in ("'", '"'):
        return False
    try:
        return parse_list(text) is not None
    except BrokenList:
        return False


def _number(options: FilesOptions, value: Any) -> tuple[float, Fault | None]:
    column = f"column {options.label!r}"
    if value is None or (isinstance(value, str) and not visible(value).strip()):
        return 0.0, (f"{column} is empty", "Fill the number in, or remove the line")
    number = math.nan
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        number = _float(value)
        if not math.isfinite(number):
            return 0.0, (f"{column} holds {value}, not a finite number", "Fill the number in, or remove the line")
    elif isinstance(value, str):
        word = visible(value).strip().lower().replace("\u2212", "-")
        if word.lstrip("+-") in ("nan", "inf", "infinity"):
            return 0.0, (f"{column} holds {quoted(value)}, not a finite number", "Fill the number in, or remove the line")
        if value.strip() in MISSING:
            return 0.0, (
                f"{column} holds {quoted(value)}, a word for a missing number",
                "Fill the number in, or remove the line",
            )
        # Python would also take 1_000, which no table means.
        if NUMBER.fullmatch(word):
            number = _float(word)
    if not math.isfinite(number):
        hint = "Write a number, or set `target: classification`"
        text = value.strip() if isinstance(value, str) else ""
        if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", text):
            hint = "Write the number without marks between thousands, and with a point before decimals"
        elif NUMBER.fullmatch(text.replace(",", ".", 1)):
            hint = "Write the decimal point as a point"
        return 0.0, (f"{column} holds {quoted(value)}, not a number", hint)
    return number, None


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _items(options: FilesOptions, value: Any) -> tuple[list[Any], Fault | None]:
    """An empty cell or list is a row to which no label applies."""
    column = f"column {options.label!r}"
    listed = value
    if _missing(options, value):
        return [], _missing_fault(options, value, "labels")
    if isinstance(value, str):
        try:
            listed = parse_list(value)
        except BrokenList:
            return [], (
                f"{column} holds {quoted(value)}, which begins as a list and cannot be read as one",
                f"Write a JSON list, or labels with {options.separator!r} between them",
            )
        if listed is None or value.strip() in options.classes:
            return [part.strip() for part in value.split(options.separator) if visible(part).strip()], None
    if not isinstance(listed, list):
        return [], (
            f"{column} holds {quoted(value)}, not labels",
            f"Write a list, or a text with {options.separator!r} between labels",
        )
    if not all(label_name(item) for item in listed):
        return [], (
            f"{column} holds {quoted(value)}, not a list of labels",
            "Write each label as a text or a whole number, or one 0 or 1 for each class",
        )
    return listed, None


def label_name(value: Any) -> str | None:
    """A label as a name, so that 1 and "1" are one class; empty for none at all, None for what is no label."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        # A data frame turns whole numbers into floats as soon as one is missing.
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite():
        # Exact, unlike a float: 1.50 is the class 1.5 and no neighbour of it.
        return str(int(value)) if value == value.to_integral_value() else format(value.normalize(), "f")
    if isinstance(value, int):
        return str(value)
    return value.strip() if isinstance(value, str) else None


def _missing(options: FilesOptions, value: Any) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    return isinstance(value, str) and value.strip() in MISSING and value.strip() not in options.classes


def _missing_fault(options: FilesOptions, value: Any, what: str = "label") -> Fault:
    if not isinstance(value, str):
        return f"column {options.label!r} holds {value}, no {what.rstrip('s')}", "Fill the label in, or remove the line"
    word = value.strip()
    return (
        f"column {options.label!r} holds {quoted(word)}, a word for a missing {what.rstrip('s')}",
        f"Fill the label in, remove the line, or, if {word} is a class, name all classes: `classes: [..., {word!r}]`",
    )
