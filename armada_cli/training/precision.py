"""The precision in which a student's weights are held: what is exported, and so what is scored."""

from __future__ import annotations

from collections import Counter

from torch import nn


def held_in(model: nn.Module) -> str:
    """``float32``; ``bfloat16 and float32``, the larger part first, for frozen weights in half precision beside adapters that
    are trained; ``4bit, ...`` where weights are quantised."""
    sizes: Counter[str] = Counter()
    for parameter in model.parameters():
        if parameter.is_floating_point():
            sizes[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
    names = " and ".join(name for name, _ in sizes.most_common())
    return f"4bit, {names}" if getattr(model, "is_loaded_in_4bit", False) else names
