"""What methods share that pre-train a student on masked text with a teacher of another modality, before the task."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from armada_cli.contracts import Batch, Choice, Method, Needs, Planned, Setup, StudentOutput, Term, option
from armada_cli.errors import UserError
from armada_cli.registry.choosing import choose

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class PretrainingOptions:
    """Of the pre-training, whatever its second loss is."""

    needs_teacher: ClassVar[bool] = True

    initial: str = option(
        "checkpoint",
        "checkpoint: go on from the student's weights; scratch: from random ones, as the authors do",
        choices=("checkpoint", "scratch"),
    )


@dataclass(frozen=True)
class PretrainedOptions:
    """Of the method that a recipe names: the pre-training is a trial of its own, from which the student begins. It alone reads
    the teacher's vectors."""

    needs_teacher: ClassVar[bool] = True
    reads_features: ClassVar[bool] = False

    texts: Choice | None = option(
        None, "What is read: a task of masked text; null: the task's own training texts", component="task"
    )
    pretraining_epochs: int | None = option(None, "Passes over those texts; null: as the recipe trains", minimum=1)
    pretraining_lr: float | None = option(None, "Learning rate of the pre-training; null: as the recipe trains", above=0)
    pretraining_seed: int = option(0, "Seed of the pre-training, which all seeds of the student share", minimum=0)

    def pretrain(self, trial: Planned, method: str, options: type) -> dict[str, Needs]:
        """The trial that the student begins from.

        Args:
            method: how it is trained; options: its options class, whose fields this one has too.
        """
        given = {item.name: getattr(self, item.name) for item in dataclasses.fields(options)}
        train = {"epochs": self.pretraining_epochs, "lr": self.pretraining_lr}
        how = dataclasses.replace(
            choose("method", method, **given), train={name: value for name, value in train.items() if value is not None}
        )
        texts = self.texts
        if texts is None:
            own = choose("task", "texts", of=trial.task, rows_of=trial.limit.get("train"), held_out=trial.held_out)
            texts = dataclasses.replace(own, title=f"texts of {trial.task.title}")
        if texts.limit is None:  # the recipe's is about rows of its tasks, and taken already
            texts = dataclasses.replace(texts, limit={})
        return {"start": Needs(trial.student, how, task=texts, seed=self.pretraining_seed)}


class Pretraining(Method):
    """Masked language modelling with a second term on the last hidden states of the same corrupted input."""

    hidden_states = True

    def __init__(self, options: Any, setup: Setup) -> None:
        super().__init__(options, setup)
        if setup.features is None or setup.feature_width is None:
            raise ValueError("this pre-training needs a teacher's features")
        if options.initial == "scratch":
            draw_anew(setup.student.module, setup.seed)

    def masked_words(self, output: StudentOutput) -> Term:
        """The student's own loss, the mean over the masked tokens."""
        assert output.loss is not None
        return Term("masked words", 1.0, output.loss, task=True)


def last_states(output: StudentOutput) -> Tensor:
    """The last layer's states, float32 [n, tokens, d]."""
    assert output.hidden_states is not None
    return output.hidden_states[-1].float()


def own_tokens(batch: Batch, states: Tensor) -> Tensor:
    """Which tokens are of the text, bool [n, tokens]: neither padding nor special tokens, as far as the student tells."""
    import torch

    own = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device) if batch.mask is None else batch.mask.bool()
    special = batch.inputs.get("special_tokens_mask")
    return own if special is None else own & ~special.bool()


def make_head(hidden: int, outputs: int, seed: int, name: str) -> nn.Sequential:
    """Dense, GELU, LayerNorm, linear: [..., hidden] -> [..., outputs], drawn from the random stream `name`."""
    from torch import nn

    from armada_cli.training.seeds import drawn_from

    with drawn_from(seed, name):
        return nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden), nn.Linear(hidden, outputs))


def draw_anew(module: Any, seed: int) -> None:
    """Give a model of transformers the weights of a new one of its configuration.

    Raises:
        UserError: it is another kind of module.
    """
    from armada_cli.training.seeds import drawn_from

    if not hasattr(module, "config") or not hasattr(module, "base_model_prefix"):
        raise UserError("initial: scratch needs a student that is a model of transformers", "Say `initial: checkpoint`")
    with drawn_from(seed, "scratch"):
        module.load_state_dict(type(module)(module.config).state_dict())
