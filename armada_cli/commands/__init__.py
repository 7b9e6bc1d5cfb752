"""One thin file per verb; here what several of them share: options, the recipe argument and the completion of names."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from armada_cli.contracts import KINDS, Environment
from armada_cli.contracts.component import PLURALS
from armada_cli.errors import UserError
from armada_cli.files import expand

if TYPE_CHECKING:
    from armada_cli.registry.catalog import Catalog

Command = TypeVar("Command", bound=Callable[..., Any])

"""Kind of component -> what `armada list` calls all of them."""


def environment_options(function: Command) -> Command:
    """Add ``--runs`` and ``--data``; the command receives them as one `Environment`, keyword ``environment``."""

    @click.option(
        "--runs",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="ARMADA_RUNS",
        default=Path("runs"),
        show_default="./runs",
        help="Folder of runs, trials and features [env: ARMADA_RUNS].",
    )
    @click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="ARMADA_DATA",
        default=None,
        help="Local mirror of datasets, owner/name/config/split.jsonl [env: ARMADA_DATA].",
    )
    @functools.wraps(function)
    def with_environment(*args: Any, runs: Path, data: Path | None, **kwargs: Any) -> Any:
        return function(*args, environment=make_environment(runs, data), **kwargs)

    return with_environment  # type: ignore[return-value]


def local_code_option(function: Command) -> Command:
    """Add ``--allow-local-code``; the command receives it inside its `environment`. Stands below `environment_options`."""

    @click.option(
        "--allow-local-code",
        is_flag=True,
        help="Execute the Python files that the recipe names ({file: my.py, class: My}), with all your rights.",
    )
    @functools.wraps(function)
    def with_permission(*args: Any, environment: Environment, allow_local_code: bool, **kwargs: Any) -> Any:
        permitted = dataclasses.replace(environment, local_code=allow_local_code)
        return function(*args, environment=permitted, **kwargs)

    return with_permission  # type: ignore[return-value]


def make_environment(runs: Path = Path("runs"), data: Path | None = None) -> Environment:
    """The environment of a command; offline when a Hugging Face variable says so."""
    offline = any(
        os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )
    return Environment(runs=expand(runs), data=expand(data) if data else None, offline=offline)


class RecipeType(click.ParamType):
    """A recipe's path or name, with completion of both."""

    name = "recipe"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from armada_cli.recipe.shipped import SUFFIXES, shipped_recipes

        names = [] if os.sep in incomplete else [name for name in shipped_recipes() if name.startswith(incomplete)]
        folder = Path(incomplete).parent
        try:
            here = sorted(expand(folder).glob("*"))
        except (UserError, OSError):  # nothing to offer
            here = []
        files = [str(folder / item.name) + ("/" if item.is_dir() else "") for item in here if _is_step(item, SUFFIXES)]
        return [CompletionItem(name) for name in (*names, *files) if name.startswith(incomplete)]


def _is_step(item: Path, suffixes: tuple[str, ...]) -> bool:
    """A recipe, or a folder on the way to one."""
    return not item.name.startswith(".") and (item.suffix in suffixes or item.is_dir())


def recipe_argument(function: Command) -> Command:
    """Add the argument ``RECIPE``, a path or a name; the command receives it as ``recipe``."""
    return click.argument("recipe", type=RecipeType())(function)


def set_option(function: Command) -> Command:
    """Add the repeatable ``--set KEY=VALUE``; the command receives a tuple ``overrides`` for `load_recipe`."""
    return click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        help="Override a value, as in --set train.epochs=1. Repeatable.",
    )(function)


def device_option(function: Command) -> Command:
    """Add ``--device``; the command receives ``device``."""
    return click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")(function)


def force_option(function: Command) -> Command:
    """Add ``--force``; the command receives ``force``, for `require_writable`."""
    return click.option("--force", is_flag=True, help="Write over a file that is there.")(function)


def require_writable(output: Path, environment: Environment, *, force: bool) -> None:
    """Refuse to write a file over one that is there, unless it is forced, and over a file of the runs folder, always.

    Raises:
        UserError: why not.
    """
    from armada_cli.runs import Runs

    Runs(environment.runs).require_foreign(output)
    if os.path.lexists(output) and not force:
        raise UserError(f"{output} is there already", "Name another file, or add --force to write over it")


def json_option(function: Command) -> Command:
    """Add ``--json``; the command receives ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def singular(word: str) -> str | None:
    """``teachers`` or ``teacher`` -> ``teacher``; None for a word that is no kind (``recipes`` gives ``recipe``)."""
    kinds = {plural: kind for kind, plural in PLURALS.items()} | {kind: kind for kind in KINDS}
    return ({**kinds, "recipe": "recipe", "recipes": "recipe"}).get(word.lower())


class KindType(click.ParamType):
    """A kind of component, or recipes; singular and plural are both understood."""

    name = "kind"

    def __init__(self, *, plural: bool) -> None:
        words = [*PLURALS.values(), "recipes"] if plural else [*PLURALS, "recipe"]
        self.words = words

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "[" + "|".join(self.words) + "]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from armada_cli.registry.registered import did_you_mean

        kind = singular(value)
        if kind is None:
            hint = did_you_mean(value, self.words) or f"known are {', '.join(self.words)}"
            raise UserError(f"unknown kind {value!r}", hint)
        return kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in self.words if word.startswith(incomplete)]


class ComponentNameType(click.ParamType):
    """A component's (or recipe's) name; the kind is the parameter ``kind`` of the same command."""

    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        kind = singular(str(ctx.params.get("kind") or ""))
        if kind is None:
            return []
        if kind == "recipe":
            return RecipeType().shell_complete(ctx, param, incomplete)
        names = load_catalog(warn=False, strict=False).names(kind)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def load_catalog(*, warn: bool = True, strict: bool | None = None) -> Catalog:
    """The catalog of all installed plugins (see `Catalog.load`)."""
    from armada_cli.registry.catalog import Catalog, current

    return current() if warn and strict is None else Catalog.load(warn=warn, strict=strict)


def on_terminal() -> bool:
    """Whether standard output is a terminal; decoration is for people."""
    import sys

    return sys.stdout.isatty()
