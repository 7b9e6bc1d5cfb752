"""A recipe -> trials (student x task x method x teacher x seed), each known by what its scores depend on.

A trial's id is the hash of its identity: the undistilled student of one recipe is the same trial in the next. Planning
imports nothing heavy, so `armada check` can do it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from armada_cli.contracts import CONTRACT_VERSION, TASK_KINDS, Choice, Decoding, Environment, Planned, fingerprint
from armada_cli.errors import UserError
from armada_cli.held_out import SELECTION, split_of
from armada_cli.plan import fitting
from armada_cli.plan.hardware import multiplies_bf16
from armada_cli.plan.trials import FeatureJob, Plan, Trial
from armada_cli.recipe.model import Recipe
from armada_cli.registry.choosing import choose
from armada_cli.registry.restore import write_build
from armada_cli.runs import EVALUATED
from armada_cli.settings import Train

MAX_TRIALS = 10_000
"""Of one recipe. Its lists are multiplied with each other, and five short ones make a thousand million."""

MAX_CHAIN = 20
"""Trials that need each other, one the next. A method may ask for another seed each time, which is no circle and has no end."""

HOST_REVISION = 2
"""Part of every trial's id. Raised when the host itself begins to give other scores for the same options: in how it trains,
scores or measures. A component's own changes raise the `revision` of its card.

2: scores are taken in the precision that the student is saved in, and equal predictions are told from rounding noise.
"""

EVALUATION_SETTINGS = ("evaluation_batch", "evaluate", "select")
"""Training settings that say nothing of a training whose student is scored by other trials."""

UNSCORED = ("generation", "masked")
"""Kinds of tasks of which a dependent trial needs the training alone."""


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
    above: tuple[tuple[Any, ...], ...] = (),
) -> Trial:
    """Args:
        training: for a generation task, the training alone; otherwise a trial there scores what such a training gave.
        above: what the trials are that this one is planned for, from the recipe's own on.

    Raises:
        UserError: it needs itself, directly or by way of others, or something that it cannot have.
    """
    recipe = plan.recipe
    limit = dict(task.limit if task.limit is not None else recipe.limit)
    if training:
        limit.pop("validation", None)
    train = resolve_train(recipe, student, task, method, environment)
    if student.given:
        train = _train_nothing(train)
    generates = task.registered.component.kind(task.options) == "generation"
    if generates and not training:
        trained = _trial(plan, student, _trained_on(plan, task), method, teacher, seed, environment, training=True, above=above)
        return _evaluation(plan, task, trained, environment)
    method = plan.settle(method, task)
    held_out = None if training else recipe.held_out  # a training that is not scored by itself is of texts, or of answers
    job = job_of_validation = job_of_selection = None
    if teacher is not None and method.reads_features:
        job = _job(plan, teacher, task, limit, held_out, environment)
        if method.features_at_inference and not training:
            job_of_validation = _job(plan, teacher, task, limit, held_out, environment, "validation", job)
            if held_out is not None:
                job_of_selection = _job(plan, teacher, task, limit, held_out, environment, SELECTION, job)

    depends = _plan_dependencies(plan, student, task, method, teacher, seed, limit, held_out, environment, above)
    seen = dict(train)
    for name in EVALUATION_SETTINGS if generates else ("evaluation_batch",):
        seen.pop(name)
    identity: dict[str, Any] = {
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
            "shown": dict(method.features),
            # The store keeps vectors from one version of a plugin to the next, until its author raises the card's revision;
            # a trial is another one all the same, or its result could not say which version made it.
            "plugins": [part.teacher.registered.origin for part in (job, *job.members)],
        },
        "train": seen,
        "seed": seed,
        **({"shown": dict(method.features)} if job is None and method.features else {}),
        "depends": depends,
        **_held_out(held_out),
        **({"given": True} if student.given else {}),
    }
    if task.registered.component.kind(task.options) == "regression":
        # Targets were once learned as they are; no other kind of task is touched by it.
        identity["targets"] = "standardised"
    trial_id = fingerprint(identity)
    return Trial(
        trial_id,
        identity,
        _builds(student, task, method, teacher),
        train,
        limit,
        seed,
        job,
        depends,
        student,
        task,
        method,
        teacher,
        evaluate=not training,
        plugins=_origins(student, task, method, teacher),
        keep=plan.keep.setdefault(trial_id, set()),
        seen=job_of_validation,
        selected=job_of_selection,
        held_out=held_out,
    )


def _held_out(share: float | None) -> dict[str, float]:
    """As identities have it: recipes that hold nothing out keep theirs."""
    return {} if share is None else {"held_out": share}


def _plan_dependencies(
    plan: Plan,
    student: Choice,
    task: Choice,
    method: Choice,
    teacher: Choice | None,
    seed: int,
    limit: Mapping[str, int],
    held_out: float | None,
    environment: Environment,
    above: tuple[tuple[Any, ...], ...],
) -> dict[str, str]:
    """Plan the trials that a method needs. Returns role -> id."""
    planned = Planned(student, task, teacher, seed, task.registered.component.kind(task.options), limit, held_out)
    fitting.check(method, planned)
    if not hasattr(method.options, "dependencies"):
        fitting.require_given_unused(method, ())
        return {}
    own = (student, task, method, teacher, seed)
    if own in above:
        raise UserError(f"{method.place}: method {method.name!r} needs a trial that needs itself", "Break the circle")
    if len(above) == MAX_CHAIN:
        what = f"method {method.name!r} needs trials that need others, {MAX_CHAIN} deep"
        raise UserError(f"{method.place}: {what}", "Break the chain; it may have no end")
    depends: dict[str, str] = {}
    wanted = method.options.dependencies(planned)
    fitting.require_given_unused(method, wanted.values())
    fitting.require_control(method, planned, wanted.values())
    for role, needs in wanted.items():
        place = f"{method.place}: method {method.name!r} needs {role!r}"
        if needs.student.given:
            fitting.require_given(needs, task if needs.task is None else needs.task, place)
        try:
            other = needs.method if isinstance(needs.method, Choice) else choose("method", needs.method)
        except UserError as error:
            raise UserError(f"{place}: {error.what}", error.hint) from error
        # Under a control nothing that the trial builds on may know the teacher either.
        shown = (other.features or method.features) if other.needs_teacher else {}
        other = plan.resize(dataclasses.replace(other, place=method.place, features=shown))
        if other.needs_teacher and teacher is None:
            raise UserError(
                f"{place}, trained by {other.name!r}, which reads a teacher's vectors; it has none", "Name a teacher"
            )
        if other.features_at_inference:
            what = f"{place}, trained by {other.name!r}, whose student reads a teacher's vectors when it answers"
            raise UserError(what, "No other trial can be built on it; choose another method for it")
        on = task if needs.task is None else plan.resize(needs.task)
        on_kind = on.registered.component.kind(on.options)
        trained = on_kind in UNSCORED
        able = set(other.registered.component.provides) & set(TASK_KINDS)
        if able and on_kind not in able:
            raise UserError(f"{place}, and method {other.name!r} cannot train {on.name!r} ({on_kind})")
        base = _trained_on(plan, on) if on_kind == "generation" else on
        trained_student = plan.resize(needs.student)
        if unable := trained_student.unable(on_kind):
            why, hint = unable
            raise UserError(f"{place} to learn {on.name!r} ({on_kind}), and student {trained_student.name!r} {why}", hint)
        if needs.vocabulary:
            fitting.require_one_vocabulary(student, trained_student, place)
        trial = _trial(
            plan,
            trained_student,
            base,
            other,
            teacher if other.needs_teacher else None,
            0 if trained_student.given else needs.seed,
            environment,
            training=trained,
            above=(*above, own),
        )
        if needs.answers:
            if on_kind != "generation":
                raise UserError(f"{place} to answer prompts, and {on.name!r} is no generation task ({on_kind})")
            decoding = needs.answers if isinstance(needs.answers, Decoding) else None
            trial = _evaluation(plan, on, trial, environment, split="train", decoding=decoding)
        if needs.epochs:
            trial.keep.add("epochs")
        _depend(plan, trial)
        depends[role] = trial.id
    return depends


def _train_nothing(train: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a trial whose student is taken as it is: of those of the recipe what it reads and is scored with."""
    kept = {name: train[name] for name in ("max_length", "precision", "evaluation_batch")}
    return {**dataclasses.asdict(Train()), **kept, "epochs": 0}


