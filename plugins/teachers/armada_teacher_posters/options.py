"""What a recipe can choose about `resnet-posters`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from armada_cli import Environment, option
from armada_cli.models import hub, pictures, tiny


@dataclass(frozen=True)
class PostersOptions:
    """Options of `resnet-posters`."""

    model: str = option(
        "microsoft/resnet-50",
        "Image encoder: a model id of the hub, or a local folder in transformers format",
        identity=False,
        place=True,
    )
    revision: str | None = option(None, "Branch, tag or commit of a hub model; null is its main branch")
    dtype: str = option("float32", "Arithmetic of the encoder", choices=pictures.DTYPES)
    max_pixels: int | None = option(
        None,
        "Width times height of a picture at most; null is what the memory of this machine allows, at most 64 million",
        minimum=1,
        identity=False,
    )

    def identity(self, environment: Environment) -> dict[str, Any]:
        return {"weights": hub.identity(self.model)}

    def problems(self, environment: Environment) -> Iterable[str]:
        return hub.problems(self.model)

    def downloads(self, environment: Environment) -> Iterable[str]:
        return hub.downloads(self.model, self.revision)

    def smoke(self, folder: Path) -> Self:
        """A random ResNet of 24 features."""
        place = tiny.once(folder / "tiny-resnet", pictures.save_tiny_encoder)
        return dataclasses.replace(self, model=str(place), revision=None, dtype="float32")
