"""Students, teachers, tasks and methods of a recipe: short forms, options, grids, titles."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armada_cli.contracts import TASK_KINDS, Environment
from armada_cli.errors import UserError
from armada_cli.recipe.document import INVALID, Entry, Items, Node, Place, Scalar, Table, plain, without_text
from armada_cli.recipe.model import Choice, Train
from armada_cli.recipe.problems import Problems
from armada_cli.recipe.values import bounds, default_of, describe, field_types, is_required, literal, read, show, takes_list
from armada_cli.registry import local
from armada_cli.registry.catalog import Catalog
from armada_cli.registry.choosing import default_choice, make_options
from armada_cli.registry.registered import Registered, did_you_mean
from armada_cli.settings import MethodFeatures


def plural(kind: str) -> str:
    return f"{kind}es" if kind == "loss" else f"{kind}s"


MAX_CHOICES = 2_000
"""A grid of more points than this is a slip of the pen, not an experiment."""

RESERVED = {
    "student": ("name", "as"),
    "teacher": ("name", "as"),
    "task": ("name", "as", "train", "limit"),
    "method": ("name", "as", "train", "features"),
    "loss": ("name",),
}


@dataclass(frozen=True)
class Context:
    """What the reading of one recipe shares. ``train``: the recipe's own training settings, already checked."""

    catalog: Catalog
    environment: Environment
    problems: Problems
    train: Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """One value of one option or training setting, how a title writes it, and how the resolved recipe does."""

    key: str
    value: Any
    shown: str
    node: Node
    data: Any = None


@dataclass(frozen=True)
class Point:
    """A choice with what is needed to speak about it: its place, its origin in the recipe, where its options stand."""

    choice: Choice
    place: Place
    nodes: Mapping[str, Node]


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
        found, as_data = _read_entry(entry, kind, f"{label}.{number}" if several else label, context)
        points += found
        resolved.append(as_data)
        if len(points) > MAX_CHOICES:
            message = f"{label} is more than {MAX_CHOICES} points, with all grids"
            context.problems.add(node.place, message, "Make several recipes of it")
            return [], []
    return _distinct(points, kind, context.problems), resolved


def _nowhere(key: str, node: Node) -> str:
    return ""


def read_settings(
    table: Table,
    options: type,
    label: str,
    problems: Problems,
    *,
    grid: bool,
    reserved: tuple[str, ...] = (),
    what: str = "",
    elsewhere: Callable[[str, Node], str] = _nowhere,
    context: Context | None = None,
) -> list[list[Setting]] | None:
    """The written keys of `table`, checked against a dataclass: for each its values, more than one where it is a grid. None
    when a problem makes the whole unusable (a missing or unknown key, a wrong value).

    Args:
        elsewhere: what to do about a key that is unknown here and belongs in another place; empty where there is none.
        context: needed where an option may be a component.
    """
    kinds = field_types(options)
    fields = {item.name: item for item in dataclasses.fields(options) if item.init}
    settings: list[list[Setting]] = []
    sound = True
    for key, entry in table.entries.items():
        if key in reserved:
            continue
        if key not in fields:
            hint = elsewhere(key, entry.node) or _unknown_key(key, entry.node, [*fields, *reserved])
            problems.add(entry.key, f"unknown {what or f'key of {label}'}", hint)
            sound = False
            continue
        if fields[key].metadata.get("secret"):
            entry = Entry(entry.key, without_text(entry.node))
        points: tuple[Node, ...] = (entry.node,)
        if isinstance(entry.node, Items) and not takes_list(kinds[key]):
            if not grid:
                problems.add(entry.node.place, f"{label}.{key} must be {describe(kinds[key])}", "Write a single value")
                sound = False
                continue
            if not entry.node.items:
                problems.add(entry.node.place, f"{label}.{key} is an empty list", "Name at least one value")
                sound = False
                continue
            points = entry.node.items
        values = []
        kind = fields[key].metadata.get("component")
        for point in points:
            if kind and context:
                value, data = _read_parts(point, kind, kinds[key], f"{label}.{key}", context)
            else:
                value = read(point, kinds[key], f"{label}.{key}", fields[key].metadata, problems, _fallback(fields[key]))
                data = value
            sound = sound and value is not INVALID
            values.append(Setting(key, value, _shown(point, value, fields[key].metadata), point, data))
        settings.append(values)
    for item in fields.values():
        if is_required(item) and item.name not in table.entries:
            problems.add(table.place, f"{what or label} misses {item.name!r}", _how_to_add(item, kinds[item.name]), snippet="")
            sound = False
    return settings if sound else None


