"""The diffusion teachers, on tiny random checkpoints of the real classes: plumbing, never quality."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from armada_teacher_diffusers import armada_teachers
from armada_teacher_diffusers.image import Midjourney, StableDiffusion
from armada_teacher_diffusers.miniature import save_image_pipeline, save_lora
from armada_teacher_diffusers.options import MidjourneyOptions, ModelScopeOptions, StableDiffusionOptions
from armada_teacher_diffusers.video import ModelScopeVideo
from safetensors.torch import load_file, save_file

from armada_cli import Component, Environment, UserError
from armada_cli.features.extract import extract
from armada_cli.features.identity import identity_key, input_hashes, teacher_identity
from armada_cli.features.store import FeatureStore

TEXTS = ["A lighthouse keeper mends his net.", "Blue tiles, wet with rain", "Ø", "Who left the piano in the orchard?"]
HERE = Environment(threads=1, offline=True, device="cpu")
CARDS = {card.name: card for card in armada_teachers()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny checkpoints of all three teachers lie."""
    folder = tmp_path_factory.mktemp("tiny-diffusion")
    for card in CARDS.values():
        card.options().smoke(folder)
    return folder


@pytest.fixture
def stable(made: Path) -> StableDiffusionOptions:
    return StableDiffusionOptions(steps=3, pool="none").smoke(made)


@pytest.fixture
def journey(made: Path) -> MidjourneyOptions:
    return MidjourneyOptions(steps=3, pool="none").smoke(made)


@pytest.fixture
def video(made: Path) -> ModelScopeOptions:
    return dataclasses.replace(ModelScopeOptions().smoke(made), frames=3)


def rescheduled(model: str, place: Path, kind: str) -> str:
    """A copy of a pipeline with another scheduler."""
    shutil.copytree(model, place)
    config = diffusers.DiffusionPipeline.from_pretrained(model).scheduler.config
    getattr(diffusers, kind).from_config(config).save_pretrained(place / "scheduler")
    index = place / "model_index.json"
    index.write_text(index.read_text().replace(type_of(model), kind))
    return str(place)


def type_of(model: str) -> str:
    return str(diffusers.DiffusionPipeline.load_config(model)["scheduler"][1])


def noise_of(seed: int, text: str) -> torch.Generator:
    """The noise that a text is to have, written down a second time: a teacher whose noise forgot the text or the seed would
    agree with a comparison that asked the teacher itself for it."""
    digest = hashlib.sha256(str(seed).encode() + b"\0" + text.encode("utf-8")).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little") // 2)


def test_each_text_and_each_seed_has_noise_of_its_own() -> None:
    drawn = [torch.randn(4, generator=noise_of(seed, text)) for seed in (0, 1) for text in TEXTS]
    assert len({tuple(vector.tolist()) for vector in drawn}) == len(drawn)


