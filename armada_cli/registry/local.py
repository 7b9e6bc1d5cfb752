"""Components without a package: a class in a Python file beside the recipe, for quick tries.

    teacher: {file: my_teacher.py, class: MyTeacher, letters: 3}

A recipe is data, and may come from anybody; such a file is code that runs with all of its user's rights. So nothing of it is
executed unless the command line says ``--allow-local-code`` (`Environment.local_code`), in worker processes neither: a spec
names the file, the permission is the run's. What is beside ``file`` and ``class`` are options, declared by a frozen dataclass
``Options`` inside the class. The class may say what a card would: ``provides``, ``requires``, ``defaults``,
``suggestions``.

The content of the file is part of the identity, and nothing is put on the import path: a file that imports its neighbours
fails, since what they contain would not be known.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armada_cli.contracts import (
    JSON,
    Component,
    Environment,
    Loss,
    Method,
    NoOptions,
    Student,
    Task,
    Teacher,
)
from armada_cli.errors import UserError, one_line
from armada_cli.registry.registered import RESERVED, Registered, did_you_mean

KEYS = ("file", "class")
"""What takes the place of ``name`` in a recipe."""

TAKEN = frozenset({*KEYS, *(key for keys in RESERVED.values() for key in keys)})
"""Keys that mean something beside a component, and so cannot be options of a local one."""

BASES: dict[str, type] = {"teacher": Teacher, "student": Student, "task": Task, "loss": Loss, "method": Method}


@dataclass(frozen=True)
class LocalComponent(Component):
    """The card of a class in a file. `content`: the SHA-256 of the file, which stands for the version of a package."""

    path: Path = Path()
    content: str = ""

    def identity(self, options: Any, environment: Environment, *, training: bool = False) -> dict[str, JSON]:
        return {**super().identity(options, environment, training=training), "content": self.content}


def _has_changed(path: Path) -> UserError:
    return UserError(f"{_shown(path)} has changed since this trial was planned", "Run the recipe again")


def require_permission(path: Path, environment: Environment) -> None:
    """Raises UserError: the command line does not allow code of the user's own."""
    if not environment.local_code:
        raise UserError(
            f"{_shown(path)} is code outside of any plugin, and would run with all your rights",
            "If you trust it, add --allow-local-code",
        )


def load(kind: str, path: Path, name: str, environment: Environment, content: str | None = None) -> Registered:
    """Execute the file, once in this process, and make a card of the class.

    Args:
        content: the SHA-256 that the file must have; None takes it as it is.

    Raises:
        UserError: not allowed, in which case the file is not even read; no such file; an error while it is executed, with file
            and line; no such class, or not of this kind.
    """
    require_permission(path, environment)
    try:
        source = path.read_bytes()
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise UserError(f"{_shown(path)}: {reason}", "A relative path is relative to the recipe") from None
    digest = hashlib.sha256(source).hexdigest()
    if content is not None and digest != content:
        raise _has_changed(path)
    module = _execute(path, source, digest)
    cls = getattr(module, name, None)
    classes = [key for key, item in vars(module).items() if isinstance(item, type) and item.__module__ == module.__name__]
    if not isinstance(cls, type):
        near = did_you_mean(name, classes) or (f"it has {', '.join(classes)}" if classes else f"write `class {name}`")
        raise UserError(f"{_shown(path)} has no class {name!r}", near)
    return _register(kind, path, cls, module, digest)


def _execute(path: Path, source: bytes, digest: str) -> types.ModuleType:
    """The file as a module under a name of its own, kept: one content is executed once in a process."""
    name = "armada_local_" + hashlib.sha256(f"{path}\0{digest}".encode()).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # a dataclass looks its module up while it is made
    try:
        # What it prints must not get into the JSON or the table that the command prints.
        with contextlib.redirect_stdout(sys.stderr):
            exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    except KeyboardInterrupt:
        del sys.modules[name]
        raise
    except BaseException as error:  # it may raise anything, and none of it is a bug of ours
        del sys.modules[name]
        raise _failure(path, error) from error
    return module


def _failure(path: Path, error: BaseException) -> UserError:
    """The one line for a file that cannot be executed."""
    what = one_line(error.msg if isinstance(error, SyntaxError) else error)
    line, trace = error.lineno if isinstance(error, SyntaxError) and error.filename == str(path) else None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    hint = "Mend the file"
    if isinstance(error, ModuleNotFoundError):
        neighbour = (path.parent / f"{str(error.name).partition('.')[0]}.py").is_file()
        hint = "A local file cannot import its neighbours: put all in one file, or make a plugin with `armada new`"
        hint = hint if neighbour else f"Install it: pip install {error.name}"
    place = f"{_shown(path)}:{line}" if line else _shown(path)
    return UserError(f"{place}: {type(error).__name__}{f': {what}' if what else ''}", hint)


def _register(kind: str, path: Path, cls: type, module: types.ModuleType, digest: str) -> Registered:
    place = f"{_shown(path)}: class {cls.__name__}"
    base = BASES[kind]
    if not issubclass(cls, base):
        raise UserError(
            f"{place} is not a {kind}", f"Write `class {cls.__name__}({base.__name__}):`, with {base.__name__} of armada_cli"
        )
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        raise UserError(f"{place} lacks {missing}", f"`armada new {kind} NAME` writes a whole one to look at")
    options = getattr(cls, "Options", NoOptions)
    if not (isinstance(options, type) and dataclasses.is_dataclass(options)):
        raise UserError(f"{place} has an Options that is not a dataclass", "Put @dataclass(frozen=True) above it")
    if taken := sorted({item.name for item in dataclasses.fields(options)} & TAKEN):
        raise UserError(f"{place} has an option {taken[0]!r}, which means something else in a recipe", "Give it another name")
    usual = {"task": {getattr(cls, "kind", "classification")}, "loss": {"manifold"}}.get(kind, set())
    own = {key: getattr(cls, key) for key in ("requires", "defaults", "suggestions") if key in vars(cls)}
    try:
        component = LocalComponent(
            name=_hyphened(cls.__name__),
            summary=(inspect.getdoc(cls) or "").partition("\n")[0],
            target=f"{module.__name__}:{cls.__name__}",
            options=options,
            provides=frozenset(getattr(cls, "provides", usual)),
            light=True,  # it has been imported already
            path=path,
            content=digest,
            **own,
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"{place}: {one_line(error)}", "Mend the file") from error
    return Registered(kind, component, cls.__name__, f"local file {path.name}", f"sha256:{digest[:12]}")


def _hyphened(name: str) -> str:
    """``MyTeacher`` -> ``my-teacher``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return "-".join(re.findall(r"[a-z0-9]+", spaced.lower())) or "local"


def _shown(path: Path) -> str:
    """The path as a user in the working directory would type it."""
    with contextlib.suppress(ValueError, OSError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
