"""Run folders made by hand, as `armada run` leaves them: what the report's tests read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TASKS = {
    "cola": {"task": "CoLA", "group": "GLUE", "published": "CoLA", "metric": "mcc"},
    "mrpc": {"task": "MRPC", "group": "GLUE", "published": "MRPC", "metric": "accuracy"},
    "sst2": {"task": "SST-2", "group": "GLUE", "published": "SST-2", "metric": "accuracy"},
    "stsb": {"task": "STS-B", "group": "GLUE", "published": "STS-B", "metric": "pearson"},
    "cb": {"task": "CB", "group": "SuperGLUE", "published": "CB", "metric": "accuracy"},
    "mail": {"task": "mail", "group": "files", "published": None, "metric": "accuracy"},
}
PROVENANCE: dict[str, Any] = {
    "versions": {"torch": "2.13.0", "armada-cli": "0.1.0"},
    "python": "3.11.9",
    "platform": "Linux",
    "cpu": "2 cores",
    "plugins": [{"distribution": "armada-cli", "version": "0.1.0", "plugin": "core"}],
    "seeds": [0, 1, 2],
    "teachers": [{"name": "speech-offline", "identity": {"voice": "en"}, "key": "abc123"}],
    "git": "0123abc",
    "stages": [{"stage": "features", "wall": 61.5, "cpu": 120.0}],
}


def trial(task: str, method: str, seed: int, score: float | None = None, **changes: Any) -> dict[str, Any]:
    """One trial; keys that are not of run.json (`score`, `result`, `timings`) go into the trial's own files."""
    name = changes.pop("method_name", method.split(" ")[0].rstrip(","))
    taught = name in ("armada",)
    options = dict(word.split("=") for word in method.split() if "=" in word)
    entry = {
        "id": "-".join([changes.get("student", "minilm"), task, method, str(seed)]).replace(" ", "_").replace(",", ""),
        "student": "minilm",
        "student_name": "minilm-offline",
        "teacher": "speech" if taught else None,
        "teacher_name": "speech-offline" if taught else None,
        **TASKS[task],
        "kind": "classification",
        "method": method,
        "method_name": name,
        "components": {"manifold": options["manifold"]} if "manifold" in options else {},
        "control": options.pop("control", "none") if taught else None,
        "options": options,
        "seed": seed,
        "rows": {"train": 600, "validation": 400},
        "status": "pending" if score is None else "done",
        "reason": "",
        "score": score,
    }
    return {**entry, **changes}


def trials(task: str, method: str, scores: Sequence[float | None], **changes: Any) -> list[dict[str, Any]]:
    """The trials of seeds 0, 1, ...; None is one that has not run."""
    return [trial(task, method, seed, score, **changes) for seed, score in enumerate(scores)]


def write_run(
    root: Path, entries: Sequence[Mapping[str, Any]], name: str = "hand", *, dependencies: Sequence[Any] = (), **changes: Any
) -> Path:
    """Write run.json and the trials' files under `root`; returns the run folder."""
    folder = root / name
    folder.mkdir(parents=True)
    listed: list[Any] = []
    built_on: list[Any] = []
    for given, entries_of in [(item, listed) for item in entries] + [(item, built_on) for item in dependencies]:
        if not isinstance(given, Mapping):  # damage
            entries_of.append(given)
            continue
        entry = dict(given)
        score, result, timings = entry.pop("score"), entry.pop("result", {}), entry.pop("timings", None)
        entries_of.append(entry)
        if score is not None:
            place = root / "trials" / entry["id"]
            place.mkdir(parents=True, exist_ok=True)
            scores = {entry["metric"]: score}
            whole = {"id": entry["id"], "scores": scores, "metric": entry["metric"], "epochs": [], "warnings": [], **result}
            (place / "result.json").write_text(json.dumps(whole))
            (place / "timings.json").write_text(json.dumps(timings or {"wall": 2.0, "cpu": 1.5, "stages": {"train": 1.0}}))
    run = {
        "recipe": name,
        "title": "Made by hand",
        "summary": "",
        "started": "2026-01-02T03:04:05Z",
        "finished": "2026-01-02T03:05:05Z",
        "smoke": False,
        "command": "armada run hand.yaml",
        "trials": listed,
        "dependencies": built_on,
        "provenance": PROVENANCE,
        **changes,
    }
    (folder / "run.json").write_text(json.dumps(run))
    return folder