def draw_one_by_one(options: StableDiffusionOptions, **more: Any) -> np.ndarray:
    """What diffusers' own pipeline, whole and with its defaults, has as latents: text after text."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(options.model, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    latents = [
        pipeline(
            text,
            height=options.size,
            width=options.size,
            num_inference_steps=options.steps,
            guidance_scale=options.guidance,
            generator=noise_of(options.seed, text),
            output_type="latent",
            **more,
        ).images
        for text in TEXTS
    ]
    return torch.cat(latents).flatten(1).numpy()


# ---------------------------------------------------------------------------------------------------- Stable Diffusion


@pytest.mark.parametrize("scheduler", ["PNDMScheduler", "DDIMScheduler", "EulerAncestralDiscreteScheduler"])
def test_features_are_the_pipelines_own_latents(stable: StableDiffusionOptions, tmp_path: Path, scheduler: str) -> None:
    if scheduler != type_of(stable.model):
        stable = dataclasses.replace(stable, model=rescheduled(stable.model, tmp_path / "other", scheduler))
    expected = draw_one_by_one(stable)
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    np.testing.assert_allclose(StableDiffusion(stable, HERE).represent(TEXTS), expected, atol=1e-4)


@pytest.mark.parametrize(
    "change", [{"guidance": 1.0}, {"guidance": 3.0, "seed": 5}, {"negative_prompt": "fog"}, {"steps": 1, "size": 64}], ids=str
)
def test_they_are_with_other_settings_too(stable: StableDiffusionOptions, change: dict[str, Any]) -> None:
    changed = dataclasses.replace(stable, **change)
    more = {"negative_prompt": changed.negative_prompt} if changed.negative_prompt else {}
    found = StableDiffusion(changed, HERE).represent(TEXTS)
    np.testing.assert_allclose(found, draw_one_by_one(changed, **more), atol=1e-4)
    plain = StableDiffusion(dataclasses.replace(stable, size=changed.size), HERE).represent(TEXTS)
    assert np.abs(found - plain).max() > 1e-3


def test_the_paper_takes_the_channel_mean_of_a_picture_of_256_pixels(stable: StableDiffusionOptions) -> None:
    large = dataclasses.replace(stable, size=StableDiffusionOptions().size, steps=1)
    whole = StableDiffusion(large, HERE).represent(TEXTS[:1])
    mean = StableDiffusion(dataclasses.replace(large, pool="channel-mean"), HERE).represent(TEXTS[:1])
    assert (whole.shape, mean.shape) == ((1, 4096), (1, 1024))
    assert whole.dtype == mean.dtype == np.float32
    np.testing.assert_allclose(mean, whole.reshape(1, 4, 1024).mean(axis=1), atol=1e-5)


def test_a_vector_does_not_depend_on_its_batch(stable: StableDiffusionOptions) -> None:
    teacher = StableDiffusion(stable, HERE)
    together = teacher.represent(TEXTS)
    np.testing.assert_allclose(np.concatenate([teacher.represent([text]) for text in TEXTS]), together, atol=1e-5)
    np.testing.assert_allclose(teacher.represent(TEXTS[::-1])[::-1], together, atol=1e-5)


def test_weights_of_vae_and_safety_checker_are_not_needed(stable: StableDiffusionOptions, tmp_path: Path) -> None:
    place = tmp_path / "bare"
    shutil.copytree(stable.model, place)
    for weights in (place / "vae").glob("*.safetensors"):
        weights.unlink()
    bare = StableDiffusion(dataclasses.replace(stable, model=str(place)), HERE)
    np.testing.assert_array_equal(bare.represent(TEXTS), StableDiffusion(stable, HERE).represent(TEXTS))


def test_a_vae_of_another_scale_gives_a_latent_of_another_size(stable: StableDiffusionOptions, tmp_path: Path) -> None:
    place = tmp_path / "coarse"
    pipeline = diffusers.DiffusionPipeline.from_pretrained(stable.model)
    pipeline.vae = diffusers.AutoencoderKL(
        block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )
    pipeline.save_pretrained(place)
    found = StableDiffusion(dataclasses.replace(stable, model=str(place)), HERE).represent(TEXTS[:1])
    assert found.shape == (1, 4 * 16 * 16)


def test_what_a_text_encoder_cannot_take_is_said_and_does_no_harm(
    stable: StableDiffusionOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = StableDiffusion(stable, HERE)
    odd = ["", " \n", "\ud800", "word " * 80, "ab" * 500]
    assert np.isfinite(teacher.represent(odd)).all()
    teacher.represent(TEXTS)
    assert capsys.readouterr().err == "", "nothing for each text"
    teacher.close()
    assert "first 77 tokens alone of 2 of 9 texts" in capsys.readouterr().err


def test_a_file_is_no_text(stable: StableDiffusionOptions, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="stable-diffusion draws texts"):
        StableDiffusion(stable, HERE).represent([tmp_path / "poster.jpeg"])  # type: ignore[list-item]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_gives_nearly_the_same_and_is_another_identity(stable: StableDiffusionOptions, dtype: str) -> None:
    half = dataclasses.replace(stable, dtype=dtype)
    found, expected = (StableDiffusion(options, HERE).represent(TEXTS) for options in (half, stable))
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < 0.2
    card = CARDS["stable-diffusion"]
    assert card.identity(half, HERE) != card.identity(stable, HERE)


def test_stable_diffusion_xl_is_driven_too(stable: StableDiffusionOptions, tmp_path: Path) -> None:
    place = tmp_path / "xl"
    save_xl_pipeline(stable.model, place)
    xl = dataclasses.replace(stable, model=str(place))
    assert list(xl.problems(HERE)) == []
    np.testing.assert_allclose(StableDiffusion(xl, HERE).represent(TEXTS), draw_one_by_one(xl), atol=1e-4)


def save_xl_pipeline(model: str, place: Path) -> None:
    """A tiny Stable Diffusion XL with the tokenizer and VAE of a tiny Stable Diffusion."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    small = diffusers.DiffusionPipeline.from_pretrained(model)
    torch.manual_seed(2)
    config = CLIPTextConfig(**{**small.text_encoder.config.to_dict(), "projection_dim": 16})
    unet = diffusers.UNet2DConditionModel(
        sample_size=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=(2, 4),
        norm_num_groups=4,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16 + 6 * 8,
    )
    diffusers.StableDiffusionXLPipeline(
        vae=small.vae,
        text_encoder=small.text_encoder,
        text_encoder_2=CLIPTextModelWithProjection(config),
        tokenizer=small.tokenizer,
        tokenizer_2=small.tokenizer,
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler.from_config(small.scheduler.config),
    ).save_pretrained(place)


