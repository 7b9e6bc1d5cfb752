"""How a run was made: where its numbers come from, and how long it took."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from armada_cli.reporting.folder import Run


def list_provenance(run: Run) -> list[str]:
    """What the numbers came from; no clock time among it."""
    known = dict(run.provenance)
    lines = []
    if run.command:
        lines.append(f"command: {run.command}")
    for key in ("git", "python", "platform", "cpu"):
        value = known.pop(key, None)
        if value:
            lines.append(f"{'git commit' if key == 'git' else key}: {value}")
    versions = known.pop("versions", None)
    if isinstance(versions, Mapping) and versions:
        lines.append("versions: " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())))
    plugins = known.pop("plugins", None)
    components = _mappings(known.pop("components", None))
    brought: dict[tuple[Any, ...], dict[str, list[str]]] = {}
    for item in components:
        # classes of one file that the recipe named stand in one line
        local = str(item.get("distribution")).startswith("local file ")
        who = (None if local else item.get("plugin"), item.get("distribution"), item.get("version"))
        brought.setdefault(who, {}).setdefault(str(item.get("kind")), []).append(str(item.get("name")))
    for (plugin, distribution, version), kinds in brought.items():
        what = "; ".join(f"{kind} {', '.join(names)}" for kind, names in kinds.items())
        source = f"plugin {plugin} ({distribution} {version})" if plugin else f"{distribution} ({version})"
        lines.append(f"{source}: {what}")
    if isinstance(plugins, list) and plugins and not brought:
        names = [f"{item.get('plugin')} ({item.get('distribution')} {item.get('version')})" for item in _mappings(plugins)]
        lines.append("plugins: " + ", ".join(names))
    seeds = known.pop("seeds", None)
    if isinstance(seeds, list) and seeds:
        lines.append("seeds: " + ", ".join(str(seed) for seed in seeds))
    for teacher in _mappings(known.pop("teachers", None)):
        identity = json.dumps(teacher.get("identity"), sort_keys=True, ensure_ascii=False)
        key = f", key {teacher['key']}" if teacher.get("key") else ""
        lines.append(f"teacher {teacher.get('name')}{key}: {identity}")
    lines += [
        f"{key}: {json.dumps(value, sort_keys=True, ensure_ascii=False)}" for key, value in sorted(known.items()) if value
    ]
    return lines


def list_timings(run: Run) -> list[str]:
    """Clock times: the one part of a report that differs when the same run is made again."""
    times = sum_timings(run)
    lines = [f"{key}: {times[key]}" for key in ("started", "finished") if times[key]]
    for stage in times["stages"]:
        lines.append(f"{stage.get('stage', 'stage')}: {_clock(stage)}")
    total = times["trials"]
    if total["timed"]:
        plural = "s" if total["timed"] != 1 else ""
        lines.append(f"all {total['timed']} trial{plural} together: {_clock(total)}")
        lines += [f"    {name}: {_clock(stage)}" for name, stage in total["stages"].items()]
    return lines


def sum_timings(run: Run) -> dict[str, Any]:
    """Seconds by stage of the run, and summed over its trials (a trial shared with another run is counted in both)."""
    timed = [trial for trial in run.trials if trial.wall is not None]
    stages: dict[str, dict[str, float]] = {}
    for trial in timed:
        for name, spent in trial.stages.items():
            sums = stages.setdefault(name, {})
            for clock, seconds in (spent if isinstance(spent, Mapping) else {"wall": spent}).items():
                if isinstance(seconds, (int, float)):
                    sums[clock] = round(sums.get(clock, 0.0) + seconds, 3)
    return {
        "started": run.started,
        "finished": run.finished,
        "stages": [dict(stage) for stage in run.stages],
        "trials": {
            "timed": len(timed),
            "wall": round(sum(trial.wall or 0.0 for trial in timed), 3),
            "cpu": round(sum(trial.cpu or 0.0 for trial in timed), 3),
            "stages": stages,
        },
    }


def _clock(stage: Mapping[str, Any]) -> str:
    parts = [f"{_seconds(stage[key])} {key}" for key in ("wall", "cpu") if isinstance(stage.get(key), (int, float))]
    return ", ".join(parts) or "not measured"


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
