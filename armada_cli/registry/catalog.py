"""Entry points -> components. A broken plugin is reported and skipped; it never stops anything else.

Every distribution that has an entry point in the group ``armada`` is a plugin, armada's own included: there is no other
way in. Each entry point is loaded, registered and checked alone, so that one failure stays one failure.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import importlib.metadata
import inspect
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pluggy

from armada_cli.console import print_line
from armada_cli.contracts import CONTRACT_VERSION, KINDS, Component
from armada_cli.contracts.component import PLURALS
from armada_cli.errors import UserError, name_error
from armada_cli.registry import hookspecs
from armada_cli.registry.registered import OWN_DISTRIBUTION, RESERVED, Registered, did_you_mean

SLOW_SECONDS = 0.5
"""A plugin that takes longer to load delays every command, so `armada plugins` names it. One that imports only `armada_cli`
takes a few milliseconds."""

HEAVY = (
    "torch",
    "transformers",
    "diffusers",
    "datasets",
    "accelerate",
    "peft",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "tensorflow",
    "jax",
    "onnxruntime",
    "PIL",
)
"""Packages that must not be imported on the way to `armada list`, as each costs a tenth of a second or more. Where one was
imported while a slow plugin was loaded, it is the likely reason."""


@dataclass
class Plugin:
    """The health of one entry point.

    Attributes:
        name: the entry point's name; distribution, version: who ships it.
        seconds: time to import, register and check it.
        registers: what it brought, as (kind, name).
        error: one line that says why it was skipped; empty for a healthy plugin.
        disabled: left out by ``ARMADA_DISABLE``; nothing of it was imported.
        imports: heavy packages that were imported while it was loaded.
    """

    name: str
    distribution: str
    version: str
    module: str
    seconds: float = 0.0
    registers: list[tuple[str, str]] = field(default_factory=list)
    error: str = ""
    disabled: bool = False
    imports: list[str] = field(default_factory=list)

    @property
    def slow(self) -> bool:
        return self.seconds > SLOW_SECONDS


class Catalog:
    """All components of all healthy plugins, and the health of all plugins."""

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self._components: dict[tuple[str, str], list[Registered]] = {}
        self.former: list[Mapping[str, Any]] = []
        """Components of an earlier run, each with kind, name, distribution and version: of one that is gone, `find` can then
        say who brought it."""

    @classmethod
    def load(cls, *, strict: bool | None = None, warn: bool = True) -> Catalog:
        """Load every entry point of the group.

        Args:
            strict: raise on the first broken plugin (default: whether ``ARMADA_STRICT`` is set and not ``0``).
            warn: print one line on standard error for each broken plugin.

        Raises:
            UserError: strict, and a plugin is broken.
        """
        catalog = cls()
        if strict is None:
            strict = os.environ.get("ARMADA_STRICT", "0") not in ("", "0")
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        disabled = {name.strip() for name in os.environ.get("ARMADA_DISABLE", "").split(",") if name.strip()}
        for entry in sorted(_entry_points(), key=lambda item: (_distribution(item)[0] != OWN_DISTRIBUTION, item.name)):
            plugin = catalog._load_one(manager, entry, disabled)
            if not plugin.error:
                continue
            message = f"plugin {plugin.name!r} of {plugin.distribution} {plugin.version} is skipped: {plugin.error}"
            if strict:
                raise UserError(message, "Mend or uninstall it, or unset ARMADA_STRICT")
            if warn:
                print_line(f"armada: {message}", error=True)
        return catalog

    def _load_one(self, manager: pluggy.PluginManager, entry: importlib.metadata.EntryPoint, disabled: set[str]) -> Plugin:
        distribution, version = _distribution(entry)
        plugin = Plugin(entry.name, distribution, version, entry.value)
        self.plugins.append(plugin)
        if entry.name in disabled or distribution in disabled:
            plugin.disabled = True
            return plugin
        start = time.perf_counter()
        light = {name for name in HEAVY if name not in sys.modules}
        module: Any = None
        registered: list[Registered] = []
        try:
            # What a stranger's module prints must not get into the JSON or the table that the command prints.
            with contextlib.redirect_stdout(sys.stderr):
                module = entry.load()
                _check_hooks(module)
                manager.register(module, name=f"{distribution}:{entry.name}")
                manager.check_pending()
                cards = _cards(manager, module)
            for kind, card in cards:
                _check_card(kind, card)
                registered.append(Registered(kind, card, entry.name, distribution, version))
            twice = [
                item.name
                for i, item in enumerate(registered)
                if (item.kind, item.name) in {(o.kind, o.name) for o in registered[:i]}
            ]
            if twice:
                raise ValueError(f"it registers {twice[0]!r} twice")
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a stranger's module raises must not reach the user's command
            plugin.error = _describe_failure(error)
            if module is not None and manager.is_registered(module):
                manager.unregister(module)
        else:
            for item in registered:
                self._components.setdefault((item.kind, item.name), []).append(item)
                plugin.registers.append((item.kind, item.name))
        plugin.seconds = time.perf_counter() - start
        plugin.imports = sorted(name for name in light if name in sys.modules)
        return plugin

    @property
    def broken(self) -> list[Plugin]:
        return [plugin for plugin in self.plugins if plugin.error]

    def components(self, kind: str) -> list[Registered]:
        """Every component of a kind, by name; those with one name stand beside each other."""
        return sorted((item for (k, _), items in self._components.items() if k == kind for item in items), key=lambda r: r.name)

    def names(self, kind: str) -> list[str]:
        return sorted({item.name for item in self.components(kind)})

    def find(self, kind: str, name: str) -> Registered:
        """The component a recipe names, plain or as ``distribution:name``.

        Raises:
            UserError: unknown (with who brought it before, the errors of broken plugins that might have brought it, or the
                nearest names), or brought by two distributions.
        """
        distribution, _, plain = name.rpartition(":")
        items = self._components.get((kind, plain), [])
        if distribution:
            items = [item for item in items if item.distribution == distribution]
        if len(items) == 1:
            return items[0]
        if items:
            choices = " or ".join(f"'{item.distribution}:{plain}'" for item in items)
            raise UserError(f"{kind} {plain!r} is brought by two distributions", f"Name one of them: {choices}")
        hint = (
            self._who_brought(kind, plain, distribution)
            or self._who_failed(plain, distribution)
            or did_you_mean(plain, self.names(kind))
            or self._who_failed("", distribution)
            or f"`armada list {PLURALS[kind]}` shows what there is"
        )
        raise UserError(f"unknown {kind} {name!r}", hint)

    def _who_brought(self, kind: str, name: str, distribution: str) -> str:
        """Where a component of an earlier run came from, and why it is not there now."""
        for item in self.former:
            if (item.get("kind"), item.get("name")) != (kind, name) or distribution not in ("", item.get("distribution")):
                continue
            who = f"{item.get('distribution')} {item.get('version')}"
            before = f"it came from {who} when this was run"
            now = [plugin for plugin in self.plugins if plugin.distribution == item.get("distribution")]
            if any(plugin.disabled for plugin in now):
                return f"{before}, which ARMADA_DISABLE leaves out now"
            if broken := [plugin for plugin in now if plugin.error]:
                return f"{before}, which cannot be loaded now: {broken[0].error}"
            how = f"pip install '{item.get('distribution')}=={item.get('version')}'"
            if now:
                return f"{before}; {now[0].version} is installed now and does not bring it: {how}"
            return f"{before}, which is not installed now: {how}"
        return ""

    def _who_failed(self, name: str, distribution: str) -> str:
        """The errors of the broken plugins that may bring a component, judged by their names; without a name, of all."""
        suspects = [
            plugin
            for plugin in self.broken
            if (name in plugin.name or name in plugin.distribution or name in plugin.error)
            and distribution in ("", plugin.distribution)
        ]
        errors = "; ".join(f"plugin {plugin.name!r} of {plugin.distribution}: {plugin.error}" for plugin in suspects)
        return f"a plugin that could not be loaded may bring it: {errors}" if errors else ""


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    """The group's entry points; a distribution found twice on the path (a checkout and its wheel) counts once."""
    seen: dict[tuple[str, str, str], importlib.metadata.EntryPoint] = {}
    for entry in importlib.metadata.entry_points(group=hookspecs.PROJECT):
        seen.setdefault((_distribution(entry)[0], entry.name, entry.value), entry)
    return list(seen.values())


