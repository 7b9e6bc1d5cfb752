"""Several teachers at once, for example an image, an audio and a video model. The paper has single teachers only.

The host expands an ensemble into its members: each has vectors, a reduction and a cache of its own, as if a recipe had named it
alone, and h_t is the concatenation of the members' reduced features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from armada_cli.contracts import Choice, Component, Environment, Teacher, TeacherInput, option
from armada_cli.errors import UserError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class EnsembleOptions:
    teachers: tuple[Choice, ...] = option(
        help="The members: a list of teachers, each a name or a mapping with its options", component="teacher"
    )
    combine: str = option(
        "concatenate",
        "concatenate: one aligner reads all members' features; aligners: one each, and their losses are averaged",
        choices=("concatenate", "aligners"),
    )

    def members(self) -> tuple[Choice, ...]:
        return self.teachers

    @property
    def apart(self) -> bool:
        return self.combine == "aligners"

    def problems(self, environment: Environment) -> Iterable[str]:
        if len(self.teachers) < 2:
            yield "teachers must be a list of two or more"
        if any(hasattr(member.options, "members") for member in self.teachers):
            yield "an ensemble cannot be a member of another"


class Ensemble(Teacher):
    """The members' vectors side by side, [n, sum of widths], as they are before reduction. For use outside of recipes; a run
    asks each member by itself."""

    def __init__(self, options: EnsembleOptions, environment: Environment) -> None:
        super().__init__(options, environment)
        self.teachers: list[Teacher] = [
            member.registered.component.load()(member.options, environment) for member in options.members()
        ]

    def represent(self, inputs: Sequence[TeacherInput]) -> np.ndarray:
        import numpy as np

        parts = []
        for teacher in self.teachers:
            size = teacher.batch_size
            vectors = [teacher.represent(inputs[start : start + size]) for start in range(0, len(inputs), size)]
            if not vectors:
                raise UserError("an ensemble was asked for no text at all")
            parts.append(np.concatenate(vectors))
        return np.concatenate(parts, axis=1)

    def close(self) -> None:
        for teacher in self.teachers:
            teacher.close()


CARDS = [
    Component(
        "ensemble",
        "Several teachers at once, their features side by side or one aligner each",
        "armada_cli.ensemble:Ensemble",
        EnsembleOptions,
        {"any"},
    )
]
