"""The `precomputed` teacher: vectors that a user has already, from any model."""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_teacher_precomputed.options import PrecomputedOptions


@hookimpl
def armada_teachers() -> list[Component]:
    return [
        Component(
            name="precomputed",
            summary="Vectors you already have, looked up by text (.safetensors, or .npy with a file of texts)",
            target="armada_teacher_precomputed.teacher:Precomputed",
            options=PrecomputedOptions,
            provides={"any"},
        )
    ]
