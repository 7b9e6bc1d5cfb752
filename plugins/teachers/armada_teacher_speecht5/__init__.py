"""The `speecht5` teacher: how a text sounds, spoken by SpeechT5 and heard by Wav2Vec2."""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_teacher_speecht5.options import SpeechT5Options


@hookimpl
def armada_teachers() -> list[Component]:
    return [
        Component(
            name="speecht5",
            summary="Text spoken by SpeechT5 and HiFi-GAN, heard by Wav2Vec2-base (768 wide)",
            target="armada_teacher_speecht5.teacher:SpeechT5",
            options=SpeechT5Options,
            provides={"audio"},
            revision=2,  # special tokens in a text (``</s>``) are spoken as they are written
            reference="Ao et al. 2022, SpeechT5; Baevski et al. 2020, wav2vec 2.0",
        )
    ]
