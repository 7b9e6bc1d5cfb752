"""What a student answers to each validation row, kept beside a trial's result: `predictions.safetensors`.

Of 10,000 rows of two classes it takes 160 kB. numpy comes with the first call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

PREDICTIONS = "predictions.safetensors"
"""In a trial's folder."""


@dataclass(frozen=True)
class Predictions:
    """Of the weights that count, as they are exported.

    Attributes:
        outputs: float32 [n, c], what `Task.score` was given: logits, or predictions in the user's unit. In generation each
            row's own score of the main metric, [n, 1], the mean over the evaluation seeds.
        labels: int32 [n] of classes, float64 [n] of numbers, uint8 [n, c] of several labels; None in generation.
        rows: int32 [n], numbers of the validation rows, from 0.
    """

    outputs: np.ndarray
    labels: np.ndarray | None
    rows: np.ndarray


def as_array(labels: Sequence[Any]) -> np.ndarray:
    """A split's labels as `Predictions` keeps them."""
    import numpy as np

    values = np.asarray(labels)
    if values.ndim > 1:
        return values.astype(np.uint8)
    return values.astype(np.int32 if np.issubdtype(values.dtype, np.integer) else np.float64)


def write_predictions(folder: Path, outputs: np.ndarray, labels: Sequence[Any] | None) -> None:
    """Write those of all rows of a split into a trial's folder.

    Args:
        outputs: [n, c]; labels: n, as in `Split`, or None where outputs are the rows' own scores.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    import numpy as np
    from safetensors.numpy import save

    from armada_cli.files import write_bytes_atomic

    tensors = {
        "outputs": np.ascontiguousarray(outputs, np.float32),
        "rows": np.arange(len(outputs), dtype=np.int32),
    }
    if labels is not None:
        tensors["labels"] = as_array(labels)
    write_bytes_atomic(folder / PREDICTIONS, save(tensors))


def read_predictions(folder: Path) -> Predictions | None:
    """Those in a trial's folder; None where there are none, or they are not what was written."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    from armada_cli.digests import DamagedDigests, differences, read_digests

    try:
        digests = read_digests(folder)
        if digests is not None and next(differences(folder, digests, (PREDICTIONS,)), None) is not None:
            return None
        tensors = load((folder / PREDICTIONS).read_bytes())
        return Predictions(tensors["outputs"], tensors.get("labels"), tensors["rows"])
    except (OSError, SafetensorError, KeyError, DamagedDigests):
        return None
