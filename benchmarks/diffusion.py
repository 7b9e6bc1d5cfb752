"""Figures of the diffusion teachers: `python benchmarks/diffusion.py [speed] [memory] [video]`.

No weights are fetched: the pipelines are of the real classes, reduced and random. `speed` compares the teacher with the
pipeline called text by text as its documentation shows, on the same weights; both run on as many threads as torch has
(``OMP_NUM_THREADS``). `memory` and `video` measure whole processes, one for each number of texts.
"""

from __future__ import annotations

import dataclasses
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from armada_cli import Component, Environment, Teacher
from armada_cli.features.extract import extract
from armada_cli.features.prepare import represent
from armada_cli.features.store import FeatureStore
from armada_cli.models import tiny
from armada_cli.settings import Features

REPEATS = 5
TEXTS = list(tiny.SENTENCES[:8])
COUNTS = (1_000, 20_000)
VIDEOS = (200, 2_000)
VIDEO = 262_144
"""Numbers in the first frame of a video; 20,000 of them would fill 20 GB of disk."""


# --------------------------------------------------------------------------------------------------------------- speed


def save_reduced_pipeline(place: Path) -> None:
    """Stable Diffusion v1-4 at a twentieth of its width and with one head: UNet, VAE and safety checker have the depth they
    have there, so that each costs about the share of a picture that it costs there."""
    from armada_teacher_diffusers.miniature import save_image_pipeline
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPTextConfig, CLIPTextModel

    save_image_pipeline(place)
    given: Any = StableDiffusionPipeline.from_pretrained(place, requires_safety_checker=False)
    text = given.text_encoder.config.to_dict()
    narrow = {"hidden_size": 40, "intermediate_size": 160, "num_attention_heads": 4}
    pipeline: Any = StableDiffusionPipeline(
        tokenizer=given.tokenizer,
        scheduler=given.scheduler,
        text_encoder=CLIPTextModel(CLIPTextConfig(**{**text, **narrow, "num_hidden_layers": 12})),
        unet=UNet2DConditionModel(
            sample_size=64,
            block_out_channels=(16, 32, 64, 64),
            cross_attention_dim=40,
            attention_head_dim=1,  # the number of heads, as in the checkpoint, where it is 8
            norm_num_groups=8,
        ),
        vae=AutoencoderKL(
            block_out_channels=(8, 16, 24, 24),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
            norm_num_groups=8,
        ),
        safety_checker=StableDiffusionSafetyChecker(
            CLIPConfig(
                vision_config={**narrow, "hidden_size": 52, "num_hidden_layers": 24, "patch_size": 14, "image_size": 224},
                projection_dim=40,
            )
        ),
        feature_extractor=CLIPImageProcessor(),
    )
    pipeline.save_pretrained(place)


def measure_speed() -> None:
    """Texts/s of `represent` and of the whole pipeline, called by turns; and how far their latents are apart."""
    import torch
    from armada_teacher_diffusers.image import StableDiffusion
    from armada_teacher_diffusers.options import StableDiffusionOptions
    from armada_teacher_diffusers.pipeline import noise, still
    from diffusers import StableDiffusionPipeline

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "pipeline"
        torch.manual_seed(0)
        with still():
            save_reduced_pipeline(place)
            pipeline: Any = StableDiffusionPipeline.from_pretrained(place, use_safetensors=True)
        options = StableDiffusionOptions(model=str(place), pool="none")
        teacher = StableDiffusion(options, Environment(threads=torch.get_num_threads(), device="cpu"))
    pipeline.set_progress_bar_config(disable=True)
    settings = {"height": options.size, "width": options.size, "num_inference_steps": options.steps}

    def call(text: str, **more: Any) -> Any:
        return pipeline(text, generator=noise(options.seed, text), **settings, **more).images

    def pipeline_alone() -> None:
        for text in TEXTS:
            call(text)

    def teacher_in_batches() -> None:
        for first in range(0, len(TEXTS), teacher.batch_size):
            teacher.represent(TEXTS[first : first + teacher.batch_size])

    teacher.represent(TEXTS[:1])
    call(TEXTS[0])
    walls, works = [], []
    for _ in range(REPEATS):
        theirs, ours = timed(pipeline_alone), timed(teacher_in_batches)
        walls.append((theirs[0], ours[0]))
        works.append(theirs[1] / ours[1])
    ratios = [theirs / ours for theirs, ours in walls]
    slow, fast = (len(TEXTS) / statistics.median(column) for column in zip(*walls, strict=True))
    print(
        f"speed: {len(TEXTS)} texts, {options.steps} steps, {options.size} x {options.size}, "
        f"{torch.get_num_threads()} threads: teacher {fast:.2f} texts/s, pipeline text by text {slow:.2f}; "
        f"{statistics.median(ratios):.2f} x (to reach: 1.3 x), {min(ratios):.2f} to {max(ratios):.2f} in {REPEATS} repeats; "
        f"{statistics.median(works):.2f} x by processor time"
    )
    latents = torch.cat([call(text, output_type="latent") for text in TEXTS]).flatten(1).numpy()
    drawn = np.concatenate([teacher.represent(TEXTS[first : first + 8]) for first in range(0, len(TEXTS), 8)])
    print(
        f"speed: latents between {latents.min():.1f} and {latents.max():.1f}, at most {np.abs(drawn - latents).max():.1e} "
        "apart (to reach: 1e-4)"
    )


