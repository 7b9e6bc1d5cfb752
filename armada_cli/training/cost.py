"""What a training costs: rows that went forward through each kind of model, and the most memory that was held."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch

OWN, FINISHED, FRESH = "student", "finished", "fresh"
"""Kinds of models: the one that is trained, a finished one that is asked live, and one that a method trains beside it."""

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Cost:
    """Forward passes of a training, counted in rows: a function of the trial's id, whatever was interrupted.

    Attributes:
        passes: kind of model -> rows that it read, without those of evaluations and of outputs that are kept for all.
    """

    def __init__(self) -> None:
        self.passes: Counter[str] = Counter()

    def count(self, kind: str, rows: int) -> None:
        self.passes[kind] += rows

    def restore(self, passes: Mapping[str, int]) -> None:
        """Go on from a checkpoint's figures."""
        self.passes = Counter(passes)


def reset_peak_memory(device: torch.device) -> None:
    """Forget the peak of what this process did before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # where it may not, the peak is that of all that the process did
        CLEAR.write_text("5")


def peak_memory(device: torch.device) -> int | None:
    """The most bytes held since `reset_peak_memory`: on a GPU of tensors, else of the whole process. None where the system does
    not tell."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    held = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return None if held is None else int(held) * 1024
