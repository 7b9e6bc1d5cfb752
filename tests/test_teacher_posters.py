"""The posters' teacher, on a tiny random ResNet of the real class: what it sees, and what it says of bad pictures."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from armada_teacher_posters.options import PostersOptions
from armada_teacher_posters.teacher import Posters
from PIL import Image, ImageDraw

from armada_cli import Environment, Unanswered, UserError
from armada_cli.features.extract import extract
from armada_cli.features.store import FeatureStore
from armada_cli.models.pictures import BadPicture, PictureEncoder, TooManyPixels, pixel_limit, read_picture
from armada_cli.registry.catalog import Catalog


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> PostersOptions:
    return PostersOptions().smoke(tmp_path_factory.mktemp("smoke"))


@pytest.fixture(scope="module")
def posters(options: PostersOptions) -> Posters:
    return Posters(options, Environment(threads=2, offline=True))


def draw(seed: int, size: tuple[int, int] = (60, 90)) -> Image.Image:
    picture = Image.new("RGB", size, (40 * seed % 256, 90, 200 - 30 * seed % 200))
    ImageDraw.Draw(picture).ellipse((5 * seed, 5, 30 + 5 * seed, 60), fill="white")
    return picture


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = []
    for number in range(4):
        found.append(tmp_path / f"poster{number}.jpeg")
        draw(number).save(found[-1], quality=95)
    return found


def encoded(picture: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **how)
    return stream.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A small file whose head says that it is a picture of so many pixels: to make one would take gigabytes."""
    small = encoded(Image.new("1", (8, 8)))
    head = b"IHDR" + struct.pack(">II", width, height) + small[24:29]
    return small[:12] + head + struct.pack(">I", zlib.crc32(head)) + small[33:]


def test_a_picture_is_its_pooled_features(posters: Posters, paths: list[Path]) -> None:
    import torch

    vectors = posters.represent(paths)
    assert vectors.shape == (4, 24)
    assert vectors.dtype == np.float32
    pixels = posters.encoder.processor(images=Image.open(paths[1]), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        maps = posters.encoder.model(pixels).last_hidden_state
    np.testing.assert_allclose(vectors[1], maps.mean(dim=(2, 3))[0].numpy(), atol=1e-5)
    assert np.linalg.norm(vectors[0] - vectors[1]) > 1e-3


def test_a_vector_depends_on_its_picture_alone(posters: Posters, options: PostersOptions, paths: list[Path]) -> None:
    together = posters.represent(paths)
    single = Posters(options, Environment(threads=1, offline=True))
    alone = np.concatenate([single.represent([path]) for path in paths[::-1]])[::-1]
    np.testing.assert_array_equal(together, alone)


def test_the_tiny_encoder_is_the_same_every_time(tmp_path: Path, posters: Posters, paths: list[Path]) -> None:
    again = Posters(PostersOptions().smoke(tmp_path / "other"), Environment(offline=True))
    np.testing.assert_array_equal(again.represent(paths), posters.represent(paths))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA", "I;16"])
def test_every_kind_of_picture_becomes_rgb(mode: str, tmp_path: Path) -> None:
    source = draw(1)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(source.convert("L")).astype(np.uint16) * 257)
    else:
        picture = source.convert(mode)
    path = tmp_path / "picture"
    picture.save(path, "TIFF" if mode in ("CMYK", "LA", "1") else "PNG")
    read = read_picture(path)
    assert (read.mode, read.size) == ("RGB", (60, 90))
    wanted = (
        source.convert("RGB") if mode in ("RGBA", "P", "CMYK") else source.convert("1" if mode == "1" else "L").convert("RGB")
    )
    difference = np.abs(np.asarray(read, int) - np.asarray(wanted, int)).mean()
    assert difference < (20 if mode == "P" else 1)


def test_what_is_transparent_is_white() -> None:
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert read_picture(encoded(picture)).getpixel((0, 0)) == (255, 255, 255)


def test_a_picture_lying_on_its_side_is_put_upright() -> None:
    picture = draw(2)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read_picture(encoded(picture.rotate(90, expand=True), "PNG", exif=exif))
    np.testing.assert_array_equal(np.asarray(turned), np.asarray(picture))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is empty"),
        (b"<html>no such poster</html>", "it is no picture of a known kind"),
        (encoded(draw(0), "JPEG")[:400], "it is damaged or cut short"),
        (encoded(draw(0), "PNG")[:80], "it is damaged or cut short"),
        (claiming(30_000, 3_000), "it has 30000 x 3000 pixels, more than 64,000,000"),
        (claiming(60_000, 60_000), "pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "it is no picture of a known kind"),
    ],
    ids=["empty", "text", "jpeg cut", "png cut", "large", "bomb", "postscript"],
)
@pytest.mark.filterwarnings("error")
def test_bad_pictures_are_refused_in_a_few_words(content: bytes, what: str) -> None:
    with pytest.raises(BadPicture, match=what):
        read_picture(content)


