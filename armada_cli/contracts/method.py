"""The contract of a method: an objective and its curriculum."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from armada_cli.contracts.choice import Choice
from armada_cli.contracts.loss import Loss
from armada_cli.contracts.student import Problem, StudentOutput

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Planned:
    """A trial that is being planned, as `dependencies` of a method's options class sees it.

    Attributes:
        student, task: what is trained on what; teacher: whose vectors it reads, or None.
        seed: the trial's seed; kind: the task's kind, one of `TASK_KINDS`.
    """

    student: Choice
    task: Choice
    teacher: Choice | None
    seed: int
    kind: str


@dataclass(frozen=True)
class Needs:
    """A trial that must be finished before another one begins.

    Attributes:
        student: what it trains.
        method: how: a method with its options, or a name, which stands for the method with its defaults. A method that needs a
            teacher reads the vectors of the dependent trial's teacher.
        task: on what; None is the dependent trial's own task.
        seed: its seed, shared by all seeds of the dependent trial unless that passes its own on.
        epochs: keep the student of every epoch (`Setup.finished` with an epoch).
        answers: let it answer the prompts of the training split, for `Method.training`; for generation tasks.
    """

    student: Choice
    method: Choice | str = "undistilled"
    task: Choice | None = None
    seed: int = 0
    epochs: bool = False
    answers: bool = False


@dataclass(frozen=True)
class Term:
    """One addend of the objective: `weight * value` is added to the loss. `task` marks the task's own supervised term,
    against which the others' gradients at h'_s are compared."""

    name: str
    weight: float
    value: Tensor
    task: bool = False


@dataclass
class Batch:
    """One training batch as a method sees it.

    Attributes:
        rows: numbers of the examples in the (limited) training split, [n].
        labels: long [n] (classification, multiple choice), float [n] (regression: less the mean of the training rows' targets,
            over their standard deviation) or float [n, c] (multi-label); zeros for generation, whose loss the student computes.
        features: h_t, float [n, 128]; None for a method that needs no teacher.
        step: number of the optimizer step, from 0.
        share: part of the optimizer step that this (micro-)batch is; 1 without accumulation.
        mask: the student's attention mask [n, tokens], where it has one.
    """

    rows: Tensor
    labels: Tensor
    features: Tensor | None
    step: int
    share: float = 1.0
    mask: Tensor | None = None


@dataclass
class Setup:
    """What a method is built from.

    Attributes:
        problem: the task's kind and size.
        hidden: d, width of the student's pooled output.
        feature_width: width of h_t, or None.
        features: all h_t of the training split, float32 [rows, 128], after the recipe's `control`; None without a teacher.
        labels: labels of the training split, as in `Batch`.
        seed: the trial's seed.
        train: the resolved training settings.
        losses: builds a registered loss by its recipe value (name or mapping).
        stream: name -> integer seed of an independent random stream of this trial.
        student_outputs: role -> logits of the trial this method depends on, on the training split, [rows, c]; for regression
            standardised as the labels are.
        steps: optimizer steps of the whole training; learning_rate: step -> the student's rate.
        device: where modules go.
        own_pooler: whether the student's pooled output went through a layer F~_s of its own.
        parts: widths of the teachers' parts of h_t where several are kept apart; empty for one teacher.
        gather: [n, ...] -> the rows of all processes that train together, for a term that is no mean over rows; the rows
            themselves where one process trains.
    """

    problem: Problem
    hidden: int
    feature_width: int | None
    features: Tensor | None
    labels: Tensor
    seed: int
    train: Any
    losses: Callable[[Any], Loss]
    stream: Callable[[str], int]
    student_outputs: Callable[[str], Tensor]
    steps: int
    learning_rate: Callable[[int], float]
    device: Any = "cpu"
    own_pooler: bool = True
    parts: tuple[int, ...] = ()
    gather: Callable[[Tensor], Tensor] = lambda rows: rows


class Method(ABC):
    """An objective and its curriculum; a baseline is a method.

    The loop owns the student, its optimizer, batches and checkpoints. A method may add modules that are trained with the
    student (`student_modules`), and modules that it optimises itself (`own_modules`, `optimizers`): all are checkpointed.
    The options class says what a method needs before anything is imported: ``needs_teacher: ClassVar[bool]``, and
    ``dependencies() -> dict[role, {"student": ..., "seed": ...}]`` for trials that must be finished first.
    """

    hidden_states: bool = False
    """Whether `terms` looks at the layers' outputs."""

    def __init__(self, options: Any, setup: Setup) -> None:
        self.options = options
        self.setup = setup

    def student_modules(self) -> dict[str, nn.Module]:
        """Extra heads optimised together with the student, at its learning rate."""
        return {}

    def own_modules(self) -> dict[str, nn.Module]:
        """Modules the method optimises itself (a TS Aligner). Their gradients are averaged over processes before
        `after_step`."""
        return {}

    def optimizers(self) -> dict[str, Any]:
        """The method's own optimizers, by name, for checkpoints."""
        return {}

    def prepare(self) -> None:
        """Before the first step: pre-training."""

    def own_outputs(self) -> dict[str, Tensor]:
        """What the method's own models answer on the training split, by role, each [rows, c]. Scored for the report as the fit
        of the training rows, which is no measure of what they know: the paper's Table 6 is of the validation splits."""
        return {}

    def advice(self) -> Mapping[str, str]:
        """What to try when a term pulls on the student much harder than the task's own loss, by the term's name: words for the
        report, as in ``try beta {0.5 / ratio}``, where the host divides the number by how many times harder the term pulls."""
        return {}

    def auxiliary(self, output: StudentOutput) -> Tensor | None:
        """The student's auxiliary output o_aux_s, [n, c], for the evaluation (paper, Table 10)."""
        return None

    @abstractmethod
    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        """The student's objective on this batch. A method with modules of its own also computes their gradients here."""

    def after_step(self, step: int) -> None:
        """After the optimizer moved the student: the method's own optimizer steps, retraction of orthogonal maps."""
