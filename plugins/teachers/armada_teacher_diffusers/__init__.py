"""Diffusion models as teachers: Stable Diffusion, the same with a Midjourney LoRA, and ModelScope's text-to-video."""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_teacher_diffusers.options import MidjourneyOptions, ModelScopeOptions, StableDiffusionOptions

REVISION = 2
"""2: special tokens of CLIP in a text (``<|endoftext|>``) are text."""


@hookimpl
def armada_teachers() -> list[Component]:
    return [
        Component(
            name="stable-diffusion",
            summary="The final latent of Stable Diffusion v1-4, or of any Stable Diffusion pipeline (1024 wide)",
            target="armada_teacher_diffusers.image:StableDiffusion",
            options=StableDiffusionOptions,
            provides={"image"},
            revision=REVISION,
            reference="Rombach et al. 2022, High-Resolution Image Synthesis with Latent Diffusion Models",
        ),
        Component(
            name="midjourney",
            summary="Stable Diffusion with a LoRA trained on Midjourney pictures (1024 wide)",
            target="armada_teacher_diffusers.image:Midjourney",
            options=MidjourneyOptions,
            provides={"image"},
            revision=REVISION,
            reference="Borji 2022, Generated Faces in the Wild; the LoRA is prompthero/openjourney-lora",
        ),
        Component(
            name="modelscope-video",
            summary="Luminance of the first frame of ModelScope's text-to-video, 1.7B parameters (262,144 wide)",
            target="armada_teacher_diffusers.video:ModelScopeVideo",
            options=ModelScopeOptions,
            provides={"video"},
            revision=REVISION,
            reference="Wang et al. 2023, ModelScope Text-to-Video Technical Report",
        ),
    ]
