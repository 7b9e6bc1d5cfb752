"""What a recipe can choose about `speecht5`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from armada_cli import Environment, option
from armada_cli.models import hub, tiny, vocabulary


@dataclass(frozen=True)
class SpeechT5Options:
    """Options of `speecht5`.

    The voices that SpeechT5 was published with (Matthijs/cmu-arctic-xvectors) are a dataset behind a script, which nothing here
    runs: save one of its x-vectors with ``numpy.save`` and name the file as `speaker`. Without one the voice is a
    random direction, always the same; it is no person's.
    """

    model: str = option(
        "microsoft/speecht5_tts", "Speech model: a model id of the hub, or a local folder", identity=False, place=True
    )
    revision: str | None = option(None, "Branch, tag or commit of a hub model; null is its main branch")
    vocoder: str = option(
        "microsoft/speecht5_hifigan", "Vocoder: a model id of the hub, or a local folder", identity=False, place=True
    )
    vocoder_revision: str | None = option(None, "Branch, tag or commit of a hub vocoder; null is its main branch")
    encoder: str = option(
        "facebook/wav2vec2-base", "Audio encoder: a model id of the hub, or a local folder", identity=False, place=True
    )
    encoder_revision: str | None = option(None, "Branch, tag or commit of a hub encoder; null is its main branch")
    speaker: str | None = option(
        None, "The voice: an x-vector of 512 numbers as .npy or .safetensors; null is a fixed random one", path=True
    )
    seed: int = option(0, "Seed of the dropout that SpeechT5 needs to speak; the same for every text", minimum=0)
    max_text: int | None = option(
        None, "Characters of a text at most, a longer one is cut at a word; null is what the model can read (600)", minimum=1
    )
    dtype: str = option("float32", "Arithmetic of all three models", choices=("float32", "float16", "bfloat16"))

    def places(self) -> tuple[str, str, str]:
        return (self.model, self.vocoder, self.encoder)

    def identity(self, environment: Environment) -> dict[str, Any]:
        return {"weights": [hub.identity(place) for place in self.places()]}

    def problems(self, environment: Environment) -> Iterable[str]:
        for place in self.places():
            yield from hub.problems(place)
        yield from vocabulary.problems(self.model, environment, self.revision)
        if self.speaker is not None:
            path = Path(self.speaker)
            if path.suffix not in (".npy", ".safetensors"):
                yield f"speaker: {path} is neither .npy nor .safetensors"
            elif not path.is_file():
                yield f"speaker: there is no file {path}"

    def downloads(self, environment: Environment) -> Iterable[str]:
        revisions = (self.revision, self.vocoder_revision, self.encoder_revision)
        for place, revision in zip(self.places(), revisions, strict=True):
            yield from hub.downloads(place, revision)

    def smoke(self, folder: Path) -> Self:
        """Random models of the three classes, 16 wide."""
        from armada_teacher_speecht5.miniature import save_all

        place = tiny.once(folder / "tiny-speecht5", save_all)
        return dataclasses.replace(
            self,
            model=str(place / "speech"),
            vocoder=str(place / "vocoder"),
            encoder=str(place / "encoder"),
            revision=None,
            vocoder_revision=None,
            encoder_revision=None,
            dtype="float32",
        )
