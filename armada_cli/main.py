"""The `armada` command. A subcommand's module is imported when it is called, so that `--help` stays instant."""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from armada_cli.console import guard_streams, guarded_streams
from armada_cli.credentials import hide
from armada_cli.errors import UserError, one_line
from armada_cli.escaping import escape_line

COMMANDS = {
    "run": ("armada_cli.commands.run", "Run a recipe: features, trials, report; resumes what is unfinished."),
    "check": ("armada_cli.commands.check", "Check a recipe and print its plan, without running it."),
    "list": ("armada_cli.commands.list_", "List teachers, students, tasks, losses, methods and recipes."),
    "show": ("armada_cli.commands.show", "Show one component's options, or one recipe."),
    "copy": ("armada_cli.commands.copy", "Copy a recipe that comes with armada, to change it."),
    "plugins": ("armada_cli.commands.plugins", "Show the plugins, what each brings, and what is broken."),
    "new": ("armada_cli.commands.new", "Write the project of a new teacher, student, task, loss or method."),
    "verify": ("armada_cli.commands.verify", "Verify that a component keeps its contract, promise by promise."),
    "features": ("armada_cli.commands.features", "List, build, verify, export and import teacher features."),
    "report": ("armada_cli.commands.report", "Print the report of a run again."),
    "compare": ("armada_cli.commands.compare", "Put two runs side by side, with a verdict on each difference."),
    "export": ("armada_cli.commands.export", "Write a trained student to a folder of its own, to be loaded without armada."),
    "completion": ("armada_cli.commands.completion", "Print the completion script of a shell."),
}
"""Name -> (module, summary): `--help` reads this table and imports none of the modules. Each module has a `command`."""


class LazyGroup(click.Group):
    """A group whose subcommands are known by name until one is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        if ctx.resilient_parsing and "_ARMADA_COMPLETE" in os.environ and _completes_names(ctx):
            return click.Command(cmd_name, short_help=COMMANDS[cmd_name][1])
        return importlib.import_module(COMMANDS[cmd_name][0]).command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0].lower(), COMMANDS, n=2, cutoff=0.5)
            hint = f"Did you mean {' or '.join(repr(name) for name in near)}?" if near else "`armada --help` names the commands"
            raise click.UsageError(f"no such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def _completes_names(ctx: click.Context) -> bool:
    """Whether the shell asks for the commands' names, for which none of them is needed."""
    return not ctx._protected_args and not ctx.args


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from armada_cli import __version__

        click.echo(f"armada {__version__}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Print the version and exit."
)
def cli() -> None:
    """Distil image, video and audio teachers into text-only language models.

    A recipe names a student, a teacher, tasks and methods; `armada run RECIPE` does the rest. Start with
    `armada run quickstart`.
    """


def main(ready: Callable[[], object] = lambda: None) -> None:
    """The command itself. Exit status: 0 done, 1 something in a run failed, 2 a mistake that one line explains, 130
    interrupted.

    Args:
        ready: called where an interrupt is an exception that is caught here.
    """
    try:
        guard_streams()
        ready()
        status = run(sys.argv[1:])
    except KeyboardInterrupt:  # before or behind the command
        _complain("armada: interrupted")
        status = 130
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit status; whatever goes wrong by the user's hand is one line."""
    with guarded_streams():
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    try:
        status = _invoke(arguments)
        sys.stdout.flush()
    except UserError as error:
        _complain(str(error) if hasattr(error, "problems") else f"armada: {escape_line(error)}")
        return 2
    except click.ClickException as error:
        _complain(f"armada: {escape_line(_describe(error))}")
        return error.exit_code if error.exit_code != 1 else 2
    except (click.Abort, KeyboardInterrupt):
        _complain("armada: interrupted")
        return 130
    except BrokenPipeError:
        _abandon_output()
        return 1
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.ENOSPC, errno.EIO):
            _abandon_output()
        if not _is_users(error):
            raise
        _complain(f"armada: {escape_line(_describe_os(error))}")
        return 2
    return status


def _invoke(arguments: list[str]) -> int:
    try:
        status: Any = cli.main(arguments, prog_name="armada", standalone_mode=False)
    except SystemExit as exit_:
        if isinstance(exit_.code, str):
            _complain(exit_.code)
            return 1
        return exit_.code or 0
    return status if isinstance(status, int) and not isinstance(status, bool) else 0


def _describe(error: click.ClickException) -> str:
    """Click's message on one line, with where to look further."""
    message = one_line(error.format_message())
    if message[:1].isupper() and message[1:2].islower():
        message = message[0].lower() + message[1:]
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "armada"
    if isinstance(error, click.UsageError) and "ean " not in message and "--help" not in message:
        return f"{message.rstrip('.')}. `{path} --help` shows what it takes"
    return message


_OS_HINTS = {
    errno.ENOSPC: "Free some space, or choose another disk with --runs",
    errno.EDQUOT: "Free some space, or choose another disk with --runs",
    errno.EROFS: "Choose a folder that can be written with --runs",
    errno.EACCES: "Check its permissions, or choose another folder with --runs",
    errno.EPERM: "Check its permissions, or choose another folder with --runs",
}


def _is_users(error: OSError) -> bool:
    """Whether the machine's state explains the error; the rest is a bug of ours and deserves its traceback."""
    expected = (
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.EIO,
        errno.ENAMETOOLONG,
        errno.EMFILE,
        errno.ELOOP,
    )
    return error.errno in _OS_HINTS or error.errno in expected


def _describe_os(error: OSError) -> str:
    what = (error.strerror or str(error)).lower()
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    hint = _OS_HINTS.get(error.errno or 0, "")
    return f"{place}{what}. {hint}" if hint else f"{place}{what}"


def _complain(message: str) -> None:
    message = hide(message)
    # the command's output belongs before the complaint, and a reader who has left must not cause a second one
    for stream, text in ((sys.stdout, ""), (sys.stderr, message + "\n")):
        try:
            stream.write(text)
            stream.flush()
        except OSError:
            _abandon_output()


def _abandon_output() -> None:
    """Let the interpreter's last flush go nowhere."""
    try:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)
    except (OSError, ValueError):
        pass


if __name__ == "__main__":
    main()
