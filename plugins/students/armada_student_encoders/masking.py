"""Masked language modelling (Devlin et al. 2019, section 3.1): 15 % of the tokens are chosen; of these 80 % are replaced by the
mask, 10 % by a random token, and 10 % stay."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn import functional

from armada_cli import StudentOutput

CHOSEN, MASKED, REPLACED = 0.15, 0.8, 0.9
"""Share of the tokens that are to be told; up to which share of those the mask takes their place, and then a random token."""


def hide(tokens: Tensor, special: Tensor, length: Tensor, mask: int, vocabulary: int, *, drawn: bool) -> tuple[Tensor, Tensor]:
    """Hide tokens of a batch.

    Args:
        tokens: [n, tokens], padded on the right; special: bool [n, tokens], which are none of the text.
        length: real tokens of each row, [n].
        mask: number of the mask's token; vocabulary: how many tokens there are.
        drawn: choose by torch's global generator; otherwise by one that is seeded with the row's tokens, and
            at least one in each row.

    Returns what is read instead, and which tokens are to be told, bool; both [n, tokens].
    """
    chance = torch.rand(3, *tokens.shape, device=tokens.device) if drawn else _fixed(tokens, length)
    chosen = (chance[0] < CHOSEN) & ~special
    if not drawn:  # or a short row would count for nothing
        none = ~chosen.any(1) & ~special.all(1)
        chosen[none, chance[0].masked_fill(special, 2.0).argmin(1)[none]] = True
    others = (chance[2] * vocabulary).long().clamp(max=vocabulary - 1)
    read = torch.where(chance[1] < MASKED, mask, torch.where(chance[1] < REPLACED, others, tokens))
    return torch.where(chosen, read, tokens), chosen


def _fixed(tokens: Tensor, length: Tensor) -> Tensor:
    """Three numbers a token, in [0, 1), that depend on the tokens of its row alone: [3, n, tokens]."""
    chance = torch.ones(3, *tokens.shape)
    for number, (row, count) in enumerate(zip(tokens.tolist(), length.tolist(), strict=True)):
        digest = hashlib.sha256(str(row[:count]).encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        chance[:, number, :count] = torch.rand(3, count, generator=generator)
    return chance.to(tokens.device)


def told(logits: Tensor, tokens: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The mean cross-entropy of the chosen tokens of a batch, 0 where none is chosen; and [n, 2], each row's sum and number.

    logits: [n, tokens, vocabulary]; tokens, chosen: [n, tokens].
    """
    losses = functional.cross_entropy(logits[chosen].float(), tokens[chosen], reduction="none")
    sums = torch.zeros(len(tokens), device=losses.device).index_add(0, chosen.nonzero()[:, 0], losses)
    return losses.sum() / max(len(losses), 1), torch.stack([sums, chosen.sum(1).to(sums)], 1)


def output_of(losses: tuple[Tensor, Tensor], output: object, attentions: bool, hidden_states: bool) -> StudentOutput:
    """`told` and what transformers gave, as a student's output. There is no pooler: the first token's last state is pooled."""
    states = output.hidden_states  # type: ignore[attr-defined]
    return StudentOutput(
        losses[1],
        states[-1][:, 0],
        states if hidden_states else None,
        loss=losses[0],
        anchor=states[-1],
        attentions=output.attentions if attentions else None,  # type: ignore[attr-defined]
    )
