"""Which tweets count, and how they are split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from armada_cli import option


@dataclass(frozen=True)
class TweetsOptions:
    """Options of `tweets-offline`.

    Attributes:
        metrics: what `score` returns; the first is the main one.
        published, group: the paper has no such task.
    """

    min_confidence: float = option(
        0.7, "Annotators' agreement a tweet needs; unrated tweets count only at 0", minimum=0, maximum=1
    )
    validation_share: float = option(0.1, "Share of the distinct tweets that is kept for validation", above=0, below=1)

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")
    published: ClassVar[str] = ""
    group: ClassVar[str] = "own"

    @property
    def main_metric(self) -> str:
        """The metric that tables show."""
        return self.metrics[0]
