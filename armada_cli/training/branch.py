"""The upper layers of a student, run on the hidden states of another model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from armada_cli.contracts import Model
from armada_cli.errors import UserError

OTHERWISE = "Take another student, or the method kd"
"""What to do with a student that cannot be a branch."""

TOLERANCE = 1e-3
"""How far the logits of a student that was cut may be from the whole one's, on its own states."""


class Branch(nn.Module):
    """A linear layer that brings states to the student's width, and the student from its layer `first` (from 0) on.

    The layers below are left out, and what only they need is frozen. No architecture is known by name: that a model can be cut
    is tried out on its own states.

    Args:
        model: a new student, which is changed: nobody else may use it.
        first: the first layer that is run, at least 1.
        width: of the states it is given. The adapter begins as the identity where the student is as wide.
        choices: whether the student answers multiple choice.

    Raises:
        UserError: its layers are not known, or it gives other answers when it is cut.
    """

    def __init__(self, model: Model, first: int, width: int, choices: bool = False) -> None:
        super().__init__()
        self.student, self.module, self.choices = model.student, model.module, choices
        self._given: Tensor | None = None
        name = type(self.module).__name__
        training = self.module.training
        self.module.eval()
        ids = torch.tensor([[2, 3, 4, 5, 6], [6, 5, 4, 3, 2]])
        mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
        with torch.no_grad():
            whole = self.student.forward(self.module, self._inputs(ids, mask), hidden_states=True)
        if whole.hidden_states is None:
            raise UserError(f"{name} shows no hidden states, so it cannot be a branch", OTHERWISE)
        states = whole.hidden_states
        layers = find_layers(self.module, len(states) - 1)
        forms = self._forms(layers, ids, mask)
        for number in range(first):
            layers[number] = _LeftOut(forms[number])
        layers[first].register_forward_pre_hook(self._replace, with_kwargs=True)
        own = states[first].shape[-1]
        self.adapter: nn.Module = nn.Identity()
        cut = self(states[first], mask)
        if not torch.allclose(cut, whole.logits, rtol=TOLERANCE, atol=TOLERANCE):
            raise UserError(
                f"{name} cannot be cut below its layer {first}: on its own states it then gives other answers", OTHERWISE
            )
        parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        for parameter, gradient in zip(parameters, torch.autograd.grad(cut.sum(), parameters, allow_unused=True), strict=True):
            parameter.requires_grad_(gradient is not None)
        self.module.train(training)
        self.adapter = nn.Linear(width, own).to(states[first].device)
        if width == own:
            nn.init.eye_(self.adapter.weight)
            nn.init.zeros_(self.adapter.bias)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States [n, tokens, width] and the attention mask [n, tokens] of who gave them -> logits [n, c]. For multiple choice
        both have a dimension of choices behind n."""
        self._given = self.adapter(states)
        try:
            return self.student.forward(self.module, self._inputs(torch.zeros_like(mask), mask)).logits
        finally:
            self._given = None

    def _inputs(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """What the student is called with. Of tokens only the number counts: their states are replaced."""
        device = next(self.module.parameters()).device
        if self.choices and ids.ndim == 2:
            ids, mask = ids.unsqueeze(1), mask.unsqueeze(1)
        return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}

    def _forms(self, layers: nn.ModuleList, ids: Tensor, mask: Tensor) -> list[int | None]:
        """How many things each layer gives back; None where it is a tensor alone."""
        forms: list[int | None] = []
        hooks = [
            layer.register_forward_hook(lambda _, __, output: forms.append(len(output) if isinstance(output, tuple) else None))
            for layer in layers
        ]
        with torch.no_grad():
            self.student.forward(self.module, self._inputs(ids, mask))
        for hook in hooks:
            hook.remove()
        if len(forms) != len(layers):
            raise UserError(
                f"{type(self.module).__name__} does not run each of its layers once, so it cannot be a branch", OTHERWISE
            )
        return forms

    def _replace(self, layer: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if self._given is None:
            raise RuntimeError("a branch is asked by its own call alone")
        if arguments:  # where choices are a dimension of their own, or merged with the rows, they are so here
            return (self._given.view(arguments[0].shape), *arguments[1:]), named
        return arguments, {**named, "hidden_states": self._given.view(named["hidden_states"].shape)}


class _LeftOut(nn.Module):
    """Stands in the place of a layer, and gives back what it is given in that layer's form (see `Branch._forms`)."""

    def __init__(self, form: int | None) -> None:
        super().__init__()
        self.form = form

    def forward(self, hidden_states: Tensor, *arguments: Any, **named: Any) -> Any:
        return hidden_states if self.form is None else (hidden_states, *[None] * (self.form - 1))


def find_layers(module: nn.Module, count: int) -> nn.ModuleList:
    """A transformer's layers: the list of so many modules with the most parameters.

    Raises:
        UserError: it has none, as a model that runs one layer several times.
    """
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    if not lists:
        raise UserError(f"{type(module).__name__} keeps its {count} layers in no list, so it cannot be a branch", OTHERWISE)
    return max(lists, key=lambda part: sum(p.numel() for p in part.parameters()))
