"""Tiny random pipelines of the real classes, for `--smoke` and for tests: they prove plumbing, never quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from armada_cli.models import hub
from armada_cli.models.weights import read_header

WIDTH = 16
"""Of the text encoder, and so of the UNet's attention to it."""

CHANNELS = (8, 16)
LEVELS = (4, 4, 4, 4)
"""Four levels of the VAE, as the real one has: a latent is an eighth as high and as wide as its picture."""


def save_image_pipeline(folder: Path) -> None:
    """Write a `StableDiffusionPipeline` with a PNDM scheduler, as Stable Diffusion v1-4 has it."""
    import torch

    with torch.random.fork_rng(devices=[]), hub.quiet():
        from diffusers import PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel

        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=4,
            block_out_channels=CHANNELS,
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=2,
            norm_num_groups=4,
        )
        pipeline: Any = StableDiffusionPipeline(
            vae=_vae(),
            **_text(),
            unet=unet,
            scheduler=PNDMScheduler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.save_pretrained(folder)


def save_video_pipeline(folder: Path) -> None:
    """Write a `TextToVideoSDPipeline` with a DDIM scheduler, as ModelScope's text-to-video has it."""
    import torch

    with torch.random.fork_rng(devices=[]), hub.quiet():
        from diffusers import DDIMScheduler, TextToVideoSDPipeline, UNet3DConditionModel

        torch.manual_seed(0)
        unet = UNet3DConditionModel(
            sample_size=4,
            block_out_channels=CHANNELS,
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            norm_num_groups=4,
        )
        pipeline: Any = TextToVideoSDPipeline(
            vae=_vae(),
            **_text(),
            unet=unet,
            scheduler=DDIMScheduler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
            ),
        )
        pipeline.save_pretrained(folder)


def save_lora(pipeline: Path, file: Path) -> None:
    """Write a random LoRA of rank 2 for a pipeline's attention layers, with the names that the usual trainers give."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(1)
    tensors: dict[str, Any] = {}
    for part, prefix in (("unet", "lora_unet"), ("text_encoder", "lora_te")):
        for weights in sorted((pipeline / part).glob("*.safetensors")):
            for name, tensor in sorted(read_header(weights).items()):
                layer = name.removesuffix(".weight")
                if not layer.endswith(("to_q", "to_k", "to_v", "to_out.0", "q_proj", "k_proj", "v_proj", "out_proj")):
                    continue
                rows, columns = tensor["shape"]
                key = f"{prefix}_{layer.replace('.', '_')}"
                tensors[f"{key}.lora_down.weight"] = torch.randn(2, columns, generator=generator) / 4
                tensors[f"{key}.lora_up.weight"] = torch.randn(rows, 2, generator=generator) / 4
                tensors[f"{key}.alpha"] = torch.tensor(1.0)
    save_file(tensors, file)


def _vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=LEVELS,
        down_block_types=("DownEncoderBlock2D",) * len(LEVELS),
        up_block_types=("UpDecoderBlock2D",) * len(LEVELS),
        latent_channels=4,
        norm_num_groups=4,
    )


def _text() -> dict[str, Any]:
    """A tokenizer whose pieces are bytes, and a text encoder for them."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[], model_max_length=77, pad_token="<|endoftext|>"
    )
    config = CLIPTextConfig(
        vocab_size=len(pieces),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=len(pieces) - 2,
        eos_token_id=len(pieces) - 1,
        pad_token_id=len(pieces) - 1,
    )
    return {"tokenizer": tokenizer, "text_encoder": CLIPTextModel(config)}
