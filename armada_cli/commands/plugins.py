"""`armada plugins`: who brings what, how long it takes to load, and what is broken."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from armada_cli.commands import json_option, load_catalog, on_terminal
from armada_cli.console import print_json, print_line
from armada_cli.contracts import KINDS

if TYPE_CHECKING:
    from armada_cli.registry.catalog import Plugin


@click.command("plugins")
@json_option
def command(as_json: bool) -> None:
    """Show every plugin: distribution, version, what it registers, load time, and the error of a broken one.

    A slow plugin is one that takes more than half a second to load, and so delays every command.
    ARMADA_DISABLE=NAME,NAME leaves plugins out (names of entry points or distributions); ARMADA_STRICT=1 makes a broken
    plugin stop every other command.
    """
    # the errors are in the table, and this is the command that must work when a plugin does not
    records = [describe_plugin(plugin) for plugin in load_catalog(warn=False, strict=False).plugins]
    for line in unknown_names(os.environ.get("ARMADA_DISABLE", ""), records):
        print_line(f"armada: {line}", error=True)
    if as_json:
        print_json(records)
        return
    from armada_cli.commands.tables import print_table

    rows = []
    for record in records:
        who = [f"{record['distribution']} {record['version']}", record["module"]]
        state = f"{record['state']}, slow" if record["slow"] else record["state"]
        how = [f"{record['milliseconds']:.1f} ms", state, record["error"] or _brings(record["registers"])]
        # on a terminal of 80 columns the long names stand under each other
        rows.append([record["plugin"], "\n".join(who), *how] if on_terminal() else [record["plugin"], *who, *how])
    print_table("Plugins", ["plugin", "distribution, entry point", "load", "state", "registers"], rows)
    broken = sum(record["state"] == "broken" for record in records)
    if broken and on_terminal():
        click.echo(f"{broken} broken; `armada plugins --json` has the whole messages.")
    if on_terminal():
        for record in records:
            if record["slow"]:
                print_line(slow_line(record))


def describe_plugin(plugin: Plugin) -> dict[str, Any]:
    """One plugin's health as plain data."""
    return {
        "plugin": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "module": plugin.module,
        "milliseconds": round(plugin.seconds * 1000, 1),
        "slow": plugin.slow,
        "imports": plugin.imports,
        "state": "disabled" if plugin.disabled else "broken" if plugin.error else "ok",
        "registers": [{"kind": kind, "name": name} for kind, name in plugin.registers],
        "error": plugin.error,
    }


def unknown_names(disabled: str, records: list[dict[str, Any]]) -> list[str]:
    """One line for each name in ``ARMADA_DISABLE`` that leaves nothing out."""
    from armada_cli.registry.registered import did_you_mean

    known = {record[key] for record in records for key in ("plugin", "distribution")}
    names = [name.strip() for name in disabled.split(",") if name.strip()]
    lines = []
    for name in names:
        if name not in known:
            near = did_you_mean(name, sorted(known))
            lines.append(f"ARMADA_DISABLE names {name!r}, and no plugin is called that" + (f"; {near}" if near else ""))
    return lines


def slow_line(record: dict[str, Any]) -> str:
    """What a slow plugin costs, and the likely reason."""
    reason = f" It imports {', '.join(record['imports'])}; cards need not." if record["imports"] else ""
    return f"{record['plugin']} of {record['distribution']} delays every command by {record['milliseconds']:.0f} ms.{reason}"


def _brings(registers: list[dict[str, str]]) -> str:
    kinds: dict[str, list[str]] = {}
    for item in registers:
        kinds.setdefault(item["kind"], []).append(item["name"])
    return "; ".join(f"{kind}: {', '.join(kinds[kind])}" for kind in KINDS if kind in kinds)
