"""A model that a method trains beside the student, and helpers for who asks either of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from armada_cli.contracts import Model, Setup
from armada_cli.training.optimizer import adamw
from armada_cli.training.processes import average_gradients


class Companion:
    """A peer, or a teacher that is still learning, with an optimizer of its own.

    Its settings are the trial's: weight decay, clipping, and the form of the schedule.

    Args:
        model: what `Setup.fresh` gave.
        setup: of the method.
        lr: its rate where the student's is `Train.lr`; None is the student's.
    """

    def __init__(self, model: Model, setup: Setup, lr: float | None = None) -> None:
        self.model, self.module, self.setup = model, model.module, setup
        self.lr = setup.train.lr if lr is None else lr
        self.adam = adamw(self.module.parameters(), self.lr, setup.train.weight_decay)

    @property
    def trained(self) -> list[nn.Parameter]:
        return [p for p in self.module.parameters() if p.requires_grad]

    def step(self, step: int, *, average: bool = False) -> None:
        """One step on the gradients that its parameters hold, which are dropped.

        Args:
            step: number of the optimizer step, for the rate.
            average: take the mean over processes first; the loop does so by itself between the backward pass and
                `Method.after_step`.
        """
        if average:
            average_gradients(self.module)
        if self.setup.train.clip:
            nn.utils.clip_grad_norm_(self.trained, self.setup.train.clip)
        for group in self.adam.param_groups:
            group["lr"] = self.setup.learning_rate(step) * self.lr / self.setup.train.lr
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)


@contextmanager
def without_dropout(module: nn.Module) -> Iterator[None]:
    """Inside, a module that is being trained is in `eval` mode."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def logits_without_dropout(model: Model, rows: Tensor) -> Tensor:
    """What a model answers now, [n, c], as a target for another: in `eval` mode and without a gradient."""
    with torch.no_grad(), without_dropout(model.module):
        return model(rows).logits


def trained_parameters(module: nn.Module) -> Mapping[str, nn.Parameter]:
    """Name -> parameter, of those that are trained."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def output_layer(module: nn.Module, outputs: int) -> nn.Linear:
    """The layer that a student's logits come out of: the last linear one in the module's order.

    Args:
        outputs: c, what it must have.

    Raises:
        ValueError: the last linear layer has other outputs.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    if not layers or layers[-1].out_features != outputs:
        raise ValueError(f"{type(module).__name__} ends in no linear layer of {outputs} outputs")
    return layers[-1]
