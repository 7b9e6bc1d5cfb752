"""`armada features`: what the feature store holds, and how to fill, check, empty and carry it."""

from __future__ import annotations

import dataclasses
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from armada_cli.commands import (
    Command,
    device_option,
    environment_options,
    force_option,
    json_option,
    load_catalog,
    local_code_option,
    recipe_argument,
    require_writable,
    set_option,
)
from armada_cli.console import print_json, print_line
from armada_cli.contracts import Environment
from armada_cli.devices import check_device
from armada_cli.errors import UserError
from armada_cli.features.store import FeatureStore, StoredTeacher
from armada_cli.files import remove
from armada_cli.reading import parse_json


@click.group("features")
def command() -> None:
    """List, build, verify, prune, export and import teacher features.

    Every vector a teacher makes is kept in RUNS/features.db, once per text; what training reads, reduced and standardised,
    is in RUNS/features/.
    """


def _selection(function: Command) -> Command:
    """Add ``--teacher`` and ``--identity``, which choose among what is stored."""
    teacher = click.option(
        "--teacher", "teachers", metavar="NAME", multiple=True, help="Every identity of this teacher. Repeatable."
    )
    identity = click.option("--identity", "keys", metavar="KEY", multiple=True, help="This identity (see list). Repeatable.")
    return teacher(identity(function))


@command.command("list")
@json_option
@environment_options
def list_(environment: Environment, as_json: bool) -> None:
    """Show the stored teachers: identity, rows, width, size, and when they were last added to."""
    with FeatureStore.of(environment) as store:
        entries = store.entries()
    if as_json:
        records = [
            {
                "identity": entry.key,
                "teacher": entry.teacher,
                "rows": entry.rows,
                "width": entry.width,
                "bytes": entry.size,
                "updated": _when(entry),
                "makers": list(entry.makers),
                "description": entry.identity,
            }
            for entry in entries
        ]
        print_json(records)
        return
    from armada_cli.commands import on_terminal
    from armada_cli.commands.tables import print_table

    if not entries and on_terminal():
        print_line(f"{environment.runs / 'features.db'} holds no features yet: `armada features build RECIPE` makes them.")
        return
    rows = [
        [entry.teacher, entry.key, str(entry.rows), str(entry.width or ""), _bytes(entry.size), _when(entry), _options(entry)]
        for entry in entries
    ]
    print_table("Features", ["teacher", "identity", "rows", "width", "size", "updated", "options"], rows)


@command.command("build")
@recipe_argument
@set_option
@device_option
@environment_options
@local_code_option
def build(recipe: str, overrides: tuple[str, ...], device: str, environment: Environment) -> None:
    """Represent all texts that RECIPE needs and have no vector yet; train nothing."""
    from armada_cli.execution.judgement import judge
    from armada_cli.features.prepare import represent
    from armada_cli.plan.planning import make_plan
    from armada_cli.recipe.loader import load_recipe

    check_device(device)
    environment = dataclasses.replace(environment, device=device)
    plan = make_plan(load_recipe(recipe, load_catalog(), environment, overrides), environment)
    if not plan.feature_jobs:
        click.echo("No method of this recipe needs a teacher.")
    judge(plan, environment, [trial for trial in plan.everything if trial.features is not None], fetch=True)
    made: dict[str, Any] = {}
    for job in plan.feature_jobs.values():
        inputs = job.split(environment).teacher_inputs
        fitted = None if job.fitted is None else made[job.fitted.key]
        teacher, options = job.teacher.registered, job.teacher.options
        prepared, report = represent(teacher, options, environment, inputs, job.features, fitted=fitted)
        made[job.key] = prepared
        new = report.new if report else 0
        rate = f" in {report.seconds:.1f} s ({new / report.seconds:.1f}/s)" if report and new else ""
        kept = (
            f" ({prepared.reduction}, {100 * prepared.explained:.1f} % of the variance)"
            if prepared.explained is not None
            else ""
        )
        print_line(
            f"{job.teacher.title} on {job.title}: {len(set(inputs))} texts, {new} new{rate}; "
            f"h_t [{prepared.rows}, {prepared.width}]{kept}, {prepared.path}"
        )
        if note := prepared.note(job.teacher.registered):
            print_line(f"armada: {note}", error=True)


