"""RAIL-KD: intermediate layers of the teacher, drawn anew in every epoch (Haidar et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from armada_cli.contracts import Batch, Component, Environment, Method, Planned, Setup, StudentOutput, Term, TopTokens, option
from armada_cli.errors import UserError
from armada_cli.methods.kinds import WITH_LOGITS
from armada_cli.methods.text_teacher import REDUCTIONS, StateTeacherOptions, depth_of, mean_tokens, states_of_one_row

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class RailKDOptions(StateTeacherOptions):
    form: str = option(
        "linear",
        "linear: maps for each pair of layers; concat: all layers are joined and mapped once",
        choices=("linear", "concat"),
    )
    alpha: float = option(0.33, "Weight of the soft labels", minimum=0, maximum=1)
    beta: float = option(0.33, "Weight of the layers' term; the labels have what is left of 1", minimum=0, maximum=1)
    temperature: float = option(1.0, "Softens both distributions; the term is scaled by its square", above=0)
    reduction: str = option(
        "batchmean",
        "batchmean: the divergence per example; mean: divided by the number of classes too",
        choices=REDUCTIONS,
    )
    width: int = option(128, "Width that both sides are mapped to", minimum=1)
    distance: str = option("squared", "Of the mapped vectors: squared, or the plain norm", choices=("squared", "norm"))
    top: bool = option(True, "Draw among all of the teacher's layers for all of the student's; false: without both top layers")

    def problems(self, environment: Environment) -> Iterable[str]:
        if self.alpha + self.beta > 1:
            yield f"alpha and beta: {self.alpha} and {self.beta} are more than 1 together; the labels have what is left of 1"

    def check(self, trial: Planned) -> None:
        deep, shallow = depth_of(self.teacher), depth_of(trial.student)
        if deep is not None and shallow is not None:
            count_layers(self.top, deep, shallow)

    def reads(self, trial: Planned) -> dict[str, tuple[str | TopTokens, ...]]:
        return {"teacher": ("logits", self.states("mean:*"))}


def count_layers(top: bool, teacher: int, student: int) -> tuple[int, int]:
    """How many layers of a teacher of so many are drawn from, and how many of the student are matched.

    Raises:
        UserError: there are none to match, or fewer to draw from.
    """
    left_out = 0 if top else 1
    teacher, student = teacher - left_out, student - left_out
    if student < 1 or teacher < student:
        raise UserError(
            f"method 'rail-kd' cannot draw {student} layers of the teacher's {teacher}",
            "Take a deeper teacher" if student else "Say `top: true`",
        )
    return teacher, student


def draw_layers(teacher: int, count: int, seed: int) -> list[int]:
    """`count` different layers of 1 to `teacher`, in ascending order."""
    import torch

    chance = torch.Generator().manual_seed(seed)
    return sorted((torch.randperm(teacher, generator=chance)[:count] + 1).tolist())


def unit_distance(u_t: Tensor, u_s: Tensor, distance: str = "squared") -> Tensor:
    """The squared norm of the difference of two vectors of length 1, or the norm itself, the mean over all pairs: 0 for equal
    ones, 2 (or 1.41421) for orthogonal ones. u_t, u_s: [..., width] -> scalar."""
    from torch.nn.functional import normalize

    squares = (normalize(u_t.float(), dim=-1) - normalize(u_s.float(), dim=-1)).square().sum(-1)
    # A root has an infinite slope at 0, where both sides agree.
    return (squares if distance == "squared" else squares.clamp(min=1e-12).sqrt()).mean()


class RailKD(Method):
    """L = (1 - a - b) L_T(Y, z_s) + a T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + b mean_j ||u(h_t^j) - u(h_s^j)||^2, u a
    learned linear map to `width` numbers, scaled to length 1, and h the mean over the tokens of a layer's states.

    In each epoch as many of the teacher's layers as the student has are drawn without replacement and sorted; the j-th drawn
    one goes with the student's j-th. In the concat form the layers of each side are joined before one map. Padding is left out
    of the means. Of several choices each counts as an example.

    There is no official code, and the paper's method section was not seen: weights of a third each, the width, T and that top
    layers are drawn too are from summaries and a third party's code (series2/KD), which averages over padding as well and takes
    the unsquared norm (`distance: norm`). The maps of the teacher's side are trained with the student, and nothing keeps them
    from mapping every row alike; `representations` shows both sides' vectors.
    """

    hidden_states = True

    def __init__(self, options: object, setup: Setup) -> None:
        from torch import nn

        from armada_cli.training.seeds import drawn_from

        super().__init__(options, setup)
        states = states_of_one_row(setup.student, "the student")
        self.teacher_depth, matched = count_layers(self.options.top, setup.layers("teacher"), len(states) - 1)
        self.student_layers = list(range(1, matched + 1))
        self.teacher_logits = setup.cached("teacher", "logits")
        self.teacher_means = setup.cached("teacher", self.options.states("mean:*"))
        widths = {"teacher": self.teacher_means.shape[-1], "student": states[-1].shape[-1]}
        pairs = len(self.student_layers)
        maps, joined = (1, pairs) if self.options.form == "concat" else (pairs, 1)
        with drawn_from(setup.seed, "rail-kd maps"):
            self.maps = nn.ModuleDict(
                {
                    side: nn.ModuleList([nn.Linear(joined * width, self.options.width) for _ in range(maps)])
                    for side, width in widths.items()
                }
            ).to(setup.device)

    def student_modules(self) -> dict[str, nn.Module]:
        return {"maps": self.maps}

    def layers_of(self, step: int) -> list[int]:
        """The teacher's layers of a step's epoch, by numbers from 1."""
        epoch = step * self.setup.train.epochs // self.setup.steps
        return draw_layers(self.teacher_depth, len(self.student_layers), self.setup.stream(f"rail-kd layers of epoch {epoch}"))

    def mapped(self, side: str, means: Tensor) -> Tensor:
        """u before it is scaled: [..., layers, d] -> [..., maps, width]."""
        import torch

        if self.options.form == "concat":
            means = means.flatten(-2).unsqueeze(-2)
        parts = zip(self.maps[side].children(), means.unbind(-2), strict=True)
        return torch.stack([linear(part) for linear, part in parts], -2)

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from armada_cli.training.objective import soft_labels, task_loss

        kind, options, rows = self.setup.problem.kind, self.options, batch.rows.cpu()
        z_t = self.teacher_logits[rows].to(output.logits.device)
        h_t = self.teacher_means[rows][..., self.layers_of(batch.step), :].to(output.logits.device).float()
        u_t = self.mapped("teacher", h_t)
        u_s = self.mapped("student", mean_tokens(output, batch.mask, self.student_layers))
        return [
            Term("task", 1 - options.alpha - options.beta, task_loss(kind, output.logits, batch.labels), task=True),
            Term("soft labels", options.alpha, soft_labels(kind, z_t, output.logits, options.temperature, options.reduction)),
            Term("layers", options.beta, unit_distance(u_t, u_s, options.distance), inner=True),
        ]

    def representations(self, batch: Batch, output: StudentOutput) -> dict[str, Tensor]:
        """The first pair's mapped vectors; for multiple choice those of a row's choices joined."""
        h_t = self.teacher_means[batch.rows.cpu()][..., self.layers_of(max(batch.step, 0)), :].to(output.logits.device).float()
        u_s = self.mapped("student", mean_tokens(output, batch.mask, self.student_layers))
        shown = {"teacher": self.mapped("teacher", h_t), "student": u_s}
        return {side: mapped[..., 0, :].flatten(1) for side, mapped in shown.items()}

    def advice(self) -> dict[str, str]:
        return {
            "soft labels": "try a smaller alpha or temperature",
            "layers": f"try beta {{{self.options.beta} / ratio}}",
        }


CARD = Component(
    "rail-kd",
    "Soft labels, and means over tokens of the teacher's layers, drawn anew in every epoch",
    "armada_cli.methods.rail_kd:RailKD",
    RailKDOptions,
    WITH_LOGITS,
    reference="Haidar et al. 2022, RAIL-KD: RAndom Intermediate Layer Mapping for Knowledge Distillation",
    formula="(1 - alpha - beta) L_T(y, z_s) + alpha T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + beta |u(h_t) - u(h_s)|^2",
)
