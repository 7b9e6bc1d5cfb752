"""What a plan consists of: trials, the features they read, and all of them together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from armada_cli.contracts import Choice, Decoding, Environment, Split
from armada_cli.errors import UserError
from armada_cli.features.identity import identity_key, teacher_identity
from armada_cli.held_out import split_of, take_part
from armada_cli.recipe.model import Recipe
from armada_cli.recipe.values import literal, misfit
from armada_cli.settings import Features


@dataclass(frozen=True)
class FeatureJob:
    """The representations one teacher makes of one task's training split. An ensemble's are those of its `members`, each with
    a reduction of its own; `apart` tells an aligner each from one that reads them all.

    Attributes:
        rows: whose rows: ``train``, or for a student that reads vectors when it answers ``validation`` or ``selection``.
        fitted: for rows that are not trained on, the job whose reduction and statistics they are given.
        held_out: the share of the training rows that is held out.
    """

    key: str
    teacher: Choice
    task: Choice
    limit: Mapping[str, int]
    features: Features
    identity: Mapping[str, Any]
    members: tuple[FeatureJob, ...] = ()
    apart: bool = False
    rows: str = "train"
    fitted: FeatureJob | None = None
    held_out: float | None = None

    @property
    def each(self) -> tuple[FeatureJob, ...]:
        """Its members, or itself."""
        return self.members or (self,)

    @property
    def title(self) -> str:
        """Whose rows, for messages."""
        return self.task.title if self.rows == "train" else f"{self.task.title}, {self.rows} rows"

    @property
    def identity_key(self) -> str:
        return identity_key(self.identity)

    def split(self, environment: Environment) -> Split:
        """The rows that this job is about; loads the task."""
        task = self.task.registered.component.load()(self.task.options, environment)
        name = split_of(self.rows)
        return take_part(task.sample(name, self.limit.get(name)), self.rows, self.held_out)


@dataclass(frozen=True)
class Trial:
    """One training: its identity (hashed into the id), how to build it, and how the report names it.

    Attributes:
        keep: what others need of it beside its student, as ``epochs``; no part of its id.
        split: whose rows are scored, or prompts answered; decoding: how, where the task is not asked.
        seen: the vectors of the validation rows, for a student that reads them when it answers; selected: those of the rows
            that are held out.
        held_out: the share of the training rows that is held out, None for none.
    """

    id: str
    identity: Mapping[str, Any]
    build: Mapping[str, Any]
    train: Mapping[str, Any]
    limit: Mapping[str, int]
    seed: int
    features: FeatureJob | None
    depends: Mapping[str, str]
    student: Choice
    task: Choice
    method: Choice
    teacher: Choice | None
    evaluate: bool = True
    plugins: Mapping[str, Any] = field(default_factory=dict)
    keep: set[str] = field(default_factory=set)
    split: str = "validation"
    decoding: Decoding | None = None
    seen: FeatureJob | None = None
    selected: FeatureJob | None = None
    held_out: float | None = None

    @property
    def jobs(self) -> tuple[FeatureJob, ...]:
        """All vectors that it reads, those of the training rows first."""
        return tuple(part for job in (self.features, self.seen, self.selected) if job is not None for part in job.each)

    @property
    def title(self) -> str:
        what = "answers to the training prompts of " if self.split == "train" else "" if self.evaluate else "training on "
        return f"{what}{self.task.title} · {self.method.title} · seed {self.seed}"

    def spec(self) -> dict[str, Any]:
        """Everything a worker needs, as plain JSON (spec.json). `features`, `seen` and `selected`, the keys of the prepared
        features of the training, the validation and the held-out rows, are filled in when they are there."""
        return {
            "id": self.id,
            "identity": self.identity,
            "build": self.build,
            "train": dict(self.train),
            "limit": dict(self.limit),
            "seed": self.seed,
            "features": None,
            "seen": None,
            "control": self.method.features.get("control", "none"),
            "depends": dict(self.depends),
            "title": self.title,
            "evaluate": self.evaluate,
            "plugins": dict(self.plugins),
            "keep": sorted(self.keep),
            "split": self.split,
            **({} if self.decoding is None else {"decoding": dataclasses.asdict(self.decoding)}),
            **({"given": True} if self.student.given else {}),
            **({} if self.held_out is None else {"held_out": self.held_out}),
        }


@dataclass
class Plan:
    """All trials of a recipe in the order they can run: dependencies first. `resize` is what a smoke run does to the components
    that others name."""

    recipe: Recipe
    resize: Callable[[Choice], Choice] = lambda choice: choice
    environment: Environment = field(default_factory=Environment)
    trials: list[Trial] = field(default_factory=list)
    dependencies: list[Trial] = field(default_factory=list)
    feature_jobs: dict[str, FeatureJob] = field(default_factory=dict)
    _depended: set[str] = field(default_factory=set, repr=False)
    keep: dict[str, set[str]] = field(default_factory=dict)
    _identities: dict[tuple[int, bool, bool], tuple[Choice, dict[str, Any]]] = field(default_factory=dict, repr=False)
    _settled: dict[tuple[int, str], tuple[Choice, Choice]] = field(default_factory=dict, repr=False)

    @property
    def everything(self) -> list[Trial]:
        """All trials, each after those that it depends on."""
        known = {trial.id: trial for trial in [*self.dependencies, *self.trials]}
        ordered: dict[str, Trial] = {}

        def add(trial: Trial) -> None:
            for needed in trial.depends.values():
                if needed in known and needed not in ordered:
                    add(known[needed])
            ordered.setdefault(trial.id, trial)

        for trial in known.values():
            add(trial)
        return list(ordered.values())

    @property
    def choices(self) -> list[Choice]:
        """Every component that the trials need, each once: the recipe's own, those that their options name, and those of trials
        that others depend on."""
        recipe = self.recipe
        tops = [*recipe.students, *recipe.teachers, *recipe.tasks, *recipe.methods]
        tops += [choice for trial in self.dependencies for choice in (trial.student, trial.task, trial.method)]
        distinct: dict[tuple[str, str, str], Choice] = {}
        for choice in (part for top in tops for part in top.everything()):
            registered = choice.registered
            distinct.setdefault((registered.kind, f"{registered.distribution}:{choice.name}", repr(choice.options)), choice)
        return list(distinct.values())

    def settle(self, method: Choice, task: Choice) -> Choice:
        """The method with the task's suggestions for the options that it leaves open. One choice for equal values, since an
        identity is computed once a choice.

        Raises:
            UserError: what the task's card suggests is no value of the option, or the method refuses it.
        """
        suggested = task.registered.component.suggestions
        names = [item.name for item in dataclasses.fields(method.options) if item.init]
        taken = {key: suggested[key] for key in names if key in suggested and getattr(method.options, key) is None}
        if not taken:
            return method
        key = (id(method), repr(taken))
        if key not in self._settled:
            for name, value in taken.items():
                if reason := misfit(type(method.options), name, value):
                    raise UserError(
                        f"{method.place}: task {task.name!r} suggests {name}: {literal(value)} for method {method.name!r}, but "
                        f"{reason}",
                        "Write the option in the recipe",
                    )
            try:
                options = dataclasses.replace(method.options, **taken)
            except Exception as error:
                raise UserError(
                    f"{method.place}: method {method.name!r} refuses what task {task.name!r} suggests ({taken}): "
                    f"{' '.join(str(error).split())}",
                    "Write the option in the recipe",
                ) from error
            self._settled[key] = (method, dataclasses.replace(method, options=options))
        return self._settled[key][1]

    def identity(
        self, choice: Choice, environment: Environment, *, of_features: bool = False, training: bool = False
    ) -> dict[str, Any]:
        """A choice's identity, computed once: it hashes weights and data files, and every trial asks for it.

        Args:
            of_features: as the feature store knows a teacher, without the plugin's version.
            training: without what concerns evaluation alone.
        """
        key = (id(choice), of_features, training)
        if key not in self._identities:
            if of_features:
                identity = teacher_identity(choice.registered, choice.options, environment)
            else:
                identity = choice.identity(environment, training=training)
            self._identities[key] = (choice, identity)  # the choice is kept, or another one could get its id
        return self._identities[key][1]
