"""What methods share whose modules act inside the student: where its layers are, and which rows it is reading."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from armada_cli.contracts import Batch, Choice, Model
from armada_cli.contracts.choice import asks
from armada_cli.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn


def require_layers_apart(method: str, student: Choice) -> None:
    """Raises UserError: a student says that it runs one layer several times."""
    if asks(student.options, "repeats_layers"):
        raise UserError(
            f"method {method!r} acts inside layers, and student {student.name!r} runs one several times",
            "Take another student, such as bert-base",
        )


@dataclass
class Course:
    """The course of a forward pass.

    Attributes:
        layers: whose outputs are the states of all tokens, the top one last.
        behind: modules that begin once the top layer has ended: pooler, head.
        head: the last linear layer among them.
    """

    layers: list[nn.Module]
    behind: list[nn.Module]
    head: nn.Module


def watch(model: Model, hidden: int) -> Course:
    """Find a student's layers by one forward pass over the first training row.

    They are the members of its longest list of modules that give states [..., tokens, hidden]; where it has no such list, every
    module without parts that does.

    Raises:
        UserError: there are none, or one that runs several times, as ALBERT's.
    """
    import torch
    from torch import nn

    ended: list[nn.Module] = []
    begun: list[tuple[nn.Module, int]] = []
    stateful: set[nn.Module] = set()

    def begin(module: nn.Module, inputs: Any) -> None:
        begun.append((module, len(ended)))

    def end(module: nn.Module, inputs: Any, output: Any) -> None:
        ended.append(module)
        state = first(output)
        if isinstance(state, torch.Tensor) and state.ndim > 2 and state.shape[-1] == hidden and state.is_floating_point():
            stateful.add(module)

    modules = list(model.module.modules())
    hooks = [module.register_forward_pre_hook(begin) for module in modules]
    hooks += [module.register_forward_hook(end) for module in modules]
    training = model.module.training
    try:
        model.module.eval()
        with torch.no_grad():
            model([0])
    finally:
        model.module.train(training)
        for hook in hooks:
            hook.remove()
    lists = [[child for child in part if child in stateful] for part in modules if isinstance(part, nn.ModuleList)]
    members = max(lists, key=len, default=[]) or [item for item in stateful if not any(True for _ in item.children())]
    times = Counter(ended)
    layers = sorted(members, key=ended.index)
    if not layers or any(times[layer] > 1 for layer in layers):
        raise UserError(
            "this method acts inside the student's layers, and they cannot be told apart in this one",
            "Take another student, such as bert-base",
        )
    top = ended.index(layers[-1])
    behind = [module for module, before in begun if before > top]
    linear = [module for module in ended if module in behind and isinstance(module, nn.Linear)]
    if not linear:
        raise UserError("this method acts inside the student, which has no linear head", "Take another student")
    return Course(layers, list(dict.fromkeys(behind)), linear[-1])


def first(output: Any) -> Any:
    """The states in what a layer gives: itself, or the first of several."""
    return output[0] if isinstance(output, (tuple, list)) and output else output


def with_first(output: Any, states: Tensor) -> Any:
    """What a layer gives, with other states."""
    return type(output)([states, *output[1:]]) if isinstance(output, (tuple, list)) else states


class Reading:
    """The rows that the student is reading."""

    def __init__(self) -> None:
        self.batch: Batch | None = None

    def rows_of(self, states: Tensor) -> Tensor:
        """The states as [m, tokens, d]: a row of the batch, or one of its choices, each.

        Raises:
            RuntimeError: nobody has said which rows these are.
        """
        rows = states.reshape(-1, *states.shape[-2:])
        if self.batch is None or len(rows) % len(self.batch.rows):
            raise RuntimeError("the student reads rows that before_forward() was not told of")
        return rows

    def spread(self, values: Tensor, states: Tensor) -> Tensor:
        """Values of the batch's rows [n, ...] for each of m rows of states, on their device: a row's choices share them."""
        return values.to(states.device).repeat_interleave(len(states) // len(values), 0)

    def flat(self, name: str, states: Tensor) -> Tensor | None:
        """An input of the student [n, tokens] or [n, choices, tokens] as [m, tokens]; None where it has no such input."""
        assert self.batch is not None
        value = self.batch.inputs.get(name)
        return None if value is None else value.reshape(-1, value.shape[-1]).to(states.device)
