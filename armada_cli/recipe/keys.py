"""The keys of a mapping, checked against the fields of a dataclass: options of a component, or training settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from armada_cli.recipe.problems import Problems
from armada_cli.recipe.tree import INVALID, Entry, Items, Node, Scalar, Table, plain, without_text
from armada_cli.recipe.values import bounds, default_of, describe, field_types, is_required, literal, read, show, takes_list
from armada_cli.registry.registered import did_you_mean

ReadPart: TypeAlias = Callable[[Node, str, Any, str], tuple[Any, Any]]
"""Takes what is written, the kind of component, the annotation of the option and a label; gives the choice or choices, or
`INVALID`, and the same as plain data."""


@dataclass(frozen=True)
class Setting:
    """One value of one option or training setting, how a title writes it, and how the resolved recipe does."""

    key: str
    value: Any
    shown: str
    node: Node
    data: Any = None


def nowhere(key: str, node: Node) -> str:
    return ""


def read_settings(
    table: Table,
    options: type,
    label: str,
    problems: Problems,
    *,
    grid: bool,
    reserved: tuple[str, ...] = (),
    what: str = "",
    elsewhere: Callable[[str, Node], str] = nowhere,
    read_part: ReadPart | None = None,
) -> list[list[Setting]] | None:
    """The written keys of `table`, checked against a dataclass: for each its values, more than one where it is a grid. None
    when a problem makes the whole unusable (a missing or unknown key, a wrong value).

    Args:
        elsewhere: what to do about a key that is unknown here and belongs in another place; empty where there is none.
        read_part: reads an option that is a component; needed where there may be one.
    """
    kinds = field_types(options)
    fields = {item.name: item for item in dataclasses.fields(options) if item.init}
    settings: list[list[Setting]] = []
    sound = True
    for key, entry in table.entries.items():
        if key in reserved:
            continue
        if key not in fields:
            hint = elsewhere(key, entry.node) or describe_unknown_key(key, entry.node, [*fields, *reserved])
            problems.add(entry.key, f"unknown {what or f'key of {label}'}", hint)
            sound = False
            continue
        if fields[key].metadata.get("secret"):
            entry = Entry(entry.key, without_text(entry.node))
        points: tuple[Node, ...] = (entry.node,)
        if isinstance(entry.node, Items) and not takes_list(kinds[key]):
            if not grid:
                problems.add(entry.node.place, f"{label}.{key} must be {describe(kinds[key])}", "Write a single value")
                sound = False
                continue
            if not entry.node.items:
                problems.add(entry.node.place, f"{label}.{key} is an empty list", "Name at least one value")
                sound = False
                continue
            points = entry.node.items
        values = []
        kind = fields[key].metadata.get("component")
        for point in points:
            if kind and read_part:
                value, data = read_part(point, kind, kinds[key], f"{label}.{key}")
            else:
                value = read(point, kinds[key], f"{label}.{key}", fields[key].metadata, problems, _fallback(fields[key]))
                data = value
            sound = sound and value is not INVALID
            values.append(Setting(key, value, _shown(point, value, fields[key].metadata), point, data))
        settings.append(values)
    for item in fields.values():
        if is_required(item) and item.name not in table.entries:
            problems.add(table.place, f"{what or label} misses {item.name!r}", _how_to_add(item, kinds[item.name]), snippet="")
            sound = False
    return settings if sound else None


def is_read_otherwise(metadata: Mapping[str, Any]) -> bool:
    """Whether the value of an option is another one than what stands in the recipe: a path or a component."""
    return bool(metadata.get("path") or metadata.get("place") or metadata.get("component"))


def _shown(node: Node, value: Any, metadata: Mapping[str, Any]) -> str:
    """A value in a title: a path as it was written, not as it was resolved."""
    if value is INVALID:
        return ""
    text = show(plain(node)) if is_read_otherwise(metadata) else show(value)
    return " ".join(text.split())


def describe_unknown_key(key: str, node: Node, known: list[str]) -> str:
    word, colon, _ = key.partition(":")
    if colon and isinstance(node, Scalar) and node.value is None and word in known:
        return f"Write a space after the colon: '{word}: {key.partition(':')[2]}'"
    if near := did_you_mean(key, known):
        return near
    return f"Known are {', '.join(known)}" if known else "It has none"


def _fallback(item: dataclasses.Field[Any]) -> str:
    """What to say of a wrong value when there is nothing better."""
    if not is_required(item):
        return f"The default is {literal(default_of(item))}"
    return item.metadata.get("help", "").rstrip(".")


def _how_to_add(item: dataclasses.Field[Any], annotation: Any) -> str:
    limits = bounds(item.metadata)
    meaning = item.metadata.get("help", "").rstrip(".")
    wanted = describe(annotation) + (f" ({limits})" if limits else "")
    return f"Add `{item.name}:`, {wanted}" + (f": {meaning}" if meaning else "")
