"""What a recipe can choose about `speech-offline`."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from armada_cli import Environment, option

BUNDLED_VOICE = "heart"


@dataclass(frozen=True)
class SpeechOptions:
    """Options of `speech-offline`."""

    seed: int = option(0, "Seed of the noise in the voice", minimum=0)
    voice: str = option(
        BUNDLED_VOICE,
        "The speaker; heart is in the package, the others (7.9 MB each) are fetched once from the hub",
        choices=("heart", "emma", "fable", "fenrir", "kore"),
    )
    speed: float = option(1.0, "Pace of the speech, 1 is natural", minimum=0.5, maximum=2.0)
    precision: str = option("int8", "Arithmetic of the encoder: int8 (fast) or float32", choices=("int8", "float32"))
    pooling: str = option(
        "mean",
        "How frames become one vector: mean, or mean-sd (mean and standard deviation, 768 wide)",
        choices=("mean", "mean-sd"),
    )

    def problems(self, environment: Environment) -> Iterator[str]:
        if environment.offline and self._must_fetch():
            yield f"voice {self.voice!r} is not on this machine and downloads are off; use voice {BUNDLED_VOICE!r}"

    def downloads(self, environment: Environment) -> Iterator[str]:
        if self._must_fetch():
            yield f"hibari voice {self.voice!r} (8 MB)"

    def smoke(self, folder: Path) -> Self:
        """The same speech and the same encoder, which are small, in the voice that need not be fetched."""
        return dataclasses.replace(self, voice=BUNDLED_VOICE)

    def _must_fetch(self) -> bool:
        if self.voice == BUNDLED_VOICE or importlib.util.find_spec("hibari") is None:
            return False
        return not any(_cache().glob(f"*{self.voice}*.onnx"))


def _cache() -> Path:
    """Where hibari keeps fetched voices. Its own function for this lives in a module that imports numpy."""
    if home := os.environ.get("HIBARI_HOME"):
        return Path(home)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "hibari"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "hibari"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hibari"
