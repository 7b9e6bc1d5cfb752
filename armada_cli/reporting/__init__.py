"""Tables from run folders: reads result files, never training code."""

from __future__ import annotations

from pathlib import Path


def write_reports(run_folder: Path) -> None:
    """Write report.txt, report.md and report.json into a run folder, each atomically."""
    from armada_cli.reporting.report import write_reports as write

    write(run_folder)


def show(run_folder: Path, console_width: int | None = None, format: str = "rich") -> None:
    """Print a run folder's report, as wide as the terminal or `console_width`."""
    from armada_cli.reporting.report import show as print_report

    print_report(run_folder, console_width, format)
