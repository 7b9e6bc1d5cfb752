"""Rows of published datasets, from a local mirror or from the hub, and what every task over such rows shares.

A mirror is a folder laid out as the hub names things, one JSON object a line, with the hub's columns and label numbers::

    DIR/nyu-mll/glue/cola/train.jsonl           owner/name/config/split.jsonl
    DIR/MiniLLM/dolly/test.jsonl                owner/name/split.jsonl, for a dataset without configurations

A file of the mirror is read with plain `json`, so that `armada check` can count its rows without importing numpy. Without
such a file the rows come through `datasets.load_dataset`.
"""

from __future__ import annotations

import codecs
import json
import logging
import math
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any, ClassVar, Self

from armada_cli.content import content_fingerprint
from armada_cli.contracts import JSON, Environment, Split, Task, option
from armada_cli.errors import UserError, name_error
from armada_cli.models.hub import cache_home
from armada_cli.reading import open_file, parse_json, read_bytes

HIDDEN_LABEL = -1
"""What the hub writes where a benchmark keeps its answers to itself."""


def source(environment: Environment, dataset: str, config: str | None, split: str) -> Path | None:
    """The mirror's file for one split, or None when there is none: ``<data>/owner/name/config/split.jsonl``, else (for a
    dataset without configurations) ``<data>/owner/name/split.jsonl``."""
    if environment.data is None:
        return None
    path = _place(environment.data, dataset, config, split)
    return path if path.is_file() else None


def rows(
    environment: Environment,
    dataset: str,
    config: str | None,
    split: str,
    *,
    columns: Iterable[str] = (),
    revision: str | None = None,
) -> list[dict[str, Any]]:
    """Every row of one split, as the hub's own columns. Nothing is remembered between two calls.

    Args:
        dataset: the hub's name, ``owner/name``; config: its configuration, or None.
        columns: names that every row must have.
        revision: the hub's branch, tag or commit; the mirror ignores it.

    Raises:
        UserError: the file is damaged or lacks a column (``file:line``), or there is no file and the hub cannot be
            reached, does not have the split, or may not be asked (``environment.offline``).
    """
    wanted = tuple(columns)
    path = source(environment, dataset, config, split)
    if path is None:
        found = _from_hub(environment, dataset, config, split, revision)
        _check_columns(_named(dataset, config, split), found[0], wanted)
        return found
    table = []
    for line, row in _lines(path):
        if any(name not in row for name in wanted):
            _check_columns(f"{path}:{line}", row, wanted)
        table.append(row)
    if not table:
        raise UserError(f"{path}: no row in it", f"Copy the {split} split of {dataset} there again, one JSON object a line")
    return table


