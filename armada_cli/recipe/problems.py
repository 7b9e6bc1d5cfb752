"""What is wrong with a recipe, all of it at once: `file:line:column: message: 'offending text'. Suggestion`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from armada_cli.credentials import hide
from armada_cli.errors import UserError, capitalise
from armada_cli.escaping import escape_line
from armada_cli.recipe.tree import Place, shorten


@dataclass(frozen=True)
class RecipeProblem:
    """One thing to mend.

    Attributes:
        file: the file as the user would type it, or ``--set KEY=VALUE``.
        line, column: counted from 1; 0 where there are none (an override, a file that cannot be read).
        message: what is wrong; snippet: the offending text, empty when something is missing.
        suggestion: what to do about it, a sentence without its full stop.
    """

    file: str
    line: int
    column: int
    message: str
    snippet: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: {self.message}"
        if self.snippet:
            text += f": '{self.snippet}'"
        return escape_line(f"{text}. {self.suggestion}" if self.suggestion else text)


MAX_PROBLEMS = 100
"""Where the reading of a recipe stops: nobody reads more, and a hostile recipe has as many as it likes."""

MAX_REPORTS = 1_000
"""Problems reported, the same one every time it is met."""


LONGEST_SNIPPET = 120
LONGEST_MESSAGE = 600
"""Characters."""


class RecipeErrors(UserError):
    """All problems of a recipe; one line each, and a last line that counts them.

    Args:
        more: whether the reading stopped before the end.
    """

    def __init__(self, problems: Sequence[RecipeProblem], *, more: bool = False) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = [str(problem) for problem in self.problems]
        end = f"{count} problem" + ("" if count == 1 else "s") + (", and the recipe was not read further" if more else "")
        super().__init__("\n".join([*lines, end]))


class Problems:
    """Collects problems while a recipe is read, so that one mistake does not hide the next."""

    def __init__(self) -> None:
        self.noted: list[RecipeProblem] = []
        self.reports = 0

    def add(self, place: Place, message: str, suggestion: str = "", *, snippet: str | None = None) -> None:
        """Note one problem, once.

        Raises:
            RecipeErrors: there are so many that reading on is of no use.
        """
        text = place.text if snippet is None else shorten(hide(snippet), LONGEST_SNIPPET)
        # plugins quote what they were given in what they say
        words = shorten(hide(message), LONGEST_MESSAGE), hide(text), capitalise(shorten(hide(suggestion), LONGEST_MESSAGE))
        problem = RecipeProblem(hide(place.file), place.line, place.column, *words)
        if problem not in self.noted:
            self.noted.append(problem)
        self.reports += 1
        if len(self.noted) >= MAX_PROBLEMS or self.reports >= MAX_REPORTS:
            raise RecipeErrors(self._in_order(), more=True)

    def __bool__(self) -> bool:
        return bool(self.noted)

    def raise_if_any(self) -> None:
        """Raises: RecipeErrors, in the order of files and lines, overrides last."""
        if self.noted:
            raise RecipeErrors(self._in_order())

    def _in_order(self) -> list[RecipeProblem]:
        files = list(dict.fromkeys(problem.file for problem in self.noted))
        return sorted(self.noted, key=lambda item: (not item.line, files.index(item.file), item.line, item.column))
