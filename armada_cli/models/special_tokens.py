"""Special tokens in texts are text.

A tokenizer of transformers that meets its own ``</s>`` or ``[SEP]`` in a text makes the special token of it: the text ends in
its middle, or a model that looks for exactly one end fails. What somebody wrote is no instruction to the model.
"""

from __future__ import annotations

import copy
import json
from typing import Any

RENAMED = "\ufdd0"
"""A noncharacter of Unicode, which no text has: it keeps a piece of the vocabulary from being found in one."""


def as_text(tokenizer: Any) -> Any:
    """A copy of a tokenizer for which its special tokens are text like any other; it still puts them around texts.

    ``split_special_tokens`` of transformers keeps them from being cut out of a text. Where whole words are sought in the
    vocabulary (Unigram of T5, XLM-R and ALBERT, WordLevel, BPE that ignores merges) they are found there all the same, so their
    entries are renamed in the copy. Ids stay what they are, and so do the tokens of every text without special tokens in it.
    """
    fast = getattr(tokenizer, "is_fast", False)
    # A large vocabulary is copied only where it changes: what is kept of the other calls is set anew by each.
    reading = copy.copy(tokenizer) if fast else copy.deepcopy(tokenizer)
    reading.split_special_tokens = True
    if getattr(reading, "fill_token", None):
        reading.fill_token = None  # CodeLlama divides a text at it
    if not fast:
        _break_words(reading)
    elif _seeks_words(reading.backend_tokenizer.model) or _merges_into_one(reading):
        core = json.loads(reading.backend_tokenizer.to_str())
        _rename(core, _special(tokenizer, core))
        reading._tokenizer = type(reading.backend_tokenizer).from_str(json.dumps(core))
    return reading


def _seeks_words(model: Any) -> bool:
    """Whether a model of the tokenizers library may find a word of the vocabulary in a text that was not made by merges."""
    return type(model).__name__ != "BPE" or bool(getattr(model, "ignore_merges", True))


def _merges_into_one(reading: Any) -> bool:
    """Whether merges lead to a special token, as in some conversions of sentencepiece models."""
    special = {str(token) for token in reading.all_special_tokens if len(str(token)) > 1}
    ids = set(reading.convert_tokens_to_ids(sorted(special))) - {reading.unk_token_id}
    tried = [text for token in special for text in (token, f"a{token}", f"a {token} a")]
    return bool(tried) and any(ids & set(row) for row in reading(tried, add_special_tokens=False, verbose=False)["input_ids"])


def _break_words(reading: Any) -> None:
    """Tokenizers in Python that look for whole words find their special tokens too; such a word is read in two parts."""
    special = {str(token) for token in reading.all_special_tokens if len(str(token)) > 1} - {str(reading.unk_token)}
    if not hasattr(reading, "_tokenize"):
        return
    tokenize = reading.tokenize

    def tokenize_broken(text: str, **how: Any) -> list[str]:
        tokens: list[str] = []
        for token in tokenize(text, **how):
            if token in special:
                tokens += [*reading._tokenize(token[:1]), *reading._tokenize(token[1:])]
            else:
                tokens.append(token)
        return tokens

    reading.tokenize = tokenize_broken


def _special(tokenizer: Any, core: dict[str, Any]) -> set[str]:
    marked = {token["content"] for token in core["added_tokens"] if token["special"]}
    return marked | {str(token) for token in tokenizer.all_special_tokens}


def _rename(core: dict[str, Any], special: set[str]) -> None:
    """Nothing is taken out of the lists, or what follows would get other ids. A single mark that serves as padding stays the
    mark, and so does what a merge needs."""
    model = core["model"]
    merges = [(merge, *_parts(merge)) for merge in model.get("merges", ())]
    kept = {token for token in special if len(token) == 1} | {part for _, *parts in merges for part in parts}
    renamed = special - kept
    if merges:
        model["merges"] = [merge for merge, left, right in merges if left + right not in renamed]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        known = {piece for piece, _ in vocabulary}
        model["vocab"] = [[piece + RENAMED if piece in renamed else piece, score] for piece, score in vocabulary]
    else:
        known = set(vocabulary)
        model["vocab"] = {piece + RENAMED if piece in renamed else piece: number for piece, number in vocabulary.items()}
    if model.get("unk_token") in renamed:
        model["unk_token"] += RENAMED
    core["added_tokens"] = [
        {**token, "content": token["content"] + RENAMED} if token["content"] in renamed else token
        for token in core["added_tokens"]
        if token["content"] not in special & known - renamed
    ]


def _parts(merge: Any) -> tuple[str, str]:
    """A merge's two parts; older files write it as one text."""
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right
