"""A forward pass of a decoder: its precision, its last hidden state, and how many logits it computes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from armada_student_decoders import adapters


class Watch:
    """Remembers what the body of a causal model or a sequence classifier gave last: [n, tokens, d].

    It hangs on the module itself, so it sees the pass too when the model is called through DistributedDataParallel or PEFT.
    """

    def __init__(self, model: nn.Module) -> None:
        self.caught: Tensor | None = None
        # What a causal model asks for hidden states differs: OPT's asks the decoder inside its body.
        model.get_decoder().register_forward_hook(self._catch)  # type: ignore[operator]

    def _catch(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.caught = output[0] if isinstance(output, tuple) else output.last_hidden_state

    def take(self) -> Tensor:
        """What was caught; it is forgotten here, or its graph would live on."""
        caught, self.caught = self.caught, None
        if caught is None:
            raise RuntimeError("the decoder's body did not run")
        return caught


@contextmanager
def precision(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Frozen weights in bfloat16 beside adapters in float32 need autocast, also where the caller has none."""
    if torch.is_autocast_enabled(device.type) or not adapters.frozen_in_half(model):
        yield
    else:
        with torch.autocast(device.type, torch.bfloat16):
            yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model without dropout, and afterwards as it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def only_last(model: Any, kept: int) -> dict[str, int]:
    """The argument that has a model of transformers compute the logits of the last so many tokens, if it knows it."""
    return {"logits_to_keep": kept} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
