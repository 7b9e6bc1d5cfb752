"""What a recipe can choose about the diffusion teachers. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from armada_cli import Environment, content_fingerprint, option
from armada_cli.models import hub, tiny, vocabulary
from armada_cli.models.weights import read_header
from armada_cli.reading import load_json

GRID = 8
"""Pixels along the side of one latent pixel; pictures are whole multiples of it."""

KNOWN_LORAS = {"prompthero/openjourney-lora": "openjourneyLora.safetensors"}
"""Which file of a LoRA's repository holds the weights, where a recipe need not say so."""

PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class DiffusionOptions:
    """What all of them have. `dtype` is float32 unless the recipe says otherwise, on every machine: a default that followed the
    hardware would give one recipe two sets of vectors."""

    pipelines: ClassVar[tuple[str, ...]] = ()
    """Classes of diffusers that this teacher can drive, as ``model_index.json`` names them."""

    model: str = option(
        help="A diffusers pipeline: a model id of the Hugging Face hub, or a local folder", identity=False, place=True
    )
    revision: str | None = option(None, "Branch, tag or commit of a hub model; null is its main branch")
    steps: int = option(20, "Denoising steps", minimum=1)
    guidance: float = option(
        7.5, "Weight of the text (classifier-free guidance); up to 1 is none, and half the work", minimum=0
    )
    negative_prompt: str = option("", "What to guide away from; only with guidance over 1")
    seed: int = option(0, "Seed of the noise; each text's own noise comes from this and the text", minimum=0)
    dtype: str = option(
        "float32", "Arithmetic of the networks; on a GPU float16 is twice as fast and gives other vectors", choices=PRECISIONS
    )
    batch_size: int = option(8, "Texts at once; changes a vector by no more than rounding", minimum=1, identity=False)

    def identity(self, environment: Environment) -> dict[str, Any]:
        return {"weights": hub.identity(self.model)}

    def problems(self, environment: Environment) -> Iterator[str]:
        wrong = list(hub.problems(self.model, hub.PIPELINE))
        yield from wrong
        folder = hub.local_folder(self.model)
        if folder is not None and not wrong:
            yield from self._wrong_class(folder / hub.PIPELINE)
            yield from self._without_tokenizer(folder)

    def _without_tokenizer(self, folder: Path) -> Iterator[str]:
        """About tokenizers that the pipeline names and that have no files."""
        try:
            parts = load_json(folder / hub.PIPELINE)
        except (OSError, ValueError):
            return
        for name, kind in parts.items():
            if name.startswith("tokenizer") and isinstance(kind, list) and kind[-1:] != [None]:
                yield from vocabulary.lacking(folder / name)

    def _wrong_class(self, index: Path) -> Iterator[str]:
        try:
            name = load_json(index)["_class_name"]
        except (OSError, ValueError, KeyError, TypeError):
            yield f"{index} names no pipeline class; save the pipeline again with save_pretrained"
            return
        if name not in self.pipelines:
            yield f"{index.parent} holds a {name}; this teacher drives {' or '.join(self.pipelines)}"

    def downloads(self, environment: Environment) -> Iterator[str]:
        yield from hub.downloads(self.model, self.revision, hub.PIPELINE)


@dataclass(frozen=True)
class StableDiffusionOptions(DiffusionOptions):
    """Options of `stable-diffusion`."""

    pipelines: ClassVar[tuple[str, ...]] = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")

    model: str = option(
        "CompVis/stable-diffusion-v1-4",
        "Any Stable Diffusion (1, 2 or XL) pipeline: a model id of the Hugging Face hub, or a local folder",
        identity=False,
        place=True,
    )
    size: int = option(256, "Height and width of the picture in pixels, a multiple of 8", minimum=GRID)
    pool: str = option(
        "channel-mean",
        "channel-mean: one number per latent pixel, 1024 at size 256; none: the whole latent, 4096",
        choices=("channel-mean", "none"),
    )

    def problems(self, environment: Environment) -> Iterator[str]:
        yield from super().problems(environment)
        yield from off_grid("size", self.size)

    def smoke(self, folder: Path) -> StableDiffusionOptions:
        """The same teacher with random weights and a picture of 32 x 32 in at most two steps."""

        def make(place: Path) -> None:
            from armada_teacher_diffusers.miniature import save_image_pipeline

            save_image_pipeline(place)

        place = tiny.once(folder / "stable-diffusion", make)
        return dataclasses.replace(
            self, model=str(place), revision=None, steps=min(self.steps, 2), size=32, dtype="float32", batch_size=8
        )


