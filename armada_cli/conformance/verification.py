"""From a name or a card to a report: options, a temporary place, and the questions of the kind."""

from __future__ import annotations

import dataclasses
import importlib
import tempfile
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from armada_cli.conformance import parts
from armada_cli.conformance.asking import ask
from armada_cli.conformance.report import FAILED, Check, Report
from armada_cli.conformance.subject import Subject
from armada_cli.contracts import KINDS, Component, Environment
from armada_cli.contracts.component import PLURALS
from armada_cli.errors import UserError
from armada_cli.recipe.single import read_choice
from armada_cli.recipe.values import is_required
from armada_cli.registry import catalog
from armada_cli.registry.choosing import make_options
from armada_cli.registry.registered import Registered, did_you_mean

"""Kind -> module of this package with its questions."""

UNSET = {str: "unset", int: 1, float: 1.0, bool: False}
"""What stands for a required option that `smoke` may be about to replace."""


def verify(
    kind: str,
    component: str | Component | Registered,
    given: Mapping[str, Any] | None,
    environment: Environment,
    tiny: bool,
    only: Sequence[str] | None,
) -> Report:
    """See `armada_cli.conformance.verify`."""
    if kind not in KINDS:
        raise UserError(f"unknown kind {kind!r}", f"Known are {', '.join(KINDS)}")
    if isinstance(component, str):
        component = catalog.current().find(kind, component)
    card = component if isinstance(component, Component) else component.component
    entry = "" if isinstance(component, Component) else _entry_module(component)
    if fault := next(parts.find_faults(card), ""):
        return Report(kind, card.name, (Check(parts.CHECK, FAILED, fault),))
    with tempfile.TemporaryDirectory(prefix="armada-verify-") as place:
        folder = Path(place)
        environment = dataclasses.replace(environment, runs=folder / "runs", threads=1)
        options, shrunk = chosen_options(kind, component, dict(given or {}), environment, folder / "tiny", tiny)
        if shrunk and kind != "teacher":
            # As in a smoke run: what is made tiny needs no package beyond armada's own.
            card = dataclasses.replace(card, requires=(), extra=None)
        if card.missing_packages():
            raise card.missing_error()
        module = importlib.import_module(f"armada_cli.conformance.{PLURALS[kind]}")
        names = [name for name, _ in module.QUESTIONS]
        if unknown := [name for name in only or () if name not in names]:
            hint = did_you_mean(unknown[0], names) or f"the checks of a {kind} are {', '.join(names)}"
            raise UserError(f"a {kind} has no check {unknown[0]!r}", hint)
        questions = [item for item in module.QUESTIONS if only is None or item[0] in only]
        subject: Subject = module.SUBJECT(kind, card, options, environment, folder, entry)
        try:
            return Report(kind, card.name, tuple(ask(questions, subject)))
        finally:
            subject.close()


def chosen_options(
    kind: str,
    component: Component | Registered,
    given: dict[str, Any],
    environment: Environment,
    folder: Path,
    tiny: bool,
) -> tuple[Any, bool]:
    """The options instance to verify with, and whether it was made tiny.

    Raises:
        UserError: a wrong option, or a required one that neither the caller nor `smoke` gave.
    """
    card = component if isinstance(component, Component) else component.component
    shrinks = tiny and callable(getattr(card.options, "smoke", None))
    required = [item for item in dataclasses.fields(card.options) if item.init and is_required(item)]
    lacking = [item.name for item in required if item.name not in given]
    known = [item.name for item in dataclasses.fields(card.options) if item.init]
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known) or f"known are {', '.join(known) or 'none'}"
            raise UserError(f"{kind} {card.name!r} has no option {name!r}", hint)
    if lacking and not shrinks:
        raise _lacks(kind, card, lacking)
    if not lacking and isinstance(component, Registered) and kind in ("teacher", "student", "task", "method"):
        name = f"{component.distribution}:{component.name}"
        options = read_choice({"name": name, **given}, kind, environment).options
    else:
        hints = typing.get_type_hints(card.options)
        unset = {name: UNSET.get(hints[name]) for name in lacking}
        try:
            options = make_options(card.options, {**given, **unset}, f"{kind} {card.name!r}")
        except TypeError as error:
            raise UserError(
                f"{kind} {card.name!r}: {' '.join(str(error).split())}", "Check the options that were given"
            ) from None
    if not shrinks:
        return options, False
    folder.mkdir(parents=True, exist_ok=True)
    options = options.smoke(folder)
    still = [name for name in lacking if getattr(options, name) == UNSET.get(hints[name])]
    if still:
        raise _lacks(kind, card, still)
    return options, True


def _lacks(kind: str, card: Component, names: list[str]) -> UserError:
    example = " ".join(f"--set {name}=..." for name in names)
    return UserError(
        f"{kind} {card.name!r} cannot be verified without {', '.join(map(repr, names))}",
        f"Give it: `armada verify {kind} {card.name} {example}`",
    )


def _entry_module(registered: Registered) -> str:
    """The module of the entry point that brought it."""
    for plugin in catalog.current().plugins:
        if (plugin.name, plugin.distribution) == (registered.plugin, registered.distribution):
            return plugin.module.partition(":")[0]
    return ""
