"""A run as a document: title, tables, lists. What the formats for readers show, each in its own way."""

from __future__ import annotations

from dataclasses import dataclass

from armada_cli.reporting import notes
from armada_cli.reporting.costs import make_cost_table
from armada_cli.reporting.folder import Run
from armada_cli.reporting.groups import make_groups
from armada_cli.reporting.provenance import list_provenance, list_timings
from armada_cli.reporting.tables import ReportTable, make_tables


@dataclass(frozen=True)
class Listing:
    """Sentences under a heading; `style` is rich's."""

    title: str
    entries: list[str]
    style: str = ""


@dataclass(frozen=True)
class Document:
    """All that a reader is shown; texts that are empty are left out. `smoke` says that the numbers mean nothing."""

    title: str
    summary: str
    state: str
    smoke: str
    tables: list[ReportTable]
    listings: list[Listing]


def make_document(run: Run) -> Document:
    groups = make_groups(run)
    listings = [
        Listing("How to read the differences", notes.explain_differences(groups)),
        Listing("Trials without a score", notes.list_missing(run), "red"),
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
        tables=[table for group in groups for table in (*make_tables(group), make_cost_table(group)) if table is not None],
        listings=[listing for listing in listings if listing.entries],
    )
