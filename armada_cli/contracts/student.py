"""The contract of a student: a language model that is trained on a task."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armada_cli.contracts.component import Environment
from armada_cli.contracts.task import Decoding
from armada_cli.contracts.tokens import TokenOutput
from armada_cli.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from armada_cli.targets import Scale


@dataclass(frozen=True)
class Problem:
    """What a student must know of a task to build itself.

    Attributes:
        kind: one of `TASK_KINDS`; outputs: c, 0 for generation and for masked; labels: names of the classes.
        max_length: tokens of one input at most.
        precision: of training, ``float32`` or ``bf16``, in which frozen weights may be held.
        attentions: build the model so that it can give attention weights (in transformers ``attn_implementation="eager"``).
    """

    kind: str
    outputs: int
    labels: tuple[str, ...]
    max_length: int = 128
    precision: str = "float32"
    attentions: bool = False


@dataclass
class StudentOutput:
    """What one forward pass gives.

    Attributes:
        logits: o_s, [n, c]; for generation an empty tensor. For masked [n, 2]: the sum of the cross-entropies of a row's masked
            tokens, in nats, and their number.
        pooled: h'_s = F~_s(h_s), [n, d]; for multiple choice [n, choices, d]. For a student without a pooler of its own
            (`Student.own_pooler`) it is h_s, and the method adds F~_s.
        hidden_states: the layers' outputs [n, tokens, d], when they were asked for; a student whose `pooled` does not lie
            between its input and its output gives the last one always.
        loss: for generation, the next-token cross-entropy, mean over the response's tokens of the batch; for masked, the
            cross-entropy, mean over the masked tokens of the batch.
        anchor: the tensor itself, of any shape, from which both `logits` (or `loss`) and `pooled` were computed, and the last
            of `hidden_states` where they were asked for: there the loop measures how hard each term pulls. A slice or a view
            of it that is handed out as `pooled` is no such tensor, as `logits` do not come from it. None: `hidden_states[-1]`
            where they are given, else `pooled`.
        attentions: the layers' attention weights [n, heads, tokens, tokens], when they were asked for; for multiple choice
            [n, choices, heads, tokens, tokens].
        tokens: for generation, what is said to each token of the responses, when it was asked for.
    """

    logits: Tensor
    pooled: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    loss: Tensor | None = None
    anchor: Tensor | None = None
    attentions: tuple[Tensor, ...] | None = None
    tokens: TokenOutput | None = None


class Student(ABC):
    """A language model that is trained on a task, and saves itself as an ordinary transformers (or PEFT) folder."""

    own_pooler: bool = True
    """Whether `StudentOutput.pooled` went through the model's own non-linear layer F~_s; a decoder has none."""

    def __init__(self, options: Any, environment: Environment) -> None:
        self.options = options
        self.environment = environment

    @abstractmethod
    def build(self, problem: Problem, weights: Path | None = None, *, new_head: bool = False) -> nn.Module:
        """The model in float32, with a freshly initialised head for `problem` (the caller has seeded torch's global
        generator for it); or, given a folder that `save` wrote, the model as it was saved.

        Args:
            new_head: given a folder, take the body alone from it, which may have been saved for another problem (`masked`, or
                other labels); the head is new, as without a folder.

        Raises:
            UserError: no weights at the given place, or weights that are damaged.
        """

    @abstractmethod
    def encode(self, texts: Sequence[tuple[str, ...]], problem: Problem) -> list[dict[str, Any]]:
        """Tokenise once. Returns one dictionary per example, with the model's input names; for multiple choice each value
        is a list of lists, one per choice."""

    @abstractmethod
    def pad(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """A batch padded to its longest row: [n, tokens], or [n, choices, tokens]."""

    @abstractmethod
    def forward(
        self,
        model: nn.Module,
        batch: Mapping[str, Tensor],
        hidden_states: bool = False,
        attentions: bool = False,
        tokens: bool = False,
    ) -> StudentOutput:
        """One forward pass.

        Args:
            tokens: give `StudentOutput.tokens`; only a student that was built for generation is asked for it. Without it
                nothing as wide as the vocabulary is handed out, since it would live as long as the output.

        For `masked` it hides tokens first: in training those that torch's global generators draw, otherwise (``model.training``
        is false) ones that depend on the row alone."""

    @abstractmethod
    def save(self, model: nn.Module, problem: Problem, folder: Path) -> None:
        """Write weights (safetensors), configuration and tokenizer; loads without this project."""

    def fold(self, model: nn.Module, scale: Scale) -> Scale:
        """For regression: have the model answer its present outputs times `scale.factor` plus `scale.shift`, by folding both
        into its last layer (`armada_cli.targets.fold_into`). Students learn standardised targets; the host asks for this once,
        behind the training and before `save`, so that an exported student answers in the user's unit.

        Returns what is left to be applied to the model's answers; all of it for a student that folds nothing, as here. The host
        keeps a rest beside the export (``targets.json``), applies it when it asks the student again, and `armada export` says
        it.
        """
        return scale

    def generate(self, model: nn.Module, prompts: Sequence[str], decoding: Decoding, streams: Sequence[int]) -> list[str]:
        """Answers to one batch of prompts, without the prompt and without what follows the end of text.

        Args:
            streams: one integer a prompt; what is drawn for a prompt comes from a generator seeded with it, so that an
                answer does not depend on its neighbours.
        """
        raise UserError(f"student {type(self).__name__} cannot generate text", "Choose a decoder: `armada list students`")

    def likelihoods(self, model: nn.Module, rows: Sequence[tuple[str, ...]]) -> list[list[float]]:
        """For rows ``(prompt, candidate_0, ...)`` the log-likelihood of each candidate after its prompt, in nats, divided by
        its number of tokens."""
        raise UserError(f"student {type(self).__name__} cannot generate text", "Choose a decoder: `armada list students`")

    def vocabulary(self) -> str:
        """What stands for the student's tokens and their numbers: equal for two students that read every text as the same
        numbers. For a student that generates; the tokens of two others cannot be compared.

        Raises:
            UserError: it does not say.
        """
        raise UserError(f"student {type(self).__name__} does not tell its vocabulary", "Choose another student or method")

    def merge(self, folder: Path, output: Path) -> None:
        """Write what `save` wrote into `folder` as one ordinary transformers folder: adapters folded into the weights. For a
        student without adapters a copy."""
        shutil.copytree(folder, output, dirs_exist_ok=True)
