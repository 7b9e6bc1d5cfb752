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
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from armada_cli.errors import MissingPackage

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

CONTRACT_VERSION = 1
"""Rises when a plugin written for the old contract would no longer work."""

KINDS = ("teacher", "student", "task", "loss", "method")
TASK_KINDS = ("classification", "regression", "multilabel", "multiple-choice", "generation")

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
    path: bool = False,
) -> Any:
    """Declare one field of an options dataclass.

    Args:
        default: value when the recipe is silent; without one the option is required.
        help: one sentence; `armada show` prints it.
        minimum, maximum: inclusive bounds; above, below: exclusive bounds.
        choices: the values allowed.
        identity: False for an option that cannot change any output (a batch size of a teacher, a device).
        path: the value is a file or folder; relative ones are resolved against the recipe's folder, and the *content*
            takes the place of the name in the component's identity.
    """
    metadata = {
        "help": help,
        "minimum": minimum,
        "maximum": maximum,
        "above": above,
        "below": below,
        "choices": tuple(choices) if choices is not None else None,
        "identity": identity,
        "path": path,
    }
    if isinstance(default, (list, dict, set)):
        raise TypeError("an option's default must be immutable; use a tuple")
    return field(default=default, metadata=metadata)


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
    """

    runs: Path = Path("runs")
    data: Path | None = None
    offline: bool = False
    device: str = "auto"
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)


# ----------------------------------------------------------------------------------------------------------- component


@dataclass(frozen=True)
class Component:
    """A card: all that is known of a component before its code is imported.

    Attributes:
        name: what a recipe calls it; lower-case words joined by hyphens.
        summary: one line for `armada list`.
        target: ``package.module:Class``, imported only when a trial needs it.
        options: a frozen dataclass whose fields were declared with `option()`. It may have these methods, all cheap:
            ``problems(environment) -> Iterable[str]`` (what is wrong with this combination of values),
            ``identity(environment) -> dict`` (added to the identity, e.g. a digest of a data file),
            ``downloads(environment) -> Iterable[str]`` (what still has to be fetched, for `armada check`),
            ``kind() -> str`` (for a task whose kind depends on its options).
        provides: for a teacher its modality (``image``, ``video``, ``audio``, ``text``, ``any``); for a student
            ``encoder`` or ``decoder``; for a task its kind (see `TASK_KINDS`); for a method the task kinds it can
            train; for a loss ``manifold``.
        requires: distributions that the code needs beyond armada's own, as ``name==version`` or ``name``. Their
            installed versions are part of the identity.
        extra: the extra of *armada-cli* that installs them; third parties leave it empty.
        defaults: training settings this component would like (``lr``, ``batch_size``, ``aligner_lr``, ...); the recipe's
            own win.
        revision: raised by the author when the same options give another output than before.
        light: the target imports nothing heavy, so that `armada check` may load a task to count its texts.
        requires_armada: the contract version it was written for.
    """

    name: str
    summary: str
    target: str
    options: type = NoOptions
    provides: frozenset[str] | set[str] = frozenset()
    requires: tuple[str, ...] = ()
    extra: str | None = None
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
            raise MissingPackage(self.name, missing, self.extra)
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def missing_packages(self) -> list[str]:
        """The entries of `requires` that are not installed, in their pinned form."""
        import importlib.metadata  # 25 ms of email parsing that `--help` does without

        missing = []
        for requirement in self.requires:
            try:
                importlib.metadata.version(_distribution_name(requirement))
            except importlib.metadata.PackageNotFoundError:
                missing.append(requirement)
        return missing

    def identity(self, options: Any, environment: Environment) -> dict[str, JSON]:
        """Everything about this component that can change an output: name, revision, options, package versions, and
        the content of the files that its options name."""
        import importlib.metadata

        values: dict[str, JSON] = {}
        for item in dataclasses.fields(options):
            if not item.metadata.get("identity", True):
                continue
            value = getattr(options, item.name)
            if item.metadata.get("path") and value:
                values[item.name] = content_fingerprint(Path(value))
            else:
                values[item.name] = _plain(value)
        versions = {}
        for requirement in self.requires:
            name = _distribution_name(requirement)
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                versions[name] = "missing"
        extra = options.identity(environment) if hasattr(options, "identity") else {}
        return {"name": self.name, "revision": self.revision, "options": values, "versions": versions, **extra}

    def kind(self, options: Any) -> str:
        """A task's kind: what its options say, else the one its card names."""
        if hasattr(options, "kind") and callable(options.kind):
            return str(options.kind())
        return next(iter(self.provides), "classification")


def _distribution_name(requirement: str) -> str:
    return re.split(r"[<>=!~\[ ;]", requirement, maxsplit=1)[0]


