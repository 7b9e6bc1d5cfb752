"""`armada list`: what can be named in a recipe."""

from __future__ import annotations

import shutil
from typing import Any

import click

from armada_cli.commands import KindType, json_option, load_catalog
from armada_cli.console import print_json
from armada_cli.contracts.component import PLURALS

_HEADINGS = {"teacher": "modality", "student": "architecture", "task": "kind", "loss": "kind", "method": "trains"}

NARROW = 80
"""Terminals of fewer columns show a recipe's table or figure behind its title, not in a column of its own."""


@click.command("list")
@click.argument("kind", required=False, type=KindType(plural=True))
@json_option
def command(kind: str | None, as_json: bool) -> None:
    """List teachers, students, tasks, losses, methods or recipes; without KIND all of them.

    When standard output is no terminal, the columns are separated by tabs, without headings, and a recipe's file is the last.
    """
    wanted = [kind] if kind else [*PLURALS, "recipe"]
    rows = collect(wanted)
    if as_json:
        print_json(rows)
        return
    from armada_cli.commands import on_terminal
    from armada_cli.commands.tables import print_table

    for each in wanted:
        lines = [_line(row) for row in rows if row["kind"] == each]
        if on_terminal() and each == "recipe":
            # a recipe is run by its name: the width is for what it does
            lines = [line[:-1] for line in lines]
            if shutil.get_terminal_size().columns < NARROW:
                lines = [[name, f"{words} ({paper})" if paper else words] for name, words, paper in lines]
        if not on_terminal() and kind is None:
            lines = [[each, *line] for line in lines]
        title = PLURALS.get(each, "recipes").capitalize()
        columns = ["name", "title", "of the paper"] if each == "recipe" else ["name", "summary", _HEADINGS[each], "plugin"]
        print_table(title, columns[: len(lines[0])] if lines else columns, lines)


def collect(kinds: list[str]) -> list[dict[str, Any]]:
    """One record for each component or recipe."""
    rows: list[dict[str, Any]] = []
    catalog = load_catalog() if set(kinds) & set(PLURALS) else None
    for kind in kinds:
        if kind == "recipe":
            rows += _recipes()
            continue
        assert catalog is not None
        rows += [
            {
                "kind": kind,
                "name": item.name,
                "summary": item.component.summary,
                "provides": sorted(item.component.provides),
                "plugin": item.plugin,
                "distribution": item.distribution,
                "version": item.version,
                "missing_packages": item.component.missing_packages(),
            }
            for item in catalog.components(kind)
        ]
    return rows


def _recipes() -> list[dict[str, Any]]:
    from armada_cli.recipe.loader import describe_recipe
    from armada_cli.recipe.shipped import reproduces, shipped_recipes

    return [
        {"kind": "recipe", "name": name, **describe_recipe(path), "reproduces": reproduces(path), "path": str(path)}
        for name, path in shipped_recipes().items()
    ]


def _line(row: dict[str, Any]) -> list[str]:
    if row["kind"] == "recipe":
        return [row["name"], row["title"] or row["summary"], row["reproduces"], row["path"]]
    plugin = row["plugin"] if row["distribution"] == "armada-cli" else f"{row['plugin']} ({row['distribution']})"
    return [row["name"], row["summary"], ", ".join(row["provides"]), plugin]
