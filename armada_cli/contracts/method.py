"""The contract of a method: an objective and its curriculum."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from armada_cli.contracts.choice import Choice
from armada_cli.contracts.loss import Loss
from armada_cli.contracts.student import Problem, Student, StudentOutput
from armada_cli.contracts.task import Decoding, Split
from armada_cli.contracts.tokens import TokenTargets, TopTokens

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Planned:
    """A trial that is being planned, as `dependencies` of a method's options class sees it.

    Attributes:
        student, task: what is trained on what; teacher: whose vectors it reads, or None.
        seed: the trial's seed; kind: the task's kind, one of `TASK_KINDS`.
        limit: rows of a split at most, by the split's name, as the recipe says.
        held_out: the share of the training rows that nothing may be trained on (the recipe's ``select_on``), or None.
    """

    student: Choice
    task: Choice
    teacher: Choice | None
    seed: int
    kind: str
    limit: Mapping[str, int] = field(default_factory=dict)
    held_out: float | None = None


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
        answers: let it answer the prompts of the training split, for `Method.training`; for generation tasks. True asks as the
            task is asked in its evaluation, a `Decoding` as that says (of its seeds the first).
        vocabulary: its tokens are compared with the trained student's, so both must have one vocabulary. Two that differ are
            refused at `armada check` where both can be told by their options (``vocabulary()``), else when the trial starts.
    """

    student: Choice
    method: Choice | str = "undistilled"
    task: Choice | None = None
    seed: int = 0
    epochs: bool = False
    answers: bool | Decoding = False
    vocabulary: bool = False


@dataclass(frozen=True)
class Term:
    """One addend of the objective: `weight * value` is added to the loss. `task` marks the task's own supervised term,
    against which the others' gradients at h'_s are compared. `inner` marks one of inner layers, which may reach the student
    without passing h'_s: that its pull there cannot be measured is no sign of a fault."""

    name: str
    weight: float
    value: Tensor
    task: bool = False
    inner: bool = False


class Model(ABC):
    """A student, its module, and the rows of the training split as this student reads them.

    Attributes:
        student: the plugin's student; module: what it built. The mode of the module (`train` or `eval`) is its owner's to set.
    """

    student: Student
    module: nn.Module

    @abstractmethod
    def inputs(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """What the module is given for training rows, padded, by its input names: ``input_ids`` [n, tokens], ..."""

    @abstractmethod
    def __call__(
        self,
        rows: Tensor | Sequence[int],
        *,
        hidden_states: bool = False,
        attentions: bool = False,
        tokens: bool = False,
        parameters: Mapping[str, Tensor] | None = None,
    ) -> StudentOutput:
        """One forward pass over rows of the training split, in the precision that the model is trained in.

        For regression the logits are standardised as the trial's labels are, also those of a finished student, which by itself
        answers in the user's unit.

        Args:
            rows: numbers of training rows, [n], on any device.
            hidden_states, attentions, tokens: see `StudentOutput`. Attentions need a method that says `Method.attentions`.
            parameters: name of a parameter of `module` -> the tensor to run with in its place
                (`torch.func.functional_call`); the others are the module's own. Attention is then computed by operations that
                have a second derivative, which torch's fast kernels lack: of such a pass one may take gradients with
                ``create_graph=True`` and differentiate what was made of them. The pass at the module's own parameters is
                ``parameters=dict(model.module.named_parameters())``.

        Raises:
            ValueError: attentions of a model that was not built for them; parameters for a model that computes its layers
                again in the backward pass (gradient checkpointing), where it would do so with its own parameters.
        """


@dataclass
class Batch:
    """One batch as a method sees it: of training rows, or of rows that are evaluated (`Method.before_forward`).

    Attributes:
        rows: numbers of the examples in the (limited) split, [n].
        labels: long [n] (classification, multiple choice), float [n] (regression: less the mean of the training rows' targets,
            over their standard deviation) or float [n, c] (multi-label); zeros for generation, whose loss the student computes.
        features: h_t, float [n, 128]; None for a method that needs no teacher, and in an evaluation unless the method's options
            say ``features_at_inference``.
        step: number of the optimizer step, from 0; -1 in an evaluation.
        share: part of the optimizer step that this (micro-)batch is; 1 without accumulation.
        mask: the student's attention mask [n, tokens], where it has one.
        inputs: what the student is given, by its input names (``input_ids`` [n, tokens], ...).
        split: ``train``, ``validation``, or ``selection`` for training rows that are held out to choose on.
    """

    rows: Tensor
    labels: Tensor
    features: Tensor | None
    step: int
    share: float = 1.0
    mask: Tensor | None = None
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    split: str = "train"


def _outside(*arguments: Any, **more: Any) -> NoReturn:
    raise RuntimeError("this method was set up outside of a trial, where there are no other models")


class _NoModel(Model):
    """Stands for the live student of a method that was set up outside of a trial."""

    def inputs(self, rows: Sequence[int]) -> NoReturn:
        _outside()

    def __call__(self, *arguments: Any, **more: Any) -> NoReturn:
        _outside()


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
        losses: builds a registered loss by the `Choice` of an option, a name, or a mapping with a name and options.
        stream: name -> integer seed of an independent random stream of this trial.
        steps: optimizer steps of the whole training; learning_rate: step -> the student's rate.
        device: where modules go.
        own_pooler: whether the student's pooled output went through a layer F~_s of its own.
        parts: widths of the teachers' parts of h_t where several are kept apart; empty for one teacher.
        gather: [n, ...] -> the rows of all processes that train together, for a term that is no mean over rows; the rows
            themselves where one process trains.
        student: the trial's own student, while it is trained. With several processes a pass through it is one of this process's
            rows, and what flows back of it in the loop's backward pass is averaged like the rest.
        finished: (role, epoch=None) -> the exported student of the trial that this one depends on under that role, frozen and
            in `eval` mode; with an epoch, from 1, the one that was kept after it (`Needs.epochs`). Made once for each pair.
        fresh: (choice, stream, start=None) -> a new student for this task, to be trained by the method (which hands its module
            out in `own_modules`): its head is drawn from the random stream of that name. The choice None is the trial's own
            student. `start` is the role of a finished trial whose weights it begins from; where that trial's task has other
            labels, its head is new.
        layers: (role) -> how many layers the finished student of a role has, its embeddings not counted; epochs: (role) -> how
            many it was trained.
        cached: (role, what, epoch=None) -> values on the CPU, mapped from a file: what the finished student of a role, or its
            student of an epoch, gives for every training row, in `eval` mode and in the precision of its weights. Computed
            once for all methods and seeds, and kept in float32.
            ``logits`` [rows, c] (for regression standardised as the labels are), ``pooled`` [rows, d], or states of layers
            [rows, k, d]: ``first:1,3`` the first token's, ``mean:1,3`` the mean over tokens; 0 is the embeddings, -1 the last
            layer, ``first:*`` all. ``first:1,3 float16`` keeps and gives them in half precision. For multiple choice there is a
            dimension of choices behind the rows.
        cached_tokens: (role, `TopTokens`) -> a function: numbers of training rows -> the distributions over the vocabulary that
            the finished student of a role has at the tokens of their responses, `TokenTargets` on the CPU. Computed once for
            all methods and seeds, as `cached`. Both students must have one vocabulary.

    In a test that sets a method up by hand the last seven may be left out; asking for them raises RuntimeError.
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
    steps: int
    learning_rate: Callable[[int], float]
    device: Any = "cpu"
    own_pooler: bool = True
    parts: tuple[int, ...] = ()
    gather: Callable[[Tensor], Tensor] = lambda rows: rows
    student: Model = field(default_factory=_NoModel)
    finished: Callable[..., Model] = _outside
    fresh: Callable[..., Model] = _outside
    layers: Callable[[str], int] = _outside
    epochs: Callable[[str], int] = _outside
    cached: Callable[..., Tensor] = _outside
    cached_tokens: Callable[[str, TopTokens], Callable[[Tensor], TokenTargets]] = _outside


class Method(ABC):
    """An objective and its curriculum; a baseline is a method.

    The loop owns the student, its optimizer, batches and checkpoints. A method may add modules that are trained with the
    student (`student_modules`), and modules that it optimises itself (`own_modules`, `optimizers`): all are checkpointed.
    The options class says what a method needs before anything is imported, by class attributes or by methods without arguments
    that give a bool:

    - ``needs_teacher``: it reads a teacher's vectors.
    - ``reads_features = False``, beside it: not its own trial does, but one that it depends on.
    - ``features_at_inference``, beside it: its `inference_modules` read them too. The teacher is then asked about the
      validation rows as well; their vectors are reduced and standardised with the training rows' statistics.

    ``dependencies(trial) -> dict[role, Needs]`` names trials that must be finished first. ``controls``, a tuple, says whether
    what they know may be taken away: ``shuffled``, where a row is given another row's outputs, and ``noise``, for methods that
    look at `Setup.cached` alone. With ``needs_teacher`` both may be asked for without saying so. Texts, and distributions over
    a vocabulary, cannot be drawn as noise, nor a model that is asked live: where ``reads`` or `Needs.answers` says so, such a
    control is refused when the trial is planned. What else can be told of a trial by then, ``check(trial)`` tells.
    """

    hidden_states: bool = False
    """Whether `terms` looks at the layers' outputs."""

    attentions: bool = False
    """Whether `terms` looks at attention weights. A class attribute: students are then built with an attention that can show
    them (`Problem.attentions`), finished and fresh ones too, and ``output.attentions`` is there."""

    tokens: bool = False
    """Whether `terms` looks at what is said to each token of the responses: ``output.tokens`` is then there. For generation; a
    method that trains other kinds too, or looks at it with some options only, sets it on itself when it is made."""

    student_side: frozenset[str] = frozenset()
    """Which of `own_modules` belong to the student, as its projection does; the report counts the others as the teacher's."""

    def __init__(self, options: Any, setup: Setup) -> None:
        self.options = options
        self.setup = setup

    @classmethod
    def training(cls, options: Any, split: Split, answers: Mapping[str, Sequence[str]]) -> Split:
        """The training split that the student learns from; the task's own unless a method says otherwise.

        Args:
            split: the task's training split, after `limit`.
            answers: role of a dependency with ``Needs(answers=True)`` -> what its student answered to the prompts of `split`,
                one text a row, in their order.

        Returns a split of as many rows where the method reads a teacher's vectors, which belong to the rows.
        """
        return split

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

    def inference_modules(self) -> dict[str, nn.Module]:
        """Modules that the student needs for its answers, beside its own weights; they are trained as `student_modules` or
        `own_modules`. They are written into the student's folder (``inference.safetensors``, keys ``name/parameter``), and the
        result says that such a student needs armada to be loaded, and the teacher where they read its vectors. In evaluations
        they are in `eval` mode, and `before_forward` is called."""
        return {}

    def kept_modules(self) -> dict[str, nn.Module]:
        """Which of these modules are kept beside the student's weights, for later analyses: small ones. Those of
        `student_modules` and of `student_side` are written into ``heads.safetensors`` (keys ``name/parameter``), another into
        a file of its name. Unless a method says otherwise the heads are kept; `inference_modules` are a part of the student."""
        inside = list(self.inference_modules().values())
        return {name: head for name, head in self.student_modules().items() if not any(head is item for item in inside)}

    def prepare(self) -> None:
        """Before the first step: pre-training."""

    def before_forward(self, batch: Batch) -> None:
        """Before the student reads a (micro-)batch. For modules that act inside the student, through hooks on
        ``setup.student.module``, and need to know which rows it is about to read.

        In an evaluation it is called for methods with `inference_modules` alone, with the numbers of the rows in the split that
        is evaluated (`Batch.split`); with features where the options say ``features_at_inference``."""

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

    def representations(self, batch: Batch, output: StudentOutput) -> dict[str, Tensor]:
        """What an analysis may look at beside the student's own output, by name, each [n, d]: projections of the student and of
        the teacher, say."""
        return {}

    @abstractmethod
    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        """The student's objective on this batch. A method with modules of its own also computes their gradients here."""

    def after_step(self, step: int) -> None:
        """After the optimizer moved the student: the method's own optimizer steps, retraction of orthogonal maps."""
