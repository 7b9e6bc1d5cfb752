"""A component as the spec of a trial names it, written and read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from armada_cli.contracts import JSON, Choice, Environment, Registered
from armada_cli.contracts.component import as_plain
from armada_cli.errors import UserError
from armada_cli.registry import local
from armada_cli.registry.catalog import current


def restore(
    kind: str,
    build: Mapping[str, Any],
    environment: Environment | None = None,
    *,
    any_version: bool = False,
) -> tuple[Registered, Any]:
    """The component and options instance that a spec names.

    Args:
        any_version: take the plugin in whatever version it is installed. For what only reads a finished trial; a training under
            an id that names another version would be another training.

    Raises:
        UserError: it is not installed any more, or in another version; or it is a local file, which has changed or is not
            allowed to run.
    """
    if "file" in build:
        registered = local.load(kind, Path(build["file"]), build["class"], environment or Environment(), build["content"])
    else:
        catalog = current()
        catalog.former.insert(0, {"kind": kind, **build})
        registered = catalog.find(kind, f"{build['distribution']}:{build['name']}")
        if not any_version and registered.version != build["version"]:
            raise UserError(
                f"{kind} {build['name']!r}: the trial was planned with {build['distribution']} {build['version']}, "
                f"here is {registered.version}",
                "Install the same version everywhere, or start the run again",
            )
    card = registered.component
    options = read_options(card.options, build["options"], environment, any_version=any_version)
    # A component that was made tiny may need less than its card says.
    card = replace(card, requires=tuple(build.get("requires", card.requires)))
    return replace(registered, component=card), options


def read_options(
    cls: type, values: Mapping[str, JSON], environment: Environment | None = None, *, any_version: bool = False
) -> Any:
    """An options instance from what `write_options` made of it.

    Raises:
        UserError: as `restore`, of a component that an option names.
    """
    kinds = {item.name: str(kind) for item in dataclasses.fields(cls) if (kind := item.metadata.get("component"))}
    return cls(
        **{
            name: _restore_parts(kinds[name], value, environment, any_version) if name in kinds else _as_tuple(value)
            for name, value in values.items()
        }
    )


def _restore_parts(kind: str, value: JSON, environment: Environment | None, any_version: bool) -> Any:
    """The choices that an option holds."""
    if isinstance(value, list):
        return tuple(_restore_parts(kind, item, environment, any_version) for item in value)
    if not isinstance(value, Mapping):
        return value
    registered, options = restore(kind, value, environment, any_version=any_version)
    return Choice(registered, options, str(value["title"]), given=bool(value.get("given", False)))


def _as_tuple(value: JSON) -> Any:
    return tuple(value) if isinstance(value, list) else value


def write_build(choice: Choice) -> dict[str, JSON]:
    """What `restore` needs to know of a choice, as plain JSON."""
    registered = choice.registered
    component = registered.component
    own = {}
    if isinstance(component, local.LocalComponent):
        own = {"file": str(component.path), "class": registered.plugin, "content": component.content}
    return {
        **own,
        "distribution": registered.distribution,
        "version": registered.version,
        "name": choice.name,
        "title": choice.title,
        "options": write_options(choice.options),
        "requires": list(component.requires),
        **({"given": True} if choice.given else {}),
    }


def write_options(options: Any) -> dict[str, JSON]:
    """An options instance as JSON has it."""
    return {item.name: _write(getattr(options, item.name)) for item in dataclasses.fields(options)}


def _write(value: Any) -> JSON:
    if isinstance(value, Choice):
        return write_build(value)
    if isinstance(value, (list, tuple)):
        return [_write(item) for item in value]
    return as_plain(value)
