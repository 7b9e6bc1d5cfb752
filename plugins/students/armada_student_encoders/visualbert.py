"""VisualBERT (Li et al. 2019) fine-tuned on text alone, a baseline of the paper's Table 8.

Without pictures transformers' VisualBertModel is a plain BERT, whose weights have seen pictures with captions before: giving it
visual tokens behind a mask of zeros changes no output. The head is dropout and a linear layer on the pooled output, as
VisualBertForVisualReasoning has it, so that class is what is saved; for multiple choice VisualBertForMultipleChoice.

Which checkpoint and which settings the published numbers were made with is not known; the default is the one that transformers'
documentation names. ViLBERT and VL-BERT have no class in transformers: reports show their published rows alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from armada_cli import Environment, option
from armada_cli.models import architectures, hub, vocabulary
from armada_student_encoders.options import EncoderOptions

ARCHITECTURE = "visual_bert"


@dataclass(frozen=True)
class VisualBertOptions(EncoderOptions):
    model: str = option(
        "uclanlp/visualbert-vqa-coco-pre", "A model id of the hub, or a local folder", identity=False, place=True
    )
    tokenizer: str = option(
        "google-bert/bert-base-uncased",
        "Whose tokenizer reads the texts: a model id of the hub, or a local folder; VisualBERT's own repositories have none",
        place=True,
    )

    def problems(self, environment: Environment) -> Iterable[str]:
        yield from hub.problems(self.place())
        yield from vocabulary.problems(self.tokenizer, environment)
        family = self._config().get("model_type", ARCHITECTURE)
        if family != ARCHITECTURE:
            yield f"model: {self.model} is of the family {family!r}, not {ARCHITECTURE!r}; use the student `encoder` for it"
        yield from architectures.layer_problems(self.place(), self.layers, self.revision)
        yield from architectures.weight_problems(self.place(), self.layers, self.revision)

    def problems_before_fetching(self, environment: Environment) -> Iterable[str]:
        if list(hub.downloads(self.tokenizer)):
            yield from vocabulary.problems_before_fetching(self.tokenizer, None, environment)

    def downloads(self, environment: Environment) -> Iterable[str]:
        yield from hub.downloads(self.place(), self.revision)
        yield from hub.downloads(self.tokenizer)

    def size(self) -> dict[str, int]:
        """As of any encoder; what reads pictures is not trained."""
        size = super().size()
        if size:
            config = {"visual_embedding_dim": 2048, "max_position_embeddings": 512, "type_vocab_size": 2, **self._config()}
            rows = config["visual_embedding_dim"] + 1 + config["max_position_embeddings"] + config["type_vocab_size"]
            size["trainable"] -= rows * size["hidden"]
        return size

    def cannot_learn(self, kind: str) -> str | None:
        """Its own pre-training is on captions with their pictures; text without them is what it is fine-tuned on."""
        return "is here for fine-tuning alone; Take another encoder" if kind == "masked" else None

    def architecture(self) -> str:
        return ARCHITECTURE

    def smoke(self, folder: Path) -> Self:
        """A random VisualBERT, 32 wide, with a tokenizer of letters beside it."""
        small = super().smoke(folder)
        return dataclasses.replace(small, tokenizer=small.model)
