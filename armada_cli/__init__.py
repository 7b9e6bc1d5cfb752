"""ARMADA: cross-modal knowledge distillation from black-box teachers to language models.

Everything a plugin author imports is here, and importing it is cheap: no torch, no numpy.
"""

from __future__ import annotations

from armada_cli.contracts import (
    CONTRACT_VERSION,
    Batch,
    Component,
    Decoding,
    Environment,
    Loss,
    Method,
    NoOptions,
    Problem,
    Setup,
    Split,
    Student,
    StudentOutput,
    Task,
    Teacher,
    Term,
    Unanswered,
    content_fingerprint,
    limited_rows,
    option,
)
from armada_cli.errors import MissingPackage, TrialFailed, UserError
from armada_cli.hookspecs import hookimpl

__version__ = "0.1.0"

__all__ = [
    "CONTRACT_VERSION",
    "Batch",
    "Component",
    "Decoding",
    "Environment",
    "Loss",
    "Method",
    "MissingPackage",
    "NoOptions",
    "Problem",
    "Setup",
    "Split",
    "Student",
    "StudentOutput",
    "Task",
    "Teacher",
    "Term",
    "TrialFailed",
    "Unanswered",
    "UserError",
    "__version__",
    "content_fingerprint",
    "hookimpl",
    "limited_rows",
    "option",
]