def _distribution(entry: importlib.metadata.EntryPoint) -> tuple[str, str]:
    return ("unknown distribution", "?") if entry.dist is None else _name_and_version(entry.dist)


@functools.lru_cache(maxsize=256)
def _name_and_version(distribution: importlib.metadata.Distribution) -> tuple[str, str]:
    """Each of the two parses the whole metadata, with the README in it: 2 ms, and a distribution has many entry points."""
    return (str(distribution.metadata["Name"]), str(distribution.version))


def _check_hooks(module: Any) -> None:
    """Says of a module's functions what pluggy says at greater length, or not at all: a function without its mark is none of
    pluggy's business, and yet the commonest mistake."""
    known = set(hookspecs.HOOKS.values())
    marked = []
    for name in dir(module):
        function = getattr(module, name, None)
        if not inspect.isroutine(function):
            continue
        if not hasattr(function, f"{hookspecs.PROJECT}_impl"):
            if name in known:
                raise ValueError(f"{name}() is no hook: it lacks the decorator @hookimpl of armada_cli")
            continue
        marked.append(name)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
            raise ValueError(f"unknown hook {name!r}; {hint}")
        needed = [
            item.name
            for item in inspect.signature(function).parameters.values()
            if item.default is item.empty and item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)
        ]
        if needed:
            raise ValueError(f"{name}({', '.join(needed)}) asks for arguments; a hook takes none")
    if not marked:
        raise ValueError(
            "it has no hook, so it registers nothing; decorate a function such as armada_teachers() with @hookimpl"
        )


