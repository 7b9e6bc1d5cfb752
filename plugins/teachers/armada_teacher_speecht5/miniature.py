"""Tiny random checkpoints of SpeechT5, HiFi-GAN and Wav2Vec2, for `--smoke` and tests."""

from __future__ import annotations

import io
import string
from pathlib import Path

import torch
from sentencepiece import SentencePieceTrainer
from transformers import (
    SpeechT5Config,
    SpeechT5ForTextToSpeech,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    SpeechT5Tokenizer,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from armada_cli.models import hub, tiny


def save_all(folder: Path) -> None:
    """Write ``speech``, ``vocoder`` and ``encoder`` below `folder`, the same weights every time."""
    speech, vocoder, encoder = (folder / name for name in ("speech", "vocoder", "encoder"))
    with torch.random.fork_rng(devices=[]), hub.quiet():
        torch.manual_seed(0)
        tokens = _save_tokenizer(speech)
        model = SpeechT5ForTextToSpeech(
            SpeechT5Config(
                vocab_size=tokens,
                hidden_size=16,
                encoder_layers=1,
                encoder_attention_heads=2,
                encoder_ffn_dim=32,
                decoder_layers=1,
                decoder_attention_heads=2,
                decoder_ffn_dim=32,
                speech_decoder_prenet_units=16,
                speech_decoder_postnet_units=16,
                speech_decoder_postnet_layers=2,
                max_text_positions=600,
                initializer_range=0.3,
            )
        )
        # Random weights stop at once or never: these stop by chance after some steps, so that texts differ in length.
        torch.nn.init.normal_(model.speech_decoder_postnet.prob_out.weight, std=0.5)
        torch.nn.init.constant_(model.speech_decoder_postnet.prob_out.bias, -5.3)
        model.save_pretrained(speech)
        SpeechT5HifiGan(
            SpeechT5HifiGanConfig(
                upsample_rates=[4, 4, 4, 4],
                upsample_kernel_sizes=[8, 8, 8, 8],
                upsample_initial_channel=32,
                resblock_kernel_sizes=[3],
                resblock_dilation_sizes=[[1, 3]],
                initializer_range=0.3,
            )
        ).save_pretrained(vocoder)
        Wav2Vec2Model(
            Wav2Vec2Config(
                vocab_size=32,
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
                conv_dim=(8,) * 7,
                num_conv_pos_embeddings=16,
                num_conv_pos_embedding_groups=2,
                initializer_range=0.3,
            )
        ).save_pretrained(encoder)
    Wav2Vec2FeatureExtractor().save_pretrained(encoder)


def _save_tokenizer(folder: Path) -> int:
    """A sentencepiece model of characters, as SpeechT5's is. Returns the size of its vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter([*tiny.SENTENCES, string.ascii_letters, string.digits, string.punctuation]),
        model_writer=content,
        model_type="char",
        vocab_size=110,
        hard_vocab_limit=False,
        character_coverage=1.0,
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "spm_char.model").write_bytes(content.getvalue())
    tokenizer = SpeechT5Tokenizer(str(folder / "spm_char.model"))
    tokenizer.save_pretrained(folder)
    return len(tokenizer)
