"""Which weights, which of them are trained, and how they are written."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from armada_cli import Environment, option
from armada_cli.models import architectures, hub, vocabulary

MODEL = "A model id of the Hugging Face hub, or a local folder in transformers format"
RANK = "Rank of the LoRA adapters; 0 or null trains all weights"


@dataclass(frozen=True)
class DecoderOptions:
    model: str = option(help=MODEL, identity=False, place=True)
    revision: str | None = option(None, "Branch, tag or commit of a hub model; null is its main branch")
    layers: int | None = option(None, "Keep only the first so many layers", minimum=1)
    lora: int | None = option(8, RANK, minimum=0)
    lora_alpha: float = option(16, "The adapters' output is multiplied by this over the rank", above=0)
    lora_dropout: float = option(0.05, "Dropout before the adapters", minimum=0, below=1)
    lora_targets: tuple[str, ...] | None = option(
        None, "Linear layers that get adapters, by the end of their names; null is peft's choice for the architecture"
    )
    quantise: str = option("none", "Hold the frozen weights in four bits (needs bitsandbytes, a GPU)", choices=("none", "4bit"))
    gradient_checkpointing: bool = option(False, "Compute activations twice to save their memory", identity=False)
    pooling: str = option(
        "mean",
        "What of the prompt is h_s in generation: the mean over its tokens, or its last one",
        choices=("mean", "last"),
    )
    export: str = option(
        "adapter",
        "What a finished trial saves of a LoRA: the adapter, or the whole merged model",
        choices=("adapter", "merged"),
    )

    @property
    def rank(self) -> int:
        """Rank of the adapters, 0 without any."""
        return self.lora or 0

    def place(self) -> str:
        """What `from_pretrained` is given."""
        return str(hub.local_folder(self.model) or self.model)

    def prepare(self, environment: Environment) -> None:
        """Weights that exist only as ``*.bin`` are converted before the first trial: what is wrong with them is said then."""
        hub.loadable("student", self.place(), environment, self.revision)

    def identity(self, environment: Environment) -> dict[str, Any]:
        return {"weights": hub.identity(self.model)}

    def problems(self, environment: Environment) -> Iterable[str]:
        yield from hub.problems(self.model)
        yield from vocabulary.problems(self.model, environment, self.revision)
        yield from architectures.layer_problems(self.model, self.layers, self.revision)
        yield from architectures.weight_problems(self.model, self.layers, self.revision)
        if self.quantise == "4bit":
            if not self.rank:
                yield "quantise: weights in four bits cannot be trained; give lora a rank, or say quantise: none"
            if importlib.util.find_spec("bitsandbytes") is None:
                yield "quantise: 4bit needs the package bitsandbytes; pip install 'armada-cli[quantised]'"
        if self.layers is not None and self.rank and self.export == "adapter":
            yield "layers: an adapter of a shortened model fits no published weights; say export: merged"
        if self.lora_targets is not None and not self.lora_targets:
            yield "lora_targets: the list is empty; name a layer, or say null"

    def size(self) -> dict[str, int]:
        """What an estimate needs, without the weights (see `armada_cli.Component`)."""
        from armada_student_decoders.size import size

        return size(self.model, self.layers, self.rank, self.lora_targets, self.revision)

    def vocabulary(self) -> str | None:
        return vocabulary.stands_for_files(self.model, self.revision)

    def problems_before_fetching(self, environment: Environment) -> Iterable[str]:
        return vocabulary.problems_before_fetching(self.model, self.revision, environment)

    def downloads(self, environment: Environment) -> Iterable[str]:
        return hub.downloads(self.model, self.revision)

    def smoke(self, folder: Path) -> Self:
        """The same student with random weights of two narrow layers, or of one more than `layers` keeps."""
        from armada_student_decoders.smoke import tiny_checkpoint

        place = tiny_checkpoint(folder, self.model, self.layers, self.revision)
        return replace(self, model=str(place), revision=None, quantise="none")


@dataclass(frozen=True)
class OptOptions(DecoderOptions):
    model: str = option("facebook/opt-1.3b", MODEL, identity=False, place=True)
    lora: int | None = option(None, RANK, minimum=0)


@dataclass(frozen=True)
class LlamaOptions(DecoderOptions):
    model: str = option("huggyllama/llama-7b", MODEL, identity=False, place=True)


@dataclass(frozen=True)
class Llama3LargeOptions(DecoderOptions):
    model: str = option("meta-llama/Llama-3.1-8B-Instruct", MODEL, identity=False, place=True)


@dataclass(frozen=True)
class Llama3SmallOptions(DecoderOptions):
    model: str = option("meta-llama/Llama-3.2-3B-Instruct", MODEL, identity=False, place=True)
