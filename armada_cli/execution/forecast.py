"""What a plan would do, without doing it and without importing anything heavy."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

from armada_cli.contracts import Environment, fingerprint
from armada_cli.errors import UserError
from armada_cli.features.prepare import count_missing
from armada_cli.features.store import input_hashes
from armada_cli.files import cache_folder, write_bytes_atomic
from armada_cli.plan import FeatureJob, Plan
from armada_cli.recipe.model import Choice
from armada_cli.runs import Runs
from armada_cli.weights import count_parameters


def forecast(plan: Plan, environment: Environment) -> dict[str, Any]:
    """Plain data for `armada check`: trials and those done, parameters, texts still to be represented, and what has to be
    installed or downloaded first."""
    recipe, runs = plan.recipe, Runs(environment.runs)
    everything = plan.everything
    done = [trial for trial in everything if runs.result(trial.id) is not None]
    begun = [t for t in everything if t not in done and any((runs.trial(t.id) / "checkpoint").glob("step-*"))]
    choices = plan.choices
    return {
        "recipe": recipe.name,
        "trials": {"total": len(everything), "done": len(done), "resumable": len(begun)},
        "students": _titles(recipe.students),
        "teachers": _titles(recipe.teachers),
        "tasks": _titles(recipe.tasks),
        "methods": _titles(recipe.methods),
        "seeds": list(recipe.seeds),
        "dependencies": _counted(f"{trial.student.title} on {trial.task.title}" for trial in plan.dependencies),
        "parameters": _parameters(plan),
        "texts": [_texts(job, environment) for job in plan.feature_jobs.values()],
        "packages": sorted({_install(choice) for choice in choices if choice.registered.component.missing_packages()}),
        "downloads": sorted({line for choice in choices for line in _downloads(choice, environment)}),
    }


def _counted(titles: Iterable[str]) -> list[str]:
    """Each title once, with how many trials it stands for where there are several."""
    return [title if count == 1 else f"{title} ({count} trials)" for title, count in Counter(titles).items()]


def _titles(choices: tuple[Choice, ...]) -> list[str]:
    return [choice.title for choice in choices]


def _install(choice: Choice) -> str:
    component = choice.registered.component
    return f"{' '.join(component.missing_packages())} for {component.name}: {component.install_command()}"


def _downloads(choice: Choice, environment: Environment) -> list[str]:
    return list(choice.options.downloads(environment)) if hasattr(choice.options, "downloads") else []


def _texts(job: FeatureJob, environment: Environment) -> dict[str, Any]:
    """How many different texts a teacher has not seen; None where the task's data are not at hand or heavy to load."""
    component = job.task.registered.component
    found: dict[str, Any] = {"teacher": job.teacher.title, "task": job.task.title, "total": None, "missing": None}
    if not component.light or component.missing_packages() or _downloads(job.task, environment):
        return found
    try:
        hashes = _hashes(job, environment)
        missing = count_missing(job.teacher.registered, job.teacher.options, environment, hashes, job.features)
    except UserError:
        return found
    return {**found, "total": len(set(hashes)), "missing": missing}


def _hashes(job: FeatureJob, environment: Environment) -> list[bytes]:
    """The hashes of a job's inputs. Reading and sifting a corpus takes longer than all the rest of a check, so they are kept
    in the user's cache under the task's identity, which holds the content of its files."""
    identity = job.task.registered.component.identity(job.task.options, environment)
    place = cache_folder() / "inputs" / fingerprint([identity, dict(job.limit), job.task.registered.origin])
    try:
        stored = place.read_bytes()
        if stored and len(stored) % 32 == 0:
            return [stored[start : start + 32] for start in range(0, len(stored), 32)]
    except OSError:
        pass
    hashes = input_hashes(job.split(environment).teacher_inputs)
    with contextlib.suppress(UserError):
        write_bytes_atomic(place, b"".join(hashes))
    return hashes


def _parameters(plan: Plan) -> dict[str, str]:
    """Parameters of each student whose weights are on this machine, read from the headers of its safetensors files."""
    found = {}
    for student in plan.recipe.students:
        folder = student.options.folder() if hasattr(student.options, "folder") else None
        if folder is not None and (count := count_parameters(folder, getattr(student.options, "layers", None))):
            found[student.title] = f"{count / 1e6:.1f}M, all trained"
    return found
