"""A component as the spec of a trial names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from armada_cli.contracts import Environment
from armada_cli.errors import UserError
from armada_cli.registry import local
from armada_cli.registry.catalog import current
from armada_cli.registry.registered import Registered


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
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in build["options"].items()}
    # A component that was made tiny may need less than its card says.
    card = replace(registered.component, requires=tuple(build.get("requires", registered.component.requires)))
    return replace(registered, component=card), card.options(**values)
