"""A run folder as it is on disk -> `Run`. Reads defensively: a damaged result is a missing trial with a reason, not a crash."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armada_cli.digests import load_checked_json
from armada_cli.errors import UserError, one_line
from armada_cli.escaping import escape_line
from armada_cli.reading import load_json
from armada_cli.reporting.earlier import translate_entry, translate_result
from armada_cli.run_names import refuse_folder_name
from armada_cli.run_record import read_record


@dataclass(frozen=True)
class TrialRecord:
    """One trial: what was planned, and what came of it.

    Attributes:
        status: ``done``, ``failed`` or ``pending``; a done trial whose result cannot be read is ``damaged``.
        reason: why there is no score.
        score: the main metric, in the unit of the published tables; None without a result.
        components: option of the method -> name of the component that it chooses.
        options: the method's options, where the run recorded them; train: the training settings, as they were resolved.
        auxiliary: metric -> score of the student's auxiliary head.
        fits: role -> metric -> how a model of the method's own fits the rows that it was trained on.
        precision: what the trial was trained in; empty when not recorded.
        parameters: of the student, how many of them are trained, of the heads that are thrown away, and of the modules that are
            kept for its answers (``inference``); own_parameters: role -> those of a model of the method's own.
        teacher_parameters: role -> those that were trained on the teacher's side: by a trial that this one learns
            from, or in its own training.
        steps: optimizer steps; passes: kind of model -> rows that it read in training. None or empty when not recorded.
        peak_memory: the most bytes held, None when not recorded.
        scored_in: the precision of the weights that were scored, which is the exported student's.
        plugins: role -> the component's name, with the plugin, distribution and version that made this trial.
        wall, cpu: seconds; None when not recorded.
        selection: metric -> score on the training rows that are held out.
        entry: number of the recipe's entry of methods that it is a point of, None when not recorded; entry_title: that entry's
            title; point: what was given several values there -> this trial's.
        folder: where its files are.
    """

    id: str
    student: str
    student_name: str
    teacher: str | None
    teacher_name: str | None
    task: str
    group: str
    published: str | None
    metric: str
    kind: str
    method: str
    method_name: str
    components: Mapping[str, str]
    control: str | None
    seed: int
    status: str
    reason: str = ""
    rows: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] | None = None
    score: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    epochs: tuple[Any, ...] = ()
    auxiliary: Mapping[str, float] = field(default_factory=dict)
    fits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    precision: str = ""
    scored_in: str = ""
    parameters: Mapping[str, int] = field(default_factory=dict)
    own_parameters: Mapping[str, int] = field(default_factory=dict)
    teacher_parameters: Mapping[str, int] = field(default_factory=dict)
    steps: int | None = None
    passes: Mapping[str, int] = field(default_factory=dict)
    peak_memory: int | None = None
    warnings: tuple[str, ...] = ()
    plugins: Mapping[str, Any] = field(default_factory=dict)
    wall: float | None = None
    cpu: float | None = None
    stages: Mapping[str, Any] = field(default_factory=dict)
    selection: Mapping[str, float] = field(default_factory=dict)
    entry: int | None = None
    entry_title: str = ""
    point: Mapping[str, str] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = Path()


@dataclass(frozen=True)
class Run:
    """A run folder. `provenance` is what the run recorded, without its clock times, which are in `stages`;
    `held_out` the share of the training rows on which the points of a grid are compared; `dependencies` are trials that the
    others build on and that are no rows of their own: text teachers, say."""

    name: str
    folder: Path
    title: str
    summary: str
    smoke: bool
    command: str
    started: str | None
    finished: str | None
    trials: tuple[TrialRecord, ...]
    provenance: Mapping[str, Any]
    stages: tuple[Mapping[str, Any], ...]
    held_out: float | None = None
    dependencies: tuple[TrialRecord, ...] = ()


def read_run(folder: Path) -> Run:
    """Read ``run.json`` and the results of its trials, which lie in ``../trials/<id>/``.

    Raises:
        UserError: no run folder there, or its run.json is damaged.
    """
    path = folder / "run.json"
    try:
        data = read_record(folder)
    except FileNotFoundError:
        raise UserError(f"{folder} is no run folder: it has no run.json", "`armada report` lists the runs there are") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {one_line(error)}", "Run the recipe again: finished trials are kept") from error
    entries = data.get("trials") if isinstance(data, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "id" in entry for entry in entries):
        raise UserError(f"{path} is damaged: it holds no list of trials", "Run the recipe again: finished trials are kept")
    provenance = dict(_mapping(data.get("provenance")))
    stages = provenance.pop("stages", None) or []
    wrong = next((reason for entry in entries if (reason := refuse_folder_name(str(entry["id"])))), None)
    if wrong:
        raise UserError(f"{path} is damaged: it names a trial by what is no id, {wrong}", "Run the recipe again")
    root = folder.resolve().parent / "trials"
    return Run(
        name=str(data.get("recipe") or folder.resolve().name),
        folder=folder,
        title=str(data.get("title") or ""),
        summary=str(data.get("summary") or ""),
        smoke=bool(data.get("smoke", False)),
        command=str(data.get("command") or ""),
        started=data.get("started"),
        finished=data.get("finished"),
        trials=tuple(_trial(entry, root / str(entry["id"])) for entry in entries),
        dependencies=tuple(_trial(entry, root / str(entry["id"])) for entry in _dependencies(data)),
        provenance=provenance,
        stages=tuple(stage for stage in stages if isinstance(stage, dict)),
        held_out=_number(_mapping(data.get("select_on")).get("rows")),
    )


def _dependencies(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those that can be read: they are context, and a damaged one hinders nobody."""
    entries = data.get("dependencies")
    known = [entry for entry in entries if isinstance(entry, dict) and "id" in entry] if isinstance(entries, list) else []
    return [entry for entry in known if not refuse_folder_name(str(entry["id"]))]


