"""Parts of tiny checkpoints for `--smoke` and for tests: tokenizers that read any text, and sentences of our own.

A component's options class has a method ``smoke(folder) -> options``: it writes a random checkpoint of the real class below
``folder`` (with `save_pretrained`; unless it is there) and returns options that name it. What is heavy is imported inside.
"""

from __future__ import annotations

import string
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SENTENCES = (
    "A grey heron waits at the edge of the pond.",
    "The baker opens her shop before the sun is up.",
    "Nobody on the ferry had seen the lighthouse dark before.",
    "Two boys carry a kite through the tall grass.",
    "Our neighbour repairs clocks in a narrow attic.",
    "The last tram leaves the harbour at midnight.",
    "She folded the letter twice and said nothing.",
    "Rain drums on the roof of the empty market hall.",
    "An old map hangs above the captain's table.",
    "The choir rehearses in the cellar every Tuesday.",
    "He planted beans along the southern wall.",
    "A stray dog followed the parade to the river.",
    "The museum lends its smallest paintings to schools.",
    "Snow covered the vineyard during the night.",
    "They built the bridge from the timber of a barn.",
    "The violin sounded warmer in the wooden chapel.",
)
"""Sentences for shipped rows and vocabularies; sixteen, all different."""


def once(folder: Path, make: Callable[[Path], Any]) -> Path:
    """`folder`, filled by ``make(folder)`` unless a former call finished it. An empty file inside marks it as whole."""
    done = folder / ".complete"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        make(folder)
        done.touch()
    return folder


WIDTHS = {
    "hidden_size": 32,
    "n_embd": 32,
    "d_model": 32,
    "dim": 32,
    "embedding_size": 32,
    "word_embed_proj_dim": 32,
    "pooler_hidden_size": 32,
    "intermediate_size": 64,
    "ffn_dim": 64,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "hidden_dim": 64,
    "n_inner": 64,
    "d_ff": 64,
    "d_kv": 8,
    "num_attention_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "num_heads": 4,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
"""Names that families of models give to their widths, and the widths of a tiny one."""


VOCABULARIES = ("vocab_size", "n_words")
"""Names that families of models give to the number of tokens."""


def narrow(config: Any, layers: int, positions: int, vocabulary: int, tokens: Mapping[str, int]) -> Any:
    """A configuration of transformers made small: narrow, with its first so many layers and all that it says of them.

    Args:
        positions: tokens at most; vocabulary: rows of the embeddings; tokens: ids of special tokens, as ``pad_token_id``.
    """
    from armada_cli.models import architectures

    values = architectures.shorten(config.to_dict(), layers)
    for part in (values, *(values[name] for name in architectures.PARTS if isinstance(values.get(name), dict))):
        small = {**WIDTHS, **dict.fromkeys(architectures.POSITIONS, positions), **dict.fromkeys(VOCABULARIES, vocabulary)}
        for name, value in part.items():
            if name in small and isinstance(value, int):
                part[name] = small[name]
            elif name in small and isinstance(value, list) and all(isinstance(item, int) for item in value):
                part[name] = [small[name]] * len(value)
            elif name.endswith("_token_id") and value is not None:
                part[name] = tokens.get(name, 1)
        part.update(tokens)
    values.pop("quantization_config", None)
    values["architectures"] = []
    return type(config).from_dict(values)


def digest(config: Any) -> str:
    """Eight digits that tell configurations apart, for the names of folders."""
    return f"{zlib.crc32(config.to_json_string().encode()):08x}"


def save_letters_tokenizer(folder: Path) -> int:
    """Write a BERT tokenizer whose pieces are letters, digits and marks. Returns the size of its vocabulary."""
    from transformers import BertTokenizer

    letters = string.ascii_lowercase + string.digits
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{item}" for item in letters), *string.punctuation]
    BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}).save_pretrained(folder)
    return len(pieces)


def save_bytes_tokenizer(folder: Path, *, begin: str = "<s>", end: str = "</s>", pad: str = "<pad>") -> int:
    """Write a byte-level tokenizer for decoders: any text is read, and given back unchanged. Returns the size of its
    vocabulary; ids 0, 1 and 2 are `pad`, `begin` and `end`. Every text gets `begin` in front."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = [pad, begin, end]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: number for number, piece in enumerate([*special, *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A {begin} $B", special_tokens=[(begin, vocabulary[begin])]
    )
    PreTrainedTokenizerFast(tokenizer_object=core, bos_token=begin, eos_token=end, pad_token=pad).save_pretrained(folder)
    return len(vocabulary)
