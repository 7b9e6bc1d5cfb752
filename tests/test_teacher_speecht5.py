"""The speecht5 teacher, on tiny random checkpoints of its three classes: plumbing, never quality."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from armada_teacher_speecht5.options import SpeechT5Options
from armada_teacher_speecht5.teacher import SHORTEST, SILENCE, SpeechT5

from armada_cli import Environment, UserError
from armada_cli.corpora.prompts import shorten
from armada_cli.models.tiny import SENTENCES
from armada_cli.registry.catalog import Catalog

OFFLINE = Environment(threads=2, offline=True)
TEXTS = [*SENTENCES[:4], "Stop!"]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> SpeechT5Options:
    return SpeechT5Options().smoke(tmp_path_factory.mktemp("smoke"))


@pytest.fixture(scope="module")
def teacher(options: SpeechT5Options) -> SpeechT5:
    return SpeechT5(options, OFFLINE)


@pytest.fixture(scope="module")
def vectors(teacher: SpeechT5) -> np.ndarray:
    return teacher.represent(TEXTS)


def test_a_text_is_one_finite_vector_and_another_text_another(vectors: np.ndarray) -> None:
    assert vectors.shape == (5, 16)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    distances = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    assert distances[np.triu_indices(5, 1)].min() > 1e-3


def test_a_vector_does_not_depend_on_its_batch_the_threads_or_what_was_drawn_before(
    options: SpeechT5Options, vectors: np.ndarray
) -> None:
    torch.manual_seed(99)
    other = SpeechT5(options, Environment(threads=1, offline=True))
    alone = np.concatenate([other.represent([text]) for text in TEXTS[::-1]])[::-1]
    np.testing.assert_array_equal(alone, vectors)


def test_speaking_leaves_the_random_numbers_and_threads_of_others_alone(teacher: SpeechT5) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    teacher.represent(TEXTS[:1])
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_texts_have_speech_of_their_own_length(teacher: SpeechT5) -> None:
    assert len({len(teacher.speak(text)) for text in SENTENCES}) > 2


def test_the_seed_and_the_voice_are_heard(options: SpeechT5Options, vectors: np.ndarray, tmp_path: Path) -> None:
    seeded = SpeechT5(dataclasses.replace(options, seed=1), OFFLINE).represent(TEXTS[:1])
    assert np.abs(seeded - vectors[0]).max() > 0
    np.save(tmp_path / "voice.npy", np.linspace(-1, 1, 512))
    voiced = SpeechT5(dataclasses.replace(options, speaker=str(tmp_path / "voice.npy")), OFFLINE).represent(TEXTS[:1])
    assert np.abs(voiced - vectors[0]).max() > 0


def test_a_voice_is_read_alike_from_both_kinds_of_file(options: SpeechT5Options, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    voice = np.linspace(-1, 1, 512).astype(np.float32)
    np.save(tmp_path / "voice.npy", voice)
    save_file({"xvector": voice[None]}, tmp_path / "voice.safetensors")
    first, second = (
        SpeechT5(dataclasses.replace(options, speaker=str(tmp_path / name)), OFFLINE).speaker
        for name in ("voice.npy", "voice.safetensors")
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros(512), r"holds \[512\] numbers, not 512 finite ones"),
        (np.ones(256), r"holds \[256\] numbers"),
        (np.full(512, np.nan), "finite"),
        (np.array([{"a": 1}], dtype=object), "cannot be read"),
        (b"not numpy", "cannot be read"),
    ],
    ids=["zeros", "short", "nan", "pickled", "text"],
)
def test_a_voice_that_is_none_is_refused_in_one_line(
    options: SpeechT5Options, tmp_path: Path, content: np.ndarray | bytes, message: str
) -> None:
    path = tmp_path / "voice.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(UserError, match=message) as caught:
        SpeechT5(dataclasses.replace(options, speaker=str(path)), OFFLINE)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "   ", "\n", "\x00", "☃ 🐈"])
def test_a_text_with_nothing_to_say_is_half_a_second_of_silence(teacher: SpeechT5, text: str) -> None:
    sound = teacher.speak(text)
    assert (len(sound), np.abs(sound).max()) == (SILENCE, 0)
    assert np.isfinite(teacher.represent([text])).all()


def test_a_long_text_is_cut_at_a_word(teacher: SpeechT5) -> None:
    words = "harbour " * 200
    tokens = teacher.tokens(words)
    assert tokens is not None
    assert len(tokens) <= 600
    assert tokens == teacher.tokens("harbour " * 74)
    np.testing.assert_array_equal(teacher.represent([words]), teacher.represent(["harbour " * 74]))
    unbroken = teacher.tokens("x" * 2000)
    assert unbroken is not None
    assert len(unbroken) == 600


def test_the_text_may_be_cut_earlier(options: SpeechT5Options, teacher: SpeechT5) -> None:
    short = SpeechT5(dataclasses.replace(options, max_text=20), OFFLINE)
    np.testing.assert_array_equal(short.represent([SENTENCES[0]]), teacher.represent(["A grey heron waits"]))


@pytest.mark.parametrize(
    ("text", "limit", "wanted"),
    [("one two three", 7, "one two"), ("one two three", 8, "one two"), ("one two", 7, "one two"), ("onetwo", 3, "one")],
)
def test_shortening_keeps_whole_words(text: str, limit: int, wanted: str) -> None:
    assert shorten(text, limit) == wanted


def test_a_model_that_never_stops_is_stopped_before_its_positions_end(options: SpeechT5Options) -> None:
    endless = SpeechT5(options, OFFLINE)
    torch.nn.init.constant_(endless.model.speech_decoder_postnet.prob_out.bias, -1e4)
    endless.model.config.max_speech_positions = 40
    endless.model.speecht5.decoder.prenet.encode_positions.pe = endless.model.speecht5.decoder.prenet.encode_positions.pe[
        :, :40
    ]
    assert SHORTEST < len(endless.speak(SENTENCES[0])) <= 40 * 2 * 256


def test_the_encoder_hears_the_whole_sound_and_nothing_else(teacher: SpeechT5) -> None:
    sound = np.random.default_rng(1).standard_normal(16_000).astype(np.float32)
    values = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
    with torch.inference_mode():
        frames = teacher.encoder(torch.from_numpy(values)[None]).last_hidden_state[0]
    assert len(frames) == 49
    np.testing.assert_allclose(teacher.hear(sound), frames.mean(0).numpy(), atol=1e-5)


def test_missing_weights_are_named_with_what_to_do(options: SpeechT5Options, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"microsoft/speecht5_tts: not on this machine.*hf download microsoft/speecht5_tts"):
        SpeechT5(SpeechT5Options(), OFFLINE)
    assert len(list(SpeechT5Options().downloads(OFFLINE))) == 3
    assert not list(options.downloads(OFFLINE))
    gone = dataclasses.replace(options, vocoder=str(tmp_path / "none"), speaker=str(tmp_path / "voice.txt"))
    assert len(list(gone.problems(OFFLINE))) == 2


def test_a_checkpoint_with_a_part_missing_is_refused(options: SpeechT5Options, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "encoder"
    shutil.copytree(options.encoder, copy)
    tensors = load_file(copy / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "feature_projection.projection" not in name}
    save_file(kept, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="its weights lack 2 tensors of Wav2Vec2Model, as feature_projection"):
        SpeechT5(dataclasses.replace(options, encoder=str(copy)), OFFLINE)


def test_voice_seed_and_weights_are_its_identity(options: SpeechT5Options, tmp_path: Path) -> None:
    card = Catalog.load(warn=False).find("teacher", "speecht5").component

    def identity(**changes: object) -> str:
        return str(card.identity(dataclasses.replace(options, **changes), OFFLINE))

    again = SpeechT5Options().smoke(tmp_path / "again")
    assert str(card.identity(again, OFFLINE)) == identity(), "the same weights in another folder are the same teacher"
    np.save(tmp_path / "voice.npy", np.ones(512))
    others = [identity(seed=1), identity(speaker=str(tmp_path / "voice.npy")), identity(encoder="facebook/wav2vec2-large")]
    assert len({identity(), *others}) == 4