def escape_run(run: Run) -> Run:
    """The run with each of its texts on one line and its control characters written out: for every form but JSON."""
    escaped: Run = _escape(run)
    return escaped


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return escape_line(value)
    if isinstance(value, Mapping):
        return {_escape(key): _escape(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_escape(item) for item in value)
    if isinstance(value, (Run, TrialRecord)):
        return dataclasses.replace(
            value, **{item.name: _escape(getattr(value, item.name)) for item in dataclasses.fields(value)}
        )
    return value


def _rows(limit: Mapping[str, Any], used: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of each limited split: as many as there were, where a split has fewer than its limit."""
    return {split: used[split] if used.get(split) else rows for split, rows in limit.items()}


def _trial(entry: Mapping[str, Any], folder: Path) -> TrialRecord:
    entry = translate_entry(entry)
    status = str(entry.get("status") or "pending")
    reason = str(entry.get("reason") or "")
    result: Mapping[str, Any] = {}
    score = None
    metric = str(entry.get("metric") or "score")
    if status == "done":
        try:
            result = translate_result(_mapping(load_checked_json(folder, "result.json")))
            score = _number(_mapping(result.get("scores")).get(metric))
            if result.get("id", entry["id"]) != entry["id"]:
                result, score, status, reason = {}, None, "damaged", "its result.json is of another trial"
            elif score is None:
                status, reason = "damaged", f"its result.json holds no finite {metric!r}"
        except FileNotFoundError:
            status, reason = "damaged", "its result.json is missing"
        except (OSError, ValueError) as error:
            status, reason = "damaged", f"its result.json cannot be read: {one_line(error)}"
    timings: Mapping[str, Any] = {}
    if score is not None:
        try:
            timings = _mapping(load_json(folder / "timings.json"))
        except (OSError, ValueError):
            timings = {}  # a score without its time is still a score
    teacher = entry.get("teacher")
    method_name = str(entry.get("method_name") or entry.get("method") or "?")
    student_name = str(entry.get("student_name") or entry.get("student") or "?")
    control = entry.get("control")
    options = entry.get("options")
    parameters, grid = _mapping(result.get("parameters")), _mapping(entry.get("grid"))
    return TrialRecord(
        id=str(entry["id"]),
        student=str(entry.get("student") or student_name),
        student_name=student_name,
        teacher=str(teacher) if teacher else None,
        teacher_name=entry.get("teacher_name") or teacher,
        task=str(entry.get("task") or "?"),
        group=str(entry.get("group") or "tasks"),
        published=entry.get("published"),
        metric=metric,
        kind=str(entry.get("kind") or ""),
        method=str(entry.get("method") or method_name),
        method_name=method_name,
        components={str(option): str(name) for option, name in _mapping(entry.get("components")).items() if name},
        control=str(control) if control and control != "none" else None,
        seed=int(_number(entry.get("seed")) or 0),
        status=status,
        reason=one_line(reason),
        rows=_rows(_mapping(entry.get("rows")), _mapping(result.get("rows"))),
        options=options if isinstance(options, dict) else None,
        score=score,
        scores=_numbers(result.get("scores")),
        epochs=tuple(result["epochs"]) if isinstance(result.get("epochs"), list) else (),
        auxiliary=_numbers(result.get("auxiliary")),
        fits={str(role): _numbers(scores) for role, scores in _mapping(result.get("fits")).items()},
        precision=str(result.get("precision") or ""),
        scored_in=str(result.get("scored_in") or ""),
        parameters={key: int(count) for key, count in _numbers(parameters).items()},
        own_parameters={role: int(count) for role, count in _numbers(parameters.get("own")).items()},
        teacher_parameters={role: int(count) for role, count in _numbers(parameters.get("teachers")).items()},
        steps=None if (steps := _number(result.get("steps"))) is None else int(steps),
        passes={kind: int(rows) for kind, rows in _numbers(result.get("passes")).items()},
        peak_memory=None if (peak := _number(timings.get("peak_memory"))) is None else int(peak),
        warnings=tuple(one_line(text) for text in result["warnings"]) if isinstance(result.get("warnings"), list) else (),
        plugins=_mapping(result.get("plugins") or entry.get("plugins")),
        wall=_number(timings.get("wall")),
        cpu=_number(timings.get("cpu")),
        stages=_mapping(timings.get("stages")),
        selection=_numbers(result.get("selection")),
        entry=None if (number := _number(grid.get("entry"))) is None else int(number),
        entry_title=str(grid.get("title") or ""),
        train=_mapping(entry.get("train")),
        point={str(name): str(value) for name, value in _mapping(grid.get("values")).items()},
        folder=folder,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbers(value: Any) -> dict[str, float]:
    return {str(key): number for key, item in _mapping(value).items() if (number := _number(item)) is not None}


def _number(value: Any) -> float | None:
    """A finite number, else None: JSON of Python may hold NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
