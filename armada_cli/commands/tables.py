"""Rows on standard output: a rich table on a terminal, tab-separated lines for everything else."""

from __future__ import annotations

from collections.abc import Sequence

import click

from armada_cli.commands import on_terminal
from armada_cli.console import make_console
from armada_cli.errors import one_line
from armada_cli.escaping import escape_for_terminal, escape_line


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, header: bool = False) -> None:
    """Print rows of text.

    Args:
        title: above the table, on a terminal only; columns: the headings.
        header: print the headings in the tab-separated form too.
    """
    if not on_terminal():
        for row in [columns, *rows] if header else rows:
            click.echo("\t".join(one_line(cell) for cell in row))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_header=any(columns),
    )
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0, style="cyan" if number == 0 else None, overflow="fold")
    for row in rows:
        # escaped here already, so that the columns are as wide as what is shown
        name, *others = map(str, row)
        table.add_row(Text(escape_line(name)), *(Text(escape_for_terminal(cell)) for cell in others))
    make_console().print(table)
