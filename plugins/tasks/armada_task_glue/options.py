"""What distinguishes the GLUE tasks: columns, classes, metrics, and the published column each one is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from armada_cli import option
from armada_cli.corpora.tasks import HubOptions


@dataclass(frozen=True)
class GlueOptions(HubOptions):
    """What all eight share."""

    dataset: ClassVar[str] = "nyu-mll/glue"
    group: ClassVar[str] = "GLUE"


@dataclass(frozen=True)
class CoLA(GlueOptions):
    """Corpus of Linguistic Acceptability."""

    config: ClassVar[str | None] = "cola"
    fields: ClassVar[tuple[str, ...]] = ("sentence",)
    classes: ClassVar[tuple[str, ...]] = ("unacceptable", "acceptable")
    metrics: ClassVar[tuple[str, ...]] = ("mcc", "accuracy")
    published: ClassVar[str] = "CoLA"
    official: ClassVar[tuple[int, int, int] | None] = (8_551, 1_043, 14)


@dataclass(frozen=True)
class MRPC(GlueOptions):
    """Microsoft Research Paraphrase Corpus."""

    config: ClassVar[str | None] = "mrpc"
    fields: ClassVar[tuple[str, ...]] = ("sentence1", "sentence2")
    classes: ClassVar[tuple[str, ...]] = ("not_equivalent", "equivalent")
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "f1")
    published: ClassVar[str] = "MRPC"
    official: ClassVar[tuple[int, int, int] | None] = (3_668, 408, 53)


@dataclass(frozen=True)
class RTE(GlueOptions):
    """Recognizing Textual Entailment."""

    config: ClassVar[str | None] = "rte"
    fields: ClassVar[tuple[str, ...]] = ("sentence1", "sentence2")
    classes: ClassVar[tuple[str, ...]] = ("entailment", "not_entailment")
    published: ClassVar[str] = "RTE"
    official: ClassVar[tuple[int, int, int] | None] = (2_490, 277, 68)


@dataclass(frozen=True)
class STSB(GlueOptions):
    """Semantic Textual Similarity Benchmark."""

    config: ClassVar[str | None] = "stsb"
    fields: ClassVar[tuple[str, ...]] = ("sentence1", "sentence2")
    classes: ClassVar[tuple[str, ...]] = ("similarity",)
    bounds: ClassVar[tuple[float, float] | None] = (0.0, 5.0)
    metrics: ClassVar[tuple[str, ...]] = ("pearson", "spearman")
    published: ClassVar[str] = "STS-B"
    official: ClassVar[tuple[int, int, int] | None] = (5_749, 1_500, 28)


@dataclass(frozen=True)
class SST2(GlueOptions):
    """Stanford Sentiment Treebank."""

    config: ClassVar[str | None] = "sst2"
    fields: ClassVar[tuple[str, ...]] = ("sentence",)
    classes: ClassVar[tuple[str, ...]] = ("negative", "positive")
    published: ClassVar[str] = "SST-2"
    official: ClassVar[tuple[int, int, int] | None] = (67_349, 872, 13)


@dataclass(frozen=True)
class MNLI(GlueOptions):
    """Multi-Genre Natural Language Inference."""

    mismatched: bool = option(False, "Validate on genres that training has not seen, instead of the same ones")

    config: ClassVar[str | None] = "mnli"
    fields: ClassVar[tuple[str, ...]] = ("premise", "hypothesis")
    classes: ClassVar[tuple[str, ...]] = ("entailment", "neutral", "contradiction")
    published: ClassVar[str] = "MNLI"
    official: ClassVar[tuple[int, int, int] | None] = (392_702, 9_815, 40)

    def split_name(self, name: str) -> str:
        """MNLI has two validation splits; the paper does not say which, so the usual one is the default."""
        if name == "validation":
            return "validation_mismatched" if self.mismatched else "validation_matched"
        return name


@dataclass(frozen=True)
class QNLI(GlueOptions):
    """Question-answering Natural Language Inference."""

    config: ClassVar[str | None] = "qnli"
    fields: ClassVar[tuple[str, ...]] = ("question", "sentence")
    classes: ClassVar[tuple[str, ...]] = ("entailment", "not_entailment")
    published: ClassVar[str] = "QNLI"
    official: ClassVar[tuple[int, int, int] | None] = (104_743, 5_463, 50)


@dataclass(frozen=True)
class QQP(GlueOptions):
    """Quora Question Pairs."""

    config: ClassVar[str | None] = "qqp"
    fields: ClassVar[tuple[str, ...]] = ("question1", "question2")
    classes: ClassVar[tuple[str, ...]] = ("not_duplicate", "duplicate")
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "f1")
    published: ClassVar[str] = "QQP"
    official: ClassVar[tuple[int, int, int] | None] = (363_846, 40_430, 31)
