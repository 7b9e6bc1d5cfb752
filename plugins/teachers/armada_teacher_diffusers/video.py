"""Text -> video of ModelScope's text-to-video -> its first frame -> luminance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from armada_teacher_diffusers.options import ModelScopeOptions
from armada_teacher_diffusers.pipeline import Diffusion

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


class ModelScopeVideo(Diffusion):
    """How a video of the text begins. All frames are denoised together, as they shape each other; only the first goes through
    the VAE, a sixty-fourth of that work."""

    name = "modelscope-video"

    options: ModelScopeOptions

    def represent(self, inputs: Sequence[str]) -> np.ndarray:
        """inputs: n texts -> luminance in [0, 1], float32 [n, height * width]."""
        pictures = self.film(inputs)
        weights = torch.tensor(LUMA, device=pictures.device).view(1, 3, 1, 1)
        return (pictures * weights).sum(dim=1).flatten(1).cpu().numpy()

    def film(self, texts: Sequence[str]) -> Tensor:
        """n texts -> the first frames, float32 [n, 3, height, width] in [0, 1]."""
        with self.running():
            latents = self.pipeline(
                height=self.options.height,
                width=self.options.width,
                num_frames=self.options.frames,
                output_type="latent",
                **self.conditions(texts),
            ).frames
            return self.decode_first(latents)

    def decode_first(self, latents: Tensor) -> Tensor:
        """Latents [n, 4, frames, height / 8, width / 8] -> the first frames [n, 3, height, width] in [0, 1]."""
        first = self.pipeline.decode_latents(latents[:, :, :1])[:, :, 0]
        return (first.float() / 2 + 0.5).clamp(0, 1)
