"""What distinguishes the SuperGLUE tasks: columns, classes, and the published column each one is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from armada_cli.corpora.tasks import HubOptions


@dataclass(frozen=True)
class SuperGlueOptions(HubOptions):
    """What all four share."""

    dataset: ClassVar[str] = "aps/super_glue"
    group: ClassVar[str] = "SuperGLUE"


@dataclass(frozen=True)
class CB(SuperGlueOptions):
    """CommitmentBank."""

    config: ClassVar[str | None] = "cb"
    fields: ClassVar[tuple[str, ...]] = ("premise", "hypothesis")
    classes: ClassVar[tuple[str, ...]] = ("entailment", "contradiction", "neutral")
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")
    published: ClassVar[str] = "CB"
    official: ClassVar[tuple[int, int, int] | None] = (250, 56, 84)


@dataclass(frozen=True)
class COPA(SuperGlueOptions):
    """Choice of Plausible Alternatives."""

    config: ClassVar[str | None] = "copa"
    fields: ClassVar[tuple[str, ...]] = ("premise", "question", "choice1", "choice2")
    classes: ClassVar[tuple[str, ...]] = ("choice1", "choice2")
    published: ClassVar[str] = "COPA"
    official: ClassVar[tuple[int, int, int] | None] = (400, 100, 36)

    def smoke_rows(self, name: str) -> list[dict[str, Any]]:
        """Both question words with either answer."""
        return [
            {**row, "question": ("cause", "effect")[number // 2 % 2]} for number, row in enumerate(super().smoke_rows(name))
        ]


@dataclass(frozen=True)
class BoolQ(SuperGlueOptions):
    """Boolean Questions."""

    config: ClassVar[str | None] = "boolq"
    fields: ClassVar[tuple[str, ...]] = ("question", "passage")
    classes: ClassVar[tuple[str, ...]] = ("no", "yes")
    published: ClassVar[str] = "BoolQ"
    official: ClassVar[tuple[int, int, int] | None] = (9_427, 3_270, 139)


@dataclass(frozen=True)
class WiC(SuperGlueOptions):
    """Word in Context."""

    config: ClassVar[str | None] = "wic"
    fields: ClassVar[tuple[str, ...]] = ("word", "sentence1", "sentence2")
    classes: ClassVar[tuple[str, ...]] = ("different", "same")
    published: ClassVar[str] = "WiC"
    official: ClassVar[tuple[int, int, int] | None] = (5_428, 638, 26)

    def smoke_rows(self, name: str) -> list[dict[str, Any]]:
        """A word of the first sentence in the place of the word."""
        return [{**row, "word": row["sentence1"].split()[1]} for row in super().smoke_rows(name)]
