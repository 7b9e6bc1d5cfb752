"""What attention is made of: the scores that a model hands to its softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

SOFTMAX = (torch.nn.functional.softmax, torch.softmax, torch.Tensor.softmax)


class ScoreWatch:
    """Catches the attention scores of every forward pass of a module, with the mask added, before softmax and dropout.

    A model gives its weights alone, and in training these have gone through dropout. What is caught is the argument of each
    softmax over square matrices, so the model must compute its attention by single operations (``attentions`` of
    `armada_cli.Problem`); its family does not matter.
    """

    def __init__(self, module: nn.Module) -> None:
        self._mode = _Noting()
        module.register_forward_pre_hook(lambda *_: self._mode.begin())
        module.register_forward_hook(lambda *_: self._mode.end(), always_call=True)

    def take(self) -> list[Tensor]:
        """The scores of the last pass, layer by layer, float32 [n, heads, tokens, tokens]; choices are rows of their own."""
        scores, self._mode.scores = self._mode.scores, []
        return [score.reshape(-1, *score.shape[-3:]).float() for score in scores]


class _Noting(TorchFunctionMode):
    """Notes the argument of every softmax over square matrices while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.scores: list[Tensor] = []
        self._active = False

    def begin(self) -> None:
        self.scores, self._active = [], True
        self.__enter__()

    def end(self) -> None:
        if self._active:
            self._active = False
            self.__exit__(None, None, None)

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function in SOFTMAX:
            scores = args[0] if args else (kwargs or {})["input"]
            if scores.ndim >= 4 and scores.shape[-1] == scores.shape[-2]:
                self.scores.append(scores)
        return function(*args, **(kwargs or {}))
