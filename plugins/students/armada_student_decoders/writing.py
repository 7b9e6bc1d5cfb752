"""What a decoder writes, and how likely it finds what others wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from armada_cli import Decoding, UserError
from armada_student_decoders import adapters
from armada_student_decoders.decoding import continued
from armada_student_decoders.passes import evaluating, only_last, precision
from armada_student_decoders.text import IGNORED, Reader

LIKELIHOOD_TOKENS = 4096
"""Padded tokens of one pass over candidates."""


class Writer:
    """Answers and likelihoods of any model that was built for one checkpoint.

    Args:
        place: the checkpoint, for messages.
        reader: its tokenizer.
        context: tokens that the model can read at once.
    """

    def __init__(self, place: str, reader: Reader, context: int) -> None:
        self.place, self.reader, self.context = place, reader, context

    @torch.no_grad()
    def generate(self, model: nn.Module, prompts: Sequence[str], decoding: Decoding, streams: Sequence[int]) -> list[str]:
        """Answers to a batch of prompts, padded on the left, with a key-value cache.

        Raises:
            UserError: `max_new_tokens` leaves no room for a prompt.
        """
        if not prompts:
            return []
        inner = adapters.inner(model)
        room = self.context - decoding.max_new_tokens
        if room < 1 + len(self.reader.begin):
            raise UserError(
                f"student {self.place}: answers of {decoding.max_new_tokens} tokens leave no room for a prompt, the "
                f"model reads {self.context}",
                "Ask for a smaller max_new_tokens",
            )
        longest = min(room, decoding.max_prompt_tokens or room)
        rows = [self.reader.prompt(text, longest) or [self.reader.end] for text in prompts]
        device = next(inner.parameters()).device
        tokens = self.reader.padded(rows, left=True).to(device)
        mask = self.reader.padded([[1] * len(row) for row in rows], 0, left=True).to(device)
        stops = self._stops(inner)
        with evaluating(model), precision(inner, device):
            answers = continued(inner, tokens, mask, decoding.max_new_tokens, decoding, streams, stops, self.reader.pad)
        return [self.reader.decode(row, stops) for row in answers.tolist()]

    def _stops(self, inner: Any) -> list[int]:
        """Tokens that end an answer: the tokenizer's end of text, and what the model's own settings name."""
        own = getattr(inner.generation_config, "eos_token_id", None)
        return sorted({self.reader.end, *([own] if isinstance(own, int) else own or [])})

    @torch.no_grad()
    def likelihoods(self, model: nn.Module, rows: Sequence[tuple[str, ...]]) -> list[list[float]]:
        """Mean log-likelihood of a token of each candidate, in nats; -inf for an empty one."""
        pairs = [
            (number, place, *self.reader.answered(row[0], candidate, self.context, closed=False))
            for number, row in enumerate(rows)
            for place, candidate in enumerate(row[1:])
        ]
        means = [[-float("inf")] * (len(row) - 1) for row in rows]
        pairs = sorted((pair for pair in pairs if pair[3]), key=lambda pair: -len(pair[2]) - len(pair[3]))
        with evaluating(model):
            while pairs:
                count = max(1, LIKELIHOOD_TOKENS // (len(pairs[0][2]) + len(pairs[0][3])))
                batch, pairs = pairs[:count], pairs[count:]
                for (number, place, _, after), total in zip(batch, self._totals(model, batch), strict=True):
                    means[number][place] = total / len(after)
        return means

    def _totals(self, model: nn.Module, batch: Sequence[tuple[int, int, list[int], list[int]]]) -> list[float]:
        """Summed log-likelihood of each candidate's tokens."""
        inner = adapters.inner(model)
        device = next(inner.parameters()).device
        tokens = self.reader.padded([before + after for _, _, before, after in batch]).to(device)
        mask = self.reader.padded([[1] * (len(before) + len(after)) for _, _, before, after in batch], 0).to(device)
        labels = self.reader.padded([[IGNORED] * len(before) + after for _, _, before, after in batch], IGNORED).to(device)
        kept = tokens.shape[1] - min(len(before) for _, _, before, _ in batch) + 1
        with precision(inner, device):
            output = inner(input_ids=tokens, attention_mask=mask, use_cache=False, **only_last(inner, kept))
        logits, wanted = output.logits[:, -kept:][:, :-1].float(), labels[:, -kept:][:, 1:]
        losses = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none")
        return (-losses.view(wanted.shape).double().sum(1)).tolist()
