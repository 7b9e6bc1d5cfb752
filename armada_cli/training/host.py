"""What surrounds a training: where it runs, where it writes, who is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from accelerate import Accelerator

from armada_cli.training.cost import Cost


@dataclass
class Host:
    """What surrounds a training.

    Attributes:
        accelerator: device, precision and processes.
        folder: the trial's folder; ``checkpoint/`` and ``log.jsonl`` are written there. None writes nothing.
        progress: called with (stage, done, total, note).
        stopping: asked after every step; true ends the training behind a checkpoint with `Interrupted`.
        keep: called with the number of an epoch that has ended, before its checkpoint is written; None keeps no epochs.
        cost: where forward passes are counted.
    """

    accelerator: Accelerator
    folder: Path | None = None
    progress: Callable[[str, int, int, str], None] = lambda *_: None
    stopping: Callable[[], bool] = lambda: False
    keep: Callable[[int], None] | None = None
    cost: Cost = field(default_factory=Cost)
