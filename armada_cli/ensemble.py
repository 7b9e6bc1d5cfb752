"""Several teachers at once: an image, an audio and a video model, say. The paper has single teachers; this is ours.

The host sees through an ensemble: each member keeps vectors, reduction and cache of its own, as if a recipe had named it
alone, and h_t is the members' reduced features side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armada_cli.contracts import Component, Environment, Teacher, TeacherInput, option
from armada_cli.errors import UserError
from armada_cli.registry import catalog, local

if TYPE_CHECKING:
    import numpy as np

    from armada_cli.recipe.model import Choice


@dataclass(frozen=True)
class EnsembleOptions:
    teachers: tuple[Any, ...] = option(help="The members: a list of teachers, each a name or a mapping with its options")
    combine: str = option(
        "concatenate",
        "concatenate: one aligner reads all members' features; aligners: one each, and their losses are averaged",
        choices=("concatenate", "aligners"),
    )

    def members(self) -> list[Any]:
        """The members as a recipe would name them."""
        return list(self.teachers)

    def problems(self, environment: Environment) -> Iterable[str]:
        if len(self.members()) < 2:
            yield "teachers must be a list of two or more"
        for member in self.members():
            if local.is_local(member):
                continue  # read as strictly as the recipe's own teacher when the features are planned
            name = member.get("name") if isinstance(member, Mapping) else member
            if name == "ensemble":
                yield "an ensemble cannot be a member of another"
            elif complaint := catalog.current().complaint("teacher", name):
                yield complaint


def read_members(options: EnsembleOptions, place: str, folder: Path, environment: Environment) -> tuple[Choice, ...]:
    """The members as checked choices.

    Raises:
        RecipeErrors: every problem with one of them.
    """
    from armada_cli.recipe.nested import read_nested

    found = catalog.current()
    return tuple(
        read_nested(value, "teacher", f"ensemble.{number}", place, folder, found, environment)
        for number, value in enumerate(options.members())
    )


class Ensemble(Teacher):
    """The members' vectors side by side, [n, sum of widths], as they are before reduction. For use outside of recipes; a run
    asks each member by itself."""

    def __init__(self, options: EnsembleOptions, environment: Environment) -> None:
        super().__init__(options, environment)
        choices = read_members(options, "ensemble", Path(), environment)
        self.teachers: list[Teacher] = [item.registered.component.load()(item.options, environment) for item in choices]

    def represent(self, inputs: Sequence[TeacherInput]) -> np.ndarray:
        import numpy as np

        parts = []
        for teacher in self.teachers:
            size = teacher.batch_size
            found = [teacher.represent(inputs[start : start + size]) for start in range(0, len(inputs), size)]
            if not found:
                raise UserError("an ensemble was asked for no text at all")
            parts.append(np.concatenate(found))
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