# ---------------------------------------------------------------------------------------------------------- Midjourney


def weights_of(teacher: StableDiffusion) -> dict[str, torch.Tensor]:
    unet, text = teacher.pipeline.unet.state_dict(), teacher.pipeline.text_encoder.state_dict()
    return {f"unet.{name}": value for name, value in unet.items()} | {f"text.{name}": value for name, value in text.items()}


def test_the_lora_is_added_to_the_weights(journey: MidjourneyOptions) -> None:
    plain = weights_of(StableDiffusion(journey, HERE))
    changed = weights_of(Midjourney(dataclasses.replace(journey, lora_scale=0.5), HERE))
    assert changed.keys() == plain.keys(), "its own layers are gone"
    path = journey.lora_path()
    assert path is not None
    lora = load_file(path)
    layers = {name.removesuffix(".alpha") for name in lora if name.endswith(".alpha")}
    assert len(layers) > 20
    assert sum(not torch.equal(changed[name], plain[name]) for name in plain) == len(layers)
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    key = f"lora_unet_{name.replace('.', '_')}"
    product = lora[f"{key}.lora_up.weight"] @ lora[f"{key}.lora_down.weight"]
    expected = plain[f"unet.{name}.weight"] + 0.5 * (1 / 2) * product
    torch.testing.assert_close(changed[f"unet.{name}.weight"], expected)


def test_the_lora_changes_what_is_drawn_by_its_scale(journey: MidjourneyOptions) -> None:
    plain = StableDiffusion(journey, HERE).represent(TEXTS)
    none, half, whole = (
        Midjourney(dataclasses.replace(journey, lora_scale=scale), HERE).represent(TEXTS) for scale in (0.0, 0.5, 1.0)
    )
    np.testing.assert_allclose(none, plain, atol=1e-5)
    assert 0.001 < np.abs(half - plain).mean() < np.abs(whole - plain).mean()


def test_its_features_are_those_of_the_pipeline_with_the_lora_loaded(journey: MidjourneyOptions) -> None:
    pipeline = diffusers.DiffusionPipeline.from_pretrained(journey.model)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(journey.lora, weight_name="lora.safetensors")
    expected = [
        pipeline(
            text, height=32, width=32, num_inference_steps=journey.steps, generator=noise_of(0, text), output_type="latent"
        ).images
        for text in TEXTS
    ]
    found = Midjourney(journey, HERE).represent(TEXTS)
    np.testing.assert_allclose(found, torch.cat(expected).flatten(1).numpy(), atol=1e-4)


