"""A run folder -> its report: printed, or written beside the run as report.txt, report.md and report.json."""

from __future__ import annotations

import sys
from pathlib import Path

from armada_cli.console import make_console
from armada_cli.errors import UserError
from armada_cli.escaping import escape_for_terminal
from armada_cli.files import write_atomic
from armada_cli.reporting import render
from armada_cli.reporting.folder import Run, escape_run, read_run
from armada_cli.reporting.tables import groups


def report(run_folder: Path, format: str = "txt", width: int = render.FILE_WIDTH, encoding: str | None = "utf-8") -> str:
    """The report of a run folder as plain text in one of `render.FORMATS` (``rich`` is ``txt`` without colour).

    Args:
        encoding: of where it goes; JSON escapes what that lacks.

    Raises:
        UserError: no run folder, a damaged run.json, or an unknown format.
    """
    return _as_text(read_run(run_folder), format, width, encoding)


def write_reports(run_folder: Path) -> None:
    """Write report.txt, report.md and report.json into the run folder, each atomically.

    Raises:
        UserError: no run folder, a damaged run.json, or a disk that is full or read-only.
    """
    run = read_run(run_folder)
    for format in ("txt", "md", "json"):
        write_atomic(run_folder / f"report.{format}", _as_text(run, format, render.FILE_WIDTH))


def show(run_folder: Path, console_width: int | None = None, format: str = "rich") -> None:
    """Print the report: tables as wide as the terminal for ``rich`` and ``txt``, the whole document otherwise.

    Raises:
        UserError: no run folder, a damaged run.json, or an unknown format.
    """
    console = make_console(width=console_width, soft_wrap=True)
    if format == "rich":
        run = escape_run(read_run(run_folder))
        console.print(render.text(run, groups(run), console.width), end="")
    else:
        sys.stdout.write(report(run_folder, format, console.width, getattr(sys.stdout, "encoding", None)))


def _as_text(run: Run, format: str, width: int, encoding: str | None = "utf-8") -> str:
    if format == "json":
        return render.as_json(run, groups(run), encoding)
    run = escape_run(run)
    found = groups(run)
    if format in ("rich", "txt"):
        return escape_for_terminal(render.text(run, found, width).plain)
    if format == "md":
        return render.markdown(run, found)
    if format == "csv":
        return render.as_csv(run, found)
    if format == "latex":
        return render.latex(run, found)
    raise UserError(f"unknown format {format!r}", f"Choose one of {', '.join(render.FORMATS)}")
