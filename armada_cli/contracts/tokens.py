"""What models say to each token of a response, for methods that compare a student with a text teacher in generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LIVE = "live"
"""Stands in ``reads`` of a method's options for a finished student that is asked at every step (`Setup.finished`)."""

PRECISIONS = ("float16", "float32")
"""In which log-probabilities can be kept."""


@dataclass
class TokenOutput:
    """What a student says to each token of the responses of a batch, row after row, in the order of the response; m is the
    number of those tokens, the end of text among them.

    Attributes:
        logits: [m, V], from which the token is predicted; V is the number of tokens of the vocabulary, without rows of an
            output layer that stand for none.
        labels: long [m], the token.
        rows: long [m], the row of the batch that it is in, from 0.
    """

    logits: Tensor
    labels: Tensor
    rows: Tensor


@dataclass(frozen=True)
class TopTokens:
    """What is kept of a finished student's distributions over the vocabulary (`Setup.cached_tokens`).

    Attributes:
        kept: tokens of each distribution that are kept by name, the likeliest ones; all others are kept as one sum.
        temperature: of the distributions. It is chosen before they are kept: the sum of the others at another temperature
            cannot be told from this one.
        precision: of the log-probabilities on the disk, one of `PRECISIONS`.
    """

    kept: int
    temperature: float = 1.0
    precision: str = "float16"

    def __post_init__(self) -> None:
        if self.kept < 1 or self.temperature <= 0 or self.precision not in PRECISIONS:
            raise ValueError(f"no distributions can be kept as {self}")


@dataclass
class TokenTargets:
    """Distributions over the vocabulary, one for each token of the responses of a batch, in the order of `TokenOutput`.

    Attributes:
        ids: long [m, k], tokens of the vocabulary, each row's different ones.
        log_probabilities: [m, k + 1] in nats: of those tokens, and behind them of all others together (-inf where there are no
            others). A row sums to 1.
        labels: long [m], the token that stands there.
    """

    ids: Tensor
    log_probabilities: Tensor
    labels: Tensor
