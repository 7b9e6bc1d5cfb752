"""A recipe -> trials (student x task x method x teacher x seed), each known by what its scores depend on.

A trial's id is the hash of its identity: the undistilled student of one recipe is the same trial in the next. Planning
imports nothing heavy, so `armada check` can do it.
"""

from __future__ import annotations

import dataclasses
import functools
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armada_cli import catalog as catalogs
from armada_cli.contracts import CONTRACT_VERSION, Environment, Split, fingerprint
from armada_cli.features.store import identity_key, teacher_identity
from armada_cli.recipe.model import Choice, Recipe
from armada_cli.recipe.nested import read_nested
from armada_cli.settings import Features, Train

ALIGNER_SETTINGS = ("aligner_lr", "aligner_epochs")
"""Training settings that a method without an aligner does not see, and whose values must not split its trials."""


@dataclass(frozen=True)
class FeatureJob:
    """The representations one teacher makes of one task's training split."""

    key: str
    teacher: Choice
    task: Choice
    limit: Mapping[str, int]
    features: Features
    identity: Mapping[str, Any]

    @property
    def identity_key(self) -> str:
        return identity_key(self.identity)

    def split(self, environment: Environment) -> Split:
        """The rows of the training split that this job is about; loads the task."""
        task = self.task.registered.component.load()(self.task.options, environment)
        return task.split("train").limited(self.limit.get("train"), "train")


@dataclass(frozen=True)
class Trial:
    """One training: its identity (hashed into the id), how to build it, and how the report names it."""

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

    @property
    def title(self) -> str:
        return f"{self.task.title} · {self.method.title} · seed {self.seed}"

    def spec(self) -> dict[str, Any]:
        """Everything a worker needs, as plain JSON (spec.json). `features`, the key of the prepared features, is filled in
        when they are there."""
        return {
            "id": self.id,
            "identity": self.identity,
            "build": self.build,
            "train": dict(self.train),
            "limit": dict(self.limit),
            "seed": self.seed,
            "features": None,
            "depends": dict(self.depends),
            "title": self.title,
        }


@dataclass
class Plan:
    """All trials of a recipe in the order they can run: dependencies first."""

    recipe: Recipe
    trials: list[Trial] = field(default_factory=list)
    dependencies: list[Trial] = field(default_factory=list)
    feature_jobs: dict[str, FeatureJob] = field(default_factory=dict)
    _identities: dict[tuple[int, bool], tuple[Choice, dict[str, Any]]] = field(default_factory=dict, repr=False)

    @property
    def everything(self) -> list[Trial]:
        found = {trial.id: trial for trial in [*self.dependencies, *self.trials]}
        return list(found.values())

    @property
    def choices(self) -> list[Choice]:
        """Every component that the trials need, each once: the recipe's own, the students of trials that others depend on,
        and the manifold losses that methods name."""
        recipe = self.recipe
        found = [*recipe.students, *recipe.teachers, *recipe.tasks, *recipe.methods]
        found += [trial.student for trial in self.dependencies]
        for method in recipe.methods:
            loss = getattr(method.options, "manifold", None)
            name = loss.get("name") if isinstance(loss, Mapping) else loss
            if isinstance(name, str):
                registered = catalogs.current().find("loss", name)
                found.append(Choice(registered, registered.component.options, name))
        return found

    def identity(self, choice: Choice, environment: Environment, *, of_features: bool = False) -> dict[str, Any]:
        """A choice's identity, computed once: it hashes weights and data files, and every trial asks for it.

        Args:
            of_features: as the feature store knows a teacher, without the plugin's version.
        """
        key = (id(choice), of_features)
        if key not in self._identities:
            registered = choice.registered
            if of_features:
                identity = teacher_identity(registered, choice.options, environment)
            else:
                identity = {**registered.component.identity(choice.options, environment), "plugin": registered.origin}
            self._identities[key] = (choice, identity)  # the choice is kept, or another one could get its id
        return self._identities[key][1]


def make_plan(recipe: Recipe, environment: Environment) -> Plan:
    """Raises UserError where a method asks for a trial that cannot be built."""
    plan = Plan(recipe)
    known: dict[str, Trial] = {}
    for student in recipe.students:
        for task in recipe.tasks:
            for method in recipe.methods:
                for teacher in recipe.teachers if needs_teacher(method) else (None,):
                    for seed in recipe.seeds:
                        trial = _trial(plan, student, task, method, teacher, seed, environment)
                        if trial.id not in known:
                            known[trial.id] = trial
                            plan.trials.append(trial)
    planned = set(known)
    plan.dependencies = [trial for trial in plan.dependencies if trial.id not in planned]
    first = {trial_id for trial in plan.trials for trial_id in trial.depends.values()}
    plan.trials.sort(key=lambda trial: trial.id not in first)
    return plan


