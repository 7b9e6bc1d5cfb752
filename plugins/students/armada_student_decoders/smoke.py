"""A decoder of two narrow layers with random weights, saved as the real ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from armada_cli.models import architectures, hub, tiny

CONTEXT = 2048
"""Tokens; as many as the real models read at least, so that no recipe is refused for its lengths."""

TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
"""The special tokens of `tiny.save_bytes_tokenizer`."""


def tiny_checkpoint(folder: Path, model: str, layers: int | None = None, revision: str | None = None) -> Path:
    """A folder below `folder` with a random checkpoint of the class of `model`, as far as that can be known here: from its
    configuration, when it lies on this machine, else by the name (OPT, or LLaMA).

    Args:
        layers: so many will be kept of it; there is one more, so that one is left out.
        revision: of a model of the hub; None is its main branch.

    Raises:
        UserError: the configuration does not allow so few layers.
    """
    known = hub.model_folder(model, revision)
    deep = 2 if layers is None else layers + 1
    if known is not None and (narrowed := narrow(known, layers, deep)) is not None:
        place = folder / f"tiny-{narrowed.model_type}-{tiny.digest(narrowed)}"
        return tiny.once(place, lambda place: save(place, narrowed))
    kind = "opt" if "opt" in Path(model).name.lower() else "llama"
    place = folder / (f"tiny-{kind}" if layers is None else f"tiny-{kind}-{deep}")
    return tiny.once(place, lambda place: save(place, opt(layers=deep) if kind == "opt" else llama(layers=deep)))


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


def narrow(folder: Path, layers: int | None, deep: int) -> Any | None:
    """The configuration of a folder made small; None where that is not possible."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception:
        return None
    if layers is not None:
        architectures.with_layers(f"student {folder}", config, layers)  # what it refuses, the real run would be refused
    try:
        config = tiny.narrow(config, deep, CONTEXT, 16, TOKENS)
        with hub.quiet():
            AutoModelForCausalLM.from_config(config, trust_remote_code=False)  # a family with parts of its own may refuse
    except Exception:
        return None
    return config


def save(folder: Path, config: Any, seed: int = 0) -> None:
    """Write a random causal model of a configuration in float32, with a tokenizer that reads bytes."""
    import torch
    from transformers import AutoModelForCausalLM

    text = config.get_text_config()
    text.vocab_size = tiny.save_bytes_tokenizer(folder)
    text.pad_token_id, text.bos_token_id, text.eos_token_id = TOKENS.values()
    config.dtype = torch.float32
    with torch.random.fork_rng(devices=[]), hub.quiet():
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(config, trust_remote_code=False).save_pretrained(folder)