def test_a_lora_is_a_file_a_folder_or_a_known_repository(journey: MidjourneyOptions, tmp_path: Path) -> None:
    file = Path(journey.lora) / "lora.safetensors"
    by_file = dataclasses.replace(journey, lora=str(file))
    assert by_file.identity(HERE) == journey.identity(HERE)
    assert list(by_file.problems(HERE)) == []
    for name in ("one", "two"):
        shutil.copy(file, tmp_path / f"{name}.safetensors")
    unclear = dataclasses.replace(journey, lora=str(tmp_path))
    assert any("holds 2 .safetensors files; name one with lora_file" in line for line in unclear.problems(HERE))
    named = dataclasses.replace(unclear, lora_file="two.safetensors")
    assert list(named.problems(HERE)) == []
    known = dataclasses.replace(journey, lora=MidjourneyOptions().lora)
    assert list(known.problems(HERE)) == []
    assert known.identity(HERE)["lora"] == "prompthero/openjourney-lora/openjourneyLora.safetensors"


def test_a_lora_of_another_model_is_refused_in_one_line(journey: MidjourneyOptions, tmp_path: Path) -> None:
    rank_only = {"lora_unet_mid_block_attentions_9_proj_in.lora_down.weight": torch.zeros(2, 8)}
    save_file(rank_only, tmp_path / "foreign.safetensors")
    for tensors in ({}, {"weight": torch.zeros(2)}):
        save_file({**rank_only, **tensors}, tmp_path / "foreign.safetensors")
        with pytest.raises(UserError, match=r"the LoRA .*foreign\.safetensors does not fit .*trained for this kind") as caught:
            Midjourney(dataclasses.replace(journey, lora=str(tmp_path)), HERE)
        assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------------------------- ModelScope


def test_a_video_is_the_luminance_of_the_first_frame_its_pipeline_makes(video: ModelScopeOptions) -> None:
    video = dataclasses.replace(video, height=32, width=48, guidance=4.0)
    pipeline = diffusers.TextToVideoSDPipeline.from_pretrained(video.model)
    pipeline.set_progress_bar_config(disable=True)
    expected = []
    for text in TEXTS:
        frames = pipeline(
            text,
            height=32,
            width=48,
            num_frames=3,
            num_inference_steps=video.steps,
            guidance_scale=4.0,
            generator=noise_of(0, text),
            output_type="np",
        ).frames
        red, green, blue = np.moveaxis(frames[0, 0], -1, 0)
        expected.append((0.299 * red + 0.587 * green + 0.114 * blue).ravel())
    found = ModelScopeVideo(video, HERE).represent(TEXTS)
    assert (found.shape, found.dtype) == ((4, 32 * 48), np.float32)
    assert found.min() >= 0
    assert found.max() <= 1
    assert np.abs(found[0] - found[1]).max() > 0.05
    np.testing.assert_allclose(found, np.stack(expected), atol=1e-4)


def test_only_the_first_frame_is_decoded(video: ModelScopeOptions) -> None:
    teacher = ModelScopeVideo(video, HERE)
    shapes: list[torch.Size] = []
    teacher.pipeline.vae.decoder.register_forward_pre_hook(lambda module, inputs: shapes.append(inputs[0].shape))
    teacher.represent(TEXTS)
    assert shapes == [torch.Size([4, 4, 4, 4])]


def test_the_other_frames_shape_the_first(video: ModelScopeOptions) -> None:
    alone = ModelScopeVideo(dataclasses.replace(video, frames=1), HERE).represent(TEXTS)
    assert np.abs(ModelScopeVideo(video, HERE).represent(TEXTS) - alone).max() > 1e-4