def _evaluation(
    plan: Plan,
    task: Choice,
    trained: Trial,
    environment: Environment,
    split: str = "validation",
    decoding: Decoding | None = None,
) -> Trial:
    """A trial that trains nothing: it scores on `task` the student that another trial trains. What a recipe says beside the
    task (`train`, `limit`) is about that training, so tasks that say the same share it, and another way to ask questions
    trains nothing anew.

    Args:
        split: whose prompts are answered.
        decoding: how they are answered for another trial, whatever the task says of its evaluation; nothing is scored then.
    """
    _depend(plan, trained)
    if trained.train["select"] == "best":
        raise UserError(
            f"train.select is best, and task {task.name} is generation, which is scored once, after the last epoch",
            "Say `select: last`, and compare lengths of training with a grid over epochs",
        )
    limit = task.limit if task.limit is not None else plan.recipe.limit
    depends = {EVALUATED: trained.id}
    identity: dict[str, Any] = {
        "contract": CONTRACT_VERSION,
        "host": HOST_REVISION,
        "task": {
            **plan.identity(task, environment, training=decoding is not None),
            "limit": {k: v for k, v in limit.items() if k == split},
        },
        "evaluation_batch": trained.train["evaluation_batch"],
        "depends": depends,
        **({} if split == "validation" else {"split": split}),
        **({} if decoding is None else {"decoding": dataclasses.asdict(decoding)}),
    }
    student, method, teacher = trained.student, trained.method, trained.teacher
    return Trial(
        fingerprint(identity),
        identity,
        _builds(student, task, method, teacher),
        dict(trained.train),
        dict(limit),
        trained.seed,
        None,
        depends,
        student,
        task,
        method,
        teacher,
        evaluate=decoding is None,
        plugins={**trained.plugins, **_origins(student, task, method, teacher)},
        split=split,
        decoding=decoding,
    )