@dataclass(frozen=True)
class MidjourneyOptions(StableDiffusionOptions):
    """Options of `midjourney`."""

    lora: str = option(
        "prompthero/openjourney-lora",
        "The LoRA: a model id of the hub, a local folder, or a .safetensors file",
        identity=False,
        place=True,
    )
    lora_file: str = option(
        "", "The .safetensors file in the LoRA's folder or repository; empty where there is but one, or it is known"
    )
    lora_revision: str | None = option(None, "Branch, tag or commit of a LoRA on the hub; null is its main branch")
    lora_scale: float = option(1.0, "Strength of the LoRA; 0 is plain Stable Diffusion")

    def lora_name(self) -> str:
        """The file's name in a repository of the hub, empty when it is not known."""
        return self.lora_file or KNOWN_LORAS.get(self.lora, "")

    def lora_path(self) -> Path | None:
        """The LoRA's file on this machine; None for a model id, and where a folder does not settle it."""
        path = hub.local_folder(self.lora)
        if path is None:
            file = Path(os.path.expanduser(self.lora))
            return file if hub.looks_local(self.lora) and file.is_file() else None
        files = [path / self.lora_file] if self.lora_file else sorted(path.glob("*.safetensors"))
        return files[0] if len(files) == 1 and files[0].is_file() else None

    def lora_is_local(self) -> bool:
        """Whether the LoRA was meant to be on this machine, there or not."""
        return hub.looks_local(self.lora) or self.lora.endswith(".safetensors")

    def identity(self, environment: Environment) -> dict[str, Any]:
        path = self.lora_path()
        return {
            **super().identity(environment),
            "lora": content_fingerprint(path) if path else f"{self.lora}/{self.lora_name()}",
        }

    def problems(self, environment: Environment) -> Iterator[str]:
        yield from super().problems(environment)
        path = self.lora_path()
        if path is not None:
            if path.suffix != ".safetensors":
                yield f"lora {str(path)!r} is no .safetensors file; convert it, other formats can run code when they are read"
                return
            try:
                if not read_header(path):
                    yield f"lora {str(path)!r} holds no tensors; copy or fetch it again"
            except (OSError, ValueError) as error:
                yield f"lora {str(path)!r} is damaged, {error}; copy or fetch it again"
        elif folder := hub.local_folder(self.lora):
            if self.lora_file:
                yield f"there is no file {self.lora_file!r} in {self.lora!r}"
            else:
                count = len(list(folder.glob("*.safetensors")))
                yield f"lora folder {self.lora!r} holds {count} .safetensors files; name one with lora_file"
        elif self.lora_is_local():
            yield f"there is no LoRA at {self.lora!r}"
        elif complaints := list(hub.shadowed(self.lora)):
            yield from complaints
        elif not self.lora_name().endswith(".safetensors"):
            yield f"which file of {self.lora} holds the LoRA is not known; name its .safetensors file with lora_file"

    def downloads(self, environment: Environment) -> Iterator[str]:
        yield from super().downloads(environment)
        if self.lora_path() is None and not hub.cached(self.lora, self.lora_revision, self.lora_name()):
            yield f"LoRA {self.lora} ({self.lora_name()}) from the Hugging Face hub"

    def smoke(self, folder: Path) -> MidjourneyOptions:
        """As that of Stable Diffusion, with a random LoRA for it."""

        def make(place: Path) -> None:
            from armada_teacher_diffusers.miniature import save_lora

            save_lora(Path(made.model), place / "lora.safetensors")

        made = super().smoke(folder)
        assert isinstance(made, MidjourneyOptions)
        place = tiny.once(folder / "midjourney", make)
        return dataclasses.replace(made, lora=str(place), lora_file="", lora_revision=None)


@dataclass(frozen=True)
class ModelScopeOptions(DiffusionOptions):
    """Options of `modelscope-video`. The paper gives frames and size alone; guidance is the pipeline's own default, 9."""

    pipelines: ClassVar[tuple[str, ...]] = ("TextToVideoSDPipeline",)

    model: str = option(
        "damo-vilab/text-to-video-ms-1.7b",
        "A text-to-video pipeline of ModelScope's kind: a model id of the Hugging Face hub, or a local folder",
        identity=False,
        place=True,
    )
    guidance: float = option(
        9.0, "Weight of the text (classifier-free guidance); up to 1 is none, and half the work", minimum=0
    )
    batch_size: int = option(1, "Texts at once; changes a vector by no more than rounding", minimum=1, identity=False)
    frames: int = option(64, "Frames of the video; the first is represented, the others shape it", minimum=1)
    height: int = option(512, "Height of the video in pixels, a multiple of 8", minimum=GRID)
    width: int = option(512, "Width of the video in pixels, a multiple of 8", minimum=GRID)

    def problems(self, environment: Environment) -> Iterator[str]:
        yield from super().problems(environment)
        yield from off_grid("height", self.height)
        yield from off_grid("width", self.width)

    def smoke(self, folder: Path) -> ModelScopeOptions:
        """The same teacher with random weights, and a video of two frames of 32 x 32 in at most two steps."""

        def make(place: Path) -> None:
            from armada_teacher_diffusers.miniature import save_video_pipeline

            save_video_pipeline(place)

        place = tiny.once(folder / "modelscope-video", make)
        return dataclasses.replace(
            self,
            model=str(place),
            revision=None,
            steps=min(self.steps, 2),
            frames=2,
            height=32,
            width=32,
            dtype="float32",
            batch_size=4,
        )


def off_grid(name: str, pixels: int) -> Iterator[str]:
    """The problem of a side that is no multiple of `GRID`."""
    if pixels % GRID:
        yield f"{name}: {pixels} is no multiple of {GRID}; take {max(GRID, round(pixels / GRID) * GRID)}"