def test_the_papers_video_is_262144_wide() -> None:
    options = ModelScopeOptions()
    assert options.height * options.width == 262_144
    assert (options.frames, options.steps) == (64, 20)


# ----------------------------------------------------------------------------------------------------------- all three


@pytest.mark.parametrize("name", CARDS)
def test_each_extracts_into_a_store_and_is_not_asked_twice(name: str, made: Path, tmp_path: Path) -> None:
    card: Component = CARDS[name]
    options = card.options().smoke(made)
    environment = dataclasses.replace(HERE, runs=tmp_path)
    with FeatureStore.of(environment) as store:
        first = extract(card, options, environment, TEXTS * 2, store, progress=False)
        again = extract(card, options, environment, TEXTS, store, progress=False)
        stored, found = store.get(first.key, input_hashes(TEXTS))
    assert (first.new, again.new, found.all()) == (4, 0, True)
    np.testing.assert_allclose(stored, card.load()(options, environment).represent(TEXTS), atol=1e-5)


@pytest.mark.parametrize("name", CARDS)
def test_a_tiny_checkpoint_is_written_once_and_always_the_same(name: str, made: Path, tmp_path: Path) -> None:
    card: Component = CARDS[name]
    options = card.options(seed=7, guidance=2.0)
    here = options.smoke(made)
    assert list(here.problems(HERE)) == []
    assert list(here.downloads(HERE)) == []
    assert (here.seed, here.guidance) == (7, 2.0)
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.safetensors")}
    assert options.smoke(made) == here
    assert before == {path: path.stat().st_mtime_ns for path in made.rglob("*.safetensors")}
    assert card.identity(options.smoke(tmp_path), HERE) == card.identity(here, HERE)


@pytest.mark.parametrize("name", CARDS)
def test_the_seed_and_the_weights_are_its_identity_and_the_batch_is_not(name: str, made: Path, tmp_path: Path) -> None:
    card: Component = CARDS[name]
    options = card.options().smoke(made)

    def key(**changes: Any) -> str:
        return identity_key(teacher_identity(card, dataclasses.replace(options, **changes), HERE))

    copy = tmp_path / "copy"
    shutil.copytree(options.model, copy)
    assert key(batch_size=3) == key(model=str(copy)) == key()
    assert len({key(), key(seed=1), key(guidance=1.5), key(negative_prompt="fog"), key(steps=1)}) == 5
    weights = next((copy / "unet").glob("*.safetensors"))
    tensors = load_file(weights)
    tensors["conv_out.bias"] += 1
    save_file(tensors, weights)
    assert key(model=str(copy)) != key()
    vectors = [card.load()(dataclasses.replace(options, seed=seed), HERE).represent(TEXTS[:1]) for seed in (0, 1)]
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


@pytest.mark.parametrize("name", CARDS)
def test_without_the_hub_one_line_says_what_to_fetch(name: str) -> None:
    card: Component = CARDS[name]
    options = card.options(model="somebody/some-pipeline")
    assert "model somebody/some-pipeline from the Hugging Face hub" in list(options.downloads(HERE))
    with pytest.raises(UserError, match="hf download somebody/some-pipeline") as caught:
        card.load()(options, HERE)
    assert str(caught.value).startswith(f"teacher {name} somebody/some-pipeline: not on this machine")
    assert "\n" not in str(caught.value)


def test_a_lora_of_the_hub_is_announced_and_asked_for(journey: MidjourneyOptions) -> None:
    options = dataclasses.replace(journey, lora="prompthero/openjourney-lora")
    assert list(options.downloads(HERE)) == [
        "LoRA prompthero/openjourney-lora (openjourneyLora.safetensors) from the Hugging Face hub"
    ]
    with pytest.raises(UserError, match="hf download prompthero/openjourney-lora"):
        Midjourney(options, HERE)