def _origins(student: Choice, task: Choice, method: Choice, teacher: Choice | None) -> dict[str, Any]:
    """What made a trial: role -> the component's name and its plugin, distribution and version. A component that an option
    names has the option's name; the members of an ensemble are teachers with a number."""
    choices: dict[str, Choice] = {"student": student, "task": task, "method": method, **dict(method.parts())}
    if teacher is not None:
        choices["teacher"] = teacher
        members = teacher.options.members() if hasattr(teacher.options, "members") else ()
        choices |= {f"teacher {number}": member for number, member in enumerate(members, start=1)}
    return {role: {"name": choice.name, **choice.registered.origin} for role, choice in choices.items()}


def _trained_on(plan: Plan, task: Choice) -> Choice:
    """The task whose training split the student of a generation task learns from: another that its options name, or itself."""
    base = task.options.trained_on() if hasattr(task.options, "trained_on") else None
    return task if base is None else dataclasses.replace(plan.resize(base), train=task.train, limit=task.limit)


def _depend(plan: Plan, trial: Trial) -> None:
    if trial.id not in plan._depended:
        plan._depended.add(trial.id)
        plan.dependencies.append(trial)


def _builds(student: Choice, task: Choice, method: Choice, teacher: Choice | None) -> dict[str, Any]:
    return {
        "student": write_build(student),
        "task": write_build(task),
        "method": write_build(method),
        "teacher": None if teacher is None else write_build(teacher),
    }


def _job(
    plan: Plan,
    teacher: Choice,
    task: Choice,
    limit: Mapping[str, int],
    held_out: float | None,
    environment: Environment,
    rows: str = "train",
    fitted: FeatureJob | None = None,
) -> FeatureJob:
    """The vectors of a teacher for the training rows of a task; given their job, those for other `rows`."""
    if not hasattr(teacher.options, "members"):
        return _feature_job(plan, teacher, task, limit, held_out, environment, rows, fitted)
    members = tuple(
        _feature_job(plan, member, task, limit, held_out, environment, rows, fitted and fitted.members[number])
        for number, member in enumerate(teacher.options.members())
    )
    return _ensemble_job(plan, teacher, task, members, fitted)


def _feature_job(
    plan: Plan,
    teacher: Choice,
    task: Choice,
    limit: Mapping[str, int],
    held_out: float | None,
    environment: Environment,
    rows: str,
    fitted: FeatureJob | None,
) -> FeatureJob:
    identity = plan.identity(teacher, environment, of_features=True)
    split = split_of(rows)
    own_limit = {split: limit[split]} if split in limit else {}
    parts: dict[str, Any] = {
        "teacher": identity,
        "task": plan.identity(task, environment, training=split == "train"),
        "limit": own_limit,
        "features": dataclasses.asdict(plan.recipe.features),
        **({} if split != "train" else _held_out(held_out)),
        **({} if rows != SELECTION else {"rows": rows}),
        **({} if fitted is None else {"fitted": fitted.key}),
    }
    key = fingerprint(parts)
    job = FeatureJob(key, teacher, task, own_limit, plan.recipe.features, identity, rows=rows, fitted=fitted, held_out=held_out)
    return plan.feature_jobs.setdefault(key, job)


def _ensemble_job(
    plan: Plan, teacher: Choice, task: Choice, members: tuple[FeatureJob, ...], fitted: FeatureJob | None
) -> FeatureJob:
    """The jobs of an ensemble's members together. Its identity is made of theirs, not of how a recipe writes them."""
    apart = bool(teacher.options.apart)
    component = teacher.registered.component
    identity: dict[str, Any] = {
        "name": component.name,
        "revision": component.revision,
        "apart": apart,
        "members": [dict(member.identity) for member in members],
    }
    key = fingerprint([identity, [member.key for member in members]])
    first = members[0]
    features, held_out = plan.recipe.features, first.held_out
    return FeatureJob(key, teacher, task, first.limit, features, identity, members, apart, first.rows, fitted, held_out)


def resolve_train(recipe: Recipe, student: Choice, task: Choice, method: Choice, environment: Environment) -> dict[str, Any]:
    """Defaults, then what the student's, the task's and the method's cards would like, then what the recipe says: for all,
    for the task, for the student (or text teacher), for the method."""
    values = dataclasses.asdict(Train())
    for choice in (student, task, method):
        values.update(choice.registered.component.defaults)
    for given in (recipe.train, task.train, student.train, method.train):
        values.update(given)
    if values["precision"] == "auto":
        values["precision"] = "bf16" if multiplies_bf16(environment) else "float32"
    return values
