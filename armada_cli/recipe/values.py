"""Checks a written value against the type and bounds of the dataclass field it is for."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

from armada_cli.contracts import Choice
from armada_cli.errors import UserError
from armada_cli.files import expand
from armada_cli.models.hub import looks_local
from armada_cli.recipe.problems import Problems
from armada_cli.recipe.tree import INVALID, Entry, Items, Node, Place, Scalar, Table, plain
from armada_cli.registry.registered import did_you_mean


def field_types(options: type) -> dict[str, Any]:
    """Field name -> evaluated annotation, of the fields a recipe can set.

    Raises:
        TypeError: an annotation cannot be evaluated (a name imported for type checking only).
    """
    try:
        hints = typing.get_type_hints(options)
    except NameError as error:
        raise TypeError(f"the options class {options.__name__} has an annotation that cannot be evaluated: {error}") from error
    return {item.name: hints[item.name] for item in dataclasses.fields(options) if item.init}


def is_required(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def default_of(item: dataclasses.Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default


def takes_list(annotation: Any) -> bool:
    """Whether a list is one value of this type; otherwise a list in a recipe is a grid."""
    if _is_union(annotation):
        return any(takes_list(member) for member in typing.get_args(annotation))
    return (typing.get_origin(annotation) or annotation) in (tuple, list, Sequence)


def describe(annotation: Any, *, plural: bool = False) -> str:
    """A type in a user's words."""
    if _is_union(annotation):
        members = typing.get_args(annotation)
        return " or ".join("null" if member is type(None) else describe(member, plural=plural) for member in members)
    origin = typing.get_origin(annotation) or annotation
    if origin is Literal:
        return "one of " + ", ".join(show(value) for value in typing.get_args(annotation))
    if origin in (tuple, list, Sequence):
        inner = [member for member in typing.get_args(annotation) if member is not Ellipsis]
        kinds = list(dict.fromkeys(describe(member, plural=True) for member in inner)) or ["values"]
        count = f"{len(inner)} " if origin is tuple and inner and Ellipsis not in typing.get_args(annotation) else ""
        return f"{'lists' if plural else 'a list'} of {count}{', '.join(kinds)}"
    if origin in (dict, Mapping):
        held = typing.get_args(annotation)
        return f"{'mappings' if plural else 'a mapping'} to {describe(held[1], plural=True) if len(held) == 2 else 'values'}"
    names = {
        bool: ("true or false", "true or false"),
        int: ("a whole number", "whole numbers"),
        float: ("a number", "numbers"),
        str: ("text", "texts"),
        Path: ("a path", "paths"),
        Any: ("any value", "any values"),
        type(None): ("null", "null"),
        Choice: ("a component", "components"),
    }
    return names.get(origin, (str(origin), str(origin)))[plural]


