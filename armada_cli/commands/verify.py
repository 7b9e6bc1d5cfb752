"""`armada verify`: does a component keep its contract?"""

from __future__ import annotations

from typing import Any

import click

from armada_cli.commands import ComponentNameType, KindType, environment_options, json_option, on_terminal, set_option
from armada_cli.console import print_json
from armada_cli.contracts import Environment
from armada_cli.errors import UserError


@click.command("verify")
@click.argument("kind", type=KindType(plural=False))
@click.argument("name", type=ComponentNameType())
@set_option
@click.option("--full", is_flag=True, help="Verify it in its real size, even where it could be made tiny.")
@click.option("--only", metavar="CHECK", multiple=True, help="Make this check alone. Repeatable.")
@json_option
@environment_options
def command(
    kind: str, name: str, overrides: tuple[str, ...], full: bool, only: tuple[str, ...], as_json: bool, environment: Environment
) -> int:
    """Ask a component everything its contract promises, and say of each promise whether it is kept.

    Where it can be made tiny (as by `armada run --smoke`) it is, so that no weights are needed. --set OPTION=VALUE gives an
    option. Exit status 1 when a check fails.
    """
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


def read_options(overrides: tuple[str, ...]) -> dict[str, Any]:
    """``option=value`` each, the value as YAML."""
    from pathlib import Path

    from armada_cli.recipe.document import Place, Table, plain
    from armada_cli.recipe.inherit import apply_overrides
    from armada_cli.recipe.problems import Problems

    problems = Problems()
    table = apply_overrides(Table({}, Place("--set", 0, 0, "", Path.cwd())), overrides, problems)
    problems.raise_if_any()
    found: dict[str, Any] = plain(table)
    return found
