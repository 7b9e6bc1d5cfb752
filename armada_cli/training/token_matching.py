"""Which tokens of one model stand for which of another's, where their tokenizers differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import Tensor

from armada_cli.contracts import Model
from armada_cli.errors import UserError

ROLES = {"cls_token": "first", "bos_token": "first", "sep_token": "end", "eos_token": "end", "unk_token": "unknown"}
"""Special tokens by what they are for: BERT's [CLS] and MPNet's <s> are the same."""

MARKS = ("##", "Ġ", "▁")
"""How families write that a piece goes on with a word, or begins one."""


@dataclass(frozen=True)
class Alignment:
    """Pairs of tokens of n sequences.

    Attributes:
        own, other: positions in the two models' inputs, long [n, m].
        there: which of the m pairs a sequence has, bool [n, m]; positions of the rest are 0.
    """

    own: Tensor
    other: Tensor
    there: Tensor


def match_tokens(own: Sequence[str], other: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of positions with equal tokens, in ascending order: all of them where the two are equal."""
    if own == other:
        return [(place, place) for place in range(len(own))]
    blocks = SequenceMatcher(None, own, other, autojunk=False).get_matching_blocks()
    return [(block.a + place, block.b + place) for block in blocks for place in range(block.size)]


class TokenMatcher:
    """Matches the tokens of two models on training rows. Padding has no partner."""

    def __init__(self, own: Model, other: Model) -> None:
        self.models = own, other
        self.words: tuple[dict[int, str], dict[int, str]] = {}, {}
        self.known: dict[int, list[list[tuple[int, int]]]] = {}
        """Training row -> pairs of places of each of its sequences: one, or one a choice."""

    def align(self, rows: Sequence[int], device: Any = "cpu") -> Alignment:
        """The matched tokens of training rows, n sequences; of multiple choice each choice is one.

        Raises:
            UserError: the tokens have no letters to be compared by, and the two models have different numbers of them.
        """
        for row in rows:
            if row not in self.known:
                self.known[row] = self._match(row)
        sequences = [pairs for row in rows for pairs in self.known[row]]
        longest = max(map(len, sequences))
        places = torch.zeros(2, len(sequences), longest, dtype=torch.long)
        there = torch.zeros(len(sequences), longest, dtype=torch.bool)
        for number, pairs in enumerate(sequences):
            if pairs:
                places[:, number, : len(pairs)] = torch.tensor(pairs).T
                there[number, : len(pairs)] = True
        own, other = places.to(device)
        return Alignment(own, other, there.to(device))

    def _match(self, row: int) -> list[list[tuple[int, int]]]:
        sides = [self._read(side, row) for side in (0, 1)]
        matched = []
        for own, other in zip(*sides, strict=True):
            if own.words is None or other.words is None:
                if len(own.places) != len(other.places):
                    raise UserError(
                        "student and teacher cut a text into different tokens, and not both say which",
                        "Take two models with one tokenizer",
                    )
                pairs = [(place, place) for place in range(len(own.places))]
            else:
                pairs = match_tokens(own.words, other.words)
            matched.append([(own.places[a], other.places[b]) for a, b in pairs])
        return matched

    def _read(self, side: int, row: int) -> list[_Sequence]:
        """The sequences of a training row as a side reads them."""
        model = self.models[side]
        inputs = model.inputs([row])
        tokens = inputs["input_ids"].flatten(0, -2)
        masks = inputs["attention_mask"].flatten(0, -2) if "attention_mask" in inputs else torch.ones_like(tokens)
        tokenizer = getattr(model.student, "tokenizer", None)
        sequences = []
        for ids, mask in zip(tokens.tolist(), masks.tolist(), strict=True):
            places = [place for place, seen in enumerate(mask) if seen]
            words = None if tokenizer is None else [self._word(side, tokenizer, ids[place]) for place in places]
            sequences.append(_Sequence(places, words))
        return sequences

    def _word(self, side: int, tokenizer: Any, token: int) -> str:
        """The letters of a token, or what it is for."""
        words = self.words[side]
        if not words:
            for name, role in ROLES.items():
                if getattr(tokenizer, name, None) is not None:
                    words.setdefault(tokenizer.convert_tokens_to_ids(getattr(tokenizer, name)), f"[{role}]")
        if token not in words:
            text = str(tokenizer.convert_ids_to_tokens(token))
            for mark in MARKS:
                text = text.removeprefix(mark)
            words[token] = text
        return words[token]


@dataclass(frozen=True)
class _Sequence:
    """The places of tokens that are no padding, and their words where they are known."""

    places: list[int]
    words: list[str] | None
