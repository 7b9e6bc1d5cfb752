"""`armada copy`: write a recipe that comes with armada to a file of the user."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from armada_cli.errors import UserError
from armada_cli.files import expand


class ShippedType(click.ParamType):
    """The name of a recipe that comes with armada."""

    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from armada_cli.recipe.shipped import shipped_recipes

        return [CompletionItem(name) for name in shipped_recipes() if name.startswith(incomplete)]


@click.command("copy")
@click.argument("name", type=ShippedType())
@click.argument("path", required=False, type=click.Path(path_type=Path))
def command(name: str, path: Path | None) -> None:
    """Copy the recipe NAME, which comes with armada, to PATH, to be changed there.

    PATH is a file (my.yaml), or a folder that is there; without it the copy is NAME.yaml in the working directory. A file that
    exists is never overwritten.
    """
    from armada_cli.recipe.shipped import find_shipped

    source = find_shipped(name)
    target = place(path, source.name)
    write_new(target, source.read_bytes())
    click.echo(f"{target}\nTry it:  armada run {quoted(target)} --smoke\nCheck:   armada check {quoted(target)}")


def place(path: Path | None, name: str) -> Path:
    """The file to write.

    Raises:
        UserError: its name is not that of a recipe, or it lies in no folder.
    """
    from armada_cli.recipe.shipped import SUFFIXES

    if path is None:
        return Path(name)
    path = expand(path)
    if path.is_dir():
        return path / name
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: a recipe's name ends in .yaml", f"Write it as {path.name}.yaml")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}", f"Make it first: mkdir -p {quoted(path.parent)}")
    return path


def write_new(path: Path, content: bytes) -> None:
    """Write a file that was not there.

    Raises:
        UserError: it is there.
    """
    try:
        with path.open("xb") as stream:
            stream.write(content)
    except FileExistsError:
        raise UserError(f"{path} is there already", "Choose another name, or remove it first") from None


def quoted(path: Path) -> str:
    """The path as a shell reads it."""
    import shlex

    return shlex.quote(str(path))