def full_run(root: Path, **changes: Any) -> Path:
    """Three tasks of two groups, five methods, three seeds: one trial failed, one is pending."""
    entries = [
        *trials("cola", "undistilled", [18.2, 19.6, 19.1]),
        *trials("mrpc", "undistilled", [70.1, 71.3, 70.8]),
        *trials("cb", "undistilled", [75.0, 76.8, 73.2]),
        *trials("cola", "parameter-matched", [18.9, 19.2, 20.3]),
        *trials("mrpc", "parameter-matched", [70.3, 70.8, 71.1]),
        *trials("cb", "parameter-matched", [75.0, 75.0, 75.0]),
        *trials(
            "cola",
            "armada manifold=euclid",
            [20.2, 21.4, 21.3],
            result={
                "fits": {"aligner": {"mcc": 3.1}, "aligner auxiliary": {"mcc": 2.5}},
                "auxiliary": {"mcc": 17.0},
                "parameters": {"student": 22713216, "trained": 1000000, "heads": 1000, "own": {"aligner": 803000}},
                "precision": "bf16",
                "scored_in": "float32",
                "warnings": ["the term 'manifold' outweighs the task's by 5.1"],
            },
        ),
        *trials("mrpc", "armada manifold=euclid", [71.3, 72.0, 71.9], result={"fits": {"aligner": {"accuracy": 66.7}}}),
        *trials("cb", "armada manifold=euclid", [76.8, 78.6, 75.0], result={"fits": {"aligner": {"accuracy": 50.0}}}),
        *trials("cola", "armada manifold=euclid control=shuffled", [19.9, 21.6, 20.8]),
        *trials("mrpc", "armada manifold=euclid control=shuffled", [71.0, 71.2, None]),
        trial("cb", "armada manifold=euclid control=shuffled", 0, 75.0),
        trial("cb", "armada manifold=euclid control=shuffled", 1, status="failed", reason="loss became NaN at step 40"),
        trial("cb", "armada manifold=euclid control=shuffled", 2, status="failed", reason="loss became NaN at step 40"),
    ]
    return write_run(root, entries, **changes)


def published_run(root: Path, **changes: Any) -> Path:
    """A student of the paper on two of its tasks and one of the user's own."""
    student = {"student": "bert-6l", "student_name": "bert-6l"}
    taught = {**student, "teacher": "stable-diffusion", "teacher_name": "stable-diffusion"}
    entries = [
        *trials("cola", "undistilled", [42.0, 43.5], **student),
        *trials("sst2", "undistilled", [87.0, 88.5], **student),
        *trials("cola", "armada manifold=cosine", [44.0, 43.0], **taught),
        *trials("sst2", "armada manifold=cosine", [88.0, 90.0], **taught),
        *trials("mail", "undistilled", [66.0, 67.0], **student),
    ]
    return write_run(root, entries, **changes)


def wide_run(root: Path, **changes: Any) -> Path:
    """Eight tasks of one group, three seeds, three methods with long titles: wider than any terminal of 120 columns."""
    columns = ("CoLA", "MRPC", "RTE", "STS-B", "CB", "COPA", "BoolQ", "WiC")
    methods = ("undistilled", "armada manifold=euclid", "armada manifold=euclid beta=0.1 orthogonal_every=8 control=shuffled")
    entries = []
    for place, column in enumerate(columns):
        metric = {"CoLA": "mcc", "STS-B": "pearson"}.get(column, "accuracy")
        for row, method in enumerate(methods):
            scores = [round(9.5 + 11 * place + row + 0.3 * seed * (row + 1), 1) for seed in range(3)]
            task = {"task": column, "group": "GLUE and SuperGLUE", "published": column, "metric": metric}
            student = {"student": "bert-base", "student_name": "bert-base"}
            entries += [
                {**entry, **task, **student, "id": f"{column}-{row}-{entry['seed']}"}
                for entry in trials("cola", method, scores)
            ]
    return write_run(root, entries, **changes)