def show(value: Any) -> str:
    """A value as a recipe writes it, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        short = f"{value:g}"
        # 2e-5, as people write it, where C's formatting has 2e-05
        return re.sub(r"e([-+])0", r"e\1", short if math.isfinite(value) and float(short) == value else repr(value))
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(show(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {show(item)}" for key, item in value.items()) + "}"
    return str(value)


def bounds(metadata: Mapping[str, Any]) -> str:
    """``at least 1, below 10``, or nothing."""
    words = {"minimum": "at least", "above": "above", "maximum": "at most", "below": "below"}
    parts = [f"{word} {show(metadata[key])}" for key, word in words.items() if metadata.get(key) is not None]
    if metadata.get("choices") is not None:
        parts.append("one of " + ", ".join(show(choice) for choice in metadata["choices"]))
    return ", ".join(parts)


def read(node: Node, annotation: Any, label: str, metadata: Mapping[str, Any], problems: Problems, fallback: str = "") -> Any:
    """The node's value in the given type, or `INVALID` after a problem has been reported.

    Args:
        label: what messages call it, e.g. ``train.epochs``.
        metadata: of the dataclass field (see `armada_cli.option`): bounds, choices, whether it is a path or a place.
        fallback: the suggestion when nothing better is known.
    """
    if _holds_invalid(node):
        return INVALID
    if not _fits(node, annotation):
        place, message, hint = _mismatch(node, annotation, label)
        problems.add(place, message, hint or fallback)
        return INVALID
    value = _convert(node, annotation)
    if not _in_bounds(node, value, label, metadata, problems, fallback):
        return INVALID
    try:
        if metadata.get("path"):
            return _resolve(value, node.place)
        return _resolve_place(value, node.place) if metadata.get("place") else value
    except UserError:  # `~name/x` of a user whom this machine does not know
        problems.add(node.place, f"{label} names a home folder that is not known", "Write the whole path")
        return INVALID


def misfit(options: type, name: str, value: Any) -> str:
    """Why a plain value cannot be that of an option, as `name must be a number`; empty where it can.

    Args:
        options: a dataclass with the option; one that is a component fits always.
    """
    metadata = next(item.metadata for item in dataclasses.fields(options) if item.name == name)
    if metadata.get("component"):
        return ""
    problems = Problems()
    unresolved = {key: item for key, item in metadata.items() if key not in ("path", "place")}
    read(_as_node(value), field_types(options)[name], name, unresolved, problems)
    return problems.noted[0].message if problems else ""


def _as_node(value: Any) -> Node:
    place = Place("", 0, 0)
    if isinstance(value, (list, tuple)):
        return Items(tuple(map(_as_node, value)), place)
    if isinstance(value, Mapping):
        return Table({str(key): Entry(place, _as_node(item)) for key, item in value.items()}, place)
    return Scalar(value, place)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (Union, types.UnionType)


def _holds_invalid(node: Node) -> bool:
    if isinstance(node, Items):
        return any(_holds_invalid(item) for item in node.items)
    if isinstance(node, Table):
        return any(_holds_invalid(entry.node) for entry in node.entries.values())
    return node.value is INVALID


def _fits(node: Node, annotation: Any) -> bool:
    if annotation is Any:
        return True
    if _is_union(annotation):
        return any(_fits(node, member) for member in typing.get_args(annotation))
    origin = typing.get_origin(annotation) or annotation
    members = typing.get_args(annotation)
    if origin in (tuple, list, Sequence):
        if not isinstance(node, Items):
            return False
        if origin is tuple and members and Ellipsis not in members:
            return len(members) == len(node.items) and all(map(_fits, node.items, members))
        return all(_fits(item, members[0] if members else Any) for item in node.items)
    if origin in (dict, Mapping):
        kind = members[1] if len(members) == 2 else Any
        return isinstance(node, Table) and all(_fits(entry.node, kind) for entry in node.entries.values())
    if not isinstance(node, Scalar):
        return False
    value = node.value
    if origin is Literal:
        return any(type(value) is type(member) and value == member for member in members)
    if origin is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if origin is Path:
        return isinstance(value, str)
    return isinstance(origin, type) and type(value) is origin


def _convert(node: Node, annotation: Any) -> Any:
    """The value of a node that fits."""
    if _is_union(annotation):
        members = typing.get_args(annotation)
        exact = [member for member in members if isinstance(node, Scalar) and type(node.value) is member]
        return _convert(node, exact[0] if exact else next(member for member in members if _fits(node, member)))
    origin = typing.get_origin(annotation) or annotation
    members = typing.get_args(annotation)
    if isinstance(node, Items) and annotation is not Any:
        fixed = origin is tuple and members and Ellipsis not in members
        kinds = members if fixed else [members[0] if members else Any] * len(node.items)
        values = [_convert(item, kind) for item, kind in zip(node.items, kinds, strict=True)]
        return values if origin is list else tuple(values)
    if isinstance(node, Table) and annotation is not Any:
        kind = members[1] if len(members) == 2 else Any
        return {key: _convert(entry.node, kind) for key, entry in node.entries.items()}
    if isinstance(node, Scalar) and origin is float:
        return float(node.value)
    return plain(node)


def _mismatch(node: Node, annotation: Any, label: str) -> tuple[Place, str, str]:
    """Place, message and hint, at the innermost value that is wrong."""
    if _is_union(annotation) and not isinstance(node, Scalar):
        shapes = (dict, Mapping) if isinstance(node, Table) else (tuple, list, Sequence)
        alike = [member for member in typing.get_args(annotation) if (typing.get_origin(member) or member) in shapes]
        if len(alike) == 1:
            annotation = alike[0]
    origin = typing.get_origin(annotation) or annotation
    members = typing.get_args(annotation)
    if isinstance(node, Items) and origin in (tuple, list, Sequence):
        fixed = origin is tuple and members and Ellipsis not in members
        if not fixed:
            kind = members[0] if members else Any
            number, wrong = next((i, item) for i, item in enumerate(node.items) if not _fits(item, kind))
            return _mismatch(wrong, kind, f"{label}.{number}")
        if len(members) == len(node.items):
            number = next(i for i, item in enumerate(node.items) if not _fits(item, members[i]))
            return _mismatch(node.items[number], members[number], f"{label}.{number}")
    if isinstance(node, Table) and origin in (dict, Mapping) and len(members) == 2:
        key, entry = next((key, entry) for key, entry in node.entries.items() if not _fits(entry.node, members[1]))
        return _mismatch(entry.node, members[1], f"{label}.{key}")
    hint = _hint(node, annotation)
    if origin is Literal and isinstance(node, Scalar) and isinstance(node.value, str) and not hint:
        hint = did_you_mean(node.value, [member for member in members if isinstance(member, str)])
    return node.place, f"{label} must be {describe(annotation)}", hint


def _hint(node: Node, annotation: Any) -> str:
    wanted = set(typing.get_args(annotation)) if _is_union(annotation) else {annotation}
    numeric = bool(wanted & {int, float})
    if isinstance(node, Table):
        return "Remove the mapping, or check the indentation"
    if isinstance(node, Items):
        return "Write a single value"
    value = node.value
    if value is None:
        return "Write a value, or remove the key"
    if takes_list(annotation):
        return f"Write a list: [{show(value)}]"
    if isinstance(value, str):
        if bool in wanted and value.lower() in ("yes", "no", "on", "off", "y", "n", "true", "false"):
            yes = value.lower() in ("yes", "on", "y", "true")
            return f"Write {'true' if yes else 'false'}, without quotes"
        if numeric and value.lower().lstrip("+-.") in ("nan", "inf", "infinity"):
            return "Write a finite number"
        if numeric and _is_number(value):
            return "Remove the quotes"
        return ""
    if str in wanted or Path in wanted:
        return f"Put it in quotes: '{node.place.text}'"
    if int in wanted and isinstance(value, float) and value.is_integer():
        return f"Write {int(value)}"
    return ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _in_bounds(node: Node, value: Any, label: str, metadata: Mapping[str, Any], problems: Problems, fallback: str) -> bool:
    if isinstance(node, Items) and isinstance(value, (list, tuple)):
        checks = [
            _in_bounds(item, each, label, metadata, problems, fallback) for item, each in zip(node.items, value, strict=True)
        ]
        return all(checks)
    choices = metadata.get("choices")
    if choices is not None and value not in choices:
        near = did_you_mean(value, [choice for choice in choices if isinstance(choice, str)]) if isinstance(value, str) else ""
        problems.add(node.place, f"{label} must be one of {', '.join(show(choice) for choice in choices)}", near or fallback)
        return False
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    low, above = metadata.get("minimum"), metadata.get("above")
    high, below = metadata.get("maximum"), metadata.get("below")
    if (
        (low is not None and value < low)
        or (above is not None and value <= above)
        or (high is not None and value > high)
        or (below is not None and value >= below)
    ):
        limits = bounds({key: item for key, item in metadata.items() if key != "choices"})
        problems.add(node.place, f"{label} must be {limits.replace(', ', ' and ')}", fallback)
        return False
    return True


def _resolve(value: Any, place: Place) -> Any:
    """Relative paths are relative to the file that contains them."""
    if isinstance(value, (list, tuple)):
        return type(value)(_resolve(item, place) for item in value)
    if isinstance(value, Mapping):
        return {key: _resolve(item, place) for key, item in value.items()}
    if not isinstance(value, (str, Path)):
        return value
    resolved = place.folder.absolute() / expand(value)
    return resolved if isinstance(value, Path) else str(resolved)


def _resolve_place(value: Any, place: Place) -> Any:
    """As a path where it reads as one or is there in the folder of the file that contains it; else a hub's name."""
    if not isinstance(value, str) or not value:
        return value
    if looks_local(value) or os.path.lexists(place.folder / value):
        return _resolve(value, place)
    return value


def literal(value: Any) -> str:
    """A value as it can be pasted into a recipe: text that YAML would read as something else is quoted."""
    if isinstance(value, str):
        from armada_cli.recipe.document import plain_scalar

        try:
            bare = plain_scalar(value) == value and value.strip() == value and not set(value) & set(":#{}[],&*!|>'\"%@`\n")
        except ValueError:
            bare = False
        return value if bare and not value.startswith(("- ", "? ")) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(str(key))}: {literal(item)}" for key, item in value.items()) + "}"
    return show(value)
