"""TAKD: the student learns from an assistant of a size between, which learned from the teacher (Mirzadeh et al. 2020)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from armada_cli.contracts import Batch, Choice, Component, Method, Needs, Planned, Setup, StudentOutput, Term, TopTokens, option
from armada_cli.errors import UserError
from armada_cli.methods.kinds import WITH_LOGITS
from armada_cli.methods.text_teacher import SoftLabelOptions, depth_of
from armada_cli.registry.choosing import choose


@dataclass(frozen=True)
class TAKDOptions(SoftLabelOptions):
    assistant: Choice | None = option(
        None,
        "The assistant, a student; null: the teacher with layers midway between its own and the student's",
        component="student",
    )
    assistant_alpha: float | None = option(
        None, "Weight of the teacher's soft labels in the assistant's training; null: alpha", minimum=0, maximum=1
    )
    assistant_temperature: float | None = option(None, "Temperature of the assistant's training; null: temperature", above=0)

    def dependencies(self, trial: Planned) -> dict[str, Needs]:
        taught = choose(
            "method",
            "kd",
            teacher=self.teacher,
            teacher_seed=self.teacher_seed,
            alpha=self.alpha if self.assistant_alpha is None else self.assistant_alpha,
            temperature=self.temperature if self.assistant_temperature is None else self.assistant_temperature,
            reduction=self.reduction,
        )
        assistant = self.assistant or shortened(self.teacher, trial.student)
        return {"assistant": Needs(assistant, taught, seed=self.teacher_seed)}

    def reads(self, trial: Planned) -> dict[str, tuple[str | TopTokens, ...]]:
        return {"assistant": ("logits",)}


def shortened(teacher: Choice, student: Choice) -> Choice:
    """The teacher with its first layers, as many as lie midway between its own and the student's, rounded up: 9 of 12 for a
    student of 6. A student that does not say how many it has counts as half of the teacher.

    Raises:
        UserError: the teacher does not say how many layers it has, or cannot be shortened.
    """
    deep, shallow = depth_of(teacher), depth_of(student)
    if deep is None or "layers" not in {item.name for item in dataclasses.fields(teacher.options)}:
        raise UserError(
            f"method 'takd' cannot shorten teacher {teacher.name!r}, whose layers are not known",
            "Name an assistant: `assistant: {name: encoder, model: ..., layers: 9}`",
        )
    layers = min(deep, (deep + (shallow or deep // 2) + 1) // 2)
    return dataclasses.replace(teacher, options=dataclasses.replace(teacher.options, layers=layers))


class TAKD(Method):
    """L = (1 - a) L_T(Y, z_s) + a T^2 KL(softmax(z_a / T) || softmax(z_s / T)), z_a the assistant's logits; the assistant was
    trained by the same loss from the teacher's. Each hop is a trial of its own, shared by all seeds of the student.

    The weights, temperatures and the loss are those of the authors' code, read, which divides the divergence by the number of
    classes too (`reduction: mean`). Their assistants are convolutional networks (110 to 20 to 8 layers); that one midway is
    right for 12 and 6 layers is our reading of the paper, which was not seen. Alpha and temperature are `kd`'s by default, so
    that the two differ in the assistant alone; the code searches alpha in .05 to 1 and T in 1, 2, 5, 10, 15, 20.
    """

    def __init__(self, options: object, setup: Setup) -> None:
        super().__init__(options, setup)
        self.assistant_logits = setup.cached("assistant", "logits")

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from armada_cli.training.objective import soft_labels, task_loss

        kind, options = self.setup.problem.kind, self.options
        z_a = self.assistant_logits[batch.rows.cpu()].to(output.logits.device)
        return [
            Term("task", 1 - options.alpha, task_loss(kind, output.logits, batch.labels), task=True),
            Term("soft labels", options.alpha, soft_labels(kind, z_a, output.logits, options.temperature, options.reduction)),
        ]

    def advice(self) -> dict[str, str]:
        return {"soft labels": "try a smaller alpha or temperature"}


CARD = Component(
    "takd",
    "Soft labels of an assistant between teacher and student, which learned from the teacher",
    "armada_cli.methods.takd:TAKD",
    TAKDOptions,
    WITH_LOGITS,
    reference="Mirzadeh et al. 2020, Improved Knowledge Distillation via Teacher Assistant",
    formula="(1 - alpha) L_T(y, z_s) + alpha T^2 KL(softmax(z_a / T) || softmax(z_s / T)), z_a of an assistant taught by kd",
)
