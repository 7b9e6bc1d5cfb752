"""`armada report`: print what a run found, again."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from armada_cli.commands import environment_options, force_option, require_writable
from armada_cli.console import print_line
from armada_cli.contracts import Environment
from armada_cli.errors import UserError
from armada_cli.files import expand
from armada_cli.reporting import FORMATS


class RunType(click.ParamType):
    """A run's name under ``--runs``, or a run folder; names are completed."""

    name = "run"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            root = expand(ctx.params.get("runs") or os.environ.get("ARMADA_RUNS") or "runs")
        except UserError:  # nothing to offer
            return []
        return [CompletionItem(folder.name) for folder in run_folders(root) if folder.name.startswith(incomplete)]


@click.command("report")
@click.argument("run", required=False, type=RunType())
@click.option("--format", "format", type=click.Choice(FORMATS), default="rich", show_default=True, help="How to print it.")
@click.option("--full", is_flag=True, help="All tables, warnings, parameters and provenance, in place of the summary.")
@click.option("--open", "opens", is_flag=True, help="Show the page, report.html, in a browser.")
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file instead (txt unless --format says else).")
@force_option
@environment_options
def command(
    run: str | None, format: str, full: bool, opens: bool, output: Path | None, force: bool, environment: Environment
) -> None:
    """Print what RUN found, a run's name or its folder; without RUN list the runs there are, newest first.

    Every file and every format but rich and txt has the whole report.
    """
    if run is None:
        if output is not None:
            raise UserError("--output needs a run to report", "Name one: armada report RUN --output FILE")
        _list_runs(environment.runs)
        return
    folder = find_run(run, environment.runs)
    if opens:
        _open_page(folder)
        return
    if output is None:
        from armada_cli.reporting.report import show

        show(folder, format=format, full=full)
        return
    if output.is_dir() or not output.parent.is_dir():
        what = "is a folder" if output.is_dir() else f"cannot be written: there is no folder {output.parent}"
        raise UserError(f"{output} {what}", "Name a file in a folder that exists")
    require_writable(output, environment, force=force)
    from armada_cli.files import write_atomic
    from armada_cli.reporting.report import report

    write_atomic(output, report(folder, format))


def _open_page(folder: Path) -> None:
    """Make the page of a run anew, and show it, or say where it is."""
    import webbrowser

    from armada_cli.files import write_atomic
    from armada_cli.reporting.report import report

    page = folder.resolve() / "report.html"
    write_atomic(page, report(folder, "html"))
    if not webbrowser.open(page.as_uri()):
        print_line(f"No browser was found. The page is {page}")


def find_run(run: str, root: Path) -> Path:
    """The folder of a run, given by name or path.

    Raises:
        UserError: there is none, with the nearest names.
    """
    for folder in (root / run, expand(run)):
        if (folder / "run.json").is_file():
            return folder
    from armada_cli.registry.registered import did_you_mean

    names = [folder.name for folder in run_folders(root)]
    hint = did_you_mean(run, names) or f"there are {', '.join(names)}"
    if not names:
        hint = "It holds no run yet: `armada run RECIPE` makes one, --runs names another folder"
    raise UserError(f"no run {run!r} in {root}", hint)


def run_folders(root: Path) -> list[Path]:
    """The run folders under `root`, newest first."""
    try:
        dated = [(_last_written(path.parent), path.parent) for path in root.glob("*/run.json")]
    except OSError:
        return []
    return [folder for _, folder in sorted(dated, key=lambda item: (-item[0], item[1].name))]


def _last_written(folder: Path) -> float:
    """When a run's record was last written, or changed by a trial that ended."""
    changes = folder / "changes.jsonl"
    return max(path.stat().st_mtime for path in (folder / "run.json", changes) if path == folder / "run.json" or path.is_file())


def _list_runs(root: Path) -> None:
    from armada_cli.commands import on_terminal
    from armada_cli.commands.tables import print_table
    from armada_cli.reporting.folder import read_run

    rows = []
    for folder in run_folders(root):
        try:
            run = read_run(folder)
        except UserError as error:
            rows.append([folder.name, "damaged", "", error.what])
            continue
        done = sum(1 for trial in run.trials if trial.score is not None)
        rows.append(
            [folder.name, f"{done} of {len(run.trials)}", run.started or "", run.title + (" (smoke)" if run.smoke else "")]
        )
    if not rows and on_terminal():
        print_line(f"{root} holds no run yet: `armada run RECIPE` makes one.")
        return
    print_table("Runs", ["name", "trials done", "started", "title"], rows)
