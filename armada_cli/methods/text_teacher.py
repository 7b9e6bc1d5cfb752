"""Options that methods with a text teacher share: who it is, how its own trial is seeded, and how its logits are learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from armada_cli.contracts import LIVE, Choice, Model, Needs, Planned, StudentOutput, TopTokens, option
from armada_cli.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

REDUCTIONS = ("batchmean", "mean")
"""How a divergence of two distributions is averaged: per example, or divided by the number of classes too."""


@dataclass(frozen=True)
class TextTeacherOptions:
    """The teacher is a finished trial of its own, trained once and shared by all methods and seeds."""

    controls: ClassVar[tuple[str, ...]] = ("shuffled", "noise")

    teacher: Choice = option(
        "bert-base", "The text teacher: a student by name, or a mapping with its options", component="student"
    )
    teacher_seed: int = option(0, "Seed of the teacher's own trial; every seed of the student shares it", minimum=0)

    def dependencies(self, trial: Planned) -> dict[str, Needs]:
        return {"teacher": Needs(self.teacher, seed=self.teacher_seed)}

    def reads(self, trial: Planned) -> dict[str, tuple[str | TopTokens, ...]]:
        return {"teacher": ("logits",)}


@dataclass(frozen=True)
class LiveTeacherOptions(TextTeacherOptions):
    """The same of a teacher that is asked at every step."""

    def reads(self, trial: Planned) -> dict[str, tuple[str | TopTokens, ...]]:
        return {"teacher": (LIVE,)}


@dataclass(frozen=True)
class SoftLabelOptions(TextTeacherOptions):
    """For methods that are `kd` and something more: its weight, temperature and reduction, with its defaults."""

    alpha: float = option(0.5, "Weight of the teacher's soft labels against the labels", minimum=0, maximum=1)
    temperature: float = option(4.0, "Softens both distributions; the term is scaled by its square", above=0)
    reduction: str = option(
        "batchmean",
        "batchmean: the divergence per example; mean: divided by the number of classes too",
        choices=REDUCTIONS,
    )


@dataclass(frozen=True)
class StateTeacherOptions(TextTeacherOptions):
    """For methods that read a finished teacher's hidden states, which are large where rows are many."""

    stored_in: str = option("float32", "Precision of the teacher's kept states", choices=("float32", "float16"))

    def states(self, what: str) -> str:
        """What `Setup.cached` is asked for: ``mean:*`` in the precision of the options."""
        return what if self.stored_in == "float32" else f"{what} {self.stored_in}"


def size_of(choice: Choice, name: str) -> int | None:
    """A number of a student's ``size()``, such as its ``heads``, before it is made; None for one that does not say."""
    return (choice.options.size() if hasattr(choice.options, "size") else {}).get(name)


def depth_of(choice: Choice) -> int | None:
    """How many layers a student says it has, before it is made; None for one that does not say."""
    return size_of(choice, "layers")


def states_of_one_row(model: Model, what: str) -> tuple[Tensor, ...]:
    """The hidden states of a model on the first training row: as many as it has layers, and the embeddings.

    Raises:
        UserError: it gives none.
    """
    return look_at_one_row(model, what)[0]


def look_at_one_row(model: Model, what: str, attentions: bool = False) -> tuple[tuple[Tensor, ...], int]:
    """The hidden states of a model on the first training row, and the heads of its attention, 0 unless they are asked for.

    Raises:
        UserError: it gives no hidden states, or no attention.
    """
    import torch

    training = model.module.training
    model.module.eval()  # a pass without dropout takes nothing from its random stream
    with torch.no_grad():
        # By the plugin's own pass: this one is no part of what the training costs.
        output = model.student.forward(model.module, model.inputs([0]), hidden_states=True, attentions=attentions)
    model.module.train(training)
    if not output.hidden_states or (attentions and not output.attentions):
        shows = "attention" if output.hidden_states else "hidden states"
        raise UserError(f"{what} shows no {shows}, which this method compares", "Take another model, or the method kd")
    return output.hidden_states, output.attentions[0].shape[-3] if output.attentions else 0


def first_tokens(output: StudentOutput, layers: list[int]) -> Tensor:
    """States of the first token behind the given layers (0 is the embeddings), [n, k, d]; for multiple choice
    [n, choices, k, d]."""
    import torch

    assert output.hidden_states is not None
    return torch.stack([output.hidden_states[layer][..., 0, :].float() for layer in layers], -2)


def mean_tokens(output: StudentOutput, mask: Tensor | None, layers: list[int]) -> Tensor:
    """Means over the tokens of the given layers' states, padding left out: [n, k, d]; for multiple choice
    [n, choices, k, d]."""
    import torch

    assert output.hidden_states is not None
    states = [output.hidden_states[layer].float() for layer in layers]
    weights = torch.ones(states[0].shape[:-1], device=states[0].device) if mask is None else mask.to(states[0])
    count = weights.sum(-1, keepdim=True).clamp(min=1)
    return torch.stack([(state * weights[..., None]).sum(-2) / count for state in states], -2)
