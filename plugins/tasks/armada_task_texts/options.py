"""Which file, which column, and how much of it is kept for validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from armada_cli import Choice, Environment, content_fingerprint, option
from armada_cli.corpora.rows import fetched, source
from armada_cli.models.tiny import SENTENCES, once

TABLES = (".csv", ".tsv", ".jsonl", ".json")
"""Endings of the files whose texts stand in a column."""


@dataclass(frozen=True)
class TextsOptions:
    """Options of `texts`.

    Attributes:
        metrics: what `score` returns.
    """

    file: str | None = option(
        None, "A text file with a text on each line, or a .csv, .tsv or .jsonl file with a column", path=True
    )
    of: Choice | None = option(None, "In place of a file: a task, whose texts are taken without their labels", component="task")
    rows_of: int | None = option(
        None, "So many training rows of that task, the same that a recipe's limit leaves; null: all", minimum=1
    )
    held_out: float | None = option(
        None,
        "The share of those rows that is left out, the same that a recipe's select_on holds out; null: none",
        above=0,
        below=1,
        identity=False,
    )
    dataset: str | None = option(None, "In place of a file: a dataset of the hub, or of a mirror, OWNER/NAME", identity=False)
    config: str | None = option(None, "The dataset's configuration, where it has several", identity=False)
    part: str = option("train", "The dataset's split that is read", identity=False)
    revision: str | None = option(None, "The dataset's branch, tag or commit; a mirror ignores it", identity=False)
    column: str | None = option(None, "The column of the texts, in a file that has columns or a dataset; null: text")
    validation_share: float = option(
        0.05, "Share of the different texts that is kept for validation; a task has its own", above=0, below=1
    )

    metrics: ClassVar[tuple[str, ...]] = ("perplexity",)
    published: ClassVar[str] = ""
    group: ClassVar[str] = "own"

    @property
    def main_metric(self) -> str:
        """The metric that tables show."""
        return self.metrics[0]

    @property
    def has_columns(self) -> bool:
        return Path(self.file or "").suffix.lower() in TABLES

    def problems(self, environment: Environment) -> Iterable[str]:
        """None of the three sources or several; a file that is not there, or a column of a file that has none."""
        if sum(source is not None for source in (self.file, self.of, self.dataset)) != 1:
            yield "it needs one of file, of and dataset; write `file: texts.txt`, `of: TASK` or `dataset: OWNER/NAME`"
            return
        if self.of is not None:
            if self.of.registered.component.kind(self.of.options) == "masked":
                yield f"of: {self.of.name!r} has texts without labels itself; take it in place of this task"
            if self.column is not None:
                yield "column: a task has none; leave it out"
            return
        for name in ("rows_of", "held_out"):
            if getattr(self, name) is not None:
                yield f"{name}: it is about the task in `of`; leave it out"
        if self.dataset is not None:
            return
        file = self.file or ""
        if not Path(file).is_file():
            yield f"file: no file {file!r}"
        if self.column is not None and not self.has_columns:
            yield f"column: {Path(file).name} has a text on each line and no columns; leave it out"

    def downloads(self, environment: Environment) -> Iterable[str]:
        """What the task in `of` has still to fetch, or the dataset."""
        if self.dataset is not None:
            name = self.dataset if self.config is None else f"{self.dataset} ({self.config})"
            there = source(environment, self.dataset, self.config, self.part) or fetched(self.dataset, self.config)
            return () if there else (f"dataset {name}: {self.part}",)
        return self.of.options.downloads(environment) if self.of and hasattr(self.of.options, "downloads") else ()

    def identity(self, environment: Environment) -> dict[str, Any]:
        """The content of a mirror's file, or the hub's names; without a dataset the share that is held out, if any."""
        if self.dataset is None:
            return {} if self.held_out is None else {"held_out": self.held_out}
        path = source(environment, self.dataset, self.config, self.part)
        if path is not None:
            return {"data": content_fingerprint(path)}
        return {"data": {"hub": self.dataset, "config": self.config, "split": self.part, "revision": self.revision}}

    def rows(self) -> dict[str, int]:
        """The published size of the task in `of`, each of whose rows counts as one text; empty for a file."""
        known = self.of.options.rows() if self.of is not None and hasattr(self.of.options, "rows") else {}
        if "train" in known and self.rows_of is not None:
            return {**known, "train": min(known["train"], self.rows_of)}
        return known

    def smoke(self, folder: Path) -> Self:
        """Sentences of our own; with a task in `of` the host makes that one small."""
        if self.of is not None:
            return self
        place = Path(folder) / "texts"

        def make(target: Path) -> None:
            lines = [f"{one} {other}" for one in SENTENCES for other in SENTENCES[:3] if one != other]
            (target / "texts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

        once(place, make)
        return dataclasses.replace(self, file=str(place / "texts.txt"), dataset=None, column=None, validation_share=0.25)
