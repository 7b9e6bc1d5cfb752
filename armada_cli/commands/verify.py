"""`armada verify`: does a component keep its contract, and does a folder of runs hold what was written?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from armada_cli.commands import ComponentNameType, KindType, environment_options, json_option, on_terminal, set_option, singular
from armada_cli.console import print_json
from armada_cli.contracts import Environment
from armada_cli.errors import UserError

RUNS = "runs"


class SubjectType(KindType):
    """A kind of component, ``runs``, or the path of a folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == RUNS or (singular(value) is None and Path(value).expanduser().is_dir()):
            return str(Path(value).expanduser())
        return super().convert(value, param, ctx)


@click.command("verify")
@click.argument("kind", type=SubjectType(plural=False))
@click.argument("name", type=ComponentNameType(), required=False)
@set_option
@click.option("--full", is_flag=True, help="Verify it in its real size, even where it could be made tiny.")
@click.option("--only", metavar="CHECK", multiple=True, help="Make this check alone. Repeatable.")
@json_option
@environment_options
def command(
    kind: str,
    name: str | None,
    overrides: tuple[str, ...],
    full: bool,
    only: tuple[str, ...],
    as_json: bool,
    environment: Environment,
) -> int:
    """Ask a component everything its contract promises, and say of each promise whether it is kept.

    `armada verify runs`, or the folder of runs in the place of KIND, compares every file of the trials, the checkpoints and the
    features with what was written, and changes nothing. Exit status 1 when something is damaged.

    Where it can be made tiny (as by `armada run --smoke`) it is, so that no weights are needed. --set OPTION=VALUE gives an
    option. Exit status 1 when a check fails.
    """
    if name is None:
        return _verify_runs(kind, as_json, environment)
    if singular(kind) is None:
        raise UserError(f"`armada verify {kind}` takes no name", "It checks a folder of runs")
    if kind == "recipe":
        raise UserError("a recipe is not verified", f"Check it: `armada check {name}`")
    from armada_cli.conformance import verify

    report = verify(kind, name, read_options(overrides), environment=environment, tiny=not full, only=only or None)
    if as_json:
        print_json(report.as_data())
        return 0 if report.ok else 1
    from armada_cli.commands.tables import print_table

    print_table(
        f"{kind} {report.name}",
        ["check", "", "what was seen"],
        [[item.name, item.verdict, item.sentence] for item in report.checks],
    )
    if on_terminal():
        counts = {verdict: sum(item.verdict == verdict for item in report.checks) for verdict in ("pass", "fail", "skip")}
        click.echo(f"{counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped")
    return 0 if report.ok else 1


def _verify_runs(subject: str, as_json: bool, environment: Environment) -> int:
    """Check a folder of runs: that of the environment, or the one that stands in the place of a kind."""
    if singular(subject):
        raise UserError(f"which {subject} should be verified was not said", f"Name one: `armada verify {subject} NAME`")
    from armada_cli.execution.verification import verify_runs

    root = environment.runs if subject == RUNS else Path(subject)
    findings = verify_runs(root)
    if as_json:
        print_json(dataclasses.asdict(findings))
        return 1 if findings.damages else 0
    for line in (*findings.notes, *findings.damages):
        click.echo(line)
    counts = (
        (findings.trials, "trial"),
        (findings.checkpoints, "checkpoint"),
        (findings.files, "file"),
        (findings.vectors, "vector"),
    )
    words = [f"{number} {noun}{'s' * (number != 1)}" for number, noun in counts]
    click.echo(f"{', '.join(words[:-1])} and {words[-1]} checked, {len(findings.damages)} damaged")
    if findings.damages:
        click.echo("A run makes what it needs of these again; a trial is made anew where its result.json is removed.")
    return 1 if findings.damages else 0


def read_options(overrides: tuple[str, ...]) -> dict[str, Any]:
    """``option=value`` each, the value as YAML."""
    from armada_cli.recipe.inherit import apply_overrides
    from armada_cli.recipe.problems import Problems
    from armada_cli.recipe.tree import Place, Table, plain

    problems = Problems()
    table = apply_overrides(Table({}, Place("--set", 0, 0, "", Path.cwd())), overrides, problems)
    problems.raise_if_any()
    given: dict[str, Any] = plain(table)
    return given
