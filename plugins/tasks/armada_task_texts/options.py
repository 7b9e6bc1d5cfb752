"""Which file, which column, and how much of it is kept for validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from armada_cli import Environment, option
from armada_cli.models.tiny import SENTENCES, once

TABLES = (".csv", ".tsv", ".jsonl", ".json")
"""Endings of the files whose texts stand in a column."""


@dataclass(frozen=True)
class TextsOptions:
    """Options of `texts`.

    Attributes:
        metrics: what `score` returns.
    """

    file: str = option(help="A text file with a text on each line, or a .csv, .tsv or .jsonl file with a column", path=True)
    column: str | None = option(None, "The column of the texts, in a file that has columns; null: text")
    validation_share: float = option(0.05, "Share of the different texts that is kept for validation", above=0, below=1)

    metrics: ClassVar[tuple[str, ...]] = ("perplexity",)
    published: ClassVar[str] = ""
    group: ClassVar[str] = "own"

    @property
    def main_metric(self) -> str:
        """The metric that tables show."""
        return self.metrics[0]

    @property
    def has_columns(self) -> bool:
        return Path(self.file).suffix.lower() in TABLES

    def problems(self, environment: Environment) -> Iterable[str]:
        """A file that is not there, or a column of a file that has none."""
        if not Path(self.file).is_file():
            yield f"file: no file {self.file!r}"
        if self.column is not None and not self.has_columns:
            yield f"column: {Path(self.file).name} has a text on each line and no columns; leave it out"

    def smoke(self, folder: Path) -> Self:
        """Sentences of our own."""
        place = Path(folder) / "texts"

        def make(target: Path) -> None:
            lines = [f"{one} {other}" for one in SENTENCES for other in SENTENCES[:3] if one != other]
            (target / "texts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

        once(place, make)
        return dataclasses.replace(self, file=str(place / "texts.txt"), column=None, validation_share=0.25)
