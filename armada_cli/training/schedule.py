"""The student's learning rate over the steps of a training."""

from __future__ import annotations

import math

from armada_cli.settings import Train


def learning_rate(train: Train, steps: int, step: int) -> float:
    """The rate at a step of `steps`: a linear rise over the warm-up share, then linear or cosine decay, or none."""
    rise = int(train.warmup * steps)
    if step < rise:
        return train.lr * (step + 1) / (rise + 1)
    part = (step - rise) / max(1, steps - rise)
    if train.schedule == "linear":
        return train.lr * (1 - part)
    if train.schedule == "cosine":
        return train.lr * 0.5 * (1 + math.cos(math.pi * part))
    return train.lr
