"""What a trial's scores depend on, compared again with what its id stands for.

Files are hashed when a run is planned and read when a trial starts, perhaps days later. Scores of rows that were edited in
between would stand under the id of the old ones for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from armada_cli.contracts import Environment, canonical
from armada_cli.errors import UserError
from armada_cli.recipe.model import Choice
from armada_cli.registry.restore import restore

HINT = "Run the recipe again: it is planned with what is there now"


def require_unchanged_choice(kind: str, choice: Choice, planned: Mapping[str, Any], environment: Environment) -> None:
    """Compare a component of a plan with the files it names.

    Args:
        planned: its identity when the plan was made.

    Raises:
        UserError: another identity now; nothing has been made of it yet.
    """
    if change := _change(kind, choice, planned, environment):
        raise UserError(change, HINT)


def describe_change(spec: Mapping[str, Any], environment: Environment) -> str | None:
    """What a trial reads and is no longer what its id stands for, as a line; None when nothing is.

    The teacher is not looked at: its vectors are kept under its own identity.
    """
    for kind in ("student", "task", "method"):
        planned = spec["identity"].get(kind)
        if planned is None:  # an evaluation's student is known by the trial that trained it
            continue
        try:
            build = spec["build"][kind]
            registered, options = restore(kind, build, environment)
            choice = Choice(registered, options, registered.name)
            change = _change(kind, choice, planned, environment, training=kind == "task" and not spec["evaluate"])
        except UserError as error:  # it is gone, or it is code that changed
            return error.what
        if change:
            return change
    return None


def _change(
    kind: str, choice: Choice, planned: Mapping[str, Any], environment: Environment, *, training: bool = False
) -> str | None:
    now = choice.identity(environment, training=training)
    planned = {name: value for name, value in planned.items() if name != "limit"}  # the recipe's
    if canonical(now) == canonical(dict(planned)):
        return None
    changed = dict.fromkeys(_differences(planned, now))
    values = [str(getattr(choice.options, name)) for name in changed if getattr(choice.options, name, None)]
    what = ", ".join(values or changed) or "something"
    return f"{kind} {choice.name}: {what} changed while the recipe ran"


def _differences(before: Any, after: Any, name: str = "") -> Iterator[str]:
    """The innermost names under which two identities differ."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            yield from _differences(before.get(key), after.get(key), str(key))
    elif canonical(before) != canonical(after):
        yield name
