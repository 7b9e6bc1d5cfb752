"""Which tweets count, and how they are split."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from armada_cli import Environment, content_fingerprint, option
from armada_cli.corpora.tasks import MeasuredOptions
from armada_task_tweets import samples


@dataclass(frozen=True)
class TweetsOptions(MeasuredOptions):
    """Options of `tweets-offline`."""

    min_confidence: float = option(
        0.7, "Annotators' agreement a tweet needs; unrated tweets count only at 0", minimum=0, maximum=1
    )
    validation_share: float = option(0.1, "Share of the distinct tweets that is kept for validation", above=0, below=1)

    corpus: str | None = option(
        None, "A CSV file of sentiment, confidence and text in place of the package's own", path=True, identity=False
    )

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")

    def problems(self, environment: Environment) -> Iterator[str]:
        """A corpus that is not there."""
        if self.corpus is not None and not Path(self.corpus).is_file():
            yield f"corpus: no file {self.corpus!r}"

    def identity(self, environment: Environment) -> dict[str, Any]:
        """The content of another corpus; the package's own is known by the package's version."""
        return {} if self.corpus is None else {"corpus": content_fingerprint(Path(self.corpus))}

    def rows(self) -> dict[str, int]:
        """Distinct tweets under the default options."""
        return {"train": 17_416, "validation": 1_927, "tokens": 25}

    def smoke(self, folder: Path) -> Self:
        """Twenty-four sentences of our own, a third of them kept for validation."""
        path = Path(folder) / "tweets" / "corpus.csv"
        samples.write(path)
        return dataclasses.replace(self, corpus=str(path), validation_share=samples.VALIDATION_SHARE)
