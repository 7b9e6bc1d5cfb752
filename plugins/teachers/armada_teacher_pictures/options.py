"""What a recipe can choose about `pictures-offline`."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from armada_cli import Environment, option


@dataclass(frozen=True)
class PicturesOptions:
    """Options of `pictures-offline`."""

    plurals: bool = option(True, "Dogs finds the picture of a dog")
    size: int = option(224, "Pixels along each side of a picture; the encoder was trained on 224", minimum=32, maximum=1024)

    def identity(self, environment: Environment) -> dict[str, str]:
        """The words of a pictogram are its Unicode name, and which names there are depends on Python's Unicode tables."""
        return {"unicode": unicodedata.unidata_version}

    def smoke(self, folder: Path) -> Self:
        """The same pictograms and the same encoder: they are small, and nothing has to be fetched."""
        return self
