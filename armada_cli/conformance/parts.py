"""What is asked about options that are components themselves."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from armada_cli.conformance.asking import Broken, NotAsked, require
from armada_cli.conformance.variations import varied
from armada_cli.contracts import KINDS, Choice, Component, canonical
from armada_cli.errors import UserError
from armada_cli.registry.choosing import default_choice

if typing.TYPE_CHECKING:
    from armada_cli.conformance.subject import Subject

CHECK = "component options"
"""Name of the check."""


def find_faults(card: Component) -> Iterator[str]:
    """A sentence for each option that is declared to be a component and cannot be read as one. With one of them no options can
    be made, so this is asked before all else."""
    hints = typing.get_type_hints(card.options)
    for item in _declared(card.options):
        kind, several = item.metadata["component"], typing.get_origin(hints[item.name]) is tuple
        if kind not in KINDS:
            yield f"Option {item.name!r} is declared with component={kind!r}; the kinds are {', '.join(KINDS)}"
            continue
        members = typing.get_args(hints[item.name]) or (hints[item.name],)
        if Choice not in members or (several and members != (Choice, ...)):
            yield (
                f"Option {item.name!r} is a {kind}, and its type is not Choice; write Choice, Choice | None or "
                "tuple[Choice, ...], with armada_cli.Choice"
            )
            continue
        if item.default is dataclasses.MISSING:
            continue  # required: the recipe names one
        if isinstance(item.default, (list, tuple)) != several:
            wanted = "a tuple of names" if several else "one name"
            yield f"Option {item.name!r} has the default {item.default!r}; its type asks for {wanted}"
            continue
        try:
            default_choice(kind, item.default)
        except UserError as error:
            yield (
                f"Option {item.name!r} has a default that cannot be had: {error.what}; name one that armada or a distribution "
                "you depend on brings, or leave the default out, so that a recipe must say it"
            )


def check_parts(subject: Subject) -> str:
    """Another option of a component that an option names is another identity."""
    declared = _declared(subject.card.options)
    if not declared:
        raise NotAsked("No option of it is a component")
    for item in declared:
        require(
            item.metadata.get("identity", True),
            f"Option {item.name!r} is a component and declared with identity=False; whatever is chosen there would give an old "
            "result. Remove identity=False",
        )
    names = [item.name for item in declared]
    own, told = subject.identity(subject.options), set()
    for name, options in varied(subject.options, subject.environment):
        if name not in names or _inner(subject, options, name) == _inner(subject, subject.options, name):
            continue  # what it names has the same identity: an option there that changes nothing
        require(
            subject.identity(options) != own,
            f"Another option of what {name!r} names leaves the identity as it is: an old result would pass for a new one. "
            "Leave that part of the identity to armada",
        )
        told.add(name)
    quiet = [name for name in names if name not in told]
    words = [f"Part of the identity with their own options: {', '.join(sorted(told))}"] if told else []
    words += [f"There is nothing to vary in {', '.join(quiet)}"] if quiet else []
    return ". ".join(words)


def _inner(subject: Subject, options: Any, name: str) -> str:
    """The identity of what an option names."""
    value = getattr(options, name)
    parts = value if isinstance(value, tuple) else (value,)
    return canonical([part and part.identity(subject.environment) for part in parts])


def _declared(options: type) -> list[dataclasses.Field[Any]]:
    return [item for item in dataclasses.fields(options) if item.init and item.metadata.get("component")]


def require_choice(value: Any, kind: str, what: str) -> None:
    """Raises `Broken` unless the value is a chosen component of the kind.

    Args:
        what: how the sentence begins, as ``dependencies() names for 'teacher'``.
    """
    if not isinstance(value, Choice):
        raise Broken(
            f"{what} {type(value).__name__} {value!r:.60} as its {kind}; it must be a Choice, from an option declared with "
            f"component={kind!r} or from armada_cli.choose({kind!r}, name)"
        )
    require(
        value.registered.kind == kind,
        f"{what} the {value.registered.kind} {value.name!r} as its {kind}",
    )
