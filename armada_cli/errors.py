"""The one error a user sees: a line that says where, what, and what to do. It ends the command with exit status 2."""

from __future__ import annotations


class UserError(Exception):
    """A mistake the user can mend. `str(error)` is the whole message; no traceback is shown.

    Args:
        what: where and what, e.g. ``reviews.csv:12: column 'stars' holds 'five', not a number``.
        hint: what to do about it; printed behind the message.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        self.what = what
        self.hint = hint
        super().__init__(f"{what}. {hint}" if hint else what)

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        return (UserError, (self.what, self.hint))


class MissingPackage(UserError):
    """A component needs a package that is not installed."""

    def __init__(self, component: str, packages: list[str], extra: str | None = None) -> None:
        names = " ".join(f"'{package}'" for package in packages)
        install = f"pip install 'armada-cli[{extra}]'" if extra else f"pip install {names}"
        super().__init__(f"{component} needs {names}, not installed here", f"Install with: {install}")


class TrialFailed(Exception):
    """A trial stopped for a reason that concerns this trial alone (NaN loss, out of memory); the others go on."""


class Interrupted(Exception):
    """The user asked to stop; what is needed to go on has been written."""
