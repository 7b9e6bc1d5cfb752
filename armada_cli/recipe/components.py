"""Students, teachers, tasks and methods of a recipe: short forms, options, grids, titles."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from armada_cli.contracts.choice import GridPoint
from armada_cli.contracts.component import PLURALS
from armada_cli.errors import UserError
from armada_cli.recipe.keys import Setting, describe_unknown_key, is_read_otherwise, nowhere, read_settings
from armada_cli.recipe.model import Choice, Train
from armada_cli.recipe.points import Context, Point, keep_distinct
from armada_cli.recipe.problems import Problems
from armada_cli.recipe.tree import INVALID, Entry, Items, Node, Place, Scalar, Table, plain
from armada_cli.recipe.values import default_of, is_required, literal, read, takes_list
from armada_cli.registry import local
from armada_cli.registry.catalog import Catalog
from armada_cli.registry.choosing import default_choice, make_options
from armada_cli.registry.registered import RESERVED, Registered
from armada_cli.settings import MethodFeatures

MAX_CHOICES = 2_000
"""Upper limit on the points of a grid."""

NO_AXES = tuple(item.name for item in dataclasses.fields(MethodFeatures))
"""Settings that are compared with each other, and between which nothing is chosen."""


def read_components(node: Node | None, kind: str, label: str, context: Context) -> tuple[list[Point], list[Any]]:
    """All points of all grids of one kind, and the entries as plain data with names written out and paths resolved."""
    if node is None:
        return [], []
    several = isinstance(node, Items)
    entries = node.items if isinstance(node, Items) else (node,)
    if several and not entries:
        context.problems.add(node.place, f"{label} is an empty list", f"Name at least one {kind}")
    if len(entries) > MAX_CHOICES:
        context.problems.add(node.place, f"{label} is a list of {len(entries)}", f"Keep it to {MAX_CHOICES}")
        return [], []
    points: list[Point] = []
    resolved: list[Any] = []
    for number, entry in enumerate(entries):
        own, as_data = _read_entry(entry, kind, f"{label}.{number}" if several else label, context)
        points += (point.of_entry(number) for point in own)
        resolved.append(as_data)
        if len(points) > MAX_CHOICES:
            message = f"{label} is more than {MAX_CHOICES} points, with all grids"
            context.problems.add(node.place, message, "Make several recipes of it")
            return [], []
    return keep_distinct(points, kind, context.problems), resolved


def _read_parts(node: Node, kind: str, annotation: Any, label: str, context: Context) -> tuple[Any, Any]:
    """An option that is a component, or a list of them: the choice or choices, or `INVALID` after a problem was reported; and
    the same as plain data, with paths resolved."""
    if isinstance(node, Scalar) and (node.value is None or node.value is INVALID):
        if node.value is None and type(None) not in typing.get_args(annotation):
            context.problems.add(node.place, f"{label} must be a {kind}", f"`armada list {PLURALS[kind]}` shows the names")
            return INVALID, None
        return node.value, None
    if takes_list(annotation):
        if not isinstance(node, Items):
            hint = f"Write a list of names; `armada list {PLURALS[kind]}` shows them"
            context.problems.add(node.place, f"{label} must be a list of {PLURALS[kind]}", hint)
            return INVALID, None
        pairs = [_read_part(item, kind, f"{label}.{number}", context) for number, item in enumerate(node.items)]
        values = tuple(value for value, _ in pairs)
        return INVALID if INVALID in values else values, [data for _, data in pairs]
    return _read_part(node, kind, label, context)


def _read_part(node: Node, kind: str, label: str, context: Context) -> tuple[Any, Any]:
    if kind == "student" and isinstance(node, Table) and "from" in node.entries:
        return _read_given(node, label, context)
    points, data = _read_entry(node, kind, label, context)
    if len(points) > 1:
        context.problems.add(node.place, f"{label} must be one {kind}, this is a grid of {len(points)}", "Write one value each")
        return INVALID, data
    return points[0].choice if points else INVALID, data


def _read_given(node: Table, label: str, context: Context) -> tuple[Any, Any]:
    """A text teacher that exists already: ``{from: PLACE}``, which is the student `encoder` with that model, trained by nobody;
    or ``{name: ..., from: PLACE}`` for another plugin."""
    entries = dict(node.entries)
    source = entries.pop("from")
    for key in ("model", "train", "layers"):
        if key in entries:
            what = f"{label}.{key} does not go with `from`, whose model is taken as it is"
            context.problems.add(entries[key].key, what, "Leave one of the two out")
            return INVALID, None
    name = entries.pop("name", None) or Entry(source.key, Scalar("encoder", source.key))
    table = Table({"name": name, "model": source, **entries}, node.place)
    before = len(context.problems.noted)
    points, data = _read_entry(table, "student", label, context)
    if not points or len(context.problems.noted) > before:
        return INVALID, data
    if len(points) > 1:
        context.problems.add(
            node.place, f"{label} must be one student, this is a grid of {len(points)}", "Write one value each"
        )
        return INVALID, data
    choice = points[0].choice
    data = {"from" if key == "model" else key: value for key, value in data.items()}
    return dataclasses.replace(choice, given=True), data


def _read_entry(entry: Node, kind: str, label: str, context: Context) -> tuple[list[Point], Any]:
    problems = context.problems
    if isinstance(entry, Table) and _is_local(entry):
        return _read_local(entry, kind, label, context)
    name = entry if isinstance(entry, Scalar) else entry.get("name") if isinstance(entry, Table) else None
    if isinstance(name, Scalar) and name.value is INVALID:
        return [], None
    if isinstance(entry, Items) or (isinstance(entry, Scalar) and not isinstance(entry.value, str)):
        hint = f"Write it as `NAME`, or `{{name: NAME, ...}}`; `armada list {PLURALS[kind]}` shows the names"
        problems.add(entry.place, f"{label} must be a name or a mapping with a name", hint)
        return [], None
    if not isinstance(name, Scalar):
        if name is None and isinstance(entry, Table) and "name" not in entry.entries:
            hint = _wrapped(entry, kind, context.catalog) or f"Add `name:`; `armada list {PLURALS[kind]}` shows the names"
            problems.add(entry.place, f"{label} has no name", hint)
        else:
            place = name.place if name else entry.place
            problems.add(place, f"{label}.name must be one name", f"`armada list {PLURALS[kind]}` shows the names")
        return [], None
    if not isinstance(name.value, str):
        problems.add(name.place, f"{label}.name must be text", f"Put it in quotes: '{name.place.text}'")
        return [], None
    table = entry if isinstance(entry, Table) else Table({}, entry.place)
    resolved = {"name": name.value, **{key: value for key, value in plain(table).items() if key != "name"}}
    try:
        registered = context.catalog.find(kind, name.value)
    except UserError as error:
        problems.add(name.place, error.what.removesuffix(f" {name.value!r}"), error.hint, snippet=name.value)
        return [], resolved
    points = _expand(table, name, registered, kind, label, context, resolved)
    return points, resolved


def _is_local(entry: Table) -> bool:
    """Whether a mapping is about a class in a file. A ``file`` alone may as well be an option of a task whose name was
    forgotten."""
    file = entry.get("file")
    python = isinstance(file, Scalar) and str(file.value).endswith(".py")
    return "name" not in entry.entries and ("class" in entry.entries or python)


def _read_local(entry: Table, kind: str, label: str, context: Context) -> tuple[list[Point], Any]:
    """A component that is a class in a file of the user's own: ``{file: my_teacher.py, class: MyTeacher}``."""
    problems = context.problems
    values = []
    for key in local.KEYS:
        node = entry.get(key)
        if node is None:
            other = next(item for item in local.KEYS if item != key)
            problems.add(entry.place, f"{label} names a {other} and no {key}", "Write `{file: my.py, class: MyClass}`")
            return [], None
        values.append(read(node, str, f"{label}.{key}", {"path": key == "file"}, problems))
    file, name = values
    if file is INVALID or name is INVALID:
        return [], None
    resolved = {**plain(entry), "file": file}
    place = entry.entries["file"].node.place
    try:
        registered = local.load(kind, Path(file), name, context.environment)
    except UserError as error:
        problems.add(place, f"{label}: {error.what}", error.hint, snippet="")
        return [], resolved
    return _expand(entry, Scalar(registered.name, place), registered, kind, label, context, resolved), resolved


