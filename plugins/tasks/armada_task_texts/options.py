"""Which file, which column, and how much of it is kept for validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from armada_cli import Choice, Environment, option
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
    column: str | None = option(None, "The column of the texts, in a file that has columns; null: text")
    validation_share: float = option(
        0.05, "Share of a file's different texts that is kept for validation; a task has its own", above=0, below=1
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
        """Neither a file nor a task, or both; a file that is not there, or a column of a file that has none."""
        if (self.file is None) == (self.of is None):
            yield "it needs a file, or a task in `of`, and not both; write `file: texts.txt` or `of: NAME`"
            return
        if self.of is not None:
            if self.of.registered.component.kind(self.of.options) == "masked":
                yield f"of: {self.of.name!r} has texts without labels itself; take it in place of this task"
            yield from (f"{name}: only a file has it; leave it out" for name in ("column",) if getattr(self, name) is not None)
            return
        if self.rows_of is not None:
            yield "rows_of: it is about the task in `of`; leave it out"
        file = self.file or ""
        if not Path(file).is_file():
            yield f"file: no file {file!r}"
        if self.column is not None and not self.has_columns:
            yield f"column: {Path(file).name} has a text on each line and no columns; leave it out"

    def downloads(self, environment: Environment) -> Iterable[str]:
        """What the task in `of` has still to fetch."""
        return self.of.options.downloads(environment) if self.of and hasattr(self.of.options, "downloads") else ()

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
        return dataclasses.replace(self, file=str(place / "texts.txt"), column=None, validation_share=0.25)