def write_rows(root: Path, dataset: str, config: str | None, split: str, table: Iterable[Mapping[str, Any]]) -> Path:
    """Write one split into a mirror as `rows` reads it, in one step; returns the file.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    from armada_cli.files import write_atomic

    path = root / dataset / (config or "") / f"{split}.jsonl"
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table))
    return path


def where(environment: Environment, dataset: str, config: str | None, split: str, row: int) -> str:
    """The place of a row for an error message: ``file:line``, or the hub's name and the row's number from 1."""
    path = source(environment, dataset, config, split)
    if path is None:
        return f"{_named(dataset, config, split)}, row {row + 1}"
    for number, (line, _) in enumerate(_lines(path)):
        if number == row:
            return f"{path}:{line}"
    return str(path)


def fetched(dataset: str, config: str | None) -> bool:
    """Whether an earlier run has left the dataset in the cache of the `datasets` package. A look at a folder, no import."""
    cache = Path(os.environ.get("HF_DATASETS_CACHE", cache_home() / "datasets")).expanduser()
    return (cache / dataset.replace("/", "___") / (config or "default")).is_dir()


def _place(root: Path, dataset: str, config: str | None, split: str) -> Path:
    """Raises:
    UserError: a name would lead out of the mirror.
    """
    for name in (split if config is None else config, split):  # the name of the dataset is no option
        if not is_file_name(name):
            hint = "Name it as the hub does; a mirror of your own is named with `path:`, or with --data"
            raise UserError(f"{_named(dataset, config, split)}: {name!r} is no name of a file in a mirror", hint)
    folder = root / dataset
    if config is not None and ((folder / config).is_dir() or not (folder / f"{split}.jsonl").is_file()):
        folder = folder / config
    return folder / f"{split}.jsonl"


def is_file_name(name: str) -> bool:
    """Whether a name stands for one file or folder, of which it is known where it lies: no separator of any system, no drive,
    not ``.`` or ``..``."""
    path = PureWindowsPath(name)  # knows the separators of all systems
    return path.parts == (name,) and not path.drive and name != ".." and "\0" not in name


def _named(dataset: str, config: str | None, split: str) -> str:
    return f"dataset {dataset}" + (f", config {config}" if config else "") + f", split {split}"


def encoding_fault(data: bytes) -> tuple[str, str] | None:
    """What is wrong and what to do about it, for the bytes of a text file that is UTF-16 (with or without a byte order mark),
    or that begins with two byte order marks; None for anything else. Without a mark, UTF-16 shows by every other byte of its
    beginning being zero, which holds for the markup and field names of any script's files."""
    if data.startswith(codecs.BOM_UTF8 * 2):
        return "the file begins with two byte order marks", "Save it again as UTF-8 without a byte order mark"
    begin = data[:200]
    zeros = max(begin[0::2].count(0), begin[1::2].count(0))
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or (len(begin) > 1 and zeros * 4 > len(begin)):
        return "the file is UTF-16, not UTF-8", "Save it as UTF-8"
    return None


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers from 1 and objects; blank lines are passed over."""
    again = "The file is damaged or no JSONL: copy it again"
    try:
        with open_file(path) as stream:
            for number, line in enumerate(stream, start=1):
                fault = encoding_fault(line) if number == 1 else None
                if fault:
                    raise UserError(f"{path}: {fault[0]}", fault[1])
                if not line.strip():
                    continue
                try:
                    row = parse_json(line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip())
                except UnicodeDecodeError as error:
                    raise UserError(f"{path}:{number}: byte 0x{line[error.start]:02x} is not UTF-8", again) from None
                except ValueError as error:
                    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                    raise UserError(f"{path}:{number}: not a JSON object ({reason})", again) from None
                if not isinstance(row, dict):
                    raise UserError(f"{path}:{number}: a JSON {_json_type(row)}, not an object", again)
                yield number, row
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", "Check the file and its permissions") from None


def _json_type(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _check_columns(place: str, row: Mapping[str, Any], wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in row]
    if missing:
        names = " and ".join(repr(name) for name in missing)
        there = ", ".join(repr(name) for name in row)
        raise UserError(f"{place}: no column {names}; there are {there}", "A mirror keeps the hub's own column names")


def _from_hub(
    environment: Environment, dataset: str, config: str | None, split: str, revision: str | None
) -> list[dict[str, Any]]:
    name = _named(dataset, config, split)
    root = environment.data if environment.data is not None else Path("DIR")
    file = _place(root, dataset, config, split)
    mirror = f"save it as {file}" if environment.data is not None else f"give --data DIR with {file} in it"
    if environment.offline and not fetched(dataset, config):
        raise UserError(
            f"{name} is not on this machine, and downloads are off", f"{mirror}, or go online (unset HF_HUB_OFFLINE)"
        )
    try:
        with _client(environment.offline) as client:
            table = client.load_dataset(dataset, config, split=split, revision=revision)
    except Exception as error:  # the hub's client raises a dozen unrelated types; all mean that the rows did not come
        hint = f"Go online, or {mirror}"
        if "script" in str(error).lower():
            # A dataset that is still a script is never executed; the hub keeps a converted copy beside it.
            hint = f"Try `revision: refs/convert/parquet`, or {mirror}"
        raise UserError(f"{name} could not be loaded ({name_error(error, 160)})", hint) from error
    found = [dict(row) for row in table]
    if not found:
        raise UserError(f"{name} has no rows", mirror)
    return found


@contextmanager
def _client(offline: bool) -> Iterator[Any]:
    """The `datasets` package, quiet about its retries (they would bury the one line that matters) and, when `offline`, held
    back from the network even where the process was started without HF_HUB_OFFLINE; all as before afterwards."""
    import datasets
    from huggingface_hub import constants

    chatter = [logging.getLogger("huggingface_hub"), logging.getLogger("datasets")]
    before = [logger.level for logger in chatter], datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    try:
        for logger in chatter:
            logger.setLevel(logging.ERROR)
        if offline:
            datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
        yield datasets
    finally:
        levels, datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
        for logger, level in zip(chatter, levels, strict=True):
            logger.setLevel(level)


# --------------------------------------------------------------------------------------------------- instruction data

PROMPT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)
"""The template of Alpaca, in which instruction data are asked; LLM-Adapters and MiniLLM use the same words."""

PROMPT_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
"""The same for an instruction with an input of its own."""


def instruction_prompt(instruction: str, text: str = "") -> str:
    """An instruction, and its input where there is one, in Alpaca's template."""
    # Not str.format: an instruction may hold braces.
    if text:
        return PROMPT_WITH_INPUT.replace("{input}", text, 1).replace("{instruction}", instruction, 1)
    return PROMPT.replace("{instruction}", instruction, 1)


