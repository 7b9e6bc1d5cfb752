"""Parts of tiny checkpoints for `--smoke` and for tests: tokenizers that read any text, and sentences of our own.

A component's options class has a method ``smoke(folder) -> options``: it writes a random checkpoint of the real class below
``folder`` (with `save_pretrained`; unless it is there) and returns options that name it. What is heavy is imported inside.
"""

from __future__ import annotations

import string
from collections.abc import Callable
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
