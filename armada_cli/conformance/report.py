"""What a verification found: one verdict and one sentence a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PASSED, FAILED, SKIPPED = "pass", "fail", "skip"


@dataclass(frozen=True)
class Check:
    """One question and its answer.

    Attributes:
        name: what was asked, in two or three words.
        verdict: ``pass``, ``fail`` or ``skip`` (the question does not arise, or could not be asked).
        sentence: what was seen; for a failure why it matters and what to do.
    """

    name: str
    verdict: str
    sentence: str


@dataclass(frozen=True)
class Report:
    """All checks of one component, in the order they were made."""

    kind: str
    name: str
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.verdict == FAILED)

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    def require(self) -> Report:
        """The report itself, when nothing failed.

        Raises:
            NotConforming: with every failed check.
        """
        if not self.ok:
            raise NotConforming(self)
        return self

    def as_data(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        checks = [{"check": item.name, "verdict": item.verdict, "sentence": item.sentence} for item in self.checks]
        return {"kind": self.kind, "name": self.name, "ok": self.ok, "checks": checks}


class NotConforming(AssertionError):
    """A component breaks its contract; the message has a line for each check that failed."""

    def __init__(self, report: Report) -> None:
        self.report = report
        lines = [f"  {check.name}: {check.sentence}" for check in report.failed]
        several = "checks" if len(lines) > 1 else "check"
        super().__init__("\n".join([f"{report.kind} {report.name!r} fails {len(lines)} {several}", *lines]))
