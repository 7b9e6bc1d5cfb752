"""The one error a user sees: a line that says where, what, and what to do. It ends the command with exit status 2."""

from __future__ import annotations

from collections.abc import Sequence


def one_line(text: object, limit: int | None = None) -> str:
    """A text without line ends and runs of blanks; what is longer than `limit` characters ends in ``...``."""
    line = " ".join(str(text).split())
    return line if limit is None or len(line) <= limit else line[: limit - 3] + "..."


def capitalise(text: str) -> str:
    """The text with a capital letter first; the others stay as they are, unlike with `str.capitalize`."""
    return text[:1].upper() + text[1:]


def name_error(error: BaseException, limit: int | None = None) -> str:
    """An exception's class and message on one line; the message has at most `limit` characters."""
    message = one_line(error, limit)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


class UserError(Exception):
    """A mistake the user can mend. `str(error)` is the whole message; no traceback is shown.

    Args:
        what: where and what, e.g. ``reviews.csv:12: column 'stars' holds 'five', not a number``.
        hint: what to do about it; printed behind the message as a sentence of its own, with a capital letter first.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        self.what = what
        self.hint = capitalise(hint)
        super().__init__(f"{what}. {self.hint}" if hint else what)

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        return (UserError, (self.what, self.hint))


class MissingPackage(UserError):
    """A component needs a package that is not installed."""

    def __init__(self, component: str, packages: Sequence[str], extra: str | None = None, no_deps: Sequence[str] = ()) -> None:
        names = " ".join(f"'{package}'" for package in packages)
        super().__init__(
            f"{component} needs {names}, not installed here",
            f"Install with: {install_command(packages, extra, no_deps)}",
        )


def install_command(packages: Sequence[str], extra: str | None = None, no_deps: Sequence[str] = ()) -> str:
    """What to type for the missing `packages`: the extra of armada that brings them, and what stands in `no_deps` by itself."""

    def quoted(names: Sequence[str]) -> str:
        return " ".join(f"'{name}'" for name in names)

    plain = [package for package in packages if package not in no_deps]
    alone = [package for package in packages if package in no_deps]
    commands = []
    if extra:
        commands.append(f"pip install 'armada-cli[{extra}]'")
    elif plain:
        commands.append(f"pip install {quoted(plain)}")
    if alone:
        commands.append(f"pip install --no-deps {quoted(alone)}")
    return " && ".join(commands)


class TrialFailed(Exception):
    """A trial stopped for a reason that concerns this trial alone (NaN loss, out of memory); the others go on."""


class Interrupted(Exception):
    """The user asked to stop; what is needed to go on has been written."""
