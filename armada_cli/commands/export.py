"""`armada export`: a trained student as a folder that transformers or peft loads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from armada_cli.commands import environment_options, local_code_option
from armada_cli.commands.report import RunType, find_run
from armada_cli.contracts import Environment
from armada_cli.errors import UserError


@click.command("export")
@click.argument("run", metavar="RUN_OR_TRIAL", type=RunType())
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder to write; it must be new or empty.")
@click.option("--merge", is_flag=True, help="Fold a LoRA adapter into the weights it was trained on.")
@click.option(
    "--with-heads", is_flag=True, help="Also the modules that its method trained beside it and kept: heads, projections."
)
@click.option("--trial", metavar="ID", help="The trial, by its id or the beginning of it.")
@click.option("--student", metavar="NAME", help="Only trials of this student.")
@click.option("--task", metavar="NAME", help="Only students trained or scored on this task.")
@click.option("--method", metavar="NAME", help="Only trials of this method, as the report calls it.")
@click.option("--seed", type=int, help="Only trials of this seed.")
@environment_options
@local_code_option
def command(
    run: str,
    output: Path,
    merge: bool,
    with_heads: bool,
    trial: str | None,
    student: str | None,
    task: str | None,
    method: str | None,
    seed: int | None,
    environment: Environment,
) -> None:
    """Write the trained student of a trial to a folder of its own, and say how it is loaded.

    RUN_OR_TRIAL is a run's name or folder, or a trial's id or folder. Where a run has several trials that fit, they are
    listed, and nothing is written.
    """
    from armada_cli.execution import exporting
    from armada_cli.runs import Runs

    Runs(environment.runs).require_foreign(output)
    candidate = exporting.find_trial(run, environment.runs)
    if candidate is None:
        folder = find_run(run, environment.runs)
        trials = exporting.chosen(
            exporting.candidates(folder), trial=trial, student=student, task=task, method=method, seed=seed
        )
        if len(trials) > 1:
            _show(trials)
            raise UserError(
                f"{len(trials)} trials of {run} have a student",
                "Add --trial ID, or choose with --student, --task, --method, --seed",
            )
        candidate = trials[0]
    root = candidate.folder.parents[1]
    exporting.export(candidate, output, dataclasses.replace(environment, runs=root), merge=merge, with_heads=with_heads)
    for line in exporting.loading(output):
        click.echo(line)


def _show(trials: list) -> None:
    from armada_cli.commands.tables import print_table
    from armada_cli.execution.exporting import COLUMNS

    print_table("Trials", COLUMNS, [item.row() for item in trials], header=True)