@command.command("verify")
@environment_options
@click.pass_context
def verify(ctx: click.Context, environment: Environment) -> None:
    """Check every stored vector, what the store says of each teacher, and every prepared file. Damaged vectors and files are
    dropped, and made again when they are needed.

    Exit status 1 when something was damaged.
    """
    from armada_cli.features.prepare import load_prepared

    total = bad = unknown = 0
    with FeatureStore.of(environment) as store:
        if store.is_empty_file():
            unknown += 1
            print_line(f"{store.path} is empty: what it held is lost, and the next run computes it again")
        for entry in store.entries():
            if not entry.sound:
                unknown += 1
                print_line(
                    f"{entry.teacher} {entry.key}: its description is damaged; its vectors are kept, and a run that uses "
                    f"them writes it again (armada features prune --identity {entry.key} drops them)"
                )
            good, damaged = store.verify(entry.key)
            total += good + len(damaged)
            bad += len(damaged)
            if damaged:
                store.remove(entry.key, damaged)
                print_line(f"{entry.teacher} {entry.key}: {len(damaged)} of {good + len(damaged)} vectors are damaged")
    files = sorted((environment.runs / "features").glob("*.safetensors"))
    broken = 0
    for path in files:
        try:
            load_prepared(path)
        except UserError as error:
            broken += 1
            print_line(error.what)
            remove(path, environment.runs, must=True)
    click.echo(f"{_count(total, 'vector')} and {_count(len(files), 'prepared file')} checked, {bad + broken} damaged")
    if bad or broken:
        click.echo("What is damaged was dropped; the next run computes it again.")
    if bad or broken or unknown:
        ctx.exit(1)


