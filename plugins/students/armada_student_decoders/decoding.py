"""Answers to a batch of prompts, each as it would be if its prompt stood alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from armada_cli import Decoding


def continued(
    model: nn.Module,
    tokens: Tensor,
    mask: Tensor,
    new: int,
    decoding: Decoding,
    streams: Sequence[int],
    stops: list[int],
    pad: int,
) -> Tensor:
    """Continue left-padded prompts with a key-value cache.

    Args:
        model: a causal model of transformers; tokens, mask: long [n, tokens].
        new: tokens to add at most; streams: a seed a row; stops: tokens that end an answer; pad: what fills up behind them.

    Returns:
        The added tokens alone, long [n, at most new].
    """
    config = GenerationConfig(
        max_new_tokens=new,
        do_sample=False,  # drawing is the last processor's part
        num_beams=1 if decoding.sample else decoding.beams,
        pad_token_id=pad,
        eos_token_id=stops,
        use_cache=True,
    )
    processors = LogitsProcessorList(drawing(decoding, streams) if decoding.sample else [])
    with _own_settings_aside(model, config):
        answers = model.generate(  # type: ignore[operator]
            input_ids=tokens, attention_mask=mask, generation_config=config, logits_processor=processors
        )
    return answers[:, tokens.shape[1] :]


def drawing(decoding: Decoding, streams: Sequence[int]) -> list[LogitsProcessor]:
    """Temperature, top-k and top-p, then the draw."""
    warpers: list[LogitsProcessor] = []
    if decoding.temperature != 1.0:
        warpers.append(TemperatureLogitsWarper(decoding.temperature))
    if decoding.top_k:
        warpers.append(TopKLogitsWarper(decoding.top_k))
    if decoding.top_p < 1.0:
        warpers.append(TopPLogitsWarper(decoding.top_p))
    return [*warpers, Draw(streams)]


class Draw(LogitsProcessor):
    """Draws a token for every row from the row's own generator, and leaves it as the only one possible.

    transformers draws a batch from one generator, so there an answer depends on its neighbours. The draw inverts the
    distribution function: one uniform number a row and token, on the CPU, the same for every device.
    """

    def __init__(self, streams: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(stream % 2**63) for stream in streams]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores: float [n, vocabulary], -inf where a token is excluded -> the same shape, 0 at the drawn token."""
        numbers = torch.stack([torch.rand((), generator=item, dtype=torch.float64) for item in self.generators])
        total = torch.softmax(scores.double(), dim=-1).cumsum(-1)
        # Below the last value, so that rounding never ends behind the last token that is possible.
        at = torch.searchsorted(total, numbers.to(scores.device)[:, None] * total[:, -1:], right=True)
        at = torch.minimum(at, torch.searchsorted(total, total[:, -1:].contiguous()))
        return torch.full_like(scores, -torch.inf).scatter(1, at, 0.0)


@contextmanager
def _own_settings_aside(model: Any, settings: GenerationConfig) -> Iterator[None]:
    """A published model brings decoding settings of its own (Llama Instruct a temperature, others a repetition penalty), which
    transformers mixes into ours."""
    own = model.generation_config
    model.generation_config = settings
    try:
        yield
    finally:
        model.generation_config = own
