"""Choices made by code: what a recipe would say, for options whose default names a component, and for plugins."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from armada_cli.contracts import Choice
from armada_cli.errors import UserError
from armada_cli.registry.catalog import current
from armada_cli.registry.registered import OWN_DISTRIBUTION, did_you_mean


def choose(kind: str, name: str, /, **options: Any) -> Choice:
    """The component of a kind by its name, with some of its options; the others have their defaults.

    Raises:
        UserError: there is no such component, or it has no such option, or lacks one.
    """
    registered = current().find(kind, name)
    return Choice(registered, make_options(registered.component.options, options, f"{kind} {name!r}"), registered.name)


def make_options(cls: type, values: Mapping[str, Any], label: str) -> Any:
    """An instance of an options class, in which every option that is a component is a `Choice`, those with their default too.

    Args:
        values: option -> value; a component may be given as a `Choice`, a name, or a mapping with a name and options.
        label: what messages call it.

    Raises:
        UserError: an unknown option, a missing one, or a component that there is not.
    """
    fields = {item.name: item for item in dataclasses.fields(cls) if item.init}
    for name in values:
        if name not in fields:
            hint = did_you_mean(name, fields) or f"known are {', '.join(fields) or 'none'}"
            raise UserError(f"{label} has no option {name!r}", hint)
    given = dict(values)
    for name, item in fields.items():
        kind = item.metadata.get("component")
        if kind and name in given:
            given[name] = as_choice(kind, given[name])
        elif kind and item.default is not dataclasses.MISSING:
            given[name] = default_choice(kind, item.default)
        elif name not in given and item.default is item.default_factory is dataclasses.MISSING:
            raise UserError(f"{label} misses {name!r}", "Give it a value")
    return cls(**given)


def default_choice(kind: str, value: Any) -> Any:
    """As `as_choice`, for the default of an option: where another distribution brings a component of the same name, armada's
    own is meant."""
    if isinstance(value, (list, tuple)):
        return tuple(default_choice(kind, item) for item in value)
    if isinstance(value, str) and ":" not in value:
        distributions = [item.distribution for item in current().components(kind) if item.name == value]
        if len(distributions) > 1 and OWN_DISTRIBUTION in distributions:
            return choose(kind, f"{OWN_DISTRIBUTION}:{value}")
    return as_choice(kind, value)


def as_choice(kind: str, value: Any) -> Any:
    """A `Choice` for a name or a mapping with a name and options, a tuple of them for several; what is one already, or None,
    stays as it is.

    Raises:
        UserError: there is no such component, or it has no such option.
    """
    if isinstance(value, (list, tuple)):
        return tuple(as_choice(kind, item) for item in value)
    if isinstance(value, str):
        return choose(kind, value)
    if isinstance(value, Mapping):
        options = dict(value)
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise UserError(f"a {kind} without a name: {value!r}", "Write a name, or a mapping with `name`")
        return choose(kind, name, **options)
    return value
