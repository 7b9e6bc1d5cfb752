"""Text -> hibari speech -> log-mel -> a Whisper encoder -> mean over frames."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import ctranslate2
import numpy as np
from hibari import SAMPLE_RATE, Hibari
from scipy.signal import resample_poly

from armada_cli import Environment, Teacher, UserError
from armada_teacher_speech.ears import load_ear
from armada_teacher_speech.options import SpeechOptions
from armada_teacher_speech.spectrogram import HOP, RATE, log_mel

LONGEST = 30 * RATE
"""Whisper's encoder has positions for 30 s of sound."""

SILENCE = RATE // 2
"""Samples of silence that stand for a text with nothing in it to be spoken."""


class Speech(Teacher):
    """The sound of a text.

    Each text is synthesised and encoded alone, at its own length: the encoder has no mask, so silence added to fill a batch
    would change the frames of the speech as well as enter their mean. The threads of `environment` work on different texts,
    each on one core, and a vector does not depend on their number.

    Speech over 30 s is cut into windows of equal length, and all their frames enter the mean. What hibari reads nothing from
    (emoji, other scripts) is spelled by the Unicode names of its characters; a text without any becomes half a second of
    silence.
    """

    options: SpeechOptions

    def __init__(self, options: SpeechOptions, environment: Environment) -> None:
        super().__init__(options, environment)
        self.workers = max(1, environment.threads)
        self.encoder = load_ear(options.ear, options.precision, self.workers)
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="speech")

    def represent(self, inputs: Sequence[str]) -> np.ndarray:
        """inputs: n texts -> float32 [n, d], d = 384, or 512 with ``ear: whisper-base``; twice that for mean-sd."""
        for value in inputs:
            if not isinstance(value, str):
                raise UserError(
                    f"teacher speech-offline speaks texts, and the task hands over {str(value)[:40]!r}",
                    "Take resnet-posters for pictures",
                )
        return np.stack(list(self._pool.map(self._vector, inputs)))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _vector(self, text: str) -> np.ndarray:
        return self.pool(self.encode(self.speak(text)))

    def speak(self, text: str) -> np.ndarray:
        """The sound of a text, 16 kHz, float32 [samples], never empty."""
        sound = self._synthesise(text)
        if not len(sound):
            sound = self._synthesise(spell(text))
        if not len(sound):
            return np.zeros(SILENCE, np.float32)
        return resample_poly(sound, RATE, SAMPLE_RATE).astype(np.float32, copy=False)

    def _synthesise(self, text: str) -> np.ndarray:
        # The network's bits depend on its thread count, so it always has one; and a voice is not shared between threads.
        if not hasattr(self._local, "voice"):
            self._local.voice = Hibari(voice=self.options.voice, threads=1)
        return self._local.voice(text, speed=self.options.speed, seed=self.options.seed)

    def encode(self, sound: np.ndarray) -> np.ndarray:
        """Sound of 16 kHz, [samples] -> the encoder's frames, float32 [frames, d], 20 ms each."""
        windows = np.array_split(sound, -(-len(sound) // LONGEST))
        frames = []
        for window in windows:
            mel = log_mel(window)[None]
            output = self.encoder.encode(ctranslate2.StorageView.from_array(mel), to_cpu=True)
            frames.append(np.array(output)[0].astype(np.float32, copy=False))
        return np.concatenate(frames)

    def pool(self, frames: np.ndarray) -> np.ndarray:
        """Frames [frames, d] -> [d], or [2 d] with the standard deviation beside the mean."""
        mean = frames.mean(axis=0, dtype=np.float64)
        if self.options.pooling == "mean-sd":
            mean = np.concatenate([mean, frames.std(axis=0, dtype=np.float64)])
        return mean.astype(np.float32)


def spell(text: str) -> str:
    """The Unicode names of a text's characters as words: ``"\\u2603"`` -> ``"snowman"``."""
    names = (unicodedata.name(character, "") for character in text if not character.isspace())
    return ", ".join(name.lower().replace("-", " ") for name in names if name)


__all__ = ["HOP", "LONGEST", "Speech", "spell"]