@command.command("prune")
@_selection
@click.option("--keep", "recipes", metavar="RECIPE", multiple=True, help="All that this recipe does not use. Repeatable.")
@click.option(
    "--outputs", is_flag=True, help="What finished text teachers gave for training rows (RUNS/outputs/), and no vectors."
)
@click.option("--all", "everything", is_flag=True, help="Everything.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@environment_options
@local_code_option
def prune(
    teachers: tuple[str, ...],
    keys: tuple[str, ...],
    recipes: tuple[str, ...],
    outputs: bool,
    everything: bool,
    dry_run: bool,
    yes: bool,
    environment: Environment,
) -> None:
    """Remove stored vectors, with the prepared files made of them, and what finished text teachers gave for training rows. All
    of it is made again when it is needed."""
    if not (teachers or keys or recipes or outputs or everything):
        raise UserError(
            "nothing was chosen to be removed", "Name --teacher, --identity or --keep RECIPE, or say --outputs or --all"
        )
    from armada_cli.runs import Runs

    runs = Runs(environment.runs)
    with FeatureStore.of(environment) as store:
        entries = store.entries()
        if teachers or keys:
            entries = _choose(entries, teachers, keys)
        elif outputs and not everything:
            entries = []
        used, trials = _used(recipes, environment)
        given = {} if (teachers or keys) and not (outputs or everything) else runs.sizes_of_outputs()
        given = {trial: size for trial, size in given.items() if trial not in trials}
        chosen = entries
        chosen = [entry for entry in chosen if entry.key not in used]
        files = [path for path, key in _prepared(environment) if key in {entry.key for entry in chosen}]
        for entry in chosen:
            print_line(
                f"{entry.teacher} {entry.key}: {_count(entry.rows, 'vector')}, {_bytes(entry.size)}  {_options(entry)}".rstrip()
            )
        for trial, size in given.items():
            print_line(f"outputs of trial {trial}: {_bytes(size)}")
        rows, size = sum(entry.rows for entry in chosen), sum(entry.size for entry in chosen)
        words = [f"{_count(rows, 'vector')} ({_bytes(size)}) and {_count(len(files), 'prepared file')}"] if chosen else []
        words += [f"outputs of {_count(len(given), 'text teacher')} ({_bytes(sum(given.values()))})"] if given else []
        summary = ", and ".join(words)
        if not words:
            click.echo("There is nothing to remove.")
            return
        if dry_run:
            click.echo(f"Would remove {summary}.")
            return
        if not yes:
            if not sys.stdin.isatty():
                raise UserError(
                    f"would remove {summary}, and nobody is there to be asked", "Add --yes, or look first with --dry-run"
                )
            click.confirm(f"Remove {summary}?", abort=True)
        for entry in chosen:
            store.remove(entry.key)
        for path in files:
            remove(path, environment.runs, must=True)
        for trial in given:
            runs.drop_outputs(trial)
        if chosen:
            store.compact()
    click.echo(f"Removed {summary}.")


@command.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_selection
@force_option
@environment_options
def export(file: Path, teachers: tuple[str, ...], keys: tuple[str, ...], force: bool, environment: Environment) -> None:
    """Write stored vectors to FILE.safetensors, all or the chosen ones, for `import` on another machine."""
    from armada_cli.features.carry import export_vectors

    require_writable(file, environment, force=force)
    with FeatureStore.of(environment) as store:
        entries = store.entries()
        chosen = _choose(entries, teachers, keys) if teachers or keys else entries
        for item in export_vectors(store, [entry.key for entry in chosen], file):
            print_line(f"{item.teacher} {item.key}: {_count(item.rows, 'vector')}, {item.width} wide")
    print_line(f"Written to {file} ({_bytes(file.stat().st_size)}).")


@command.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@environment_options
def import_(file: Path, environment: Environment) -> None:
    """Add the vectors of FILE.safetensors, as `export` wrote it, to the store. The whole file is checked first."""
    from armada_cli.features.carry import import_vectors

    with FeatureStore.of(environment) as store:
        for item in import_vectors(store, file):
            print_line(f"{item.teacher} {item.key}: {_count(item.rows, 'vector')}, {item.width} wide, {item.new} new")


def _choose(entries: list[StoredTeacher], teachers: tuple[str, ...], keys: tuple[str, ...]) -> list[StoredTeacher]:
    """The entries that were named; a key may be shortened to its first four digits or more."""
    from armada_cli.registry.registered import did_you_mean

    chosen = []
    for name in teachers:
        matching = [entry for entry in entries if entry.teacher == name]
        if not matching:
            near = did_you_mean(name, {entry.teacher for entry in entries})
            raise UserError(f"the store has nothing of a teacher {name!r}", near or "See: armada features list")
        chosen += matching
    for key in keys:
        matching = [entry for entry in entries if entry.key == key or (len(key) >= 4 and entry.key.startswith(key))]
        if len(matching) != 1:
            count = "no" if not matching else f"{len(matching)}"
            raise UserError(f"{count} stored identities match {key!r}", "See: armada features list")
        chosen += matching
    return list({entry.key: entry for entry in chosen}.values())


def _used(recipes: tuple[str, ...], environment: Environment) -> tuple[set[str], set[str]]:
    """Keys of the teacher identities that recipes use, and ids of their trials."""
    from armada_cli.plan.planning import make_plan
    from armada_cli.recipe.loader import load_recipe

    plans = [make_plan(load_recipe(recipe, load_catalog(), environment), environment) for recipe in recipes]
    return (
        {job.identity_key for plan in plans for job in plan.feature_jobs.values()},
        {trial.id for plan in plans for trial in plan.everything},
    )


def _prepared(environment: Environment) -> list[tuple[Path, str]]:
    """Prepared files with the key of the teacher identity they were made of; damaged ones are left to `verify`."""
    from armada_cli.features.identity import identity_key
    from armada_cli.models.weights import read_metadata

    prepared = []
    for path in sorted((environment.runs / "features").glob("*.safetensors")):
        try:
            key = identity_key(parse_json(read_metadata(path).get("teacher", "")))
        except (OSError, TypeError, ValueError):
            continue
        prepared.append((path, key))
    return prepared


def _options(entry: StoredTeacher) -> str:
    """What tells two identities of one teacher apart, on one line."""
    options = entry.identity.get("options")
    if not isinstance(options, dict):
        return ""
    return " ".join(f"{name}={value}" for name, value in options.items())


def _when(entry: StoredTeacher) -> str:
    return datetime.fromtimestamp(entry.updated).astimezone().isoformat(" ", timespec="seconds") if entry.updated else ""


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
