"""Other values for an option, near the one it has."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, Union

from armada_cli.contracts import Choice, Environment

TRIED = 4
"""Values tried for one option at most."""


def varied(options: Any, environment: Environment) -> Iterator[tuple[str, Any]]:
    """(option, the same options with another value of it), for every option; several for one option. Combinations that the
    options themselves call a problem are left out. For an option that is a component, each of *its* options is varied once."""
    hints = typing.get_type_hints(type(options))
    for item in dataclasses.fields(options):
        if not item.init:
            continue
        made, now = 0, getattr(options, item.name)
        named = bool(item.metadata.get("component"))
        for value in _other_parts(now, environment) if named else _others(hints[item.name], now, item.metadata):
            try:
                other = dataclasses.replace(options, **{item.name: value})
                if hasattr(other, "problems") and any(True for _ in other.problems(environment)):
                    continue
            except Exception:  # a value that the class refuses is none to try
                continue
            yield item.name, other
            made += 1
            if made == TRIED and not named:
                break


def _other_parts(value: Any, environment: Environment) -> Iterator[Any]:
    """A choice, or a tuple of choices, with one option of one of them changed."""
    if isinstance(value, tuple):
        for number, part in enumerate(value):
            yield from ((*value[:number], other, *value[number + 1 :]) for other in _other_parts(part, environment))
    elif isinstance(value, Choice):
        firsts: dict[str, Any] = {}
        for name, options in varied(value.options, environment):
            firsts.setdefault(name, options)
        yield from (dataclasses.replace(value, options=options) for options in firsts.values())


def _others(annotation: Any, value: Any, metadata: Any) -> list[Any]:
    """Values that differ from `value`, of the annotated type and within bounds."""
    if metadata.get("choices") is not None:
        return [other for other in metadata["choices"] if other != value]
    if typing.get_origin(annotation) is Literal:
        return [other for other in typing.get_args(annotation) if other != value]
    kinds = set(typing.get_args(annotation)) if typing.get_origin(annotation) in (Union, types.UnionType) else {annotation}
    values: list[Any] = []
    if bool in kinds and isinstance(value, bool):
        values = [not value]
    elif int in kinds and (value is None or isinstance(value, int)):
        values = [1, 2] if value is None else [metadata.get("minimum"), value // 2, value + 1, value * 2, value - 1]
        values = [int(other) for other in values if other is not None]
    elif float in kinds and (value is None or isinstance(value, (int, float))):
        values = [0.5, 1.0] if value is None else [value / 2, value * 2, value + 1.0, value - 1.0]
    elif str in kinds and not metadata.get("path"):
        values = ["x"] if value is None else [f"{value} x", "x"]
    if type(None) in kinds and value is not None:
        values.append(None)
    return [other for other in dict.fromkeys(values) if other != value and _in_bounds(other, metadata)]


def _in_bounds(value: Any, metadata: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    low, high, above, below = (metadata.get(name) for name in ("minimum", "maximum", "above", "below"))
    return (
        (low is None or value >= low)
        and (high is None or value <= high)
        and (above is None or value > above)
        and (below is None or value < below)
    )
