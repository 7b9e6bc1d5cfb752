"""Which loss terms outweigh the task's own. Scales are the first thing that goes wrong, so every trial says so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, TypeAlias

Figure: TypeAlias = float | str
"""A number, or one of the words `UNKNOWN`, `INNER` and `NOT_FINITE`."""

UNKNOWN = "unknown"
"""Stands for a gradient that could not be measured. It is not 0: nobody knows how large it is."""

INNER = "by inner layers"
"""Stands for the gradient at h'_s of a term that reaches the student below it, as its method says (`Term.inner`)."""

NOT_FINITE = "not finite"
"""Stands for NaN and infinity."""

LIMIT = 2.0
"""A term that pulls on h'_s this many times as hard as the task's loss (in the median) is worth a line."""

_QUOTIENT = re.compile(r"\{(\d+(?:\.\d+)?(?:e[-+]?\d+)?) / ratio\}")

NO_ANCHOR = "the student's plugin hands out no tensor that both come from (StudentOutput.anchor)"

BELOW = "it reaches the student by other layers, or " + NO_ANCHOR


def summary(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Figure]]:
    """Medians over a trial's log: term -> its weighted value and its gradient's norm at h'_s, or a word for it."""
    names = list(dict.fromkeys(name for record in records for name in record.get("terms", {})))
    medians = {}
    for name in names:
        pairs = [record["terms"][name] for record in records if name in record.get("terms", {})]
        medians[name] = {"value": _median(pair[0] for pair in pairs), "gradient": _median(pair[1] for pair in pairs)}
    return medians


def warnings(records: Sequence[Mapping[str, Any]], advice: Mapping[str, str]) -> list[str]:
    """One line for each term that outweighs the task's, and for each whose pull is not known.

    Args:
        records: a trial's log (see `Loop`), every one with ``terms: {name: [value, gradient norm]}``.
        advice: what the method says to try, by the term's name (see `Method.advice`).
    """
    pairs: dict[str, list[tuple[float, float]]] = {}
    unknown: dict[str, None] = {}
    for record in records:
        terms = record.get("terms", {})
        task = terms.get("task", [0.0, 0.0])[1]
        for name, (_, gradient) in terms.items():
            if gradient == UNKNOWN and len(terms) > 1:
                unknown[name] = None
            elif name != "task" and _is_number(gradient) and _is_number(task) and task > 0:
                pairs.setdefault(name, []).append((gradient, task))
    lines = []
    for name, values in pairs.items():
        ratio = median(gradient for gradient, _ in values) / median(task for _, task in values)
        if ratio > LIMIT:
            what = _divide(advice.get(name, "try a smaller weight for it"), ratio)
            lines.append(
                f"the {name} term pulls on h'_s {ratio:.1f} times as hard as the task's own loss "
                f"(medians of {len(values)} steps); {what}"
            )
    if "task" in unknown:
        lines.append(f"how hard the terms pull on h'_s beside the task's own loss is unknown: {NO_ANCHOR}")
    else:
        lines += [f"how hard the {name} term pulls on h'_s is unknown: {BELOW}" for name in unknown]
    return lines


def _divide(text: str, ratio: float) -> str:
    """The text with each ``{NUMBER / ratio}`` worked out to two digits."""
    return _QUOTIENT.sub(lambda quotient: f"{float(quotient[1]) / ratio:.2g}", text)


def _median(values: Iterable[Figure]) -> Figure:
    """Five significant digits of the median of the numbers; the last word where there is none."""
    given = list(values)
    numbers = [float(value) for value in given if _is_number(value)]
    return float(f"{median(numbers):.5g}") if numbers else given[-1]


def _is_number(value: Figure) -> bool:
    return not isinstance(value, str)
