"""Where a number comes from: versions, plugins, machine, teachers, commit."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from armada_cli.contracts import distribution_name
from armada_cli.plan.trials import Plan, Trial
from armada_cli.recipe.model import Choice

PACKAGES = ("armada-cli", "torch", "transformers", "accelerate", "datasets", "numpy", "scipy", "scikit-learn", "safetensors")


def provenance(plan: Plan) -> dict[str, Any]:
    """What `report` prints under the tables. Nothing of it is part of a trial's identity by itself."""
    recipe = plan.recipe
    choices = plan.choices
    plugins = {tuple(sorted(choice.registered.origin.items())): choice.registered.origin for choice in choices}
    packages = {*PACKAGES, *(distribution_name(item) for choice in choices for item in choice.registered.component.requires)}
    return {
        "versions": versions(packages),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": processor(),
        "plugins": list(plugins.values()),
        "components": components(choices),
        "seeds": list(recipe.seeds),
        "teachers": teachers(plan),
        "git": commit(recipe.path.parent),
    }


def components(choices: Iterable[Choice]) -> list[dict[str, str]]:
    """Each component once, with the plugin that brought it. A later run whose plugin is gone reads here what it was."""
    records = {}
    for choice in choices:
        registered = choice.registered
        record = {"kind": registered.kind, "name": registered.name, **registered.origin}
        records[tuple(record.values())] = record
    return list(records.values())


def teachers(plan: Plan) -> list[dict[str, Any]]:
    by_key: dict[str, dict[str, Any]] = {}
    for job in plan.feature_jobs.values():
        by_key[job.identity_key] = {"name": job.teacher.name, "key": job.identity_key, "identity": dict(job.identity)}
    return list(by_key.values())


def versions(names: Iterable[str]) -> dict[str, str]:
    versions_of = {}
    for name in sorted(names):
        try:
            versions_of[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions_of[name] = "not installed"
    return versions_of


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit(folder: Path) -> str | None:
    """The commit of the work tree that holds the recipe, with ``+`` when it was changed since; None outside of one."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()


def describe(
    trials: Iterable[Trial], status: Mapping[str, tuple[str, str]], metrics: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The trials as ``run.json`` lists them. `status`: id -> (done, failed or pending; reason); `metrics`: id -> the main
    metric of a finished trial."""
    rows = []
    for trial in trials:
        task = trial.task.options
        state, reason = status.get(trial.id, ("pending", ""))
        rows.append(
            {
                "id": trial.id,
                "student": trial.student.title,
                "student_name": trial.student.name,
                "teacher": trial.teacher.title if trial.teacher else None,
                "teacher_name": trial.teacher.name if trial.teacher else None,
                "task": trial.task.title,
                "group": getattr(task, "group", "own"),
                "published": getattr(task, "published", None) or None,
                "metric": metrics.get(trial.id) or getattr(task, "main_metric", ""),
                "kind": trial.task.registered.component.kind(task),
                "method": trial.method.title,
                "method_name": trial.method.name,
                "components": {name: choice.name for name, choice in trial.method.parts()},
                "control": trial.method.features.get("control", "none" if trial.teacher else None),
                "options": trial.build["method"]["options"],
                "train": dict(trial.train),
                "grid": None if trial.method.grid is None else dataclasses.asdict(trial.method.grid),
                "seed": trial.seed,
                "plugins": dict(trial.plugins),
                "rows": dict(trial.limit),
                "status": state,
                "reason": reason,
            }
        )
    return rows
