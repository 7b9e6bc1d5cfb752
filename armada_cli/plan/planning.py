"""A recipe -> trials (student x task x method x teacher x seed), each known by what its scores depend on.

A trial's id is the hash of its identity: the undistilled student of one recipe is the same trial in the next. Planning
imports nothing heavy, so `armada check` can do it.
"""

from __future__ import annotations

import dataclasses
import functools
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armada_cli.contracts import CONTRACT_VERSION, Environment, Split, fingerprint
from armada_cli.ensemble import read_members
from armada_cli.errors import UserError
from armada_cli.features.store import identity_key, teacher_identity
from armada_cli.recipe.model import Choice, Recipe
from armada_cli.recipe.nested import read_nested
from armada_cli.registry import catalog as catalogs
from armada_cli.registry import local
from armada_cli.registry.registered import OWN_DISTRIBUTION
from armada_cli.runs import EVALUATED
from armada_cli.settings import Features, Train

MAX_TRIALS = 10_000
"""Of one recipe. Its lists are multiplied with each other, and five short ones make a thousand million."""

HOST_REVISION = 2
"""Part of every trial's id. Raised when the host itself begins to give other scores for the same options: in how it trains,
scores or measures. A component's own changes raise the `revision` of its card.

2: scores are taken in the precision that the student is saved in, and equal predictions are told from rounding noise.
"""

EVALUATION_SETTINGS = ("evaluation_batch", "evaluate", "select")
"""Training settings that say nothing of a training whose student is scored by other trials."""


@dataclass(frozen=True)
class FeatureJob:
    """The representations one teacher makes of one task's training split. An ensemble's are those of its `members`, each with
    a reduction of its own; `apart` tells an aligner each from one that reads them all."""

    key: str
    teacher: Choice
    task: Choice
    limit: Mapping[str, int]
    features: Features
    identity: Mapping[str, Any]
    members: tuple[FeatureJob, ...] = ()
    apart: bool = False

    @property
    def identity_key(self) -> str:
        return identity_key(self.identity)

    def split(self, environment: Environment) -> Split:
        """The rows of the training split that this job is about; loads the task."""
        task = self.task.registered.component.load()(self.task.options, environment)
        return task.sample("train", self.limit.get("train"))


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
    evaluate: bool = True
    plugins: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        what = "" if self.evaluate else "training on "
        return f"{what}{self.task.title} · {self.method.title} · seed {self.seed}"

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
            "evaluate": self.evaluate,
            "plugins": dict(self.plugins),
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
    _members: dict[int, tuple[Choice, tuple[Choice, ...]]] = field(default_factory=dict, repr=False)
    _identities: dict[tuple[int, bool, bool], tuple[Choice, dict[str, Any]]] = field(default_factory=dict, repr=False)
    _settled: dict[tuple[int, str], tuple[Choice, Choice]] = field(default_factory=dict, repr=False)

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
        found += [member for _, members in self._members.values() for member in members]
        found += [choice for trial in self.dependencies for choice in (trial.student, trial.task)]
        return [*found, *(loss for method in recipe.methods if (loss := manifold_loss(method, self.environment)))]

    def members(self, teacher: Choice, environment: Environment) -> tuple[Choice, ...]:
        """The members of an ensemble, read once."""
        if id(teacher) not in self._members:
            folder = self.recipe.path.parent
            members = read_members(teacher.options, teacher.place, folder, environment)
            self._members[id(teacher)] = (teacher, tuple(self.resize(member) for member in members))
        return self._members[id(teacher)][1]

    def settle(self, method: Choice, task: Choice) -> Choice:
        """The method with the task's suggestions for the options that it leaves open. One choice for equal values, since an
        identity is computed once a choice.

        Raises:
            UserError: the method refuses what the task's card suggests.
        """
        suggested = task.registered.component.suggestions
        names = [item.name for item in dataclasses.fields(method.options) if item.init]
        taken = {key: suggested[key] for key in names if key in suggested and getattr(method.options, key) is None}
        if not taken:
            return method
        key = (id(method), repr(taken))
        if key not in self._settled:
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
                identity = component_identity(choice, environment, training=training)
            self._identities[key] = (choice, identity)  # the choice is kept, or another one could get its id
        return self._identities[key][1]


