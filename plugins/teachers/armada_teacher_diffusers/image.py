"""Text -> the final latent of Stable Diffusion. No picture is ever made of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from armada_cli import UserError
from armada_cli.models import hub
from armada_teacher_diffusers.lora import merge_lora
from armada_teacher_diffusers.options import MidjourneyOptions, StableDiffusionOptions
from armada_teacher_diffusers.pipeline import Diffusion


class StableDiffusion(Diffusion):
    """What Stable Diffusion draws for a text, as its UNet leaves it: the latent before the VAE. VAE and safety checker are
    neither fetched nor loaded.

    ``pool: channel-mean`` is the paper's 32 x 32: the mean over the latent's four channels at 256 x 256 pixels.
    """

    name = "stable-diffusion"
    unused = ("vae", "safety_checker", "feature_extractor", "image_encoder")

    options: StableDiffusionOptions

    def represent(self, inputs: Sequence[str]) -> np.ndarray:
        """inputs: n texts -> float32 [n, (size / 8)^2], or [n, 4 (size / 8)^2] with ``pool: none``."""
        latents = self.draw(inputs).float()
        if self.options.pool == "channel-mean":
            latents = latents.mean(dim=1)
        return latents.flatten(1).cpu().numpy()

    def draw(self, texts: Sequence[str]) -> Tensor:
        """n texts -> the pipeline's latents [n, 4, size / 8, size / 8]."""
        with self.running():
            side = self.options.size
            return self.pipeline(height=side, width=side, output_type="latent", **self.conditions(texts)).images


class Midjourney(StableDiffusion):
    """Stable Diffusion with a LoRA, which is added to the weights before the first text: it costs nothing afterwards."""

    name = "midjourney"

    options: MidjourneyOptions

    def finish(self) -> None:
        path, place = self.options.lora_path(), self.options.lora
        if path is None and self.options.lora_is_local():
            raise UserError(f"teacher {self.name}: there is no LoRA at {place}", "Name a .safetensors file, or its folder")
        try:
            layers = merge_lora(self.pipeline, self.options, path, offline=self.environment.offline)
            reason = "it changes none of its layers"
        except Exception as error:  # a LoRA of another model raises what its shapes happen to stumble over
            if path is None:
                raise hub.cannot_load(f"teacher {self.name} LoRA", place, "LoRA", error, self.environment) from error
            layers, reason = 0, " ".join(f"{type(error).__name__}: {error}".split())[:160]
        if not layers:
            raise UserError(
                f"teacher {self.name}: the LoRA {path or place} does not fit {self.options.model} ({reason})",
                "Take a LoRA that was trained for this kind of Stable Diffusion",
            )