def test_a_damaged_poster_is_named_and_the_others_are_kept(posters: Posters, paths: list[Path]) -> None:
    whole = posters.represent(paths)
    paths[2].write_bytes(paths[2].read_bytes()[:500])
    with pytest.raises(Unanswered) as caught:
        posters.represent(paths)
    assert list(caught.value.reasons) == [2]
    assert caught.value.reasons[2].startswith(f"{paths[2]}: it is damaged or cut short")
    assert caught.value.vectors is not None
    np.testing.assert_array_equal(caught.value.vectors[[0, 1, 3]], whole[[0, 1, 3]])


def test_extraction_stores_what_is_whole_and_then_names_the_damaged(
    options: PostersOptions, paths: list[Path], tmp_path: Path
) -> None:
    good = paths[2].read_bytes()
    paths[2].write_bytes(good[:500])
    card = Catalog.load(warn=False).find("teacher", "resnet-posters").component
    environment = Environment(runs=tmp_path / "runs", offline=True)
    with FeatureStore.of(environment) as store:
        with pytest.raises(UserError, match=r"has no vector for 1 of 4 inputs.*poster2\.jpeg: it is damaged") as caught:
            extract(card, options, environment, paths, store)
        assert "\n" not in str(caught.value)
        paths[2].write_bytes(good)
        report = extract(card, options, environment, paths, store)
    assert (report.new, report.reused) == (1, 3)


def test_a_text_is_refused(posters: Posters) -> None:
    with pytest.raises(UserError, match="needs pictures, and the task hands over texts"):
        posters.represent(["A grey heron."])


def test_weights_that_are_not_here_are_named_with_what_to_do(tmp_path: Path) -> None:
    environment = Environment(offline=True)
    with pytest.raises(UserError, match=r"microsoft/resnet-50: not on this machine.*hf download microsoft/resnet-50"):
        Posters(PostersOptions(), environment)
    assert list(PostersOptions().downloads(environment)) == ["model microsoft/resnet-50 from the Hugging Face hub"]
    assert list(PostersOptions(model=str(tmp_path / "none")).problems(environment))


def test_another_encoder_is_another_teacher(options: PostersOptions, tmp_path: Path) -> None:
    card = Catalog.load(warn=False).find("teacher", "resnet-posters").component
    environment = Environment()
    first = card.identity(options, environment)
    copy = PostersOptions().smoke(tmp_path)
    assert card.identity(copy, environment) == first
    config = Path(copy.model) / "preprocessor_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "crop_pct": 0.5}))
    assert card.identity(copy, environment) != first


def test_a_checkpoint_without_a_pooler_gives_its_first_token_and_no_random_numbers(tmp_path: Path) -> None:
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    config = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32)
    ViTForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    encoder = PictureEncoder(str(tmp_path), Environment(offline=True), subject="a test")
    vectors, bad = encoder.encode([lambda: draw(1)])
    assert vectors is not None
    assert not bad
    pixels = encoder.processor(images=draw(1), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        token = encoder.model(pixels).last_hidden_state[0, 0].numpy()
    np.testing.assert_allclose(vectors[0], token, atol=1e-6)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_of_many_pixels_is_reduced_as_it_is_decoded(kind: str) -> None:
    large = Image.new("L", (8000, 4000), 255)
    large.paste(0, (0, 0, 4000, 4000))
    read = read_picture(encoded(large, kind))
    assert (read.mode, read.size) == ("RGB", (4000, 2000))
    assert read.getpixel((100, 100)) == (0, 0, 0)
    assert read.getpixel((3900, 1900)) == (255, 255, 255)


def test_the_limit_of_pixels_follows_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("armada_cli.models.pictures._memory", lambda: 1 << 30)
    assert pixel_limit() == (1 << 30) // 64
    with pytest.raises(TooManyPixels, match="more than 16,777,216"):
        read_picture(encoded(Image.new("1", (5000, 5000))))
    monkeypatch.setattr("armada_cli.models.pictures._memory", lambda: 1 << 40)
    assert pixel_limit() == 64_000_000
