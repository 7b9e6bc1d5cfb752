"""Does a component keep its contract? One line in a plugin's tests, or `armada verify KIND NAME`:

    from armada_cli.conformance import check_teacher

    def test_my_teacher():
        check_teacher("rhyme")

A component is named as in a recipe, or given as its card (`Component`) when it is not installed. It is made tiny by the
``smoke`` of its options where they have one, so that Stable Diffusion and LLaMA can be verified on any machine; options may be
given::

    check_teacher(CARD, options={"words": 3})

Importing this module is cheap; numpy and torch come with the first check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from armada_cli.conformance.report import Check, NotConforming, Report
from armada_cli.contracts import Component, Environment

if TYPE_CHECKING:
    from armada_cli.registry.registered import Registered

__all__ = [
    "Check",
    "NotConforming",
    "Report",
    "check_loss",
    "check_method",
    "check_student",
    "check_task",
    "check_teacher",
    "verify",
]


def verify(
    kind: str,
    component: str | Component | Registered,
    options: Mapping[str, Any] | None = None,
    *,
    environment: Environment | None = None,
    tiny: bool = True,
    only: Sequence[str] | None = None,
) -> Report:
    """Ask every question of a kind, and report each answer.

    Args:
        kind: ``teacher``, ``student``, ``task``, ``loss`` or ``method``.
        component: its name, as a recipe has it, or its card.
        options: option -> value; the others keep their defaults.
        environment: where data are and what may be downloaded. Its runs folder is not touched: a temporary one is used.
        tiny: make the component tiny with its options' ``smoke``, where they have it.
        only: names of checks; None asks all.

    Raises:
        UserError: there is no such component, its options are wrong, or a package it needs is not installed.
    """
    from armada_cli.conformance import verification

    return verification.verify(kind, component, options, environment or Environment(), tiny, only)


def check_teacher(component: str | Component | Registered, options: Mapping[str, Any] | None = None, **more: Any) -> Report:
    """`verify` a teacher. Returns the report.

    Raises:
        NotConforming: with a sentence for every check that failed.
        UserError: as `verify`.
    """
    return verify("teacher", component, options, **more).require()


def check_student(component: str | Component | Registered, options: Mapping[str, Any] | None = None, **more: Any) -> Report:
    """`verify` a student, on every kind of task that it can be built for. Returns and raises as `check_teacher`."""
    return verify("student", component, options, **more).require()


def check_task(component: str | Component | Registered, options: Mapping[str, Any] | None = None, **more: Any) -> Report:
    """`verify` a task. Returns and raises as `check_teacher`."""
    return verify("task", component, options, **more).require()


def check_loss(component: str | Component | Registered, options: Mapping[str, Any] | None = None, **more: Any) -> Report:
    """`verify` a manifold loss. Returns and raises as `check_teacher`."""
    return verify("loss", component, options, **more).require()


def check_method(component: str | Component | Registered, options: Mapping[str, Any] | None = None, **more: Any) -> Report:
    """`verify` a method, on every kind of task that its card names. Returns and raises as `check_teacher`."""
    return verify("method", component, options, **more).require()
