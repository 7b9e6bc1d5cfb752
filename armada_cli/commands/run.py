"""`armada run RECIPE`."""

from __future__ import annotations

import dataclasses
import os
import shlex
import signal
import sys

import click

from armada_cli.commands import device_option, environment_options, local_code_option, recipe_argument, set_option
from armada_cli.console import print_line
from armada_cli.contracts import Environment
from armada_cli.devices import check_device
from armada_cli.launch import Launch, describe_ignored, settle_environment


@click.command()
@recipe_argument
@set_option
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=None,
    help="Trials side by side. Default: the cores on CPU, one on a GPU. 0: in this process.",
)
@device_option
@click.option(
    "--smoke",
    is_flag=True,
    help="Run it with tiny random models and a few rows, to see that everything works; then say what the real run costs.",
)
@environment_options
@local_code_option
def command(
    recipe: str, overrides: tuple[str, ...], workers: int | None, device: str, smoke: bool, environment: Environment
) -> int:
    """Run RECIPE, a YAML file or the name of one that comes with armada.

    Representations are computed once per text and trials once each, so the same command resumes what was interrupted, and
    otherwise only prints the table. Exit status 1 when a trial failed.

    With --smoke nothing is downloaded, no extra package is needed, and nothing outside of runs/smoke is written.
    """
    # A batch system's notice is treated like Ctrl-C: checkpoints are written, and the same command goes on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    check_device(device, here=not smoke)  # a smoke run is on the CPU, wherever the real one will be
    environment = dataclasses.replace(environment, device=device)
    ignored = list(describe_ignored())
    with settle_environment() as launch:
        if launch.leads:
            for line in ignored:
                print_line(f"armada: {line}", error=True)
        return _run(recipe, overrides, workers, smoke, environment, launch)


def _run(
    recipe: str, overrides: tuple[str, ...], workers: int | None, smoke: bool, environment: Environment, launch: Launch
) -> int:
    from armada_cli.plan.hardware import device_kind
    from armada_cli.plan.planning import make_plan
    from armada_cli.recipe import load_recipe
    from armada_cli.registry import catalog

    plan = make_plan(load_recipe(recipe, catalog.current(), environment, overrides), environment)
    real, real_environment = plan, environment
    if smoke:
        from armada_cli.execution.judgement import judge
        from armada_cli.recipe import smoke as small
        from armada_cli.runs import Runs

        judge(plan, environment)  # the rows of its own that a tiny task brings are not the user's
        shrinker = small.Shrinker(Runs(environment.runs).tiny)
        environment = small.prepare(dataclasses.replace(environment, device="cpu", offline=True), plan.recipe.name)
        plan = make_plan(shrinker.recipe(plan.recipe), environment, shrinker)

    from armada_cli.execution.conduct import Conduct

    if workers is None:
        workers = (os.cpu_count() or 1) if device_kind(environment) == "cpu" else 1
    if launch.several:
        workers = 0  # the launcher has made the processes; each trial runs in all of them
        _meet(launch, environment)
    conduct = Conduct(plan, environment, workers, command=shlex.join(["armada", *sys.argv[1:]]), smoke=smoke)
    failed = conduct.run()
    if not conduct.leads:
        return 0

    from armada_cli.reporting.report import show, write_reports

    write_reports(conduct.folder)
    show(conduct.folder)
    if smoke:
        from armada_cli.execution import estimate

        for name, packages in shrinker.substitutes.items():
            print_line(f"{name}: random vectors stood in for it, since {', '.join(packages)} is not installed")
        click.echo("The real run, estimated:")
        click.echo("\n".join(f"  {line}" for line in estimate.lines(estimate.estimate(real, real_environment))))
    if failed:
        count = len(failed)
        click.echo(f"armada: {count} trial{'s' * (count != 1)} failed; the same command tries again", err=True)
        return 1
    return 0


def _meet(launch: Launch, environment: Environment) -> None:
    """Wait for the launcher's other processes, before anything starts."""
    from armada_cli.devices import pick_trial_device
    from armada_cli.training.processes import meet

    # They stop at different steps, and one that waits for another in C++ hears no Python handler: SIGTERM ends it at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    meet(launch, pick_trial_device(environment, launch))
