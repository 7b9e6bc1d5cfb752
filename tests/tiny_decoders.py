"""Tiny checkpoints of the real decoder classes, random, with a tokenizer that reads bytes. They prove plumbing, no quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from armada_cli.models import hub, tiny

TOKENS: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
"""The special tokens of `tiny.save_bytes_tokenizer`."""

DECIDED = 0.4
"""Spread of random weights at which the likeliest token stands clear of the second."""


def tiny_llama(folder: Path, *, seed: int = 0, hidden: int = 32, layers: int = 2, context: int = 512, **more: Any) -> Path:
    """A LLaMA with four heads over two groups; `more` goes into its configuration."""
    config = LlamaConfig(
        vocab_size=tiny.save_bytes_tokenizer(folder),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        **{"initializer_range": DECIDED, **TOKENS, **more},
    )
    return _saved(LlamaForCausalLM, config, folder, seed)


def tiny_opt(folder: Path, *, seed: int = 0, hidden: int = 32, layers: int = 2, context: int = 512, **more: Any) -> Path:
    """An OPT; `more` goes into its configuration."""
    config = OPTConfig(
        vocab_size=tiny.save_bytes_tokenizer(folder),
        hidden_size=hidden,
        word_embed_proj_dim=hidden,
        ffn_dim=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=context,
        **{"init_std": DECIDED, **TOKENS, **more},
    )
    return _saved(OPTForCausalLM, config, folder, seed)


def tiny_of(family: str, folder: Path, **more: Any) -> Path:
    """A causal model of another family, by the name of its configuration class; `more` goes into it."""
    plain = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "initializer_range": DECIDED,
    }
    config = getattr(transformers, family)(vocab_size=tiny.save_bytes_tokenizer(folder), **{**plain, **TOKENS, **more})
    return _saved(AutoModelForCausalLM.from_config, config, folder, 0)


def _saved(kind: Any, config: Any, folder: Path, seed: int) -> Path:
    with torch.random.fork_rng(devices=[]), hub.quiet():
        torch.manual_seed(seed)
        kind(config).save_pretrained(folder)
    return folder