def _expand(
    table: Table, name: Scalar, registered: Registered, kind: str, label: str, context: Context, resolved: dict[str, Any]
) -> list[Point]:
    problems = context.problems
    before = len(problems.noted)
    what = f"option of {kind} {name.value!r}"
    options_class = registered.component.options
    try:
        reserved = RESERVED[kind]
        if isinstance(registered.component, local.LocalComponent):
            reserved = (*local.KEYS, *reserved[1:])  # where another has its name
        settings = read_settings(
            table,
            options_class,
            label,
            problems,
            grid=True,
            reserved=reserved,
            what=what,
            elsewhere=_setting_of_features if kind == "method" else nowhere,
            read_part=functools.partial(_read_parts, context=context),
        )
    except TypeError as error:
        problems.add(name.place, f"{kind} {name.value!r} of {registered.distribution} is broken: {error}")
        return []
    known = option_of_methods(context.catalog)
    train = _read_beside(table, "train", Train, kind, label, "{lr: 1e-4}", problems, known)
    features = _read_beside(table, "features", MethodFeatures, kind, label, "{control: shuffled}", problems)
    limit = read_limit(table.get("limit"), f"{label}.limit", problems) if "limit" in RESERVED[kind] else None
    alias = _read_alias(table.get("as"), label, problems)
    if settings is None or train is None or features is None or len(problems.noted) > before:
        return []
    for values in settings:
        if _is_resolved(options_class, values[0].key):
            given = [setting.data for setting in values]
            resolved[values[0].key] = given if len(given) > 1 else given[0]
    axes = [*settings, *features, *train]
    size = math.prod(len(axis) for axis in axes)
    if size > MAX_CHOICES:
        problems.add(table.place, f"{label} is a grid of {size} points", f"Keep it to {MAX_CHOICES}")
        return []
    points = []
    for combination in itertools.product(*axes):
        point = _point(combination, len(settings), len(features), axes, name, alias, registered, limit, context)
        if point:
            points.append(point)
    return points