def needs_teacher(method: Choice) -> bool:
    return bool(getattr(method.options, "needs_teacher", False))


def _trial(
    plan: Plan, student: Choice, task: Choice, method: Choice, teacher: Choice | None, seed: int, environment: Environment
) -> Trial:
    recipe = plan.recipe
    limit = task.limit if task.limit is not None else recipe.limit
    train = resolve_train(recipe, student, task, method, environment)
    job = None
    if teacher is not None:
        job = _feature_job(plan, teacher, task, limit, environment)

    depends = {}
    wanted = method.options.dependencies() if hasattr(method.options, "dependencies") else {}
    for role, needed in wanted.items():
        other = _trial(
            plan,
            _student(needed["student"], role, method, recipe, environment),
            task,
            _undistilled(),
            None,
            int(needed.get("seed", 0)),
            environment,
        )
        if other.id not in {trial.id for trial in plan.dependencies}:
            plan.dependencies.append(other)
        depends[role] = other.id

    seen = dict(train)
    if teacher is None:
        for name in ALIGNER_SETTINGS:
            seen.pop(name, None)
    identity = {
        "contract": CONTRACT_VERSION,
        "student": plan.identity(student, environment),
        "task": {**plan.identity(task, environment), "limit": dict(limit)},
        "method": plan.identity(method, environment),
        "teacher": None if job is None else {"identity": job.identity, "features": dataclasses.asdict(job.features)},
        "train": seen,
        "seed": seed,
        "depends": depends,
    }
    build = {
        "student": _build(student),
        "task": _build(task),
        "method": _build(method),
        "teacher": None if teacher is None else _build(teacher),
    }
    return Trial(fingerprint(identity), identity, build, train, dict(limit), seed, job, depends, student, task, method, teacher)


def _feature_job(plan: Plan, teacher: Choice, task: Choice, limit: Mapping[str, int], environment: Environment) -> FeatureJob:
    identity = plan.identity(teacher, environment, of_features=True)
    train_limit = {"train": limit["train"]} if "train" in limit else {}
    key = fingerprint(
        {
            "teacher": identity,
            "task": plan.identity(task, environment),
            "limit": train_limit,
            "features": dataclasses.asdict(plan.recipe.features),
        }
    )
    return plan.feature_jobs.setdefault(key, FeatureJob(key, teacher, task, train_limit, plan.recipe.features, identity))


def resolve_train(recipe: Recipe, student: Choice, task: Choice, method: Choice, environment: Environment) -> dict[str, Any]:
    """Defaults, then what the student's, the task's and the method's cards would like, then what the recipe says: for all,
    for the task, for the method."""
    values = dataclasses.asdict(Train())
    for choice in (student, task, method):
        values.update(choice.registered.component.defaults)
    for given in (recipe.train, task.train, method.train):
        values.update(given)
    if values["precision"] == "auto":
        values["precision"] = "bf16" if multiplies_bf16(environment) else "float32"
    return values


def device_kind(environment: Environment) -> str:
    """``cuda``, ``mps`` or ``cpu``: where trials run. Looks at the machine, not at torch."""
    if environment.device != "auto":
        return environment.device.split(":")[0]
    return "cuda" if Path("/dev/nvidiactl").exists() else "cpu"


@functools.cache
def multiplies_bf16(environment: Environment) -> bool:
    """Whether bf16 products are faster than float32 here. A processor without bf16 instructions emulates them, hundreds of
    times slower; the flags tell."""
    kind = device_kind(environment)
    if kind != "cpu":
        return kind == "cuda"
    if platform.machine() in ("x86_64", "AMD64"):
        try:
            flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def _build(choice: Choice) -> dict[str, Any]:
    return {
        "distribution": choice.registered.distribution,
        "name": choice.name,
        "title": choice.title,
        "options": plain_options(choice.options),
    }


def plain_options(options: Any) -> dict[str, Any]:
    """An options instance as JSON has it."""
    return {item.name: _plain(getattr(options, item.name)) for item in dataclasses.fields(options)}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


@functools.cache
def _undistilled() -> Choice:
    registered = catalogs.current().find("method", f"{catalogs.OWN_DISTRIBUTION}:undistilled")
    return Choice(registered, registered.component.options(), "undistilled")


def _student(value: Any, role: str, method: Choice, recipe: Recipe, environment: Environment) -> Choice:
    """The student that a method names as the one it depends on."""
    folder = recipe.path.parent
    return read_nested(value, "student", f"{method.name}.{role}", method.place, folder, catalogs.current(), environment)
