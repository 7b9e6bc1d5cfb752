"""A finished student's outputs on another trial's rows, kept beside it: float32 [rows, outputs], with a digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from armada_cli.errors import UserError
from armada_cli.features.prepare import read_tensors, write_tensors


def write_outputs(path: Path, logits: Tensor) -> None:
    """Write outputs by rename.

    Raises:
        UserError: the disk is full or read-only.
    """
    values = np.ascontiguousarray(logits.numpy())
    write_tensors(path, {"logits": values}, {"digest": _digest(values)})


def read_outputs(path: Path, shape: tuple[int, int]) -> Tensor | None:
    """The outputs, or None when there are none of this shape, or they are not as they were written: they are computed again."""
    values = _read(path) if path.is_file() else None
    return None if values is None or values.shape != shape else torch.from_numpy(values)


def damage_of_outputs(path: Path) -> str | None:
    """What is wrong with a file of outputs, as the end of a sentence; None when nothing is, or an earlier version wrote it."""
    return "is damaged" if _read(path) is None else None


def _read(path: Path) -> np.ndarray | None:
    try:
        tensors, metadata = read_tensors(path, "outputs", "")
    except UserError:
        return None
    values = tensors.get("logits")
    if values is None or values.dtype != np.float32 or values.ndim != 2:
        return None
    return values if metadata.get("digest") in (None, _digest(values)) else None


def _digest(values: np.ndarray) -> str:
    digest = hashlib.sha256(str(values.shape).encode())
    digest.update(values.data)
    return digest.hexdigest()
