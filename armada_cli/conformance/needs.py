"""What is asked about the trials that a method needs first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armada_cli.conformance.asking import Broken, quoted, require
from armada_cli.conformance.parts import require_choice
from armada_cli.contracts import LIVE, Choice, Component, Method, Needs, NoOptions, Planned, Registered, TopTokens
from armada_cli.errors import UserError
from armada_cli.registry.choosing import choose

WHERE = "dependencies() names for"


def plan_toy(kind: str, teacher: bool) -> Planned:
    """A trial of toys, as `dependencies` sees it.

    Args:
        teacher: whether it reads a teacher's vectors.
    """
    return Planned(
        student=_toy("student", "ToyStudent", "encoder"),
        task=_toy("task", "Unscored", kind),
        teacher=_toy("teacher", "Unscored", "text") if teacher else None,
        seed=3,
        kind=kind,
    )


def _toy(kind: str, name: str, provides: str) -> Choice:
    card = Component("toy", "A toy", f"armada_cli.conformance.problems:{name}", provides={provides}, light=True)
    return Choice(Registered(kind, card, "toys", "armada-cli", "0"), NoOptions(), "toy")


def ask_for_needs(options: Any, trial: Planned) -> dict[str, Needs]:
    """What the options say that they need, judged. Empty for options without `dependencies`.

    Raises:
        Broken: it is no mapping of `Needs`, one of them cannot be planned, or two answers differ; or `check` of the options
            fails.
    """
    _ask_check(options, trial)
    if not hasattr(options, "dependencies"):
        return {}
    try:
        first, second = options.dependencies(trial), options.dependencies(trial)
    except TypeError as error:
        raise Broken(f"dependencies() raises {error}; it takes the trial that is planned: dependencies(self, trial)") from None
    require(
        isinstance(first, Mapping),
        f"dependencies() returns {type(first).__name__}; it must be a dictionary: role -> armada_cli.Needs",
    )
    for role, needs in first.items():
        _require_needs(role, needs, trial)
    require(
        first == second,
        f"dependencies() needs {_describe(first)}, and asked again {_describe(second)}; it must depend on the options and on "
        "the trial alone, or two plans of one recipe have other trials",
    )
    return dict(first)


def _ask_check(options: Any, trial: Planned) -> None:
    """Toys say nothing of their size; that a trial of theirs is refused is no mistake."""
    if not hasattr(options, "check"):
        return
    try:
        options.check(trial)
    except UserError:
        return
    except Exception as error:
        raise Broken(
            f"check() raises {quoted(error)}; what cannot be trained is a UserError, what is unknown is let pass"
        ) from None


def _require_needs(role: Any, needs: Any, trial: Planned) -> None:
    require(
        isinstance(role, str) and role.isidentifier(),
        f"dependencies() has the role {role!r}; a role is one word, by which the method asks for it",
    )
    require(
        isinstance(needs, Needs),
        f"{WHERE} {role!r} a {type(needs).__name__}; it must be armada_cli.Needs(student, method, task, seed)",
    )
    require_choice(needs.student, "student", f"{WHERE} {role!r}")
    if needs.task is not None:
        require_choice(needs.task, "task", f"{WHERE} {role!r}")
    if isinstance(needs.method, str):
        try:
            choose("method", needs.method)
        except UserError as error:
            raise Broken(f"{WHERE} {role!r} the method {needs.method!r}: {error}") from None
    else:
        require_choice(needs.method, "method", f"{WHERE} {role!r}")
    require(
        isinstance(needs.seed, int) and not isinstance(needs.seed, bool) and needs.seed >= 0,
        f"{WHERE} {role!r} the seed {needs.seed!r}; it must be a whole number from 0",
    )
    task = needs.task or trial.task
    kind = task.registered.component.kind(task.options)
    require(
        not needs.answers or kind == "generation",
        f"{WHERE} {role!r} answers of a trial on a task that is {kind}; only a generation task has prompts to answer",
    )


def judge_asked(method: type[Method], needs: Mapping[str, Needs], asked_for: set[str], kind: str) -> None:
    """Whether the roles that a method asked for while it trained are those it said it needs.

    Raises:
        Broken: it asks for another, or a trial would be trained for nothing.
    """
    stray = sorted(asked_for - needs.keys())
    named = f"dependencies() names {', '.join(sorted(needs))}" if needs else "dependencies() of its options names none"
    require(
        not stray,
        f"On {kind} it asks for the trial {', '.join(map(repr, stray))}, and {named}; no such trial would have been trained",
    )
    reads_answers = getattr(method, "training", None) is not getattr(Method, "training", None)
    idle = [
        role
        for role, item in needs.items()
        if role not in asked_for and role != "start" and not (item.answers and reads_answers)
    ]
    require(
        not idle,
        f"It needs {', '.join(map(repr, idle))} and never asks for {'it' if len(idle) == 1 else 'them'} on {kind}: a trial "
        "would be trained for nothing. Leave the role out, or ask `setup` for what it gives",
    )


def judge_read(options: Any, trial: Planned, read: set[tuple[str, str | TopTokens]]) -> None:
    """Whether what a method asked to be kept of finished trials is what its options' `reads` says; nothing without `reads`.

    Args:
        read: role, and ``logits``, ``pooled``, ``first``, ``mean`` or `TopTokens`.

    Raises:
        Broken: `armada check` would count other gigabytes than are made.
    """
    if not hasattr(options, "reads"):
        return
    said = {
        (role, what.partition(":")[0] if isinstance(what, str) else what)
        for role, parts in options.reads(trial).items()
        for what in parts
        if what != LIVE
    }
    for stray, words in ((read - said, "does not name {}, which is asked for"), (said - read, "names {} in vain")):
        named = ", ".join(sorted(f"{what if isinstance(what, str) else 'TopTokens'} of {role!r}" for role, what in stray))
        require(not stray, f"On {trial.kind} reads() {words.format(named)}: `armada check` counts what it names")


def _describe(needs: Mapping[str, Needs]) -> str:
    parts = [f"{role} ({_name(item.student)} by {_name(item.method)}, seed {item.seed})" for role, item in needs.items()]
    return ", ".join(parts) or "nothing"


def _name(choice: Choice | str) -> str:
    return choice if isinstance(choice, str) else choice.name
