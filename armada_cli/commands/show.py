"""`armada show`: one component with all its options, or one recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from armada_cli.commands import ComponentNameType, KindType, json_option, load_catalog, on_terminal
from armada_cli.console import output_json, print_json, print_line

if TYPE_CHECKING:
    from armada_cli.registry.registered import Registered


@click.command("show")
@click.argument("kind", type=KindType(plural=False))
@click.argument("name", type=ComponentNameType())
@json_option
def command(kind: str, name: str, as_json: bool) -> None:
    """Show one component: where it comes from, what it needs, its options and an example. Or show one recipe."""
    if kind == "recipe":
        _show_recipe(name, as_json)
        return
    record = describe_component(load_catalog().find(kind, name))
    if as_json:
        print_json(record)
        return
    from armada_cli.commands.tables import print_table

    print_line(f"{record['name']} ({kind}): {record['summary']}")
    print_table("", ["", ""], [[key, value] for key, value in _facts(record) if value])
    if record["options"]:
        rows = [[item["name"], item["type"], item["default"], item["meaning"]] for item in record["options"]]
        print_table("Options", ["option", "type", "default", "meaning"], rows, header=True)
    elif on_terminal():
        click.echo("It has no options.\n")
    if record["features"]:
        rows = [[f"features.{item['name']}", item["type"], item["default"], item["meaning"]] for item in record["features"]]
        print_table("Beside the options", ["setting", "type", "default", "meaning"], rows, header=True)
    for name, text in record["prompts"].items():
        _print_prompt(name, text)
    click.echo("In a recipe:\n" if on_terminal() else "")
    click.echo("\n".join("    " + line for line in record["example"].splitlines()) if on_terminal() else record["example"])


def describe_component(registered: Registered) -> dict[str, Any]:
    """Everything a recipe's author wants to know, as plain data."""
    from armada_cli.settings import MethodFeatures

    card = registered.component
    options = _describe_options(card.options)
    reads_vectors = registered.kind == "method" and all(
        getattr(card.options, name, usual) for name, usual in (("needs_teacher", False), ("reads_features", True))
    )
    features = _describe_options(MethodFeatures) if reads_vectors else []
    return {
        "kind": registered.kind,
        "name": registered.name,
        "summary": card.summary,
        "provides": sorted(card.provides),
        **registered.origin,
        "packages": _packages(card),
        "install": card.install_command(),
        "formula": card.formula,
        "reference": card.reference,
        "defaults": dict(card.defaults),
        "suggestions": dict(card.suggestions),
        "features": features,
        "options": options,
        "prompts": prompts_of(card),
        "example": example(registered.kind, registered.name, options),
    }


def _describe_options(cls: type) -> list[dict[str, Any]]:
    import dataclasses

    from armada_cli.recipe.values import bounds, default_of, describe, field_types, is_required, literal

    options = []
    kinds = field_types(cls)
    for item in dataclasses.fields(cls):
        if not item.init:
            continue
        limits = bounds(item.metadata)
        meaning = item.metadata.get("help", "")
        options.append(
            {
                "name": item.name,
                "type": describe(kinds[item.name]),
                "required": is_required(item),
                "default": "required" if is_required(item) else literal(default_of(item)),
                "bounds": limits,
                "meaning": f"{meaning} ({limits})" if meaning and limits else meaning or limits,
            }
        )
    return options


def prompts_of(card: Any) -> dict[str, str]:
    """What a generation task asks with its default options, by name; empty for other components."""
    if not hasattr(card.options, "prompts"):
        return {}
    import dataclasses

    from armada_cli.recipe.values import is_required

    if any(item.init and is_required(item) for item in dataclasses.fields(card.options)):
        return {}
    return {str(name): str(text) for name, text in card.options().prompts().items()}


def _print_prompt(name: str, text: str) -> None:
    """One prompt, its lines indented; not on a terminal, one tab-separated line with its line breaks spelt out."""
    if not on_terminal():
        click.echo(f"prompt {name}\t{output_json(text)}")
        return
    click.echo(f"Prompt {name}\n")
    click.echo("\n".join("    " + line if line else "" for line in text.splitlines()) + "\n")


def example(kind: str, name: str, options: list[dict[str, Any]]) -> str:
    """A recipe's lines that name this component, with what is required and a few of the other options at their defaults."""
    shown = [item for item in options if item["required"]]
    shown += [item for item in options if not item["required"] and item["default"] != "null"][:2]
    pairs = [("name", name)] + [(item["name"], "..." if item["required"] else item["default"]) for item in shown]
    flow = "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
    value = flow if shown else name
    if kind in ("student", "teacher"):
        return f"{kind}: {value}"
    if kind == "task":
        return f"tasks:\n  - {value}"
    if kind == "method":
        return f"methods:\n  - {value}"
    method, option = _method_with_a_loss()
    return f"methods:\n  - name: {method}\n    {option}: {value}" if method else f"{kind}: {value}"


def _method_with_a_loss() -> tuple[str, str]:
    """A method that takes a loss, one of armada's own if there is one, and its option for it; empty where there is none."""
    import dataclasses

    from armada_cli.registry.registered import OWN_DISTRIBUTION

    methods = sorted(load_catalog().components("method"), key=lambda item: item.distribution != OWN_DISTRIBUTION)
    for registered in methods:
        for item in dataclasses.fields(registered.component.options):
            if item.metadata.get("component") == "loss":
                return registered.name, item.name
    return "", ""


def _packages(card: Any) -> list[dict[str, str]]:
    from armada_cli.contracts import installed_version

    return [{"package": requirement, "installed": installed_version(requirement) or ""} for requirement in card.requires]


def _facts(record: dict[str, Any]) -> list[tuple[str, str]]:
    packages = ", ".join(
        f"{item['package']} ({'installed: ' + item['installed'] if item['installed'] else 'not installed'})"
        for item in record["packages"]
    )
    defaults, suggestions = (
        ", ".join(f"{key}: {value}" for key, value in record[name].items()) for name in ("defaults", "suggestions")
    )
    return [
        ("formula", record["formula"]),
        ("provides", ", ".join(record["provides"])),
        ("plugin", f"{record['plugin']} of {record['distribution']} {record['version']}"),
        ("needs", packages),
        ("install with", record["install"]),
        ("train defaults", defaults),
        ("suggests", suggestions),
        ("reference", record["reference"]),
    ]


def _show_recipe(name: str, as_json: bool) -> None:
    from armada_cli.recipe.loader import describe_recipe
    from armada_cli.recipe.shipped import find_recipe

    path = find_recipe(name)
    words = describe_recipe(path)
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if as_json:
        print_json({"name": path.stem, **words, "path": str(path), "text": text})
        return
    if on_terminal():
        print_line(f"{path.stem}: {words['title'] or words['summary']}")
        print_line(str(path))
        print()
    click.echo(text.rstrip("\n"))
