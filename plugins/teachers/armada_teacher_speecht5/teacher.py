"""Text -> SpeechT5 -> spectrogram -> HiFi-GAN -> sound -> Wav2Vec2 -> mean over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModel, SpeechT5ForTextToSpeech, SpeechT5HifiGan, SpeechT5Tokenizer

from armada_cli import Environment, Teacher, UserError
from armada_cli.corpora.prompts import shorten
from armada_cli.devices import pick_device
from armada_cli.models import hub, special_tokens, vocabulary
from armada_cli.reading import check_file
from armada_teacher_speecht5.options import SpeechT5Options

NAME = "teacher speecht5"
SHORTEST = 400
"""Samples that Wav2Vec2 needs for its first frame."""

SILENCE = 8_000
"""Samples of silence, half a second, that stand for a text with nothing in it to be spoken."""

STEPS_PER_TOKEN = 20.0
"""Frames of speech a token may take before SpeechT5 is stopped, its own default (``maxlenratio``)."""

UNUSED = ("masked_spec_embed",)
"""Tensors that play a part in training only; a checkpoint may lack them."""


class SpeechT5(Teacher):
    """The sound of a text.

    Each text is spoken and heard alone, at its own length: Wav2Vec2-base has no mask for its convolutions, so silence that
    fills a batch would change the speech. SpeechT5 drops half of its prenet's units while it speaks; that chance starts from
    `seed` for every text, so a vector depends on its text alone. On a CPU the models have one thread, since sums of several
    have other bits; several processes (`accelerate launch`) share the texts. A GPU has another chance than a CPU.

    A text over the model's 600 characters is cut at a word. One of which the tokenizer knows no character is half a
    second of silence.
    """

    batch_size = 16

    options: SpeechT5Options

    def __init__(self, options: SpeechT5Options, environment: Environment) -> None:
        super().__init__(options, environment)
        self.device = torch.device(pick_device(environment))
        self.tokenizer = self._load(SpeechT5Tokenizer, options.model, options.revision, "tokenizer")
        self.model = self._weights(SpeechT5ForTextToSpeech, options.model, options.revision)
        vocabulary.require_usable(NAME, options.model, self.tokenizer, self.model.config)
        self.tokenizer = special_tokens.as_text(self.tokenizer)
        self.vocoder = self._weights(SpeechT5HifiGan, options.vocoder, options.vocoder_revision)
        self.extractor = self._load(AutoFeatureExtractor, options.encoder, options.encoder_revision, "feature extractor")
        self.encoder = self._weights(AutoModel, options.encoder, options.encoder_revision)
        made, heard = self.vocoder.config.sampling_rate, self.extractor.sampling_rate
        if made != heard:
            raise UserError(f"{NAME}: the vocoder makes sound of {made} Hz, the encoder hears {heard} Hz", "Take a pair")
        self.speaker = self._speaker().to(self.device, self.model.dtype)

    def represent(self, inputs: Sequence[str]) -> np.ndarray:
        """inputs: n texts -> float32 [n, width of the encoder], 768 for Wav2Vec2-base.

        Raises:
            UserError: an input is no text.
        """
        for item in inputs:
            if not isinstance(item, str):
                raise UserError(f"{NAME} speaks texts, and the task hands over {item}", "Take resnet-posters for pictures")
        with self._one_thread():
            return np.stack([self.hear(self.speak(text)) for text in inputs])

    def speak(self, text: str) -> np.ndarray:
        """The sound of a text, 16 kHz, float32 [samples], at least `SHORTEST`."""
        tokens = self.tokens(text)
        if tokens is None:
            return np.zeros(SILENCE, np.float32)
        config = self.model.config
        # The decoder has positions for so many steps; a text on which it does not stop by itself must not run over them.
        ratio = min(STEPS_PER_TOKEN, (config.max_speech_positions - 1) * config.reduction_factor / len(tokens))
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.options.seed)
            ids = torch.tensor([tokens], device=self.device)
            spectrogram = self.model.generate_speech(ids, self.speaker, attention_mask=torch.ones_like(ids), maxlenratio=ratio)
            sound = self.vocoder(spectrogram).float().cpu().numpy().reshape(-1)
        return np.pad(sound, (0, max(0, SHORTEST - len(sound))))

    def tokens(self, text: str) -> list[int] | None:
        """The characters that are spoken, with the end mark; None when none of them is known."""
        text = " ".join(text.encode("utf-8", "replace").decode().split())
        limit = int(self.model.config.max_text_positions)
        longest = limit if self.options.max_text is None else self.options.max_text
        cut = shorten(text, longest)
        while True:
            ids = list(self.tokenizer(cut, verbose=False).input_ids)
            if len(ids) <= limit or not cut:
                break
            cut = shorten(cut, len(cut) - max(1, len(ids) - limit))  # some texts have more tokens than characters
        silent = {self.tokenizer.unk_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id}
        silent |= set(self.tokenizer.convert_tokens_to_ids(["▁"]))
        return None if silent.issuperset(ids) else ids

    def hear(self, sound: np.ndarray) -> np.ndarray:
        """Sound of 16 kHz, [samples] -> float32 [width], the mean over the encoder's frames of 20 ms."""
        values = self.extractor(sound, sampling_rate=self.extractor.sampling_rate, return_tensors="pt").input_values
        with torch.inference_mode():
            frames = self.encoder(values.to(self.device, self.encoder.dtype)).last_hidden_state[0]
        return frames.float().cpu().numpy().mean(axis=0, dtype=np.float64).astype(np.float32)

    # ------------------------------------------------------------------------------------------------- loading

    def _load(self, kind: Any, place: str, revision: str | None, what: str, **how: Any) -> Any:
        source = hub.loadable(NAME, str(hub.local_folder(place) or place), self.environment, revision)
        where = {"revision": revision or "main", "local_files_only": self.environment.offline, "trust_remote_code": False}
        try:
            with hub.quiet():
                return kind.from_pretrained(source, **where, **how)
        except Exception as error:
            raise hub.cannot_load(NAME, place, what, error, self.environment) from error

    def _weights(self, kind: Any, place: str, revision: str | None) -> Any:
        dtype = getattr(torch, self.options.dtype)
        how = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
        model, loaded = self._load(kind, place, revision, "weights", **how)
        if missing := sorted(str(name) for name in loaded["missing_keys"] if not str(name).endswith(UNUSED)):
            raise UserError(
                f"{NAME} {place}: its weights lack {len(missing)} tensors of {type(model).__name__}, as {missing[0]}",
                "Name a checkpoint of this kind, whole",
            )
        return model.to(self.device).eval()

    def _speaker(self) -> torch.Tensor:
        """The voice, [1, 512]."""
        width = int(self.model.config.speaker_embedding_dim)
        if self.options.speaker is None:
            voice = np.random.default_rng(0).standard_normal(width)
            return torch.from_numpy((voice / np.linalg.norm(voice)).astype(np.float32))[None]
        voice = read_voice(Path(self.options.speaker))
        if voice.size != width or not np.isfinite(voice).all() or not voice.any():
            raise UserError(
                f"{NAME}: speaker {self.options.speaker} holds {list(voice.shape)} numbers, not {width} finite ones",
                "Save one x-vector, as numpy.save(path, vector)",
            )
        return torch.from_numpy(voice.astype(np.float32).reshape(1, width))

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        before = torch.get_num_threads()
        if self.device.type == "cpu":
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def read_voice(path: Path) -> np.ndarray:
    """The numbers of a .npy file, or of the only tensor of a .safetensors file.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        check_file(path)
        if path.suffix == ".safetensors":
            (voice,) = load_file(path).values()
        else:
            voice = np.lib.format.open_memmap(path, mode="r")
        return np.asarray(voice, np.float64)
    except (OSError, ValueError, TypeError, EOFError, SafetensorError) as error:
        text = " ".join(str(error).split())[:120]
        hint = "It must be one x-vector, as .npy (numpy.save) or as the only tensor of a .safetensors file"
        raise UserError(f"{NAME}: speaker {path} cannot be read ({text})", hint) from None


__all__ = ["SILENCE", "SpeechT5", "read_voice"]
