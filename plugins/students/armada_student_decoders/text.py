"""Text -> token ids, as a decoder reads it: what is cut when it is too long, and where a response begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from armada_cli import UserError
from armada_cli.models import special_tokens

IGNORED = -100
"""The label of a token that is no part of a response."""

LEAST_RESPONSE = 4
"""One part in so many of the greatest length is the response's, however long its prompt is."""

PADDING = ("<|finetune_right_pad_id|>", "<|pad|>", "<pad>", "[PAD]", "<unk>")
"""What serves as padding in a tokenizer that names none, if its vocabulary has it; else the end of text does. A new token
would need a new row in the model's embeddings."""


class Reader:
    """A tokenizer, and the little that a decoder needs beyond it.

    Args:
        tokenizer: of the transformers library.
        place: where it is from, for messages.
    """

    def __init__(self, tokenizer: Any, place: str) -> None:
        self.tokenizer = tokenizer
        if tokenizer.eos_token_id is None:
            raise UserError(f"student {place}: its tokenizer has no end-of-text token", "Name a causal language model")
        if tokenizer.pad_token_id is None:
            known = tokenizer.get_vocab()
            tokenizer.pad_token = next((token for token in PADDING if token in known), tokenizer.eos_token)
        self.pad: int = tokenizer.pad_token_id
        self.end: int = tokenizer.eos_token_id
        self._reading = special_tokens.as_text(tokenizer)
        # What stands in front of every text, as the model was trained with.
        empty = tokenizer("")["input_ids"]
        self.begin: list[int] = [token for token in empty if token != self.end or tokenizer.bos_token_id == self.end][:1]

    def prompt(self, text: str, longest: int) -> list[int]:
        """At most `longest` tokens; a longer text loses its beginning, behind the token that stands in front of all texts."""
        return self._last(self.begin + self.plain(text), longest)

    def plain(self, text: str) -> list[int]:
        """Tokens of a text that continues another: nothing is put in front of it or behind it."""
        return list(self._encode(text)["input_ids"])

    def _encode(self, text: str, **more: Any) -> Any:
        # What is too long is cut here, behind the tokenizer, whose warning of it would be a false alarm.
        return self._reading(text, add_special_tokens=False, verbose=False, **more)

    def answered(self, prompt: str, response: str, longest: int, closed: bool = True) -> tuple[list[int], list[int]]:
        """Tokens of a prompt and of its response, together at most `longest`.

        They are tokenised apart, since the prompt alone is what the model is asked with. When they are too long, the prompt
        loses its beginning, but the response is given no more than it needs and a quarter of `longest` is always left to it;
        what is still too much of the response is cut off at its end.

        Args:
            closed: the end of text follows the response.
        """
        before, after = self.begin + self.plain(prompt), self.plain(response) + [self.end] * closed
        # A model without such a token in front still needs something to begin with.
        before = before or [self.end]
        if len(before) + len(after) > longest:
            kept = max(min(len(after), longest // LEAST_RESPONSE), longest - len(before))
            after = after[: max(1, min(kept, longest - 1 - len(self.begin)))]
            before = self._last(before, longest - len(after))
        return before, after

    def text(self, fields: Sequence[str], longest: int) -> list[int]:
        """Tokens of a text of one or several fields, a line each. When they are too long, the longest field loses its end."""
        joined = "\n".join(fields)
        encoded = self._encode(joined, return_offsets_mapping=self.tokenizer.is_fast)
        tokens, room = list(encoded["input_ids"]), longest - len(self.begin)
        if len(tokens) > room:
            tokens = self._shortened(tokens, encoded.get("offset_mapping"), fields, room)
        return (self.begin + tokens) or [self.end]

    def _shortened(self, tokens: list[int], offsets: Any, fields: Sequence[str], room: int) -> list[int]:
        if offsets is None:
            return tokens[:room]
        ends, place = [], 0
        for field in fields:
            place += len(field) + 1
            ends.append(place)
        parts: list[list[int]] = [[] for _ in fields]
        number = 0
        for token, (start, _) in zip(tokens, offsets, strict=True):
            while start >= ends[number] and number < len(ends) - 1:
                number += 1
            parts[number].append(token)
        lengths = [len(part) for part in parts]
        for _ in range(len(tokens) - room):
            lengths[max(range(len(parts)), key=lambda i: (lengths[i], i))] -= 1
        return [token for part, length in zip(parts, lengths, strict=True) for token in part[:length]]

    def _last(self, tokens: list[int], longest: int) -> list[int]:
        if len(tokens) <= longest:
            return tokens
        rest = max(longest - len(self.begin), 0)
        return self.begin + tokens[len(tokens) - rest :]

    def decode(self, tokens: Sequence[int], stops: Sequence[int]) -> str:
        """The text before the first of the tokens that end one."""
        kept = []
        for token in tokens:
            if token in stops:
                break
            kept.append(token)
        return self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def padded(self, rows: Sequence[Sequence[int]], fill: int | None = None, *, left: bool = False) -> Tensor:
        """long [n, longest], filled with `fill` (the padding token) on the right, or on the left."""
        fill = self.pad if fill is None else fill
        longest = max(map(len, rows))
        spare = [[fill] * (longest - len(row)) for row in rows]
        return torch.tensor([[*gap, *row] if left else [*row, *gap] for row, gap in zip(rows, spare, strict=True)])
