"""A document as text for a terminal or a file, through rich."""

from __future__ import annotations

import io
import itertools
import re
import textwrap
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from armada_cli.console import make_console
from armada_cli.reporting.document import FAILED, Document
from armada_cli.reporting.tables import CORNER, Cell, ReportTable, Section

GAP = 3
"""Columns between two columns of a table."""

LABEL = 20
"""Least width of the column of labels, where they are longer and the width allows it."""

_TONES = {"failed": "red", "damaged": "red", "pending": "yellow"}


def render_text(document: Document, width: int, *, full: bool = True) -> str:
    """The report without colours, at most `width` columns wide wherever its numbers allow it: they are never cut."""
    console = make_console(io.StringIO(), width=width)
    text = "".join(segment.text for segment in console.render(lay_out(document, width, full=full)))
    return "".join(f"{line.rstrip()}\n" for line in text.split("\n")[:-1])


def lay_out(document: Document, width: int, *, full: bool = True) -> Group:
    """The report for a console of `width` columns, which must not crop it.

    Args:
        full: all of it; else its summaries, with a line for each warning.
    """
    return Group(*_head(document, width), *(_blocks(document, width) if full else _short_blocks(document, width)))


def lay_out_tables(tables: Sequence[ReportTable], lines: Sequence[str], width: int) -> Group:
    """Tables with their notes, and lines below them, for a console of `width` columns."""
    blocks: list[RenderableType] = []
    for table in tables:
        blocks += [*_table_blocks(table, width), *(_fill(note, width, "dim italic", hang="  ") for note in table.notes), ""]
    return Group(*blocks, *(_fill(line, width, hang="  ") for line in lines))


def _head(document: Document, width: int) -> Iterator[RenderableType]:
    yield Text(document.title, "bold")
    if document.summary:
        yield _fill(document.summary, width)
    yield _fill(document.state, width, "dim")
    if document.smoke:
        yield from ("", _fill(document.smoke, width, "bold reverse red"))


def _short_blocks(document: Document, width: int) -> Iterator[RenderableType]:
    for table in document.summaries:
        yield ""
        yield from _table_blocks(table, width)
        yield from (_fill(note, width, "dim italic", hang="  ") for note in table.notes)
    for listing in document.listings:
        if listing.style:  # what is wrong, in the colour of its kind; why there is no score is told whole
            whole = listing.style == FAILED
            for entry in listing.entries:
                yield _fill(entry, width, FAILED, hang="  ") if whole else Text(_cut(entry, width), listing.style, no_wrap=True)
    # Commands to be copied: they stay on their line.
    yield from (Text(pointer, "dim", no_wrap=True, overflow="ignore") for pointer in document.pointers)


def _blocks(document: Document, width: int) -> Iterator[RenderableType]:
    for table in document.tables:
        yield "\n"
        yield from _table_blocks(table, width)
        yield from (_fill(note, width, "dim italic", hang="  ") for note in table.notes)
    for listing in document.listings:
        yield from ("\n", Text(listing.title, "bold"), _rule(width))
        yield from (_fill(entry, width, listing.style, hang="    ") for entry in listing.entries)


