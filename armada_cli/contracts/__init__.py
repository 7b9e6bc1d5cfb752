"""The contracts between armada and its plugins: components, their options, and the five things a plugin can be.

Nothing here imports torch or numpy: cards are read on the way to ``armada --help``. Tensor types appear in annotations only.

A plugin author writes a *card* (`Component`), a frozen *options* dataclass, and one class that implements `Teacher`,
`Student`, `Task`, `Loss` or `Method`. Options are plain values declared with `option()`, so that a recipe can be checked,
documented and hashed before anything heavy is imported.
"""

from __future__ import annotations

from armada_cli.contracts.choice import Choice, Registered
from armada_cli.contracts.component import (
    CONTRACT_VERSION,
    JSON,
    KINDS,
    Component,
    Environment,
    NoOptions,
    canonical,
    content_fingerprint,
    distribution_name,
    fingerprint,
    installed_version,
    option,
)
from armada_cli.contracts.loss import Loss
from armada_cli.contracts.method import Batch, Method, Model, Needs, Planned, Setup, Term
from armada_cli.contracts.student import Problem, Student, StudentOutput
from armada_cli.contracts.task import TASK_KINDS, Decoding, Split, Task, limited_rows
from armada_cli.contracts.teacher import Teacher, TeacherInput, Unanswered
from armada_cli.contracts.tokens import LIVE, TokenOutput, TokenTargets, TopTokens

__all__ = [
    "CONTRACT_VERSION",
    "JSON",
    "KINDS",
    "LIVE",
    "TASK_KINDS",
    "Batch",
    "Choice",
    "Component",
    "Decoding",
    "Environment",
    "Loss",
    "Method",
    "Model",
    "Needs",
    "NoOptions",
    "Planned",
    "Problem",
    "Registered",
    "Setup",
    "Split",
    "Student",
    "StudentOutput",
    "Task",
    "Teacher",
    "TeacherInput",
    "Term",
    "TokenOutput",
    "TokenTargets",
    "TopTokens",
    "Unanswered",
    "canonical",
    "content_fingerprint",
    "distribution_name",
    "fingerprint",
    "installed_version",
    "limited_rows",
    "option",
]
