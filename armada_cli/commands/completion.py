"""`armada completion`: the script that makes a shell complete armada's commands, recipes and component names."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  eval "$(armada completion bash)"     in ~/.bashrc
    zsh:   eval "$(armada completion zsh)"      in ~/.zshrc
    fish:  armada completion fish > ~/.config/fish/completions/armada.fish
    """
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    assert completion is not None
    root = ctx.find_root().command
    # the script is the same on every machine: no look at which bash happens to be on the path
    completer = completion(root, {}, "armada", "_ARMADA_COMPLETE")
    click.echo(completer.source_template % completer.source_vars())
