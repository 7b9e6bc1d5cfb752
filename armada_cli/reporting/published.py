"""What the paper printed (Tables 2 to 12), read from the data files in `published/` when it is first asked for."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from armada_cli.errors import UserError

TABLES = range(2, 13)
STUDENTS = ("bert-base", "bert-6l", "deberta-v2-xxlarge", "opt-1.3b", "llama-7b", "llama-3.2-3b", "llama-3.1-8b")
"""The paper's students under the names they have here."""

_METRICS = {"acc": "accuracy", "matthews": "mcc", "matthewscorrelation": "mcc", "pear": "pearson", "pearsonr": "pearson"}
_METRIC_TITLES = {
    "mcc": "Mcc",
    "accuracy": "Acc",
    "pearson": "Pear",
    "spearman": "Spear",
    "f1": "F1",
    "microf1": "micro F1",
    "macrof1": "macro F1",
    "rougel": "ROUGE-L",
}
_TEACHERS = {
    "stablediffusion": "Stable Diffusion",
    "texttoimage": "text-to-image",
    "midjourney": "Midjourney",
    "modelscope": "text-to-video",
    "modelscopevideo": "text-to-video",
    "texttovideo": "text-to-video",
    "speecht5": "text-to-audio",
    "texttoaudio": "text-to-audio",
    "resnetposters": "posters (ResNet-50)",
}

_VALIDATED = (
    "Not to be compared with the paper's numbers of the aligner, which are of validation splits (Table 6: 55.4 on CB is 31 of "
    "56 rows)."
)
FITS = {"aligner": _VALIDATED, "aligner auxiliary": _VALIDATED}
"""Role of a method's own model -> what to know of the paper's numbers beside its fit."""


@dataclass(frozen=True)
class PrintedColumn:
    """One column of a printed table: the paper's name of the task, and its metric (``mcc``, ``accuracy``, ...)."""

    name: str
    metric: str
    higher_is_better: bool = True


@dataclass(frozen=True)
class PrintedRow:
    """One printed row.

    Attributes:
        student: our name of the student; model: the printed one.
        teacher: as printed; None for an undistilled student.
        method: our name of the method; manifold: the loss of an ARMADA row, None where the paper names none.
        values: one number a column, in the column's unit (percent).
        average: the average the paper prints, if it does.
    """

    student: str
    model: str
    method: str
    values: tuple[float, ...]
    teacher: str | None = None
    manifold: str | None = None
    label: str = ""
    average: float | None = None


