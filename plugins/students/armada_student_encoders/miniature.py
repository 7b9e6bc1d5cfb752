"""Tiny random encoders of the real classes, for `--smoke`."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch

from armada_cli.models import architectures, hub, tiny

HIDDEN = tiny.WIDTHS["hidden_size"]
HEADS = tiny.WIDTHS["num_attention_heads"]
"""As many as a known model made small has: a method that compares heads finds the same number whether a model's own
configuration is on this machine or not."""

POSITIONS = 514
"""Tokens; as many as BERT reads, and two that RoBERTa's padding takes."""

TOKENS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2}
"""The special tokens of `tiny.save_letters_tokenizer`, in the roles of other families."""


def save(folder: Path, architecture: str, place: str, layers: int | None, revision: str | None = None) -> Path:
    """Write a random model and a tokenizer of letters below `folder`, unless they are there. Returns where.

    Args:
        architecture: the model's type as transformers names it (``bert``, ``deberta-v2``, ...).
        place: the real model; when it is on this machine, its own configuration is made small.
        layers: so many will be kept; there is one more, so that one is left out. None makes two.
        revision: of a model of the hub; None is its main branch.

    Raises:
        UserError: the configuration does not allow so few layers.
    """
    deep = 2 if layers is None else layers + 1
    config = narrow(hub.model_folder(place, revision), layers, deep)
    if config is None:
        config = _plain(architecture, deep)
    return tiny.once(folder / f"{architecture}-{tiny.digest(config)}", lambda path: _make(path, architecture, config))


def narrow(known: Path | None, layers: int | None, deep: int) -> Any | None:
    """The configuration of a model's folder made small; None where there is none, or that is not possible."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    if known is None:
        return None
    try:
        config = AutoConfig.from_pretrained(known, trust_remote_code=False)
    except Exception:  # the real run says what is wrong with it
        return None
    if layers is not None:
        architectures.with_layers(f"student {known}", config, layers)  # what it refuses, the real run would be refused
    try:
        config = tiny.narrow(config, deep, POSITIONS, SMALLEST, TOKENS)
        with hub.quiet(), torch.random.fork_rng(devices=[]):
            AutoModelForSequenceClassification.from_config(
                config, trust_remote_code=False
            )  # a family with parts of its own may refuse
    except Exception:
        return None
    return config


SMALLEST = 16
"""Rows of the embeddings while it is not known how many the tokenizer has."""


def _plain(architecture: str, layers: int) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(
        architecture,
        hidden_size=HIDDEN,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        intermediate_size=2 * HIDDEN,
        max_position_embeddings=POSITIONS,
        pad_token_id=0,
        **OWN.get(architecture, {}),
    )


def _make(place: Path, architecture: str, config: Any) -> None:
    from transformers import AutoModel

    pieces = save_deberta_tokenizer(place) if architecture == "deberta-v2" else tiny.save_letters_tokenizer(place)
    config.get_text_config().vocab_size = pieces
    with hub.quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModel.from_config(config, trust_remote_code=False).save_pretrained(place)


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
    "visual_bert": {"visual_embedding_dim": HIDDEN},
}


def save_deberta_tokenizer(folder: Path) -> int:
    """Write a DeBERTa tokenizer whose pieces are single characters. Returns the size of its vocabulary."""
    from transformers import DebertaV2Tokenizer

    special = [(piece, 0.0) for piece in ("[PAD]", "[CLS]", "[SEP]", "[UNK]")]
    single = [(piece, -5.0) for piece in ("\u2581", *string.ascii_letters, *string.digits, *string.punctuation)]
    DebertaV2Tokenizer(vocab=[*special, *single, ("[MASK]", 0.0)], unk_id=3).save_pretrained(folder)
    return len(special) + len(single) + 1
