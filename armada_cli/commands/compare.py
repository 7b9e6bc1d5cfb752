"""`armada compare`: two runs side by side."""

from __future__ import annotations

import click

from armada_cli.commands import environment_options
from armada_cli.commands.report import RunType, find_run
from armada_cli.contracts import Environment


@click.command("compare")
@click.argument("run", type=RunType())
@click.argument("other", metavar="OTHER", type=RunType())
@environment_options
def command(run: str, other: str, environment: Environment) -> None:
    """Print what changed from RUN to OTHER, method by method, with a verdict on each difference.

    Both are names or folders of runs. Methods belong together when title, teacher and control agree. Trials that both share
    differ in nothing.
    """
    from armada_cli.reporting.report import show_comparison

    show_comparison(find_run(run, environment.runs), find_run(other, environment.runs))