def _read_parts(node: Node, kind: str, annotation: Any, label: str, context: Context) -> tuple[Any, Any]:
    """An option that is a component, or a list of them: the choice or choices, or `INVALID` after a problem was reported; and
    the same as plain data, with paths resolved."""
    if isinstance(node, Scalar) and (node.value is None or node.value is INVALID):
        if node.value is None and type(None) not in typing.get_args(annotation):
            context.problems.add(node.place, f"{label} must be a {kind}", f"`armada list {plural(kind)}` shows the names")
            return INVALID, None
        return node.value, None
    if takes_list(annotation):
        if not isinstance(node, Items):
            hint = f"Write a list of names; `armada list {plural(kind)}` shows them"
            context.problems.add(node.place, f"{label} must be a list of {plural(kind)}", hint)
            return INVALID, None
        pairs = [_read_part(item, kind, f"{label}.{number}", context) for number, item in enumerate(node.items)]
        values = tuple(value for value, _ in pairs)
        return INVALID if INVALID in values else values, [data for _, data in pairs]
    return _read_part(node, kind, label, context)


def _read_part(node: Node, kind: str, label: str, context: Context) -> tuple[Any, Any]:
    points, data = _read_entry(node, kind, label, context)
    if len(points) > 1:
        context.problems.add(node.place, f"{label} must be one {kind}, this is a grid of {len(points)}", "Write one value each")
        return INVALID, data
    return points[0].choice if points else INVALID, data


def _read_entry(entry: Node, kind: str, label: str, context: Context) -> tuple[list[Point], Any]:
    problems = context.problems
    if isinstance(entry, Table) and _is_local(entry):
        return _read_local(entry, kind, label, context)
    name = entry if isinstance(entry, Scalar) else entry.get("name") if isinstance(entry, Table) else None
    if isinstance(name, Scalar) and name.value is INVALID:
        return [], None
    if isinstance(entry, Items) or (isinstance(entry, Scalar) and not isinstance(entry.value, str)):
        hint = f"Write it as `NAME`, or `{{name: NAME, ...}}`; `armada list {plural(kind)}` shows the names"
        problems.add(entry.place, f"{label} must be a name or a mapping with a name", hint)
        return [], None
    if not isinstance(name, Scalar):
        if name is None and isinstance(entry, Table) and "name" not in entry.entries:
            hint = _wrapped(entry, kind, context.catalog) or f"Add `name:`; `armada list {plural(kind)}` shows the names"
            problems.add(entry.place, f"{label} has no name", hint)
        else:
            place = name.place if name else entry.place
            problems.add(place, f"{label}.name must be one name", f"`armada list {plural(kind)}` shows the names")
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
    before = len(problems.found)
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
            elsewhere=_setting_of_features if kind == "method" else _nowhere,
            context=context,
        )
    except TypeError as error:
        problems.add(name.place, f"{kind} {name.value!r} of {registered.distribution} is broken: {error}")
        return []
    known = option_of_methods(context.catalog)
    train = _read_beside(table, "train", Train, kind, label, "{lr: 1e-4}", problems, known)
    features = _read_beside(table, "features", MethodFeatures, kind, label, "{control: shuffled}", problems)
    limit = read_limit(table.get("limit"), f"{label}.limit", problems) if "limit" in RESERVED[kind] else None
    alias = _read_alias(table.get("as"), label, problems)
    if settings is None or train is None or features is None or len(problems.found) > before:
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
        problems.add(place, f"{registered.kind} {name.value!r}: {message}", hint[:1].upper() + hint[1:])
    if complaints:
        return None
    varying = {axis[0].key for axis in axes if len(axis) > 1}
    words = [alias or str(name.value)]
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
    choice = Choice(
        registered,
        options,
        " ".join(words),
        {setting.key: setting.value for setting in train},
        str(name.place),
        limit,
    )
    if registered.kind == "method" and choice.needs_teacher:
        defaults = dataclasses.asdict(MethodFeatures())
        shown = {setting.key: setting.value for setting in features if setting.value != defaults[setting.key]}
        choice = dataclasses.replace(choice, features=shown)
    elif features:
        place = features[0].node.place
        what = f"{registered.kind} {name.value!r} reads no teacher's vectors, and has no features"
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
    elsewhere: Callable[[str, Node], str] = _nowhere,
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
            problems.add(entry.key, f"unknown key of {label}", _unknown_key(key, entry.node, ["train", "validation"]))
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


