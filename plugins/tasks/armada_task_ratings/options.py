"""Which sentences count, what is learnt of them, and how they are split."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from armada_cli import Environment, option
from armada_cli.corpora.tasks import MeasuredOptions
from armada_cli.models.packaged import source_folder
from armada_task_ratings import samples
from armada_task_ratings.archive import ARCHIVE, SHA256, SOURCES


@dataclass(frozen=True)
class RatingsOptions(MeasuredOptions):
    """Options of `ratings-offline`."""

    source: str = option("tweets", "Where the sentences come from", choices=tuple(SOURCES))
    labels: str = option(
        "ratings",
        "What is learnt: ratings (the mean rating, -4 to 4) or sign (negative or positive)",
        choices=("ratings", "sign"),
    )
    margin: float = option(0.5, "With labels sign: a sentence rated nearer to 0 than this is left out", minimum=0, maximum=4)
    validation_share: float = option(0.2, "Share of the documents that is kept for validation", above=0, below=1)
    seed: int = option(0, "Decides which documents those are", minimum=0)
    archive: str | None = option(
        None, "The file vaderSentiment-3.3.2.tar.gz; null is the one in armada's cache folder", path=True, identity=False
    )
    sha256: str = option(SHA256, "What the archive's SHA-256 must be")

    @property
    def metrics(self) -> tuple[str, ...]:
        """What `score` returns; the first is the main one."""
        return ("pearson", "spearman") if self.labels == "ratings" else ("accuracy", "macro_f1")

    def kind(self) -> str:
        """Regression on ratings, classification by their sign."""
        return "regression" if self.labels == "ratings" else "classification"

    def file(self) -> Path:
        """Where the archive is, or should be."""
        return source_folder() / ARCHIVE if self.archive is None else Path(self.archive)

    def problems(self, environment: Environment) -> Iterator[str]:
        """An archive that is named and not there."""
        if self.archive is not None and not self.file().is_file():
            yield f"archive: no file {str(self.file())!r}; fetch it: {fetching(self.file().parent)}"

    def downloads(self, environment: Environment) -> Iterator[str]:
        """The archive, when none is named and the cache does not have it: it has to be fetched by hand."""
        if self.archive is None and not self.file().is_file():
            yield f"{ARCHIVE} (2.5 MB, not on the hub: `{fetching(self.file().parent)}`)"

    def identity(self, environment: Environment) -> dict[str, Any]:
        """Nothing more: `sha256` stands for the content."""
        return {}

    def rows(self) -> dict[str, int]:
        """Sentences of the source, about, under the default share."""
        total = {"tweets": 4_200, "films": 10_605, "products": 3_708, "news": 5_190}[self.source]
        return {"train": total * 4 // 5, "validation": total // 5, "tokens": 25}

    def smoke(self, folder: Path) -> Self:
        """Sentences of our own in an archive of the same form."""
        path = Path(folder) / "ratings" / ARCHIVE
        samples.write(path)
        return dataclasses.replace(self, archive=str(path), sha256=samples.digest(path), validation_share=1 / 3)


def fetching(folder: Path) -> str:
    """The command that puts the archive there."""
    return f"pip download --no-deps --no-binary :all: vaderSentiment==3.3.2 -d {folder}"
