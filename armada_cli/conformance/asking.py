"""How a check is written and run: a function of the subject that returns what it saw, or raises why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from armada_cli.conformance.report import FAILED, PASSED, SKIPPED, Check
from armada_cli.errors import TrialFailed, UserError, name_error, one_line

Question = tuple[str, Callable[[Any], str]]
"""A check's name and function."""


class Broken(Exception):
    """The check failed; the message is its sentence."""


class NotAsked(Exception):
    """The question does not arise for this component, or cannot be asked; the message says why."""


def asked(questions: list[Question], name: str) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
    """Append a check to a list of them."""

    def add(function: Callable[[Any], str]) -> Callable[[Any], str]:
        questions.append((name, function))
        return function

    return add


def ask(questions: Sequence[Question], subject: Any) -> list[Check]:
    """Run all checks; whatever one of them raises is its own verdict and stops no other."""
    checks = []
    for name, question in questions:
        try:
            checks.append(Check(name, PASSED, question(subject)))
        except NotAsked as reason:
            checks.append(Check(name, SKIPPED, str(reason)))
        except Broken as reason:
            checks.append(Check(name, FAILED, str(reason)))
        except (UserError, TrialFailed) as error:
            checks.append(Check(name, FAILED, f"It stops with: {quoted(error, named=False)}"))
        except (Exception, SystemExit) as error:  # a stranger's code raises what it likes
            checks.append(Check(name, FAILED, f"It raises {quoted(error)}"))
    return checks


def quoted(error: BaseException, *, named: bool = True) -> str:
    """An exception's class and message, or its message alone, on one line of at most 300 characters."""
    return name_error(error, 300) if named else one_line(error, 300)


def brief(value: Any) -> str:
    """A value on one line of at most 60 characters."""
    return one_line(repr(value), 60)


def require(condition: bool, sentence: str) -> None:
    """Raises `Broken` with the sentence unless the condition holds."""
    if not condition:
        raise Broken(sentence)
