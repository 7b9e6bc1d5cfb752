"""A decoder of two narrow layers with random weights, saved as the real ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from armada_cli import hub, tiny

CONTEXT = 2048
"""Tokens; as many as the real models read at least, so that no recipe is refused for its lengths."""

NARROW = {
    "hidden_size": 32,
    "n_embd": 32,
    "word_embed_proj_dim": 32,
    "intermediate_size": 64,
    "ffn_dim": 64,
    "n_inner": 64,
    "num_hidden_layers": 2,
    "n_layer": 2,
    "num_attention_heads": 4,
    "n_head": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": CONTEXT,
    "n_positions": CONTEXT,
}
"""Names that families of models give to their widths, and the widths of a tiny one."""


def tiny_checkpoint(folder: Path, model: str) -> Path:
    """A folder below `folder` with a random checkpoint of the class of `model`, as far as that can be known here: from its
    configuration, when it lies on this machine, else by the name (OPT, or LLaMA)."""
    known = hub.local_folder(model) or hub.snapshot(model)
    kind = "opt" if "opt" in Path(model).name.lower() else "llama"
    if known is not None and (narrowed := narrow(known)) is not None:
        return tiny.once(folder / f"tiny-{narrowed.model_type}", lambda place: save(place, narrowed))
    return tiny.once(folder / f"tiny-{kind}", lambda place: save(place, opt() if kind == "opt" else llama()))


def llama(hidden: int = 32, layers: int = 2, heads: int = 4, kv_heads: int = 2) -> Any:
    """Configuration of a LLaMA with grouped-query attention, as Llama 3 has."""
    from transformers import LlamaConfig

    return LlamaConfig(
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=CONTEXT,
    )


def opt(hidden: int = 32, layers: int = 2, heads: int = 4) -> Any:
    """Configuration of an OPT."""
    from transformers import OPTConfig

    return OPTConfig(
        hidden_size=hidden,
        word_embed_proj_dim=hidden,
        ffn_dim=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=CONTEXT,
    )


def narrow(folder: Path) -> Any | None:
    """The configuration of a folder made small; None where that is not possible."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder)
        for name, value in NARROW.items():
            if getattr(config, name, None) is not None:
                setattr(config, name, value)
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:2]
        if getattr(config, "quantization_config", None):
            del config.quantization_config
        config.vocab_size = 16
        _name_tokens(config)
        with hub.quiet():
            AutoModelForCausalLM.from_config(config)  # a family with parts of its own may refuse
    except Exception:
        return None
    return config


def save(folder: Path, config: Any, seed: int = 0) -> None:
    """Write a random causal model of a configuration in float32, with a tokenizer that reads bytes."""
    import torch
    from transformers import AutoModelForCausalLM

    config.vocab_size = tiny.save_bytes_tokenizer(folder)
    config.dtype = torch.float32
    _name_tokens(config)
    with torch.random.fork_rng(devices=[]), hub.quiet():
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def _name_tokens(config: Any) -> None:
    """The special tokens of `tiny.save_bytes_tokenizer`."""
    config.pad_token_id, config.bos_token_id, config.eos_token_id = 0, 1, 2
