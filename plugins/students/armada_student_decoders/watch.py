"""The last hidden state of a decoder, caught in a forward pass."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


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
