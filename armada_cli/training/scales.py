"""Which loss terms outweigh the task's own. Scales are the first thing that goes wrong, so every trial says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

LIMIT = 2.0
"""A term that pulls on h'_s this many times as hard as the task's loss (in the median) is worth a line."""

ADVICE = {
    "manifold": "try beta {weight:.2g}, or normalize: rows",
    "output": "try a smaller alpha or another tau",
    "auxiliary task": "try gamma {weight:.2g}",
    "auxiliary output": "try gamma {weight:.2g}",
    "soft labels": "try a smaller alpha or temperature",
}


def summary(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Medians over a trial's log: term -> its weighted value and its gradient's norm at h'_s."""
    names = list(dict.fromkeys(name for record in records for name in record.get("terms", {})))
    found = {}
    for name in names:
        pairs = [record["terms"][name] for record in records if name in record.get("terms", {})]
        found[name] = {"value": _figure(median(p[0] for p in pairs)), "gradient": _figure(median(p[1] for p in pairs))}
    return found


def warnings(records: Sequence[Mapping[str, Any]], weights: Mapping[str, float]) -> list[str]:
    """One line for each term that outweighs the task's.

    Args:
        records: a trial's log (see `Loop`), every one with ``terms: {name: [value, gradient norm]}``.
        weights: option value that scales a term (beta for the manifold), for the advice.
    """
    pairs: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        terms = record.get("terms", {})
        task = terms.get("task", [0.0, 0.0])[1]
        for name, (_, gradient) in terms.items():
            if name != "task" and task > 0 and gradient >= 0:
                pairs.setdefault(name, []).append((gradient, task))
    lines = []
    for name, values in pairs.items():
        ratio = median(gradient for gradient, _ in values) / median(task for _, task in values)
        if ratio > LIMIT:
            advice = ADVICE.get(name, "try a smaller weight for it").format(weight=weights.get(name, 1.0) / ratio)
            lines.append(
                f"the {name} term pulls on h'_s {ratio:.1f} times as hard as the task's own loss "
                f"(medians of {len(values)} steps); {advice}"
            )
    return lines


def _figure(value: float) -> float:
    return float(f"{value:.5g}")
