"""SFTN: distillation from a teacher that was trained to be friendly to its student (Park et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass, fields

from armada_cli.contracts import Component, Needs, Planned
from armada_cli.methods.kd import KD
from armada_cli.methods.kinds import WITH_LOGITS
from armada_cli.methods.sftn_teacher import BranchOptions
from armada_cli.methods.text_teacher import SoftLabelOptions
from armada_cli.registry.choosing import choose


@dataclass(frozen=True)
class SFTNOptions(BranchOptions, SoftLabelOptions):
    def dependencies(self, trial: Planned) -> dict[str, Needs]:
        branches = {item.name: getattr(self, item.name) for item in fields(BranchOptions)}
        method = choose("method", "sftn-teacher", branch=trial.student, **branches)
        return {"teacher": Needs(self.teacher, method, seed=self.teacher_seed)}


class SFTN(KD):
    """L = (1 - a) L_T(y, z_s) + a T^2 KL(softmax(z_t / T) || softmax(z_s / T)), as `KD`, from a teacher that a trial of its own
    trained by `SFTNTeacher` with branches of this trial's student, and which all seeds share.

    Both stages are trained with the trial's settings; a teacher's own stand beside its name. The paper has several ways of
    distillation in the second stage; its temperature there (4) is from memory.

    Cost of a step against plain fine-tuning: 1; the first stage is told with `SFTNTeacher`.
    """


CARD = Component(
    "sftn",
    "Soft labels of a teacher that was trained with branches of this student",
    "armada_cli.methods.sftn:SFTN",
    SFTNOptions,
    WITH_LOGITS,
    reference="Park et al. 2021, Learning Student-Friendly Teacher Networks",
    formula="(1 - alpha) L_T(y, z_s) + alpha T^2 KL(softmax(z_t / T) || softmax(z_s / T)), z_t of an sftn-teacher",
)