def _table_blocks(table: ReportTable, width: int) -> Iterator[RenderableType]:
    """One table, split into as many as its columns need: rich would fold the numbers."""
    if not table.heads:
        yield _fill(table.title, width, "bold")
        return
    rows = [row for section in table.sections for row in section.rows]
    leads = [max(_lead(row.cells[place]) for row in rows) for place in range(len(table.heads))]
    widths = [
        max(map(cell_len, itertools.chain(head, *(_pad(row.cells[place], lead) for row in rows))))
        for place, (head, lead) in enumerate(zip(table.heads, leads, strict=True))
    ]
    longest = max(len(CORNER), *(cell_len(row.label) + _indent(section) for section in table.sections for row in section.rows))
    least = min(longest, LABEL, max(LABEL // 2, width - GAP - max(widths)))
    parts = _split(widths, width - least)
    room = width - max(sum(widths[place] + GAP for place in part) for part in parts)
    for number, part in enumerate(parts, 1):
        yield _fill(table.title + (f" ({number} of {len(parts)})" if len(parts) > 1 else ""), width, "bold")
        yield from _part_blocks(table, part, [max(least, min(longest, room)), *(widths[place] for place in part)], leads)
        if number < len(parts):
            yield ""


def _split(widths: Sequence[int], room: int) -> list[range]:
    """Columns in as few parts as fit into `room`, about equally many in each; one a part where one of them does not fit."""
    for count in range(1, len(widths) + 1):
        ends = [len(widths) * number // count for number in range(count + 1)]
        parts = [range(start, end) for start, end in itertools.pairwise(ends)]
        if all(sum(widths[place] + GAP for place in part) <= room for part in parts):
            break
    return parts


def _part_blocks(table: ReportTable, part: range, widths: Sequence[int], leads: Sequence[int]) -> Iterator[RenderableType]:
    rule = _rule(sum(widths) + GAP * len(part))
    head = _grid(widths)
    tasks, metrics = zip(*(table.heads[place] for place in part), strict=True)
    head.add_row(CORNER, *tasks, style="bold")
    head.add_row("", *metrics, style="dim")
    yield from (rule, head, rule)
    was_published = False
    for number, section in enumerate(table.sections):
        grid = _grid(widths)
        grid.title, grid.title_justify = section.title or None, "left"
        grid.title_style = "italic dim" if section.published else "italic cyan"
        for row in section.rows:
            # A table of the paper need not have the columns of this part.
            if not section.published or any(row.cells[place] != Cell() for place in part):
                label = _wrap_label(row.label, widths[0], " " * _indent(section))
                cells = (_style(row.cells[place], leads[place]) for place in part)
                grid.add_row(label, *cells, style="dim" if section.published else None)
        if grid.row_count:
            if number:
                yield _rule(len(rule), "╌") if section.published and not was_published else ""
            was_published = section.published
            yield grid
    yield rule


def _grid(widths: Sequence[int]) -> Table:
    grid = Table.grid(padding=(0, GAP, 0, 0))
    for width in widths:
        grid.add_column(width=width, overflow="fold")
    return grid


def _lead(cell: Cell) -> int:
    """How many signs stand before the decimal point."""
    match = re.match(r"[+−-]?\d+", cell.lines[0])
    return match.end() if match else 0


def _pad(cell: Cell, lead: int) -> list[str]:
    """The cell's lines, a number moved to the right so that its decimal point stands in line with the others'."""
    first, *rest = cell.lines
    own = _lead(cell)
    return [first.rjust(len(first) + lead - own) if own else first, *rest]


def _style(cell: Cell, lead: int) -> Text:
    first, *rest = _pad(cell, lead)
    text = Text(first, "bold" if cell.best else _TONES.get(first, ""))
    return text.append("".join(f"\n{line}" for line in rest), "dim")


def _wrap_label(label: str, width: int, indent: str) -> str:
    """Further lines stand two columns to the right, where that breaks no word."""
    hang = max(0, min(2, width - len(indent) - max(map(len, label.split()), default=0)))
    return textwrap.fill(label, width, initial_indent=indent, subsequent_indent=indent + " " * hang)


def _indent(section: Section) -> int:
    return 2 if section.title else 0


def _cut(text: str, width: int) -> str:
    """One line of at most `width` columns."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _rule(width: int, sign: str = "─") -> Text:
    return Text(sign * width, "dim")


def _fill(text: str, width: int, style: str = "", hang: str = "") -> Text:
    """Text of at most `width` columns; a longer word (a path) stays whole, to be copied."""
    filled = textwrap.fill(text, max(width, 20), subsequent_indent=hang, break_long_words=False, break_on_hyphens=False)
    return Text(filled, style, no_wrap=True, overflow="ignore")
