"""A task's picture -> image encoder -> pooled features."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from armada_cli import Environment, Teacher, Unanswered, UserError
from armada_cli.models.pictures import PictureEncoder, read_picture
from armada_teacher_posters.options import PostersOptions

NAME = "teacher resnet-posters"


class Posters(Teacher):
    """The features of given pictures. A damaged one stops nothing: it is named when all others are stored."""

    options: PostersOptions

    def __init__(self, options: PostersOptions, environment: Environment) -> None:
        super().__init__(options, environment)
        self.encoder = PictureEncoder(options.model, environment, subject=NAME, revision=options.revision, dtype=options.dtype)

    def represent(self, inputs: Sequence[Path]) -> np.ndarray:
        """inputs: n pictures -> float32 [n, width], 2048 wide for ResNet-50.

        Raises:
            UserError: an input is a text.
            Unanswered: some pictures are damaged, cut short, too large or gone.
        """
        for item in inputs:
            if not isinstance(item, Path):
                raise UserError(
                    f"{NAME} needs pictures, and the task hands over texts ({str(item)[:40]!r} ...)",
                    "Take a task with pictures, as mm-imdb, or a teacher of texts",
                )
        vectors, bad = self.encoder.encode(partial(read_picture, path, self.options.max_pixels) for path in inputs)
        if bad or vectors is None:
            raise Unanswered(vectors, {row: f"{inputs[row]}: {reason}" for row, reason in bad.items()})
        return vectors
