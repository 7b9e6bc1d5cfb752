"""Low-rank changes to a pipeline's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from armada_teacher_diffusers.options import MidjourneyOptions


def merge_lora(pipeline: Any, options: MidjourneyOptions, path: Path | None, *, offline: bool) -> int:
    """Add the LoRA to the weights of UNet and text encoder, ``W + scale * (alpha / r) * B A``, and let go of its layers.

    Args:
        path: its file; None fetches it from the hub.
        offline: the hub may not be asked, its cache on this machine alone.

    Returns:
        The number of layers it changed.
    """
    if path is not None:
        pipeline.load_lora_weights(str(path.parent), weight_name=path.name, use_safetensors=True)
    else:
        pipeline.load_lora_weights(
            options.lora,
            weight_name=options.lora_name(),
            revision=options.lora_revision,
            use_safetensors=True,
            local_files_only=offline,
        )
    parts = [pipeline.unet, pipeline.text_encoder, getattr(pipeline, "text_encoder_2", None)]
    layers = sum(hasattr(module, "lora_A") and len(module.lora_A) > 0 for part in parts if part for module in part.modules())
    if layers:
        pipeline.fuse_lora(lora_scale=options.lora_scale)
        pipeline.unload_lora_weights()
    return layers
