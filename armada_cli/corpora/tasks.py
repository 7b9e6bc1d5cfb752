"""What tasks share: those whose options name the metrics, and of them those over a published dataset."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from armada_cli.content import content_fingerprint
from armada_cli.contracts import JSON, Environment, Split, Task, option
from armada_cli.corpora.rows import fetched, mirror_file, rows, source, where, write_rows
from armada_cli.errors import UserError
from armada_cli.evaluation import metrics

HIDDEN_LABEL = -1
"""The label of every row of a split whose answers a benchmark does not publish."""


def require_split(name: str) -> None:
    """Raises: ValueError, for a name that no split has."""
    if name not in ("train", "validation"):
        raise ValueError(f"a task has the splits 'train' and 'validation', not {name!r}")


def is_held_out(digest: bytes, share: float) -> bool:
    """Whether a row with this hash is among the share of rows that is kept for validation."""
    return int.from_bytes(digest[:8], "big") < share * 2**64


class MeasuredOptions:
    """Options of a task that name its metrics. A subclass has `metrics`: what `score` returns, the main one first.

    Attributes:
        published: the column of the paper's tables that this task is; empty for none. group: the tables' group.
    """

    published: ClassVar[str] = ""
    group: ClassVar[str] = "own"

    @property
    def main_metric(self) -> str:
        """The metric that tables show."""
        names: tuple[str, ...] = self.metrics  # type: ignore[attr-defined]
        return names[0]


class MeasuredTask(Task):
    """A task whose options have `metrics` and a `main_metric`.

    Attributes:
        notes: lines that the user should see though nothing is wrong enough to stop; filled as splits are read.
    """

    def __init__(self, options: Any, environment: Environment) -> None:
        super().__init__(options, environment)
        self.notes: list[str] = []

    @property
    def metric(self) -> str:
        """The main metric, as the options name it."""
        return str(self.options.main_metric)

    def score(self, outputs: Any, labels: Sequence[Any]) -> dict[str, float]:
        """The metrics that the options name; see `armada_cli.evaluation.metrics`."""
        return metrics.score(self.options.metrics, outputs, labels)


class GenerationTask(MeasuredTask):
    """A task whose answers are texts."""

    kind = "generation"

    def labels(self) -> tuple[str, ...]:
        """Generation has no classes."""
        return ()


class DividedTask(MeasuredTask):
    """A task that divides its rows into the two splits by itself. A subclass reads them, once, with `read`."""

    def __init__(self, options: Any, environment: Environment) -> None:
        super().__init__(options, environment)
        self._splits: dict[str, Split] = {}

    @abstractmethod
    def read(self) -> dict[str, Split]:
        """``train`` and ``validation``."""

    def split(self, name: str) -> Split:
        """``train`` or ``validation``, in the order of a hash, so that any first n rows are a fair sample.

        Raises:
            UserError: data that are missing or not as expected, or a split that is empty.
        """
        require_split(name)
        if not self._splits:
            self._splits = self.read()
        return self._splits[name]


@dataclass(frozen=True)
class HubOptions(MeasuredOptions):
    """Options of a task over a published dataset; a subclass names the dataset in class attributes.

    Attributes:
        dataset, config: the hub's names.
        fields: the columns of text, in the order the student reads them.
        classes: names of the classes in the order of their numbers; for regression the target's one name.
        bounds: for regression, the smallest and the largest label; None for class numbers.
        official: rows of ``train`` and ``validation`` as published, and the usual number of tokens of one input.
    """

    path: str | None = option(None, "A mirror of its own, laid out as --data; wins over --data", path=True, identity=False)
    revision: str | None = option(None, "Branch, tag or commit on the hub; a local mirror ignores it", identity=False)

    dataset: ClassVar[str]
    config: ClassVar[str | None] = None
    fields: ClassVar[tuple[str, ...]]
    classes: ClassVar[tuple[str, ...]]
    bounds: ClassVar[tuple[float, float] | None] = None
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    official: ClassVar[tuple[int, int, int] | None] = None

    def rows(self) -> dict[str, int]:
        """The published sizes, for an estimate before the data are there; empty where none are known."""
        return {} if self.official is None else dict(zip(("train", "validation", "tokens"), self.official, strict=True))

    def smoke_rows(self, name: str) -> list[dict[str, Any]]:
        """Rows of our own for ``train`` (16) or ``validation`` (8), with every class in both and no text in both. A subclass
        whose columns are not all free text lays its own on top."""
        from armada_cli.models.tiny import SENTENCES

        count, made = {"train": 16, "validation": 8}[name], []
        for number in range(count):
            row: dict[str, Any] = {}
            for place, column in enumerate(self.fields):
                text = SENTENCES[(number + 5 * place) % len(SENTENCES)]
                row[column] = text if name == "train" else f"{SENTENCES[(number + 7) % len(SENTENCES)]} {text}"
            if self.bounds is None:
                row["label"] = number % len(self.classes)
            else:
                low, high = self.bounds
                row["label"] = round(low + (high - low) * number / (count - 1), 3)
            made.append(row)
        return made

    def smoke(self, folder: Path) -> Self:
        """This task on the rows of `smoke_rows`, in a mirror below `folder`."""
        root = Path(folder) / "mirror"
        for name in ("train", "validation"):
            write_rows(root, self.dataset, self.config, self.split_name(name), self.smoke_rows(name))
        return replace(self, path=str(root))

    def split_name(self, name: str) -> str:
        """The hub's name of ``train`` or ``validation``."""
        return name

    def mirror(self, environment: Environment) -> Environment:
        """The environment with this task's own mirror, where it has one."""
        if self.path is None:
            return environment
        return replace(environment, data=Path(self.path))

    def sources(self, environment: Environment) -> dict[str, Path | None]:
        """The local file of each split, or None where the hub would be asked."""
        place = self.mirror(environment)
        return {name: source(place, self.dataset, self.config, self.split_name(name)) for name in ("train", "validation")}

    def problems(self, environment: Environment) -> Iterable[str]:
        """What is wrong with these options, for `armada check`."""
        if self.path is not None and not Path(self.path).is_dir():
            yield f"path: no folder {self.path!r}; it must hold {mirror_file(Path(), self.dataset, self.config, 'train')}"

    def identity(self, environment: Environment) -> dict[str, JSON]:
        """Content fingerprints of local files, or the hub's names: other rows, another trial."""
        data: dict[str, JSON] = {}
        for name, path in self.sources(environment).items():
            if path is not None:
                data[name] = content_fingerprint(path)
            else:
                split = self.split_name(name)
                data[name] = {"hub": self.dataset, "config": self.config, "split": split, "revision": self.revision}
        return {"data": data}

    def downloads(self, environment: Environment) -> Iterable[str]:
        """The dataset, when a split is neither in a mirror nor in the cache."""
        missing = [self.split_name(name) for name, path in self.sources(environment).items() if path is None]
        if missing and not fetched(self.dataset, self.config):
            yield f"dataset {self.dataset}" + (f" ({self.config})" if self.config else "") + f": {', '.join(missing)}"