def component_identity(choice: Choice, environment: Environment, *, training: bool = False) -> dict[str, Any]:
    """What a trial's id says of one of its components, computed from the files as they are now.

    Args:
        training: without what concerns evaluation alone.
    """
    registered = choice.registered
    own = registered.component.identity(choice.options, environment, training=training)
    identity = {**own, "options": local.anywhere(own["options"]), "plugin": registered.origin}
    if loss := manifold_loss(choice, environment):
        identity["manifold"] = component_identity(loss, environment)
    return identity


def make_plan(recipe: Recipe, environment: Environment, resize: Callable[[Choice], Choice] = lambda choice: choice) -> Plan:
    """Args:
        resize: applied to the components that others name (a text teacher, a member of an ensemble, the task a student is
            trained on); those of the recipe itself are the caller's to change.

    Raises:
        UserError: a method asks for a trial that cannot be built, or the recipe plans none at all, or more than `MAX_TRIALS`.
    """
    _check_count(recipe)
    plan = Plan(recipe, resize, environment)
    known: dict[str, Trial] = {}
    for student in recipe.students:
        for task in recipe.tasks:
            for method in recipe.methods:
                for teacher in recipe.teachers if method.needs_teacher else (None,):
                    for seed in recipe.seeds:
                        trial = _trial(plan, student, task, method, teacher, seed, environment)
                        if trial.id not in known:
                            known[trial.id] = trial
                            plan.trials.append(trial)
    if not plan.trials:
        empty = [what for what in ("students", "tasks", "methods", "seeds") if not getattr(recipe, what)]
        why = f"it has no {' and no '.join(empty)}" if empty else "every method needs a teacher, and it has none"
        raise UserError(f"{recipe.path}: the recipe plans no trial: {why}", "`armada check` shows what a recipe plans")
    planned = set(known)
    plan.dependencies = [trial for trial in plan.dependencies if trial.id not in planned]
    first = {trial_id for trial in plan.trials for trial_id in trial.depends.values()}
    plan.trials.sort(key=lambda trial: trial.id not in first)
    return plan


def _check_count(recipe: Recipe) -> None:
    """Counts before anything is unfolded."""
    rows = sum(len(recipe.teachers) if method.needs_teacher else 1 for method in recipe.methods)
    count = len(recipe.students) * len(recipe.tasks) * rows * len(recipe.seeds)
    if count > MAX_TRIALS:
        parts = {"students": recipe.students, "teachers": recipe.teachers, "tasks": recipe.tasks, "methods": recipe.methods}
        sizes = ", ".join(f"{len(items)} {name}" for name, items in (parts | {"seeds": recipe.seeds}).items() if len(items) > 1)
        hint = f"Shorten the longest of its lists and grids ({sizes}), or make several recipes of it"
        raise UserError(f"{recipe.path}: it asks for {count} trials, and {MAX_TRIALS} are the most", hint)


def manifold_loss(method: Choice, environment: Environment) -> Choice | None:
    """The loss that a method's option ``manifold`` names, or None. What is wrong with its options is said when it is made."""
    value = getattr(method.options, "manifold", None)
    given: dict[str, Any] = dict(value) if isinstance(value, Mapping) else {"name": value}
    if local.is_local(given):
        registered = local.load("loss", Path(given["file"]), given["class"], environment)
        name = registered.name
    else:
        name = given.pop("name", None)
        if not isinstance(name, str):
            return None
        registered = catalogs.current().find("loss", name)
    known = {item.name for item in dataclasses.fields(registered.component.options)}
    try:
        options = registered.component.options(**{key: item for key, item in given.items() if key in known})
    except Exception as error:
        raise UserError(f"{method.place}: loss {name!r} refuses its options: {' '.join(str(error).split())}") from error
    return Choice(registered, options, name)


