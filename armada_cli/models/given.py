"""A fine-tuned model that exists already in the place of a text teacher that is trained: whether its head fits a task.
Importing this module imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from armada_cli.contracts import Problem
from armada_cli.errors import UserError
from armada_cli.models import architectures

if TYPE_CHECKING:
    from torch import nn

HEADS = {
    "classification": ("ForSequenceClassification", "ForVisualReasoning"),
    "regression": ("ForSequenceClassification", "ForVisualReasoning"),
    "multilabel": ("ForSequenceClassification", "ForVisualReasoning"),
    "multiple-choice": ("ForMultipleChoice",),
}
"""Kind of task -> how the classes of transformers are called that have a head for it."""


def refuse_head(place: str, revision: str | None, kind: str) -> str | None:
    """Why a model cannot answer a kind of task as it is, as far as its ``config.json`` is here and tells; None when it may."""
    if kind not in HEADS:
        return f"a model is taken as it is for {', '.join(HEADS)}, not for {kind}; train the teacher: `model:` for `from:`"
    names = architectures.read_config(place, revision).get("architectures") or []
    if isinstance(names, list) and names and not any(str(name).endswith(HEADS[kind]) for name in names):
        return f"{place} has no head for {kind} (it is a {names[0]}); train the teacher: `model:` for `from:`"
    return None


def order_labels(config: Mapping[str, Any], problem: Problem, place: str) -> tuple[list[int] | None, str | None]:
    """For each of the task's outputs which output of a checkpoint it is.

    Args:
        config: the checkpoint's configuration.

    Returns the order, None where it is the checkpoint's own; and a warning where the checkpoint does not name its outputs.

    Raises:
        UserError: it has another number of outputs, or other labels.
    """
    if problem.kind == "multiple-choice":
        return None, None
    named = config.get("id2label")
    labels = [str(named[key]) for key in sorted(named, key=int)] if isinstance(named, Mapping) else ["LABEL_0", "LABEL_1"]
    if len(labels) != problem.outputs:
        what = f"the model in {place} has {len(labels)} outputs, and the task has {problem.outputs}"
        raise UserError(what, "Take one that was trained on this task")
    if problem.kind == "regression":
        return None, None
    wanted = [str(label) for label in problem.labels]
    if all(re.fullmatch(r"LABEL_\d+", label) for label in labels) and labels != wanted:
        return None, f"the model in {place} does not name its labels: they are taken to be {', '.join(wanted)}, in this order"
    for fold in (str, str.casefold):
        own, asked = [fold(label) for label in labels], [fold(label) for label in wanted]
        if sorted(own) == sorted(asked) and len(set(own)) == len(own):
            order = [own.index(label) for label in asked]
            return (None if order == sorted(order) else order), None
    what = f"the model in {place} has the labels {', '.join(labels)}, and the task has {', '.join(wanted)}"
    raise UserError(what, "Take one that was trained on this task, or name its labels in config.json (id2label)")


def reorder_outputs(module: nn.Module, order: list[int]) -> None:
    """Put the outputs of a model's last linear layer into another order."""
    import torch
    from torch import nn

    head = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        head.weight.copy_(head.weight[order].clone())
        if head.bias is not None:
            head.bias.copy_(head.bias[order].clone())
