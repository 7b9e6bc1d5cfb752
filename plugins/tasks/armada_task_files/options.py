"""Which file, which columns, what they mean; and what can be told to be wrong without reading the rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from armada_cli import Environment, UserError, option
from armada_cli.corpora.tasks import MeasuredOptions
from armada_task_files import table
from armada_task_files.text import Format

TARGETS = ("classification", "regression", "multilabel")
METRICS = {
    "classification": ("accuracy", "macro_f1", "mcc", "f1"),
    "regression": ("pearson", "spearman"),
    "multilabel": ("micro_f1", "macro_f1", "accuracy"),
}
"""The metrics that fit each target; the first is its default."""


@dataclass(frozen=True)
class FilesOptions(MeasuredOptions):
    """Options of `files`."""

    # Not "train": beside a task a recipe's `train:` holds training settings.
    file: str = option(help="The table to train on: .csv, .tsv, .jsonl or .parquet", path=True)
    validation: str | None = option(None, "The table to validate on; without one, a part of `file` is kept back", path=True)
    validation_share: float = option(0.2, "That part's share, when there is no validation table", above=0, below=1)
    seed: int = option(0, "Which rows are kept back", minimum=0)
    text: str = option("text", "Column of the text")
    text2: str | None = option(None, "Column of a second text, for pairs")
    label: str = option("label", "Column of the label, the number, or the labels")
    target: str = option(
        "classification", "What the label column holds: one class, a number, or several labels", choices=TARGETS
    )
    classes: tuple[str, ...] = option(
        (),
        "Names of all classes, in their order; needed where a word like nan is a class, where names differ in case alone, and "
        "to name the places of multi-hot vectors",
    )
    separator: str = option(";", "What stands between the labels of one cell (multilabel); a JSON list needs none")
    metric: str = option(
        "auto",
        "The main metric; auto: accuracy, pearson (regression) or micro_f1 (multilabel)",
        choices=("auto", "accuracy", "mcc", "f1", "macro_f1", "micro_f1", "pearson", "spearman"),
    )
    encoding: str = option("utf-8", "Of a text file, as Python names it: utf-8, cp1252, utf-16")
    delimiter: str = option("auto", "Of a CSV file: one character; auto: a comma, a tab in a .tsv file")
    quotes: bool = option(True, "A CSV field may stand in double quotes; false: a quote is a character like any other")

    def kind(self) -> str:
        """One of `armada_cli.contracts.TASK_KINDS`."""
        return self.target

    @property
    def main_metric(self) -> str:
        """The metric that tables show."""
        return METRICS[self.target][0] if self.metric == "auto" else self.metric

    @property
    def metrics(self) -> tuple[str, ...]:
        """What `score` returns: the main metric, then others that fit. F1 of one class is given only when asked for, since
        it needs exactly two classes."""
        others = [name for name in METRICS[self.target] if name not in (self.main_metric, "f1")]
        return (self.main_metric, *others)

    def smoke(self, folder: Path) -> Self:
        """The user's own table: there is no other that its columns would fit."""
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return (self.text, *([self.text2] if self.text2 is not None else []), self.label)

    @property
    def format(self) -> Format:
        """How a text file is to be read."""
        return Format(self.encoding, self.delimiter, self.quotes)

    def _class_problems(self) -> Iterator[str]:
        if self.classes and self.target == "regression":
            yield "classes: a number has no classes; leave them out, or set another target"
        twice = next((name for place, name in enumerate(self.classes) if name in self.classes[:place]), None)
        if twice is not None:
            yield f"classes: {twice!r} stands there twice; name each class once"
        if any(name != name.strip() or not name for name in self.classes):
            yield "classes: a name is empty, or has spaces around it; write the names alone"
        if len(self.classes) == 1 and self.target == "classification":
            yield "classes: one class only; training needs at least two"

    def problems(self, environment: Environment) -> Iterator[str]:
        """What can be told from the options and the files' first lines: ``option: what; what to do``."""
        if self.metric != "auto" and self.metric not in METRICS[self.target]:
            yield f"metric: {self.metric!r} does not fit target {self.target!r}; choose {' or '.join(METRICS[self.target])}"
        names = [("text", self.text), ("text2", self.text2), ("label", self.label)]
        for place, (key, value) in enumerate(names):
            if value is not None and value in [other for _, other in names[:place]]:
                yield f"{key}: column {value!r} is already used as {names[[v for _, v in names].index(value)][0]}; name another"
                return
        yield from self._class_problems()
        if self.target == "multilabel" and not self.separator:
            yield "separator: it is empty; give the character between two labels"
        if self.validation is not None and os.path.realpath(self.validation) == os.path.realpath(self.file):
            yield "validation: it is the training file; leave it out to keep a part of that back"
        for key, path in (("file", self.file), ("validation", self.validation)):
            if path is None:
                continue
            try:
                table.check_header(path, self.columns, self.format)
            except UserError as error:
                own = error.what.partition(":")[0] in ("encoding", "delimiter")
                yield f"{error.what}; {error.hint}" if own else f"{key}: {error.what}; {error.hint}"
                if own:
                    return
