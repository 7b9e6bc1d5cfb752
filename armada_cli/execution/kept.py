"""What a plan's methods will ask of finished text teachers: how much of it is kept on the disk, and who is asked at every step.
Imports nothing heavy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from armada_cli.contracts import LIVE, Choice, Planned, TopTokens
from armada_cli.execution.extent import input_length, training_rows
from armada_cli.execution.judgement import Verdict
from armada_cli.plan.trials import Plan, Trial


def list_outputs(plan: Plan, trials: Iterable[Trial], verdict: Verdict) -> list[dict[str, Any]]:
    """What `reads` of the methods' options names, each once for a text teacher, task and what is asked.

    Args:
        trials: those that are still to be trained.

    Returns records with `teacher`, `task`, `what` and `gigabytes` (None where rows or sizes are not known before they are
    there), or for a teacher that is asked at every step with `live`, the method that asks, and its `parameters`.
    """
    known = {trial.id: trial for trial in plan.everything}
    records: dict[tuple[str, str, str], dict[str, Any]] = {}
    often: dict[tuple[str, str, str], int] = {}
    for trial in trials:
        for (role, what), times in Counter(_reads(trial)).items():
            teacher = known.get(trial.depends.get(role, ""))
            if teacher is None:
                continue
            size = _says(teacher.student, "size")
            record: dict[str, Any] = {"teacher": teacher.student.title, "task": trial.task.title}
            if what == LIVE:
                record |= {"live": trial.method.title, "parameters": size.get("parameters")}
            else:
                record |= {"what": _describe(what), "gigabytes": _gigabytes(what, trial, training_rows(trial, verdict), size)}
            key = teacher.id, repr(trial.limit), f"{what} {trial.method.title}" if what == LIVE else repr(what)
            records.setdefault(key, record)
            often[key] = max(times, often.get(key, 1))
    for key, times in often.items():
        if times > 1 and "what" in (record := records[key]):
            record["what"] += f" of {times} epochs"
            record["gigabytes"] = None if record["gigabytes"] is None else record["gigabytes"] * times
    return list(records.values())


def _reads(trial: Trial) -> Iterable[tuple[str, str | TopTokens]]:
    options = trial.method.options
    if not hasattr(options, "reads") or not trial.depends:
        return
    kind = trial.task.registered.component.kind(trial.task.options)
    planned = Planned(trial.student, trial.task, trial.teacher, trial.seed, kind)
    for role, asked in options.reads(planned).items():
        for what in asked:
            yield role, what


def _says(choice: Choice, name: str) -> Mapping[str, Any]:
    return getattr(choice.options, name)() if hasattr(choice.options, name) else {}


def _describe(what: str | TopTokens) -> str:
    if isinstance(what, TopTokens):
        return f"{what.kept} tokens at each of the responses' in {what.precision}"
    part, _, layers = what.partition(":")
    if layers:
        layers, _, precision = layers.partition(" ")
        count = "all" if layers == "*" else str(layers.count(",") + 1)
        return f"states of {count} layer{'s' * (layers == '*' or ',' in layers)}{precision and f' in {precision}'}"
    return {"pooled": "pooled outputs"}.get(part, part)


def _gigabytes(what: str | TopTokens, trial: Trial, rows: int | None, size: Mapping[str, int]) -> float | None:
    if rows is None:
        return None
    numbers: int | None
    bytes_each = 4
    if isinstance(what, TopTokens):
        top = min(what.kept, size.get("vocabulary", what.kept))
        bytes_each = 2 if what.precision == "float16" else 4
        return rows * input_length(trial) * (top * (bytes_each + 4) + bytes_each + 4) / 1e9
    if what == "logits":
        numbers = len(getattr(trial.task.options, "classes", ())) or None
    elif what == "pooled":
        numbers = size.get("hidden")
    else:
        layers, _, precision = what.partition(":")[2].partition(" ")
        bytes_each = 2 if precision == "float16" else 4
        count = size.get("layers", 0) + 1 if layers == "*" else layers.count(",") + 1
        numbers = size["hidden"] * count if size.get("hidden") and count else None
    return None if numbers is None else rows * numbers * bytes_each / 1e9
