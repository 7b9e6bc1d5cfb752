"""Options that every method with a text teacher has: who it is, and how its own trial is seeded."""

from __future__ import annotations

from dataclasses import dataclass

from armada_cli.contracts import Choice, Needs, Planned, option

REDUCTIONS = ("batchmean", "mean")
"""How a divergence of two distributions is averaged: per example, or divided by the number of classes too."""


@dataclass(frozen=True)
class TextTeacherOptions:
    """The teacher is a finished trial of its own, trained once and shared by all methods and seeds."""

    teacher: Choice = option(
        "bert-base", "The text teacher: a student by name, or a mapping with its options", component="student"
    )
    teacher_seed: int = option(0, "Seed of the teacher's own trial; every seed of the student shares it", minimum=0)

    def dependencies(self, trial: Planned) -> dict[str, Needs]:
        return {"teacher": Needs(self.teacher, seed=self.teacher_seed)}
