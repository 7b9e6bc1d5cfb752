"""The contract of a manifold loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class Loss(ABC):
    """A distance between two batches of manifold projections.

    Called with ``p_ts`` and ``p_s``, both [n, 768]; returns a scalar. Gradients flow to whatever was not detached.
    """

    minimum: float | None = 0.0
    """The value where both batches are equal, below which the loss never falls; None for a loss without such a bound."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def __call__(self, p_ts: Tensor, p_s: Tensor) -> Tensor:
        """p_ts, p_s: [n, 768] -> scalar."""
