"""`armada new`: the project of a plugin of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from armada_cli.commands import KindType, load_catalog
from armada_cli.contracts.component import PLURALS
from armada_cli.errors import UserError
from armada_cli.files import expand


class PluginKindType(KindType):
    """A kind of component that a plugin can bring."""

    def __init__(self) -> None:
        super().__init__(plural=False)
        self.words = list(PLURALS)


@click.command("new")
@click.argument("kind", type=PluginKindType())
@click.argument("name")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("."),
    show_default="the working directory",
    help="The folder in which the project's folder is made.",
)
def command(kind: str, name: str, output: Path) -> None:
    """Write the project of a plugin that brings a new KIND (teacher, student, task, loss or method) called NAME.

    The folder armada-KIND-NAME is a package that can be installed, tested and used as it is; its README says what to replace. A
    folder that exists is never overwritten.
    """
    if kind == "recipe":
        raise UserError(f"`armada new` makes {', '.join(PLURALS.values())}", "For a recipe: armada copy quickstart my.yaml")
    from armada_cli.commands.copy import quoted
    from armada_cli.scaffold import Names, check_name, write_project

    names = Names(kind, name)
    check_name(names, load_catalog(warn=False, strict=False))
    folder = write_project(names, expand(output))
    click.echo(
        f"{folder}: a {kind} that works as it is. Its own code is in {names.package}/{kind}.py, the rest is in README.md.\n"
        f"Next:\n"
        f"  cd {quoted(folder)}\n"
        f"  pip install -e '.[test]' && pytest\n"
        f"  armada run {name}.yaml --smoke"
    )
