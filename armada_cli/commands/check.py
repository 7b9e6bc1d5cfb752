"""`armada check RECIPE`: every problem at once, or the plan."""

from __future__ import annotations

import shutil
import textwrap
from typing import Any

import click

from armada_cli.commands import environment_options, json_option, local_code_option, on_terminal, recipe_argument, set_option
from armada_cli.console import print_json
from armada_cli.contracts import Environment
from armada_cli.escaping import escape_line

LABEL = 15
"""Width of the words in front of each line of the plan."""


@click.command()
@recipe_argument
@set_option
@json_option
@environment_options
@local_code_option
def command(recipe: str, overrides: tuple[str, ...], as_json: bool, environment: Environment) -> int:
    """Check RECIPE without running it: every problem of the recipe and of its data (exit status 2), or the plan."""
    from armada_cli.execution.forecast import forecast
    from armada_cli.execution.ownership import require_own_folder
    from armada_cli.plan.planning import make_plan
    from armada_cli.recipe import load_recipe
    from armada_cli.registry import catalog
    from armada_cli.runs import Runs

    loaded = load_recipe(recipe, catalog.current(), environment, overrides)
    require_own_folder(loaded, Runs(environment.runs))
    plan = make_plan(loaded, environment)
    outlook = forecast(plan, environment)
    if as_json:
        print_json(outlook, indent=1)
    else:
        click.echo("\n".join(_fitted(escape_line(line)) for line in _lines(outlook)))
    return 0


def _fitted(line: str) -> str:
    """A line cut between words to the terminal's width, its text under its text; whole for a pipe or a file."""
    if not on_terminal():
        return line
    width = max(shutil.get_terminal_size().columns, 2 * LABEL)
    hang = " " * (LABEL if line[LABEL - 1 : LABEL] == " " else 0)
    # a path or a command's option that is longer than a line stays whole, to be copied
    return textwrap.fill(line, width, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False)


def _lines(outlook: dict[str, Any]) -> list[str]:
    trials = outlook["trials"]
    lines = [f"{outlook['recipe']}: no problems", ""]
    lines.append(f"trials         {trials['total']}, of which {trials['done']} done and {trials['resumable']} begun")
    for key in ("students", "teachers", "tasks", "methods"):
        if outlook[key]:
            lines.append(f"{key:<14} {', '.join(outlook[key])}")
    lines.append(f"seeds          {', '.join(map(str, outlook['seeds']))}")
    if outlook["select_on"]:
        share = f"{100 * outlook['select_on']['rows']:g} % of the training rows"
        lines.append(f"select on      {share}, which nothing is trained on; there each grid of a method is chosen from")
    if outlook["dependencies"]:
        lines.append(f"also trained   {', '.join(outlook['dependencies'])}")
    if outlook["given"]:
        lines.append(f"taken as is    {', '.join(outlook['given'])}")
    for name, count in outlook["parameters"].items():
        lines.append(f"parameters     {name}: {count}")
    for item in outlook["texts"]:
        missing = (
            "not counted before the data are there" if item["missing"] is None else f"{item['missing']} of {item['total']}"
        )
        lines.append(f"to represent   {item['teacher']} on {item['task']}: {missing}")
    lines += [_output_line(item) for item in outlook["outputs"]]
    lines += [f"to install     {line}" for line in outlook["packages"]]
    lines += [f"to download    {line}" for line in outlook["downloads"]]
    lines += [f"note           {line}" for line in outlook["notes"]]
    return lines


def _output_line(item: dict[str, Any]) -> str:
    """What a text teacher is asked for, and what that costs."""
    who = f"{item['teacher']} on {item['task']}"
    if "live" in item:
        size = f" of {item['parameters'] / 1e9:.2g}B parameters" if item["parameters"] else ""
        return f"at each step   {who}: a forward pass{size} more, for {item['live']}"
    return f"to keep        {who}: {item['what']}, {_size(item['gigabytes'])}"


def _size(gigabytes: float | None) -> str:
    if gigabytes is None:
        return "of a size not known before data and weights are here"
    return f"about {gigabytes:.2g} GB" if gigabytes >= 0.01 else "less than 0.01 GB"