Spoil = Callable[[Path], Any]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (shutil.rmtree, "there is no folder"),
        (lambda place: (place / "model_index.json").unlink(), "holds no model_index.json"),
        (lambda place: (place / "model_index.json").write_text("{"), "names no pipeline class"),
        (
            lambda place: (place / "model_index.json").write_text('{"_class_name": "FluxPipeline"}'),
            "holds a FluxPipeline; this teacher drives StableDiffusionPipeline or StableDiffusionXLPipeline",
        ),
        (lambda place: next((place / "unet").glob("*.safetensors")).write_bytes(b"\x09" * 40), "damaged weights in"),
    ],
    ids=["absent", "no index", "broken index", "another class", "damaged weights"],
)
def test_a_spoilt_folder_is_a_problem_before_anything_is_loaded(
    stable: StableDiffusionOptions, tmp_path: Path, spoil: Spoil, words: str
) -> None:
    place = tmp_path / "spoilt"
    shutil.copytree(stable.model, place)
    spoil(place)
    spoilt = dataclasses.replace(stable, model=str(place))
    problems = list(spoilt.problems(HERE))
    assert len(problems) == 1
    assert words in problems[0]
    with pytest.raises(UserError) as caught:
        StableDiffusion(spoilt, HERE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_weights_that_lack_tensors_are_refused_rather_than_drawn_at_random(
    stable: StableDiffusionOptions, tmp_path: Path, part: str
) -> None:
    place = tmp_path / "lacking"
    shutil.copytree(stable.model, place)
    weights = next((place / part).glob("*.safetensors"))
    tensors = load_file(weights)
    del tensors[sorted(tensors)[3]]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"the weights of its {part} lack tensors"):
        StableDiffusion(dataclasses.replace(stable, model=str(place)), HERE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (StableDiffusionOptions(size=250), "size: 250 is no multiple of 8; take 248"),
        (ModelScopeOptions(height=9), "height: 9 is no multiple of 8; take 8"),
        (ModelScopeOptions(width=100), "width: 100 is no multiple of 8"),
        (MidjourneyOptions(lora="./nowhere"), "there is no LoRA at './nowhere'"),
        (MidjourneyOptions(lora="nowhere.safetensors"), "there is no LoRA at 'nowhere.safetensors'"),
        (MidjourneyOptions(lora="somebody/lora"), "name its .safetensors file with lora_file"),
        (MidjourneyOptions(lora="somebody/lora", lora_file="lora.ckpt"), "name its .safetensors file with lora_file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_that_do_not_go_together_are_problems(options: Any, words: str) -> None:
    assert any(words in problem for problem in options.problems(HERE))


def test_a_damaged_or_pickled_lora_is_a_problem(journey: MidjourneyOptions, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((Path(journey.lora) / "lora.safetensors").read_bytes()[:-9])
    pickled = tmp_path / "lora.bin"
    pickled.write_bytes(b"\x80\x04.")
    for path, words in ((damaged, "is damaged"), (pickled, "is no .safetensors file")):
        assert any(words in line for line in dataclasses.replace(journey, lora=str(path)).problems(HERE))


def test_the_checkpoint_writers_leave_the_random_numbers_of_others_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    save_image_pipeline(tmp_path / "pipeline")
    save_lora(tmp_path / "pipeline", tmp_path / "lora.safetensors")
    assert torch.equal(torch.rand(2), expected)


def test_looking_at_stored_videos_again_takes_the_memory_of_a_few(tmp_path: Path) -> None:
    card, environment = CARDS["modelscope-video"], dataclasses.replace(HERE, runs=tmp_path)
    options, width, count = card.options(), 262_144, 96
    texts = [f"video {number}" for number in range(count)]
    with FeatureStore.of(environment) as store:
        vectors = np.zeros((8, width), np.float32)
        for first in range(0, count, 8):
            store.put(teacher_identity(card, options, environment), input_hashes(texts[first : first + 8]), vectors)
        tracemalloc.start()
        report = extract(card, options, environment, texts, store, progress=False)
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (report.new, report.reused) == (0, count)
    assert taken < 4 * width * count / 4
