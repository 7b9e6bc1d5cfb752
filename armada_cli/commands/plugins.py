"""`armada plugins`: who brings what, how long it takes to load, and what is broken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from armada_cli.commands import json_option, load_catalog, on_terminal
from armada_cli.contracts import KINDS

if TYPE_CHECKING:
    from armada_cli.catalog import Plugin


@click.command("plugins")
@json_option
def command(as_json: bool) -> None:
    """Show every plugin: distribution, version, what it registers, load time, and the error of a broken one.

    ARMADA_DISABLE=NAME,NAME leaves plugins out (names of entry points or distributions); ARMADA_STRICT=1 makes a broken
    plugin stop every other command.
    """
    # the errors are in the table, and this is the command that must work when a plugin does not
    records = [describe_plugin(plugin) for plugin in load_catalog(warn=False, strict=False).plugins]
    if as_json:
        click.echo(json.dumps(records, indent=2, ensure_ascii=False))
        return
    from armada_cli.commands.tables import print_table

    rows = []
    for record in records:
        who = [f"{record['distribution']} {record['version']}", record["module"]]
        how = [f"{record['milliseconds']:.1f} ms", record["state"], record["error"] or _brings(record["registers"])]
        # on a terminal of 80 columns the long names stand under each other
        rows.append([record["plugin"], "\n".join(who), *how] if on_terminal() else [record["plugin"], *who, *how])
    print_table("Plugins", ["plugin", "distribution, entry point", "load", "state", "registers"], rows)
    broken = sum(record["state"] == "broken" for record in records)
    if broken and on_terminal():
        click.echo(f"{broken} broken; `armada plugins --json` has the whole messages.")


def describe_plugin(plugin: Plugin) -> dict[str, Any]:
    """One plugin's health as plain data."""
    return {
        "plugin": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "module": plugin.module,
        "milliseconds": round(plugin.seconds * 1000, 1),
        "state": "disabled" if plugin.disabled else "broken" if plugin.error else "ok",
        "registers": [{"kind": kind, "name": name} for kind, name in plugin.registers],
        "error": plugin.error,
    }


def _brings(registers: list[dict[str, str]]) -> str:
    kinds: dict[str, list[str]] = {}
    for item in registers:
        kinds.setdefault(item["kind"], []).append(item["name"])
    return "; ".join(f"{kind}: {', '.join(kinds[kind])}" for kind in KINDS if kind in kinds)
