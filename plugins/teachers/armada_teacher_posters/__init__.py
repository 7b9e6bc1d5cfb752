"""The `resnet-posters` teacher: what a task's pictures show."""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_teacher_posters.options import PostersOptions


@hookimpl
def armada_teachers() -> list[Component]:
    return [
        Component(
            name="resnet-posters",
            summary="Pooled features of the picture that a task hands over, of ResNet-50 (2048 wide) or any image encoder",
            target="armada_teacher_posters.teacher:Posters",
            options=PostersOptions,
            provides={"image"},
            revision=2,
            reference="He et al. 2016, Deep Residual Learning for Image Recognition",
        )
    ]
