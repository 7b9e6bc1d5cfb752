"""Tiny random encoders of the real classes, for `--smoke`."""

from __future__ import annotations

import string
from pathlib import Path

import torch

from armada_cli import hub, tiny

HIDDEN = 32


def save(folder: Path, architecture: str, layers: int) -> None:
    """Write a random model and a tokenizer of letters into `folder`, unless they are there.

    Args:
        architecture: the model's type as transformers names it (``bert``, ``deberta-v2``, ...).
    """

    def make(place: Path) -> None:
        from transformers import AutoConfig, AutoModel

        pieces = save_deberta_tokenizer(place) if architecture == "deberta-v2" else tiny.save_letters_tokenizer(place)
        config = AutoConfig.for_model(
            architecture,
            vocab_size=pieces,
            hidden_size=HIDDEN,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=2 * HIDDEN,
            max_position_embeddings=514,
            pad_token_id=0,
            **OWN.get(architecture, {}),
        )
        with hub.quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            AutoModel.from_config(config).save_pretrained(place)

    tiny.once(folder, make)


OWN: dict[str, dict[str, object]] = {
    # What tells the large DeBERTas from the smaller: relative positions, and a convolution beside the first layer.
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 32,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "conv_kernel_size": 3,
        "conv_act": "gelu",
        "max_relative_positions": -1,
        "type_vocab_size": 0,
        "pooler_hidden_size": HIDDEN,
    },
    "electra": {"embedding_size": HIDDEN},
    "distilbert": {"hidden_dim": 2 * HIDDEN},
}


def save_deberta_tokenizer(folder: Path) -> int:
    """Write a DeBERTa tokenizer whose pieces are single characters. Returns the size of its vocabulary."""
    from transformers import DebertaV2Tokenizer

    special = [(piece, 0.0) for piece in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")]
    single = [(piece, -5.0) for piece in ("\u2581", *string.ascii_letters, *string.digits, *string.punctuation)]
    DebertaV2Tokenizer(vocab=[*special, *single, ("[MASK]", 0.0)], unk_id=3).save_pretrained(folder)
    return len(special) + len(single) + 1
