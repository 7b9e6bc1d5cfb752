"""PKD: the teacher's soft labels, and the first token's states of its inner layers (Sun et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from armada_cli.contracts import Batch, Component, Environment, Method, Planned, Setup, StudentOutput, Term, TopTokens, option
from armada_cli.errors import UserError
from armada_cli.methods.kinds import WITH_LOGITS
from armada_cli.methods.text_teacher import (
    SoftLabelOptions,
    StateTeacherOptions,
    depth_of,
    first_tokens,
    size_of,
    states_of_one_row,
)

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class PKDOptions(SoftLabelOptions, StateTeacherOptions):
    strategy: str = option(
        "skip",
        "Which layers of the teacher: every so many-th, or the last ones; its top layer is left out",
        choices=("skip", "last"),
    )
    layers: tuple[int, ...] | None = option(
        None, "The teacher's layers by number, 1 its first, one for each of the student's but its top one; null: by strategy"
    )
    beta: float = option(100.0, "Weight of the layers' term", minimum=0)
    normalize: bool = option(True, "Compare states of length 1")
    projection: str = option(
        "auto",
        "A learned linear map from the student's states to the teacher's width: auto where the widths differ, none, linear",
        choices=("auto", "none", "linear"),
    )

    def reads(self, trial: Planned) -> dict[str, tuple[str | TopTokens, ...]]:
        """Layers that cannot be counted before the models are here are all of them."""
        deep, shallow = depth_of(self.teacher), depth_of(trial.student)
        layers = self.layers
        if layers is None and deep is not None and shallow is not None and 2 <= shallow <= deep:
            layers = tuple(match_layers(deep, shallow, self.strategy))
        return {"teacher": ("logits", self.states(f"first:{','.join(map(str, layers))}" if layers else "first:*"))}

    def check(self, trial: Planned) -> None:
        deep, shallow = depth_of(self.teacher), depth_of(trial.student)
        if deep is not None and shallow is not None:
            choose_layers(self, deep, shallow)
        wide, narrow = size_of(self.teacher, "hidden"), size_of(trial.student, "hidden")
        if wide is not None and narrow is not None:
            needs_projection(self, wide, narrow)

    def problems(self, environment: Environment) -> Iterable[str]:
        if self.layers is not None and (not self.layers or min(self.layers) < 1):
            yield f"layers: {list(self.layers)} are no layers of a teacher; number them from 1"


def match_layers(teacher: int, student: int, strategy: str) -> list[int]:
    """The teacher's layer for each of the student's layers 1 to `student` - 1, by numbers from 1.

    Of 12 for 6 skip gives 2, 4, 6, 8, 10, and last 7 to 11; the paper's other pair, 24 for 6, skips to 4, 8, 12, 16, 20.

    Raises:
        UserError: the teacher has fewer layers, or the student a single one.
    """
    if student < 2:
        raise UserError(
            "method 'pkd' compares layers below the top one, and the student has a single layer", "Take a deeper student"
        )
    if teacher < student:
        raise UserError(
            f"method 'pkd' cannot choose among {teacher} layers of the teacher for a student of {student}",
            "Take a deeper teacher, or name its layers: `layers: [1, 1, 2]`",
        )
    if strategy == "last":
        return [teacher - student + layer for layer in range(1, student)]
    return [layer * teacher // student for layer in range(1, student)]


def choose_layers(options: PKDOptions, teacher: int, student: int) -> list[int]:
    """The layers of a teacher of so many that those of a student are compared with: by name, or by strategy.

    Raises:
        UserError: they are not one for each of the student's layers but its top one, or the teacher does not have them.
    """
    if options.layers is None:
        return match_layers(teacher, student, options.strategy)
    layers = list(options.layers)
    if len(layers) != student - 1 or max(layers) > teacher:
        raise UserError(
            f"method 'pkd': layers {layers} are not {student - 1} layers of a teacher that has {teacher}",
            f"Name one for each of the student's layers 1 to {student - 1}",
        )
    return layers


def needs_projection(options: PKDOptions, teacher: int, student: int) -> bool:
    """Whether states of the student's width are mapped to the teacher's.

    Raises:
        UserError: the options forbid it, and the widths differ.
    """
    if options.projection == "none" and student != teacher:
        raise UserError(
            f"method 'pkd' cannot compare states of width {student} with a teacher's of width {teacher}",
            "Say `projection: auto`",
        )
    return options.projection == "linear" or (options.projection == "auto" and student != teacher)


def layers_distance(h_t: Tensor, h_s: Tensor, normalize: bool = True) -> Tensor:
    """The mean squared difference over examples, layers and width; each vector is scaled to length 1 first if `normalize`, and
    then it is 2 (1 - cos) / d on average. h_t, h_s: [n, k, d] -> scalar."""
    from torch.nn.functional import mse_loss
    from torch.nn.functional import normalize as to_length_one

    h_t, h_s = h_t.float(), h_s.float()
    return mse_loss(to_length_one(h_s, dim=-1), to_length_one(h_t, dim=-1)) if normalize else mse_loss(h_s, h_t)


def joined(states: Tensor) -> Tensor:
    """For multiple choice [n, choices, k, d] the choices' states one behind the other, [n, k, choices x d], as the authors'
    code for RACE has them: they are scaled together. Others stay as they are."""
    return states if states.ndim == 3 else states.transpose(1, 2).flatten(2)


class PKD(Method):
    """L = (1 - a) L_T(Y, z_s) + a T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + b MSE(h_t, h_s), h the first token's states of
    the matched layers.

    The third term, the layers and the choices' order follow the authors' code, read (intersun/PKD-for-BERT-Model-Compression);
    it divides the divergence by the number of classes too (`reduction: mean`), and casts the loss to half precision, which is
    left out. Alpha and temperature are `kd`'s by default, so that the two differ in one term; the code's records are mostly
    alpha .7, T 5 to 20, beta 100 of a grid of 10 to 1000, and it normalises on half of the tasks.

    Where the widths differ a linear map without bias, shared by the layers and trained with the student, takes the student's
    states to the teacher's width (ours: the paper's models have one width).
    """

    hidden_states = True

    def __init__(self, options: object, setup: Setup) -> None:
        super().__init__(options, setup)
        states = states_of_one_row(setup.student, "the student")
        depth = len(states) - 1
        self.student_layers = list(range(1, depth))
        self.teacher_layers = choose_layers(self.options, setup.layers("teacher"), depth)
        self.teacher_logits = setup.cached("teacher", "logits")
        states_kept = self.options.states(f"first:{','.join(map(str, self.teacher_layers))}")
        self.teacher_states = setup.cached("teacher", states_kept)
        self.projection = self._make_projection(states[-1].shape[-1], self.teacher_states.shape[-1])

    def _make_projection(self, own: int, wanted: int) -> nn.Linear | None:
        from torch import nn

        from armada_cli.training.seeds import drawn_from

        if not needs_projection(self.options, wanted, own):
            return None
        with drawn_from(self.setup.seed, "pkd projection"):
            return nn.Linear(own, wanted, bias=False).to(self.setup.device)

    def student_modules(self) -> dict[str, nn.Module]:
        return {} if self.projection is None else {"projection": self.projection}

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from armada_cli.training.objective import soft_labels, task_loss

        kind, options, rows = self.setup.problem.kind, self.options, batch.rows.cpu()
        z_t, h_t = (values[rows].to(output.logits.device) for values in (self.teacher_logits, self.teacher_states))
        h_s = first_tokens(output, self.student_layers)
        h_s = h_s if self.projection is None else self.projection(h_s)
        return [
            Term("task", 1 - options.alpha, task_loss(kind, output.logits, batch.labels), task=True),
            Term("soft labels", options.alpha, soft_labels(kind, z_t, output.logits, options.temperature, options.reduction)),
            Term("layers", options.beta, layers_distance(joined(h_t), joined(h_s), options.normalize), inner=True),
        ]

    def advice(self) -> dict[str, str]:
        return {
            "soft labels": "try a smaller alpha or temperature",
            "layers": f"try beta {{{self.options.beta} / ratio}}",
        }


CARD = Component(
    "pkd",
    "Soft labels and the first token's states of the teacher's inner layers",
    "armada_cli.methods.pkd:PKD",
    PKDOptions,
    WITH_LOGITS,
    reference="Sun et al. 2019, Patient Knowledge Distillation for BERT Model Compression",
    formula="(1 - alpha) L_T(y, z_s) + alpha T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + beta MSE(h_t / |h_t|, h_s / |h_s|)",
)