@dataclass(frozen=True)
class PrintedTable:
    """One printed table.

    Attributes:
        kind: ``students`` (scores of students), ``aligner`` (of the TS Aligner) or ``auxiliary`` (of auxiliary heads).
        decimals: digits behind the point, as printed.
        selection: which of several runs a number is, where the caption says so.
        notes: where table and text disagree, with the recomputed value.
    """

    number: int
    caption: str
    kind: str
    decimals: int
    selection: str | None
    columns: tuple[PrintedColumn, ...]
    rows: tuple[PrintedRow, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PublishedRow:
    """A row to stand beside a run's own.

    Attributes:
        source: where it is printed, ``paper, Table 2`` or ``paper, Tables 2 and 3``.
        label: the method as a table shows it.
        components: option of the method -> name of the component that it chooses.
        teacher: as printed, None for an undistilled student.
        values: our column -> number, only the columns asked for that the paper has.
        decimals: digits behind the point, as printed.
    """

    source: str
    label: str
    method: str
    components: Mapping[str, str]
    teacher: str | None
    values: Mapping[str, float]
    tables: tuple[int, ...]
    decimals: int = 1


@functools.cache
def table(number: int) -> PrintedTable:
    """One table of the paper.

    Raises:
        KeyError: the paper's results have no such table.
    """
    if number not in TABLES:
        raise KeyError(number)
    file = importlib.resources.files("armada_cli.reporting").joinpath("published", f"table{number:02d}.yaml")
    try:
        data: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(
            f"the published numbers of Table {number} cannot be read: {error}", "Install armada-cli again"
        ) from error
    teacher, number = data.pop("teacher"), data.pop("table")
    rows = (
        PrintedRow(
            **{
                "teacher": None if row["method"] == "undistilled" else teacher,
                **row,
                "values": tuple(map(float, row["values"])),
            }
        )
        for row in data.pop("rows")
    )
    columns = tuple(PrintedColumn(**column) for column in data.pop("columns"))
    notes = tuple(note.strip() for note in data.pop("notes"))
    return PrintedTable(number=number, columns=columns, rows=tuple(rows), notes=notes, **data)


def tables() -> list[PrintedTable]:
    """All tables, in the paper's order."""
    return [table(number) for number in TABLES]


def rows_for(
    student_name: str,
    columns: Iterable[str | tuple[str, str]],
    teachers: Iterable[str] = (),
    *,
    kind: str = "students",
) -> list[PublishedRow]:
    """The paper's rows for a student, restricted to the tasks of a run.

    Args:
        student_name: our name (``bert-6l``); ``ts-aligner`` for the rows of the TS Aligner itself.
        columns: the tasks' published names (``CoLA``), or pairs (name, metric) where a task was scored by a metric of its
            own choice: a number of another metric is not comparable and is left out. A name that is asked for with several
            metrics (MM-IMDb) has its further values under ``name metric``.
        teachers: our names of teachers. Where some are the paper's, ARMADA rows of the paper's other teachers are left out;
            undistilled rows and baselines stay.
        kind: see `PrintedTable.kind`.

    Rows that the paper repeats or spreads over tables (the undistilled student, GLUE-small and GLUE-large) become one row.
    """
    wanted = [(column, None) if isinstance(column, str) else column for column in columns]
    names = [name for name, _ in wanted]
    keys = [name if names.index(name) == place else f"{name} {metric}" for place, (name, metric) in enumerate(wanted)]
    chosen = {name for teacher in teachers if (name := _printed(teacher))}
    merged: dict[tuple[str, ...], list[PublishedRow]] = {}
    for printed in tables():
        for row in printed.rows:
            foreign = chosen and row.method == "armada" and not any(_same_teacher(row.teacher, name) for name in chosen)
            if printed.kind != kind or row.student != student_name or foreign:
                continue
            places = {key: _place(printed.columns, *pair) for key, pair in zip(keys, wanted, strict=True)}
            values = {key: row.values[place] for key, place in places.items() if place is not None}
            if not values:
                continue
            candidate = PublishedRow(
                source="",
                label=_label(row),
                method=row.method,
                components={"manifold": row.manifold} if row.manifold else {},
                teacher=row.teacher,
                values=values,
                tables=(printed.number,),
                decimals=printed.decimals,
            )
            rows = merged.setdefault((row.method, row.manifold or row.label, row.teacher or ""), [])
            for position, other in enumerate(rows):
                if all(other.values[key] == value for key, value in values.items() if key in other.values):
                    known = {**other.values, **values}
                    both = {key: known[key] for key in keys if key in known}
                    told = both != other.values or row.method == "undistilled"
                    rows[position] = dataclasses.replace(
                        candidate, values=both, tables=(*other.tables, printed.number) if told else other.tables
                    )
                    break
            else:
                rows.append(candidate)
    return [dataclasses.replace(row, source=source(row.tables)) for rows in merged.values() for row in rows]


def metrics_beside(name: str, metric: str) -> tuple[str, ...]:
    """The other metrics that a table prints for the same task: macro F1 beside MM-IMDb's micro F1."""
    others: dict[str, None] = {}
    for printed in tables():
        metrics = [column.metric for column in printed.columns if column.name == name]
        if metric_name(metric) in map(metric_name, metrics):
            others |= dict.fromkeys(other for other in metrics if metric_name(other) != metric_name(metric))
    return tuple(others)


def source(numbers: Iterable[int]) -> str:
    """``paper, Table 2``; ``paper, Tables 2, 3 and 5``."""
    names = [str(number) for number in sorted(set(numbers))]
    if len(names) == 1:
        return f"paper, Table {names[0]}"
    return f"paper, Tables {', '.join(names[:-1])} and {names[-1]}"


def metric_name(metric: str) -> str:
    """One spelling for a metric: ``Acc``, ``acc`` and ``accuracy`` are one."""
    plain = _plain(metric)
    return _METRICS.get(plain, plain)


def metric_title(metric: str) -> str:
    """``mcc`` -> ``Mcc``, as the paper writes it."""
    return _METRIC_TITLES.get(metric_name(metric), metric)


def _place(columns: Iterable[PrintedColumn], name: str, metric: str | None) -> int | None:
    for place, column in enumerate(columns):
        if column.name == name and (metric is None or metric_name(column.metric) == metric_name(metric)):
            return place
    return None


def _label(row: PrintedRow) -> str:
    if row.label:
        return row.label
    if row.method == "aligner":
        return row.model
    return f"ARMADA, {row.manifold}" if row.method == "armada" else row.method


def _printed(teacher: str) -> str | None:
    """A teacher's name as the paper prints it; None for another one."""
    printed = _TEACHERS.get(_plain(teacher), teacher)
    return printed if any(row.teacher == printed for each in tables() for row in each.rows if row.method == "armada") else None


def _same_teacher(printed: str | None, chosen: str) -> bool:
    # Stable Diffusion is the text-to-image teacher of Tables 11 and 12.
    return printed == chosen or {printed, chosen} == {"Stable Diffusion", "text-to-image"}


def _plain(text: str | None) -> str:
    return re.sub(r"[^a-z0-9]", "", (text or "").lower())