def _cards(manager: pluggy.PluginManager, module: Any) -> list[tuple[str, Component]]:
    """What the module's hook implementations return, checked for type."""
    kinds = {hook: kind for kind, hook in hookspecs.HOOKS.items()}
    cards: list[tuple[str, Component]] = []
    for caller in manager.get_hookcallers(module) or []:
        for implementation in caller.get_hookimpls():
            if implementation.plugin is not module:
                continue
            result = implementation.function()
            if not isinstance(result, (list, tuple)) or not all(isinstance(card, Component) for card in result):
                raise TypeError(f"{caller.name}() must return a list of Component, got {_describe(result)}")
            cards += [(kinds[caller.name], card) for card in result]
    return cards


def _describe(result: Any) -> str:
    if isinstance(result, (list, tuple)):
        return "a list with " + ", ".join(sorted({type(item).__name__ for item in result}))
    return type(result).__name__


def _check_card(kind: str, card: Component) -> None:
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}")
    if card.requires_armada > CONTRACT_VERSION:
        raise ValueError(
            f"{card.name!r} is written for contract {card.requires_armada}, this armada has {CONTRACT_VERSION}; "
            f"upgrade armada-cli"
        )
    if card.requires_armada < CONTRACT_VERSION:
        raise ValueError(
            f"{card.name!r} is written for contract {card.requires_armada}, this armada has {CONTRACT_VERSION}; "
            f"upgrade the plugin, or adapt it as armada's CHANGELOG says"
        )
    if taken := [item.name for item in dataclasses.fields(card.options) if item.name in RESERVED[kind]]:
        raise ValueError(
            f"{card.name!r} has an option {taken[0]!r}, which means something else in a recipe; give it another name"
        )


def _describe_failure(error: BaseException) -> str:
    text, said = str(error), name_error(error)
    newer = isinstance(error, TypeError) and "Component.__init__() got an unexpected keyword argument" in text
    if newer or (isinstance(error, ImportError) and text.startswith("cannot import name") and "'armada_cli" in text):
        # Names and fields are added to a contract before its number says so, and the number is read last.
        said += "; it may be written for another armada-cli than this one: upgrade the older of the two"
    return said


@functools.cache
def current() -> Catalog:
    """The catalog of this process, loaded once."""
    return Catalog.load()