def timed(act: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the clock, and of the processor; the second is the steadier one on a busy machine."""
    clock, work = time.perf_counter(), time.process_time()
    act()
    return time.perf_counter() - clock, time.process_time() - work


# -------------------------------------------------------------------------------------------------------------- memory


class Counter(Teacher):
    """The least a teacher can be, so that what the host itself holds shows."""

    width = 1024

    def represent(self, inputs: Any) -> np.ndarray:
        """inputs: n texts -> float32 [n, width]."""
        return np.stack([np.random.default_rng(len(text)).random(self.width, np.float32) for text in inputs])


class Film(Counter):
    """As many numbers as the first frame of a video."""

    batch_size = 4
    width = VIDEO


def sentences(count: int) -> list[str]:
    """Different sentences, about as long as those of the benchmarks."""
    return [f"Sentence number {number} says as little as those before it and those behind it." for number in range(count)]


def peak() -> float:
    """MiB that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def process(kind: str, count: int) -> None:
    """One process of `memory` or `video`: extract, extract again (nothing is missing), reduce; print the peak after each."""
    name = {"film": "Film"}.get(kind, "Counter")
    teacher = Component(name="counter", summary="", target=f"diffusion:{name}")
    options: Any = teacher.options()
    texts = sentences(count)
    with tempfile.TemporaryDirectory() as folder:
        environment = Environment(runs=Path(folder), device="cpu", threads=1)
        if kind == "pipeline":
            from armada_teacher_diffusers import armada_teachers

            teacher = armada_teachers()[0]
            made = teacher.options().smoke(Path(folder))
            options = dataclasses.replace(made, size=16, steps=1, batch_size=64, pool="none")
        with FeatureStore.of(environment) as store:
            extract(teacher, options, environment, texts, store, progress=False)
            first = peak()
            extract(teacher, options, environment, texts, store, progress=False)
            print(first, peak())
        if kind == "film":
            represent(teacher, options, environment, texts, Features(), progress=False)
            print(peak())


def compare(kind: str, what: str, counts: tuple[int, ...], goal: str = " (to reach: 10 %)") -> None:
    """Peak memory of processes with few and with many texts."""
    peaks = []
    for count in counts:
        command = [sys.executable, __file__, "process", kind, str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent)
        peaks.append([float(value) for value in done.stdout.split()])
    for step, before, after in zip(("extraction", "a second one", "reduction"), *peaks, strict=False):
        print(
            f"memory: {what}, {step}: {before:.0f} MiB for {counts[0]} texts, {after:.0f} MiB for {counts[1]}: "
            f"{100 * (after / before - 1):+.1f} %{goal}, "
            f"{1024 * (after - before) / (counts[1] - counts[0]):.1f} KiB a text"
        )


def measure_memory() -> None:
    """Tiny Stable Diffusion through the host; and a teacher that is nothing, to show what the host itself takes."""
    compare("pipeline", "a tiny Stable Diffusion", COUNTS)
    compare("counter", "no model at all", COUNTS, goal="")


def measure_video() -> None:
    """Vectors as wide as a video's first frame, stored, checked and reduced by a streamed projection."""
    compare("film", f"vectors {VIDEO} wide", VIDEOS)


def main(chosen: list[str]) -> None:
    if chosen[:1] == ["process"]:
        process(chosen[1], int(chosen[2]))
        return
    parts = {"speed": measure_speed, "memory": measure_memory, "video": measure_video}
    for name in chosen or list(parts):
        parts[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
