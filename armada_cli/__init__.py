"""ARMADA: cross-modal knowledge distillation from black-box teachers to language models.

Everything a plugin author imports is here, and importing it is cheap: no torch, no numpy. A name's module is imported when the
name is asked for, so that the command can answer an interrupt before anything else is loaded (`entry`).
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers take it for true; importing typing for it would take longer than all the rest

if TYPE_CHECKING:
    from armada_cli.contracts import (
        CONTRACT_VERSION,
        Batch,
        Choice,
        Component,
        Decoding,
        Environment,
        Loss,
        Method,
        Model,
        Needs,
        NoOptions,
        Planned,
        Problem,
        Setup,
        Split,
        Student,
        StudentOutput,
        Task,
        Teacher,
        Term,
        TokenOutput,
        TokenTargets,
        TopTokens,
        Unanswered,
        content_fingerprint,
        limited_rows,
        option,
    )
    from armada_cli.errors import MissingPackage, TrialFailed, UserError
    from armada_cli.registry.choosing import choose
    from armada_cli.registry.hookspecs import hookimpl

__version__ = "0.1.0"

__all__ = [
    "CONTRACT_VERSION",
    "Batch",
    "Choice",
    "Component",
    "Decoding",
    "Environment",
    "Loss",
    "Method",
    "MissingPackage",
    "Model",
    "Needs",
    "NoOptions",
    "Planned",
    "Problem",
    "Setup",
    "Split",
    "Student",
    "StudentOutput",
    "Task",
    "Teacher",
    "Term",
    "TokenOutput",
    "TokenTargets",
    "TopTokens",
    "TrialFailed",
    "Unanswered",
    "UserError",
    "__version__",
    "choose",
    "content_fingerprint",
    "hookimpl",
    "limited_rows",
    "option",
]

_ELSEWHERE = {
    "MissingPackage": "errors",
    "TrialFailed": "errors",
    "UserError": "errors",
    "choose": "registry.choosing",
    "hookimpl": "registry.hookspecs",
}
"""The modules of the names that are not in `contracts`."""


if not TYPE_CHECKING:  # or every name that anybody asks for would be there to a type checker

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import importlib

        value = getattr(importlib.import_module(f"{__name__}.{_ELSEWHERE.get(name, 'contracts')}"), name)
        globals()[name] = value  # asked for once
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