def _trial(
    plan: Plan,
    student: Choice,
    task: Choice,
    method: Choice,
    teacher: Choice | None,
    seed: int,
    environment: Environment,
    *,
    training: bool = False,
) -> Trial:
    """Args:
    training: for a generation task, the training alone; otherwise a trial there scores what such a training gave.
    """
    recipe = plan.recipe
    limit = dict(task.limit if task.limit is not None else recipe.limit)
    if training:
        limit.pop("validation", None)
    train = resolve_train(recipe, student, task, method, environment)
    generates = task.registered.component.kind(task.options) == "generation"
    if generates and not training:
        base = _trained_on(plan, task, environment)
        return _evaluation(plan, student, task, base, method, teacher, seed, environment)
    method = plan.settle(method, task)
    job = None
    if teacher is not None:
        make = _ensemble_job if hasattr(teacher.options, "members") else _feature_job
        job = make(plan, teacher, task, limit, environment)

    depends = {}
    wanted = method.options.dependencies() if hasattr(method.options, "dependencies") else {}
    for role, needed in wanted.items():
        other = _trial(
            plan,
            plan.resize(_student(needed["student"], role, method, recipe, environment)),
            task,
            _undistilled(),
            None,
            int(needed.get("seed", 0)),
            environment,
        )
        _depend(plan, other)
        depends[role] = other.id

    seen = dict(train)
    for name in EVALUATION_SETTINGS if generates else ("evaluation_batch",):
        seen.pop(name)
    identity = {
        "contract": CONTRACT_VERSION,
        "host": HOST_REVISION,
        "student": plan.identity(student, environment),
        "task": {**plan.identity(task, environment, training=training), "limit": limit},
        "method": plan.identity(method, environment),
        "teacher": None
        if job is None
        else {
            "identity": job.identity,
            "features": dataclasses.asdict(job.features),
            # The store keeps vectors from one version of a plugin to the next, until its author raises the card's revision;
            # a trial is another one all the same, or its result could not say which version made it.
            "plugins": [part.teacher.registered.origin for part in (job, *job.members)],
        },
        "train": seen,
        "seed": seed,
        "depends": depends,
    }
    if task.registered.component.kind(task.options) == "regression":
        # Targets were once learned as they are; no other kind of task is touched by it.
        identity["targets"] = "standardised"
    build = _builds(student, task, method, teacher)
    number = fingerprint(identity)
    plugins = _origins(plan, student, task, method, teacher, environment)
    return Trial(
        number, identity, build, train, limit, seed, job, depends, student, task, method, teacher, not training, plugins
    )


def _evaluation(
    plan: Plan,
    student: Choice,
    task: Choice,
    base: Choice,
    method: Choice,
    teacher: Choice | None,
    seed: int,
    environment: Environment,
) -> Trial:
    """A trial that trains nothing: it scores on `task` the student that another trial trains on `base`. What a recipe says
    beside the task (`train`, `limit`) is about that training, so tasks that say the same share it, and another way to ask
    questions trains nothing anew."""
    recipe = plan.recipe
    limit = task.limit if task.limit is not None else recipe.limit
    trained = _trial(plan, student, base, method, teacher, seed, environment, training=True)
    method = trained.method  # as the task it was trained on settled it
    _depend(plan, trained)
    if trained.train["select"] == "best":
        raise UserError(
            f"train.select is best, and task {task.name} is generation, which is scored once, after the last epoch",
            "Say `select: last`, and compare lengths of training with a grid over epochs",
        )
    depends = {EVALUATED: trained.id}
    identity = {
        "contract": CONTRACT_VERSION,
        "host": HOST_REVISION,
        "task": {**plan.identity(task, environment), "limit": {k: v for k, v in limit.items() if k == "validation"}},
        "evaluation_batch": trained.train["evaluation_batch"],
        "depends": depends,
    }
    build = _builds(student, task, method, teacher)
    train = dict(trained.train)
    plugins = {**trained.plugins, **_origins(plan, student, task, method, teacher, environment)}
    return Trial(
        fingerprint(identity),
        identity,
        build,
        train,
        dict(limit),
        seed,
        None,
        depends,
        student,
        task,
        method,
        teacher,
        plugins=plugins,
    )


