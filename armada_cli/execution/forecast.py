"""What a plan would do, without doing it. Its data are read and judged; nothing else is heavy."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from armada_cli.contracts import Environment
from armada_cli.execution.judgement import judge
from armada_cli.execution.kept import list_outputs
from armada_cli.features.prepare import count_missing
from armada_cli.models.weights import count_parameters
from armada_cli.plan.trials import FeatureJob, Plan, Trial
from armada_cli.recipe.model import Choice
from armada_cli.runs import Runs


def forecast(plan: Plan, environment: Environment) -> dict[str, Any]:
    """Plain data for `armada check`: trials and those done, parameters, texts still to be represented, what has to be
    installed or downloaded first, and what tasks want the user to know of their data.

    Raises:
        UserError: what `armada run` would raise before it starts.
    """
    verdict = judge(plan, environment)
    recipe, runs = plan.recipe, Runs(environment.runs)
    everything = plan.everything
    done = [trial for trial in everything if runs.result(trial.id, scored=trial.evaluate) is not None]
    finished = {trial.id for trial in done}
    begun = [t for t in everything if t.id not in finished and any((runs.trial(t.id) / "checkpoint").glob("step-*"))]
    choices = plan.choices
    return {
        "recipe": recipe.name,
        "trials": {"total": len(everything), "done": len(done), "resumable": len(begun)},
        "students": _titles(recipe.students),
        "teachers": _titles(recipe.teachers),
        "tasks": _titles(recipe.tasks),
        "methods": _titles(recipe.methods),
        "seeds": list(recipe.seeds),
        "select_on": None if recipe.select_on is None else dataclasses.asdict(recipe.select_on),
        "dependencies": _counted(_title(trial) for trial in plan.dependencies if not trial.student.given),
        "given": _counted(_title(trial) for trial in plan.dependencies if trial.student.given),
        "parameters": _parameters(plan),
        "texts": [_texts(job, environment, verdict.hashes) for job in plan.feature_jobs.values()],
        "outputs": list_outputs(plan, (trial for trial in everything if trial.id not in finished), verdict),
        "packages": sorted({_install(choice) for choice in choices if choice.registered.component.missing_packages()}),
        "downloads": sorted({line for choice in choices for line in _downloads(choice, environment)}),
        "notes": verdict.notes,
    }


def _title(trial: Trial) -> str:
    return f"{trial.student.title} on {trial.task.title}"


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


def _texts(job: FeatureJob, environment: Environment, hashes: Mapping[str, list[bytes]]) -> dict[str, Any]:
    """How many different texts a teacher has not seen; None where the task's data are not at hand."""
    own = hashes.get(job.key)
    missing = count_unseen(job, environment, hashes)
    total = None if own is None else len(set(own))
    return {"teacher": job.teacher.title, "task": job.title, "total": total, "missing": missing}


def count_unseen(job: FeatureJob, environment: Environment, hashes: Mapping[str, list[bytes]]) -> int | None:
    """Texts that the teacher has still to be asked for; None where the task's data are not at hand.

    Args:
        hashes: `Verdict.hashes`.
    """
    own = hashes.get(job.key)
    if own is None:
        return None
    fitted = None if job.fitted is None else hashes.get(job.fitted.key)
    return count_missing(job.teacher.registered, job.teacher.options, environment, own, job.features, fitted)


def _parameters(plan: Plan) -> dict[str, str]:
    """Parameters of each student whose weights are on this machine, read from the headers of its safetensors files."""
    sizes = {}
    for student in plan.recipe.students:
        folder = student.options.folder() if hasattr(student.options, "folder") else None
        if folder is not None and (count := count_parameters(folder, getattr(student.options, "layers", None))):
            sizes[student.title] = f"{count / 1e6:.1f}M, all trained"
    return sizes