class HubTask(MeasuredTask):
    """A task whose rows come from `rows`. A subclass gives another reading of a row where it needs one."""

    options: HubOptions

    def __init__(self, options: HubOptions, environment: Environment) -> None:
        super().__init__(options, environment)
        if options.bounds is not None:
            self.kind = "regression"

    def texts(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """What the student reads of one row."""
        return tuple(row[name] for name in self.options.fields)

    def teacher_text(self, row: Mapping[str, Any]) -> str:
        """What the teacher is shown of one row: the text fields joined by a space."""
        return " ".join(row[name] for name in self.options.fields)

    def split(self, name: str) -> Split:
        """``train`` or ``validation``, in the order of the dataset.

        Raises:
            UserError: rows that are not there, or a row with a field or label that cannot be used (``file:line``).
        """
        require_split(name)
        options = self.options
        place = options.mirror(self.environment)
        hub_split = options.split_name(name)
        table = rows(
            place,
            options.dataset,
            options.config,
            hub_split,
            columns=(*options.fields, "label"),
            revision=options.revision,
        )
        labels = []
        for number, row in enumerate(table):
            fault = self.fault(row)
            if fault:
                raise UserError(f"{where(place, options.dataset, options.config, hub_split, number)}: {fault[0]}", fault[1])
            labels.append(int(row["label"]) if options.bounds is None else float(row["label"]))
        return Split([self.texts(row) for row in table], labels, [self.teacher_text(row) for row in table])

    def labels(self) -> tuple[str, ...]:
        """Names of the classes in the order of their numbers, or the target's name."""
        return self.options.classes

    def fault(self, row: Mapping[str, Any]) -> tuple[str, str] | None:
        """Why a row cannot be used and what to do, or None. A subclass may know more reasons."""
        for name in self.options.fields:
            if not isinstance(row[name], str):
                return f"column {name!r} holds {row[name]!r}, not a text", "Copy the dataset again"
        return self._label_fault(row["label"])

    def _label_fault(self, label: Any) -> tuple[str, str] | None:
        bounds = self.options.bounds
        if label == HIDDEN_LABEL:
            return "the label is -1: the benchmark hides it, as in its test split", "Use the training or validation split"
        if bounds is not None:
            number = isinstance(label, (int, float)) and not isinstance(label, bool) and math.isfinite(label)
            if not number or not bounds[0] <= label <= bounds[1]:
                return f"column 'label' holds {label!r}, not a number from {bounds[0]} to {bounds[1]}", "Copy the dataset again"
            return None
        last = len(self.options.classes) - 1
        if not isinstance(label, (int, bool)) or not 0 <= label <= last:
            return f"column 'label' holds {label!r}, not a class number from 0 to {last}", "Copy the dataset again"
        return None
