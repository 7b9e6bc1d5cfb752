"""A run folder -> its report: printed, or written beside the run as report.txt, report.md, report.json and report.html."""

from __future__ import annotations

import sys
from pathlib import Path

from armada_cli.console import make_console
from armada_cli.errors import UserError
from armada_cli.escaping import escape_for_terminal
from armada_cli.files import write_atomic
from armada_cli.reporting import FORMATS
from armada_cli.reporting.as_csv import render_csv
from armada_cli.reporting.as_json import render_json
from armada_cli.reporting.comparison import compare_runs
from armada_cli.reporting.document import make_document
from armada_cli.reporting.folder import Run, escape_run, read_run
from armada_cli.reporting.templated import render_latex, render_markdown, render_page
from armada_cli.reporting.text import lay_out, lay_out_tables, render_text

FILE_WIDTH = 100
"""Columns of report.txt: fits an editor and a review."""


def report(
    run_folder: Path, format: str = "txt", width: int = FILE_WIDTH, encoding: str | None = "utf-8", *, full: bool = True
) -> str:
    """The report of a run folder as plain text in one of `FORMATS` (``rich`` is ``txt`` without colour).

    Args:
        encoding: of where it goes; JSON escapes what that lacks.
        full: of text, all of it; else its summary. The other formats are always whole.

    Raises:
        UserError: no run folder, a damaged run.json, or an unknown format.
    """
    return _render(read_run(run_folder), format, width, encoding, full=full)


def write_reports(run_folder: Path) -> None:
    """Write report.txt, report.md, report.json and report.html into the run folder, each atomically.

    Raises:
        UserError: no run folder, a damaged run.json, or a disk that is full or read-only.
    """
    run = read_run(run_folder)
    for format in ("txt", "md", "json", "html"):
        write_atomic(run_folder / f"report.{format}", _render(run, format, FILE_WIDTH))


def show(run_folder: Path, console_width: int | None = None, format: str = "rich", *, full: bool = False) -> None:
    """Print the report: for ``rich`` and ``txt`` its summary as wide as the terminal, or all of it if `full`; the whole
    document otherwise.

    Raises:
        UserError: no run folder, a damaged run.json, or an unknown format.
    """
    console = make_console(width=console_width)
    if format == "rich" and console.is_terminal:
        document = make_document(escape_run(read_run(run_folder)))
        console.print(lay_out(document, console.width, full=full), crop=False)
    else:
        sys.stdout.write(report(run_folder, format, console.width, getattr(sys.stdout, "encoding", None), full=full))


def show_comparison(first: Path, second: Path, console_width: int | None = None) -> None:
    """Print two run folders side by side.

    Raises:
        UserError: no run folder, or a damaged run.json.
    """
    console = make_console(width=console_width)
    tables, lines = compare_runs(*(escape_run(read_run(folder)) for folder in (first, second)))
    width = console.width if console.is_terminal else FILE_WIDTH if console_width is None else console_width
    console.print(lay_out_tables(tables, lines, width), crop=False)


def _render(run: Run, format: str, width: int, encoding: str | None = "utf-8", *, full: bool = True) -> str:
    if format == "json":
        return render_json(run, encoding)
    run = escape_run(run)
    if format == "csv":
        return render_csv(run)
    document = make_document(run)
    if format == "md":
        return render_markdown(document)
    if format == "latex":
        return render_latex(document)
    if format == "html":
        return render_page(document)
    if format in FORMATS:
        return escape_for_terminal(render_text(document, width, full=full))
    raise UserError(f"unknown format {format!r}", f"Choose one of {', '.join(FORMATS)}")