def _plain(value: Any) -> JSON:
    """A value as JSON has it, so that an identity survives a round trip through a file."""
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    return value


def content_fingerprint(path: Path) -> str:
    """SHA-256 of a file, or of a folder's file names and contents. A file over 64 MiB is known by its size, its first and
    its last MiB: enough to tell two checkpoints apart without reading gigabytes on every `armada check`."""
    if path.is_dir():
        digest = hashlib.sha256()
        for item in sorted(path.rglob("*")):
            if item.is_file() and not any(part.startswith(".") for part in item.relative_to(path).parts):
                digest.update(f"{item.relative_to(path).as_posix()}\0{content_fingerprint(item)}\n".encode())
        return "folder:" + digest.hexdigest()
    if not path.is_file():
        return "missing:" + path.name
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        if size <= 64 << 20:
            while block := stream.read(1 << 20):
                digest.update(block)
        else:
            digest.update(f"{size}\0".encode() + stream.read(1 << 20))
            stream.seek(-(1 << 20), os.SEEK_END)
            digest.update(stream.read())
    return "sha256:" + digest.hexdigest()


def canonical(value: JSON) -> str:
    """One spelling for one value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: JSON, length: int = 16) -> str:
    """The first `length` hexadecimal digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


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


# ---------------------------------------------------------------------------------------------------------------- task


@dataclass(frozen=True)
class Split:
    """One split of a task, as columns of equal length n.

    Attributes:
        texts: what the student reads. A single text ``(a,)``, a pair ``(a, b)``; for multiple choice the question
            followed by its choices, ``(question, choice_0, ..., choice_k-1)``.
        labels: class numbers (classification, multiple choice), floats (regression), or tuples of 0/1 (multi-label).
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
        if rows is None or rows >= len(self):
            return self
        return self.take(sorted(random.Random(f"armada limit {name}").sample(range(len(self)), rows)))


class Task(ABC):
    """Labelled text and how to score an answer to it."""

    def __init__(self, options: Any, environment: Environment) -> None:
        self.options = options
        self.environment = environment

    kind: str = "classification"
    """One of `TASK_KINDS`."""

    @abstractmethod
    def split(self, name: str) -> Split:
        """``train`` or ``validation``.

        Raises:
            UserError: data that is missing or wrong, with file, row and column.
        """

    @abstractmethod
    def labels(self) -> Sequence[str]:
        """Names of the classes, in the order of their numbers; for regression one name, the target's."""

    @abstractmethod
    def score(self, outputs: np.ndarray, labels: Sequence[Any]) -> dict[str, float]:
        """outputs: float [n, c], the student's logits (or the prediction, c = 1, for regression); labels: n as in `Split`.
        Returns metric name -> value in the unit of the published tables (percent); `metric` names the main one."""

    @property
    @abstractmethod
    def metric(self) -> str:
        """The main metric: a key of what `score` returns."""


# ------------------------------------------------------------------------------------------------------------- student


@dataclass(frozen=True)
class Problem:
    """What a student must know of a task to build itself: kind, number of outputs c, names of the classes."""

    kind: str
    outputs: int
    labels: tuple[str, ...]
    max_length: int = 128


@dataclass
class StudentOutput:
    """What one forward pass gives.

    Attributes:
        logits: o_s, [n, c].
        pooled: h'_s = F~_s(h_s), [n, d]; for multiple choice [n, choices, d].
        hidden_states: the layers' outputs [n, tokens, d], when they were asked for.
    """

    logits: Tensor
    pooled: Tensor
    hidden_states: tuple[Tensor, ...] | None = None


class Student(ABC):
    """A language model that is trained on a task, and saves itself as an ordinary transformers (or PEFT) folder."""

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


# ---------------------------------------------------------------------------------------------------------------- loss


class Loss(ABC):
    """A distance between two batches of manifold projections.

    Called with ``p_ts`` and ``p_s``, both [n, 768]; returns a scalar. Gradients flow to whatever was not detached.
    """

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
        labels: long [n] (classification, multiple choice), float [n] (regression) or float [n, c] (multi-label).
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
        student_outputs: role -> logits of the trial this method depends on, on the training split, [rows, c].
        steps: optimizer steps of the whole training; learning_rate: step -> the student's rate.
        device: where modules go.
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
        """What the method's own models answer on the training split, by role, each [rows, c]; scored for the report (paper,
        Table 6)."""
        return {}

    def auxiliary(self, output: StudentOutput) -> Tensor | None:
        """The student's auxiliary output o_aux_s, [n, c], for the evaluation (paper, Table 10)."""
        return None

    @abstractmethod
    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        """The student's objective on this batch. A method with modules of its own also computes their gradients here."""

    def after_step(self, step: int) -> None:
        """After the optimizer moved the student: the method's own optimizer steps, retraction of orthogonal maps."""
