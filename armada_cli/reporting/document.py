"""A run as a document: title, tables, lists. What the formats for readers show, each in its own way."""

from __future__ import annotations

from dataclasses import dataclass, field

from armada_cli.reporting import notes
from armada_cli.reporting.costs import make_cost_table
from armada_cli.reporting.folder import Run
from armada_cli.reporting.groups import Group, make_groups
from armada_cli.reporting.over_tasks import make_over_tasks_table
from armada_cli.reporting.provenance import list_provenance, list_timings
from armada_cli.reporting.summary import make_summary
from armada_cli.reporting.tables import ReportTable, make_tables
from armada_cli.reporting.verdicts import Verdicts

FAILED = "red"
"""The style of what has no score."""


@dataclass(frozen=True)
class Listing:
    """Sentences under a heading; `style` is rich's."""

    title: str
    entries: list[str]
    style: str = ""


@dataclass(frozen=True)
class Document:
    """All that a reader is shown; texts that are empty are left out. `smoke` says that the numbers mean nothing.

    Attributes:
        summaries: the tables of `reporting.summary`; pointers: what else there is, a line each. Both are what a run prints; the
            other parts are the whole report.
        groups, verdicts: what the tables were made of, for what the page draws.
    """

    title: str
    summary: str
    state: str
    smoke: str
    tables: list[ReportTable]
    listings: list[Listing]
    summaries: list[ReportTable] = field(default_factory=list)
    pointers: list[str] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    verdicts: Verdicts | None = None


def make_document(run: Run) -> Document:
    groups = make_groups(run)
    verdicts = Verdicts(run, groups)
    listings = [
        Listing("How to read the differences", notes.explain_differences(groups)),
        Listing("Trials without a score", notes.list_missing(run), FAILED),
        Listing("Warnings", notes.list_warnings(run), "yellow"),
        Listing("Parameters", notes.list_parameters(run)),
        Listing("Provenance", list_provenance(run)),
        Listing("Timings", list_timings(run)),
    ]
    return Document(
        title=run.title or run.name,
        summary=run.summary,
        state=notes.describe_state(run),
        smoke=notes.SMOKE if run.smoke else "",
        tables=[table for group in groups for table in _list_tables(group, verdicts)],
        listings=[listing for listing in listings if listing.entries],
        summaries=[make_summary(group, verdicts) for group in groups],
        pointers=notes.list_pointers(run),
        groups=groups,
        verdicts=verdicts,
    )


def _list_tables(group: Group, verdicts: Verdicts) -> list[ReportTable]:
    scores, *others = make_tables(group)
    tables = [scores, verdicts.make_table(group), make_over_tasks_table(group), *others, make_cost_table(group)]
    return [table for table in tables if table is not None]
