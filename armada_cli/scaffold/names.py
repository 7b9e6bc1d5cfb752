"""What a plugin's name becomes: distribution, package, class. And whether it may be that name."""

from __future__ import annotations

import builtins
import importlib.metadata
import importlib.util
import keyword
import re
import sys
from dataclasses import dataclass

from armada_cli.errors import UserError
from armada_cli.registry.catalog import Catalog

LONGEST = 32
"""Letters of a name at most: it stands in file names, titles and columns."""


@dataclass(frozen=True)
class Names:
    """One name in all its forms. ``("teacher", "end-rhyme")`` is the distribution ``armada-teacher-end-rhyme`` with the package
    ``armada_teacher_end_rhyme`` and the class ``EndRhymeTeacher``."""

    kind: str
    name: str

    @property
    def distribution(self) -> str:
        return f"armada-{self.kind}-{self.name}"

    @property
    def package(self) -> str:
        return self.distribution.replace("-", "_")

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")

    @property
    def words(self) -> str:
        return "".join(word.capitalize() for word in self.name.split("-"))

    @property
    def cls(self) -> str:
        """Ends in the kind, so that no name (``sequence``, ``none``) can hide something that the module imports."""
        return f"{self.words}{self.kind.capitalize()}"

    @property
    def options(self) -> str:
        return f"{self.words}Options"


def check_name(names: Names, catalog: Catalog) -> None:
    """Whether a new plugin may have the name.

    Raises:
        UserError: it is not lower-case words joined by hyphens, is too long, means something to Python, or is taken: by a
            component of this kind, by an installed distribution, or by a module.
    """
    name, kind = names.name, names.kind
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        better = _mended(name)
        hint = f"Try {better!r}" if better else "For example 'end-rhyme'"
        raise UserError(f"{name!r} is not a name: lower-case words joined by hyphens, beginning with a letter", hint)
    if len(name) > LONGEST:
        raise UserError(f"{name!r} has {len(name)} letters", f"Choose a name of {LONGEST} at most")
    if keyword.iskeyword(names.module) or keyword.issoftkeyword(names.module) or keyword.iskeyword(names.words):
        raise UserError(f"{name!r} is a keyword of Python", f"Choose another, for example 'my-{name}'")
    if names.module in sys.stdlib_module_names or hasattr(builtins, names.module):
        what = "module of Python's standard library" if names.module in sys.stdlib_module_names else "name built into Python"
        raise UserError(f"{name!r} is a {what}", f"Choose another, for example 'my-{name}'")
    other = f"Choose another, for example 'my-{name}'"
    taken = [item for item in catalog.components(kind) if item.name == name]
    if taken:
        owner = taken[0]
        raise UserError(f"{kind} {name!r} is taken by {owner.distribution} {owner.version} (plugin {owner.plugin!r})", other)
    try:
        version = importlib.metadata.version(names.distribution)
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        raise UserError(f"{names.distribution} {version} is installed already", f"Uninstall it, or: {other}")
    if importlib.util.find_spec(names.package) is not None:
        owners = sorted(set(importlib.metadata.packages_distributions().get(names.package, [])))
        known = [item.distribution for item in catalog.plugins if item.module.partition(".")[0] == names.package]
        by = (owners or known or ["something installed here"])[0]
        raise UserError(f"the module {names.package} is taken by {by}", other)


def _mended(name: str) -> str:
    """The nearest name that would do; empty when there is none."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)
    words = re.findall(r"[a-z0-9]+", spaced.lower())
    while words and not words[0][0].isalpha():
        words.pop(0)
    return "-".join(words)[:LONGEST].rstrip("-")
