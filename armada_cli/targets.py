"""Targets of a regression: learned in units of their own spread, told in the user's.

A head begins near 0 and moves by about a learning rate a step, so years (about 2000) or percentages (50) are out of its reach
within a training. Students and aligners therefore learn targets less their mean, over their standard deviation, both of the
training rows. Scores are of answers in the user's unit, and an exported student gives such answers by itself: scale and mean
are folded into its last layer, as far as that layer can hold them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armada_cli.errors import UserError
from armada_cli.files import read_json

if TYPE_CHECKING:
    from torch import Tensor, nn

FILE = "targets.json"
"""In an exported folder: what its answers still have to be multiplied by, and then added to. Not there when that is nothing."""

FAR = 1e5
"""A mean this many standard deviations from 0 leaves float32 with less than two digits of what is to be learned."""


@dataclass(frozen=True)
class Scale:
    """A number in the user's unit is `factor` times the model's, plus `shift`."""

    factor: float = 1.0
    shift: float = 0.0

    def restore(self, outputs: Tensor) -> Tensor:
        """The model's numbers in the user's unit, of any shape."""
        return outputs if self == NONE else outputs * self.factor + self.shift

    def standardise(self, values: Tensor) -> Tensor:
        """Numbers in the user's unit as the model learns them, float32."""
        return ((values.double() - self.shift) / self.factor).float()

    def note(self) -> str | None:
        """A line about targets that float32 can hardly tell apart."""
        if abs(self.shift) <= FAR * self.factor:
            return None
        return (
            f"the targets lie about {self.shift:.4g} and differ by {self.factor:.2g}: float32 has few digits left for that. "
            "Subtract a constant from them"
        )


NONE = Scale()


def scale_of(labels: Sequence[Any]) -> Scale:
    """Mean and standard deviation of the training rows' targets.

    Raises:
        UserError: they are all equal.
    """
    values = [float(label) for label in labels]
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    if min(values) == max(values) or not deviation:
        raise UserError(
            f"all {len(values)} training rows have the target {values[0]:g}: there is nothing to predict",
            "Add rows, raise the limit, or name another column",
        )
    return Scale(deviation, mean)


def fold_into(layer: nn.Linear, scale: Scale) -> Scale:
    """Fold a scale into a linear layer with one output. Returns what is left to be applied to the layer's outputs: nothing, or
    the shift where the layer has no bias to hold it."""
    layer.weight.data.mul_(scale.factor)
    if layer.bias is None:
        return Scale(1.0, scale.shift)
    layer.bias.data.mul_(scale.factor).add_(scale.shift)
    return NONE


def write_rest(folder: Path, rest: Scale) -> None:
    """Note in an exported folder what its answers still need."""
    if rest != NONE:
        text = json.dumps({"multiply_by": rest.factor, "then_add": rest.shift}, indent=1)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read_rest(folder: Path) -> Scale:
    """What `write_rest` noted.

    Raises:
        UserError: the note is damaged; without it every answer would be in another unit.
    """
    if not (folder / FILE).exists():
        return NONE
    stored = read_json(folder / FILE)
    numbers = [stored.get(name) for name in ("multiply_by", "then_add")] if isinstance(stored, dict) else [None, None]
    factor, shift = (float(number) if isinstance(number, (int, float)) else math.nan for number in numbers)
    if not (math.isfinite(factor) and math.isfinite(shift)):
        raise UserError(f"{folder / FILE} is damaged", "It tells the unit of the answers: the student has to be made again")
    return Scale(factor, shift)