def _point(
    combination: tuple[Setting, ...],
    options_count: int,
    features_count: int,
    axes: list[list[Setting]],
    name: Scalar,
    alias: str,
    registered: Registered,
    limit: Mapping[str, int] | None,
    context: Context,
) -> Point | None:
    component, problems = registered.component, context.problems
    own = options_count + features_count
    chosen, features, train = combination[:options_count], combination[options_count:own], combination[own:]
    try:
        given = {setting.key: setting.value for setting in chosen}
        options = make_options(component.options, given, f"{registered.kind} {name.value!r}")
        complaints = list(options.problems(context.environment)) if hasattr(options, "problems") else []
    except UserError as error:
        complaints = [str(error)]
    except Exception as error:
        # the options class is a plugin's code: its failure is told with the plugin's name, not as a traceback
        origin = f"plugin {registered.plugin!r} of {registered.distribution}"
        complaints = [f"{origin} refuses these options: {type(error).__name__}: {' '.join(str(error).split())}"]
    for complaint in complaints:
        what, _, hint = complaint.partition("; ")
        place = _place_of(complaint, chosen) or name.place
        message = what.rstrip(".").removesuffix(f" '{place.text}'")
        problems.add(place, f"{registered.kind} {name.value!r}: {message}", hint)
    if complaints:
        return None
    varying = {axis[0].key for axis in axes if len(axis) > 1}
    words, shared = [alias or str(name.value)], [alias or str(name.value)]
    for position, setting in enumerate(combination):
        usual = position < own or _usual_train(setting, component, context)
        if position < options_count:
            usual = _usual(component.options, setting)
        # A task's own training settings are no part of its name, which is a column of the report; a method's row says all
        # that was written, so that a default that was chosen can be told from one that was not.
        brief = alias or (registered.kind == "task" and position >= options_count)
        written = registered.kind == "method" and position < own
        if setting.key in varying or (not brief and (written or not usual)):
            words.append(f"{setting.key}={setting.shown}")
            if setting.key not in varying or setting.key in NO_AXES:
                shared.append(words[-1])
    choice = Choice(
        registered,
        options,
        " ".join(words),
        {setting.key: setting.value for setting in train},
        str(name.place),
        limit,
        grid=GridPoint(
            0,
            " ".join(shared),
            {item.key: item.shown for item in combination if item.key in varying and item.key not in NO_AXES},
        ),
    )
    if registered.kind == "method" and choice.controls:
        defaults = dataclasses.asdict(MethodFeatures())
        shown = {setting.key: setting.value for setting in features if setting.value != defaults[setting.key]}
        for setting in features:
            if setting.key in shown and setting.value not in choice.controls:
                what = f"method {name.value!r} has no control of this kind"
                problems.add(setting.node.place, what, f"It has {' and '.join(choice.controls)}")
                return None
        choice = dataclasses.replace(choice, features=shown)
    elif features:
        place = features[0].node.place
        what = f"{registered.kind} {name.value!r} reads nothing of a teacher's that a control could take away"
        problems.add(place, what, "Remove `features:`", snippet="")
        return None
    return Point(choice, name.place, {setting.key: setting.node for setting in chosen})