def _origins(
    plan: Plan, student: Choice, task: Choice, method: Choice, teacher: Choice | None, environment: Environment
) -> dict[str, Any]:
    """What made a trial: role -> the component's name and its plugin, distribution and version; for an ensemble, its members
    too."""
    parts = [
        ("student", student),
        ("task", task),
        ("method", method),
        ("loss", manifold_loss(method, environment)),
        ("teacher", teacher),
    ]
    if teacher is not None and hasattr(teacher.options, "members"):
        members = plan.members(teacher, environment)
        parts += [(f"teacher {number}", member) for number, member in enumerate(members, start=1)]
    return {role: {"name": choice.name, **choice.registered.origin} for role, choice in parts if choice is not None}


def _trained_on(plan: Plan, task: Choice, environment: Environment) -> Choice:
    """The task whose training split the student of a generation task learns from: another that its options name, or itself."""
    value = task.options.trained_on() if hasattr(task.options, "trained_on") else None
    if value is None:
        return task
    folder = plan.recipe.path.parent
    base = read_nested(value, "task", f"{task.name}.trained_on", task.place, folder, catalogs.current(), environment)
    return dataclasses.replace(plan.resize(base), train=task.train, limit=task.limit)


def _depend(plan: Plan, trial: Trial) -> None:
    if trial.id not in plan._depended:
        plan._depended.add(trial.id)
        plan.dependencies.append(trial)


def _builds(student: Choice, task: Choice, method: Choice, teacher: Choice | None) -> dict[str, Any]:
    return {
        "student": _build(student),
        "task": _build(task),
        "method": _build(method),
        "teacher": None if teacher is None else _build(teacher),
    }


def _feature_job(plan: Plan, teacher: Choice, task: Choice, limit: Mapping[str, int], environment: Environment) -> FeatureJob:
    identity = plan.identity(teacher, environment, of_features=True)
    train_limit = {"train": limit["train"]} if "train" in limit else {}
    key = fingerprint(
        {
            "teacher": identity,
            "task": plan.identity(task, environment, training=True),
            "limit": train_limit,
            "features": dataclasses.asdict(plan.recipe.features),
        }
    )
    return plan.feature_jobs.setdefault(key, FeatureJob(key, teacher, task, train_limit, plan.recipe.features, identity))


def _ensemble_job(plan: Plan, teacher: Choice, task: Choice, limit: Mapping[str, int], environment: Environment) -> FeatureJob:
    """The jobs of an ensemble's members under one roof. Its identity is made of theirs, not of how a recipe writes them."""
    choices = plan.members(teacher, environment)
    members = tuple(_feature_job(plan, member, task, limit, environment) for member in choices)
    apart = teacher.options.combine == "aligners"
    component = teacher.registered.component
    identity = {
        "name": component.name,
        "revision": component.revision,
        "combine": teacher.options.combine,
        "members": [dict(member.identity) for member in members],
    }
    key = fingerprint([identity, [member.key for member in members]])
    return FeatureJob(key, teacher, task, members[0].limit, plan.recipe.features, identity, members, apart)


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
    component = choice.registered.component
    own = {}
    if isinstance(component, local.LocalComponent):
        own = {"file": str(component.path), "class": choice.registered.plugin, "content": component.content}
    return {
        **own,
        "distribution": choice.registered.distribution,
        "version": choice.registered.version,
        "name": choice.name,
        "title": choice.title,
        "options": local.pinned(plain_options(choice.options)),
        "requires": list(component.requires),
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
    registered = catalogs.current().find("method", f"{OWN_DISTRIBUTION}:undistilled")
    return Choice(registered, registered.component.options(), "undistilled")


def _student(value: Any, role: str, method: Choice, recipe: Recipe, environment: Environment) -> Choice:
    """The student that a method names as the one it depends on."""
    folder = recipe.path.parent
    return read_nested(value, "student", f"{method.name}.{role}", method.place, folder, catalogs.current(), environment)