def file_rows(path: Path, columns: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The rows of one file: a JSON array of objects (``.json``), or an object a line.

    Raises:
        UserError: the file cannot be read, is damaged, holds no row, or a row lacks one of `columns`.
    """
    wanted = tuple(columns)
    table = _array(path) if path.suffix == ".json" else [row for _, row in _lines(path)]
    if not table:
        raise UserError(f"{path}: no row in it", "Copy the file again")
    for number, row in enumerate(table):
        if any(name not in row for name in wanted):
            _check_columns(file_place(path, number), row, wanted)
    return table


def file_place(path: Path, row: int) -> str:
    """The place of a row (from 0) of `file_rows` for an error message: ``file:line``, or ``file, row 3`` of an array."""
    if path.suffix != ".json":
        for number, (line, _) in enumerate(_lines(path)):
            if number == row:
                return f"{path}:{line}"
    return f"{path}, row {row + 1}"


def _array(path: Path) -> list[dict[str, Any]]:
    again = "The file is damaged or no JSON array: copy it again"
    try:
        content = read_bytes(path)
        if fault := encoding_fault(content):
            raise UserError(f"{path}: {fault[0]}", fault[1])
        table = parse_json(content.decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", "Check the file and its permissions") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte 0x{error.object[error.start]:02x} at {error.start} is not UTF-8", again) from None
    except ValueError as error:
        reason = f"{error.msg}, line {error.lineno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise UserError(f"{path}: not JSON ({reason})", again) from None
    if not isinstance(table, list):
        raise UserError(f"{path}: a JSON {_json_type(table)}, not an array of objects", again)
    for number, row in enumerate(table):
        if not isinstance(row, dict):
            raise UserError(f"{path}, row {number + 1}: a JSON {_json_type(row)}, not an object", again)
    return table


# --------------------------------------------------------------------------------------- tasks over a published dataset


@dataclass(frozen=True)
class HubOptions:
    """Options of a task over a published dataset; a subclass names the dataset in class attributes.

    Attributes:
        dataset, config: the hub's names.
        fields: the columns of text, in the order the student reads them.
        classes: names of the classes in the order of their numbers; for regression the target's one name.
        bounds: for regression, the smallest and the largest label; None for class numbers.
        metrics: what `score` returns; the first is the main one.
        published: the column of the paper's tables that this task is; group: the tables' group.
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
    published: ClassVar[str] = ""
    group: ClassVar[str] = "own"
    official: ClassVar[tuple[int, int, int] | None] = None

    @property
    def main_metric(self) -> str:
        """The metric that tables show."""
        return self.metrics[0]

    def rows(self) -> dict[str, int]:
        """The published sizes, for an estimate before the data are there; empty where none are known."""
        return {} if self.official is None else dict(zip(("train", "validation", "tokens"), self.official, strict=True))

    def smoke_rows(self, name: str) -> list[dict[str, Any]]:
        """Rows of our own for ``train`` (16) or ``validation`` (8), with every class in both and no text in both. A subclass
        whose columns are not all free text lays its own on top."""
        from armada_cli.models.tiny import SENTENCES

        count, found = {"train": 16, "validation": 8}[name], []
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
            found.append(row)
        return found

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
            yield f"path: no folder {self.path!r}; it must hold {_place(Path(), self.dataset, self.config, 'train')}"

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


class HubTask(Task):
    """A task whose rows come from `rows`. A subclass gives `score`, and another reading of a row where it needs one."""

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
        if name not in ("train", "validation"):
            raise ValueError(f"a task has the splits 'train' and 'validation', not {name!r}")
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

    @property
    def metric(self) -> str:
        """The main metric."""
        return self.options.main_metric

    @abstractmethod
    def score(self, outputs: Any, labels: Sequence[Any]) -> dict[str, float]:
        """See `Task.score`."""

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