def _place_of(complaint: str, settings: Sequence[Setting]) -> Place | None:
    """Where the option stands that a complaint begins with, or else the value that it quotes, as written or as resolved."""
    nodes = {setting.key: setting.node for setting in settings}
    first = complaint.split(maxsplit=1)[0].strip(":'`\"") if complaint.split() else ""
    if first in nodes:
        return nodes[first].place
    for setting in settings:
        if isinstance(setting.node, Scalar) and isinstance(setting.node.value, str):
            resolved = isinstance(setting.value, str) and os.path.isabs(setting.value) and setting.value in complaint
            if resolved or f"'{setting.node.value}'" in complaint:
                return setting.node.place
    return None


def _usual(options: type, setting: Setting) -> bool:
    """Whether the value is the option's default."""
    item = next(item for item in dataclasses.fields(options) if item.name == setting.key)
    if is_required(item):
        return False
    default = default_of(item)
    if kind := item.metadata.get("component"):
        default = default_choice(kind, default)
    return bool(default == setting.value) and isinstance(default, bool) == isinstance(setting.value, bool)


def _usual_train(setting: Setting, component: Any, context: Context) -> bool:
    """Whether the setting is the one that would hold without it."""
    default = {item.name: item.default for item in dataclasses.fields(Train)}[setting.key]
    return bool(context.train.get(setting.key, component.defaults.get(setting.key, default)) == setting.value)


def _read_beside(
    table: Table,
    key: str,
    options: type,
    kind: str,
    label: str,
    example: str,
    problems: Problems,
    elsewhere: Callable[[str, Node], str] = nowhere,
) -> list[list[Setting]] | None:
    """The settings in the mapping `key` beside a component's options; None when a problem makes them unusable."""
    node = table.get(key) if key in RESERVED[kind] else None
    if node is None:
        return []
    if not isinstance(node, Table):
        if not (isinstance(node, Scalar) and node.value is INVALID):
            problems.add(node.place, f"{label}.{key} must be a mapping", f"For example `{key}: {example}`")
        return None
    return read_settings(node, options, f"{label}.{key}", problems, grid=True, elsewhere=elsewhere)


def _setting_of_features(key: str, node: Node) -> str:
    """Says of a key that is no option of a method whether it is a setting of its features."""
    if key not in {item.name for item in dataclasses.fields(MethodFeatures)}:
        return ""
    return f"It is a setting of the features now: write `features: {{{key}: {literal(plain(node))}}}`"


def option_of_methods(catalog: Catalog) -> Callable[[str, Node], str]:
    """Says of a key that is no training setting whether it is an option of a method."""

    def hint(key: str, node: Node) -> str:
        names = [
            registered.name
            for registered in catalog.components("method")
            if key in {item.name for item in dataclasses.fields(registered.component.options)}
        ]
        if not names:
            return ""
        entry = f"{{name: {names[0]}, {key}: {literal(plain(node))}}}"
        return f"It is an option of the method {' or '.join(names)}: write `{entry}`"

    return hint


def read_limit(node: Node | None, label: str, problems: Problems) -> dict[str, int] | None:
    """``{train: rows, validation: rows}``, either may be absent; None when nothing (or nothing sound) is written."""
    if node is None or (isinstance(node, Scalar) and node.value is INVALID):
        return None
    if not isinstance(node, Table):
        problems.add(node.place, f"{label} must be a mapping", "For example `limit: {train: 600, validation: 400}`")
        return None
    limit: dict[str, int] = {}
    for key, entry in node.entries.items():
        if key not in ("train", "validation"):
            problems.add(entry.key, f"unknown key of {label}", describe_unknown_key(key, entry.node, ["train", "validation"]))
            continue
        value = read(entry.node, int, f"{label}.{key}", {"minimum": 1}, problems, "Name a number of rows")
        if value is not INVALID:
            limit[key] = value
    return limit


def _read_alias(node: Node | None, label: str, problems: Problems) -> str:
    if node is None:
        return ""
    value = read(node, str, f"{label}.as", {}, problems)
    return "" if value is INVALID else " ".join(value.split())


def _is_resolved(options: type, key: str) -> bool:
    return any(item.name == key and is_read_otherwise(item.metadata) for item in dataclasses.fields(options))


def _wrapped(entry: Table, kind: str, catalog: Catalog) -> str:
    """For ``- armada: {beta: 1}``, a common guess at the grammar."""
    first = next(iter(entry.entries), "")
    return f"Write `{{name: {first}, ...}}`" if first in catalog.names(kind) else ""
