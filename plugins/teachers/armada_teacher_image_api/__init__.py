"""The `image-api` teacher: what a black-box image service paints for a text, seen by an image encoder."""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_teacher_image_api.options import ImageApiOptions


@hookimpl
def armada_teachers() -> list[Component]:
    return [
        Component(
            name="image-api",
            summary="Pictures of a service that speaks the OpenAI images protocol, seen by ResNet-50 (2048) or another",
            target="armada_teacher_image_api.teacher:ImageApi",
            options=ImageApiOptions,
            provides={"image"},
            revision=2,
        )
    ]
