"""A text teacher in generation: what it says to each token of a response, kept once or asked live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from armada_cli.contracts import LIVE, Batch, Setup, StudentOutput, TopTokens, option
from armada_cli.methods.text_teacher import TextTeacherOptions

if TYPE_CHECKING:
    from torch import Tensor

TOP = (
    "In generation: the teacher's likeliest tokens that are kept, beside the sum of all others; 0 or null asks it live, for all"
)


@dataclass(frozen=True)
class TokenTeacherOptions(TextTeacherOptions):
    """Options of a method that compares tokens with those of its teacher."""

    top_k: int | None = option(64, TOP, minimum=0)
    stored_in: str = option("float16", "In generation: precision of the kept log-probabilities", choices=("float16", "float32"))

    def top_tokens(self, temperature: float) -> TopTokens | None:
        """What is kept of the teacher; None where it is asked live."""
        return TopTokens(self.top_k, temperature, self.stored_in) if self.top_k else None

    def reads_tokens(self, temperature: float) -> str | TopTokens:
        """The same for ``reads``."""
        return self.top_tokens(temperature) or LIVE


class TokenTeacher:
    """The teacher of a method in generation.

    Args:
        setup: of the method; options: its `TokenTeacherOptions`.
        temperature: of both distributions.
    """

    role = "teacher"

    def __init__(self, setup: Setup, options: TokenTeacherOptions, temperature: float = 1.0) -> None:
        from armada_cli.training.tokens import require_one_vocabulary

        self.temperature = temperature
        asked = options.top_tokens(temperature)
        self.stored = None if asked is None else setup.cached_tokens(self.role, asked)
        self.live = setup.finished(self.role) if asked is None else None
        if self.live is not None:
            require_one_vocabulary(setup.student.student, self.live.student, self.role)

    def compare(self, batch: Batch, output: StudentOutput) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the teacher, which are constant, and of the student, over the same outcomes for each token of
        the responses, [m, c]."""
        import torch

        from armada_cli.training import tokens

        assert output.tokens is not None
        logits, labels = output.tokens.logits, output.tokens.labels
        if self.stored is not None:
            targets = self.stored(batch.rows)
            tokens.require_same_tokens(targets.labels, labels, self.role)
            return tokens.compare(targets, logits, self.temperature)
        assert self.live is not None
        with torch.no_grad():
            said = self.live(batch.rows, tokens=True).tokens
        assert said is not None
        tokens.require_same_tokens(said.labels, labels, self.role)
        return tokens.everything(said.logits, self.temperature), tokens.everything(logits, self.temperature)