def _distinct(points: list[Point], kind: str, problems: Problems) -> list[Point]:
    """Reports choices that are the same, and different ones that would share a title."""
    seen: dict[str, Point] = {}
    fresh: list[Point] = []
    for point in points:
        choice = point.choice
        limit = sorted((choice.limit or {}).items())
        settings = sorted(choice.train.items()), sorted(choice.features.items())
        key = repr((choice.registered.origin, choice.name, choice.options, settings, limit))
        if key in seen:
            first = seen[key].choice.place
            problems.add(point.place, f"the same {kind} as at {first}", "Remove one of them", snippet=choice.title)
            continue
        seen[key] = point
        fresh.append(point)
    counts: dict[str, int] = {}
    for point in fresh:
        counts[point.choice.title] = counts.get(point.choice.title, 0) + 1
    titles: dict[str, Point] = {}
    distinct: list[Point] = []
    for point in fresh:
        choice = point.choice
        if counts[choice.title] > 1 and (choice.limit or choice.train):
            words = " ".join(f"{key}={show(value)}" for key, value in {**choice.train, **(choice.limit or {})}.items())
            choice = dataclasses.replace(choice, title=f"{choice.title} {words}")
        if choice.title in titles:
            first = titles[choice.title].choice.place
            problems.add(
                point.place, f"two {kind}s have one title, the other at {first}", "Give one an `as:`", snippet=choice.title
            )
            continue
        titles[choice.title] = point
        distinct.append(dataclasses.replace(point, choice=choice))
    return distinct


def check_combinations(
    students: list[Point], teachers: list[Point], tasks: list[Point], methods: list[Point], problems: Problems
) -> None:
    """Reports what cannot be trained together, before anything is loaded."""
    kinds: dict[int, str] = {}
    for number, task in enumerate(tasks):
        registered = task.choice.registered
        try:
            kinds[number] = registered.component.kind(task.choice.options)
        except Exception as error:
            problems.add(
                task.place, f"plugin {registered.plugin!r} of {registered.distribution} cannot tell the task's kind: {error}"
            )
    for method in methods:
        able = set(method.choice.registered.component.provides) & set(TASK_KINDS)
        for number, kind in kinds.items():
            if able and kind not in able:
                problems.add(
                    method.place,
                    f"method {method.choice.name!r} cannot train task {tasks[number].choice.name!r} ({kind})",
                    f"It trains {', '.join(item for item in TASK_KINDS if item in able)}",
                    snippet=method.place.text,
                )
        if not teachers and method.choice.needs_teacher:
            hint = "Add `teacher: NAME`; `armada list teachers` shows the names"
            problems.add(method.place, f"method {method.choice.name!r} needs a teacher, the recipe has none", hint)
    for student in students:
        provides = set(student.choice.registered.component.provides)
        for number, kind in kinds.items():
            if kind == "generation" and "encoder" in provides and "decoder" not in provides:
                problems.add(
                    student.place,
                    f"student {student.choice.name!r} is an encoder and cannot do task {tasks[number].choice.name!r} ({kind})",
                    "Name a decoder; `armada list students` shows which are",
                )


def _is_resolved(options: type, key: str) -> bool:
    return any(item.name == key and _is_read_otherwise(item.metadata) for item in dataclasses.fields(options))


def _is_read_otherwise(metadata: Mapping[str, Any]) -> bool:
    """Whether the value of an option is another one than what stands in the recipe: a path or a component."""
    return bool(metadata.get("path") or metadata.get("place") or metadata.get("component"))


def _shown(node: Node, value: Any, metadata: Mapping[str, Any]) -> str:
    """A value in a title: a path as it was written, not as it was resolved."""
    if value is INVALID:
        return ""
    text = show(plain(node)) if _is_read_otherwise(metadata) else show(value)
    return " ".join(text.split())


def _unknown_key(key: str, node: Node, known: list[str]) -> str:
    word, colon, _ = key.partition(":")
    if colon and isinstance(node, Scalar) and node.value is None and word in known:
        return f"Write a space after the colon: '{word}: {key.partition(':')[2]}'"
    near = did_you_mean(key, known)
    if near:
        return near[0].upper() + near[1:]
    return f"Known are {', '.join(known)}" if known else "It has none"


def _fallback(item: dataclasses.Field[Any]) -> str:
    """What to say of a wrong value when there is nothing better."""
    if not is_required(item):
        return f"The default is {literal(default_of(item))}"
    return item.metadata.get("help", "").rstrip(".")


def _how_to_add(item: dataclasses.Field[Any], annotation: Any) -> str:
    limits = bounds(item.metadata)
    meaning = item.metadata.get("help", "").rstrip(".")
    wanted = describe(annotation) + (f" ({limits})" if limits else "")
    return f"Add `{item.name}:`, {wanted}" + (f": {meaning}" if meaning else "")


def _wrapped(entry: Table, kind: str, catalog: Catalog) -> str:
    """For ``- armada: {beta: 1}``, a common guess at the grammar."""
    first = next(iter(entry.entries), "")
    return f"Write `{{name: {first}, ...}}`" if first in catalog.names(kind) else ""
