"""What is verified: a card with its options, made as often as a check likes; and the questions that every kind is asked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from armada_cli.conformance import parts
from armada_cli.conformance.asking import Broken, NotAsked, Question, asked, quoted, require
from armada_cli.conformance.imports import heavy_imports
from armada_cli.conformance.unpickling import watched
from armada_cli.contracts import (
    CONTRACT_VERSION,
    Component,
    Environment,
    Loss,
    Method,
    NoOptions,
    Student,
    Task,
    Teacher,
    canonical,
)
from armada_cli.errors import UserError
from armada_cli.registry import hookspecs

CLASSES = {"teacher": Teacher, "student": Student, "task": Task, "loss": Loss, "method": Method}


class Subject:
    """A component under verification.

    Attributes:
        options: what it is made with; `folder`: a temporary place; `entry`: the plugin's entry module, empty for a bare card.
        unpickled: what its code had a pickle ask for (see `unpickling.watched`).
    """

    def __init__(
        self, kind: str, card: Component, options: Any, environment: Environment, folder: Path, entry: str = ""
    ) -> None:
        self.kind, self.card, self.options = kind, card, options
        self.environment, self.folder, self.entry = environment, folder, entry
        self.unpickled: list[str] = []
        self._places = 0
        self._made: list[Any] = []
        self._first: Any = None
        self._failed = False

    @property
    def what(self) -> str:
        return f"{self.kind} {self.card.name!r}"

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Around every call into the component."""
        with watched(self.unpickled):
            yield

    def elsewhere(self, **changes: Any) -> Environment:
        """The environment with a runs folder that nobody has used: nothing that another instance left can be found."""
        self._places += 1
        return dataclasses.replace(self.environment, runs=self.folder / f"runs-{self._places}", **changes)

    def make(self, options: Any = None, **changes: Any) -> Any:
        """A new instance. changes: of the environment."""
        with self.at_work():
            made = self.card.load()(self.options if options is None else options, self.elsewhere(**changes))
        self._made.append(made)
        return made

    @property
    def first(self) -> Any:
        """The instance that most checks look at.

        Raises:
            NotAsked: it could not be made; the check `made` says why.
        """
        if self._failed:
            raise NotAsked("It cannot be made, see above")
        if self._first is None:
            try:
                self._first = self.make()
            except BaseException:
                self._failed = True
                raise
        return self._first

    def close(self) -> None:
        """Free what the instances hold."""
        for made in self._made:
            try:
                getattr(made, "close", lambda: None)()
            except Exception:  # a temporary folder is about to go; there is nothing left to lose
                continue

    # what every kind is asked --------------------------------------------------------------------------------------

    def check_card(self) -> str:
        """The card can be listed, shown and loaded."""
        card, target = self.card, self.card.target
        require(
            bool(card.summary.strip()) and "\n" not in card.summary,
            "The card's summary is empty or has several lines; `armada list` prints it on one",
        )
        remedy = "upgrade armada-cli" if card.requires_armada > CONTRACT_VERSION else "adapt it as armada's CHANGELOG says"
        require(
            card.requires_armada == CONTRACT_VERSION,
            f"It is written for contract {card.requires_armada}, this armada has {CONTRACT_VERSION}; {remedy}",
        )
        for item in dataclasses.fields(card.options):
            if item.init and not str(item.metadata.get("help", "")).strip():
                raise Broken(f"Option {item.name!r} has no help; declare it with armada_cli.option(default, 'one sentence')")
        require(
            bool(card.options.__dataclass_params__.frozen),  # type: ignore[attr-defined]
            f"The options class {card.options.__name__} can be changed after it was made; write @dataclass(frozen=True)",
        )
        try:
            component = card.load()
        except AttributeError as error:
            raise Broken(f"Its target {target!r} names nothing: {error}; write 'package.module:Class'") from None
        except ImportError as error:
            raise Broken(
                f"Its target {target!r} cannot be imported: {error}; if a package is missing, name it in the card's `requires`"
            ) from None
        wanted = CLASSES[self.kind]
        require(
            isinstance(component, type) and issubclass(component, wanted),
            f"Its target {target!r} is no {wanted.__name__}; derive the class from armada_cli.{wanted.__name__}",
        )
        return f"{target}, contract {card.requires_armada}"

    def check_lazy_import(self) -> str:
        """The card and the options import nothing heavy."""
        modules = {self.entry, self.card.options.__module__} - {"", "__main__", NoOptions.__module__}
        if self.card.light:
            modules.add(self.card.target.partition(":")[0])
        if not modules:
            raise NotAsked("A bare card without options has no module of its own to import; verify the plugin by its name")
        try:
            heavy = heavy_imports(sorted(modules), [hook for hook in hookspecs.HOOKS.values()])
        except ValueError as error:
            raise Broken(f"{' and '.join(sorted(modules))} cannot be imported in a fresh process: {error}") from None
        why = "the card says light=True" if self.card.light else "every `armada` command would pay for it"
        require(
            not heavy,
            f"Importing {' and '.join(sorted(modules))} imports {', '.join(heavy)}; {why}. Import them inside functions, or in "
            "the target's module alone",
        )
        return f"{', '.join(sorted(modules))}: nothing heavy"

    def check_made(self) -> str:
        """An instance can be made of its options."""
        problems = list(self.options.problems(self.environment)) if hasattr(self.options, "problems") else []
        if problems:
            self._failed = True
            raise Broken(f"Its options say: {problems[0]}")
        try:
            made = self.first
        except UserError as error:
            raise Broken(f"It cannot be made: {quoted(error, named=False)}") from None
        except Exception as error:
            raise Broken(
                f"It cannot be made, it raises {quoted(error)}; what a user can mend should be a UserError(what, hint)"
            ) from None
        return type(made).__name__

    def check_pickling(self) -> str:
        """Nothing that was read is a pickle."""
        require(
            not self.unpickled,
            f"It reads a pickle, which asks for {self.unpickled[0] if self.unpickled else ''}; a pickle can run any code. Keep "
            "arrays in safetensors or .npy (allow_pickle=False), load torch files with weights_only=True",
        )
        return "No pickle was read"

    def identity(self, options: Any) -> str:
        """The identity as it is hashed."""
        return canonical(self.card.identity(options, self.environment))

    def check_identity_is_data(self) -> None:
        """The identity is JSON, the same each time, and no place on this machine is in it.

        Raises:
            Broken: it is not.
        """
        try:
            first, second = self.identity(self.options), self.identity(self.options)
        except (TypeError, ValueError) as error:
            raise Broken(f"Its identity is no JSON: {quoted(error)}; use texts, numbers, lists and mappings") from None
        require(first == second, "Its identity is another one each time it is asked; take out times, ids and sets")
        place = str(self.folder)
        require(
            place not in first,
            "Its identity holds the path of a file; another machine would begin anew. Declare the option with path=True or "
            "identity=False, and add content_fingerprint(path) in the options' identity()",
        )


def shared_questions() -> list[Question]:
    """The first questions of every kind."""
    questions: list[Question] = []
    asked(questions, "card")(lambda subject: subject.check_card())
    asked(questions, "lazy import")(lambda subject: subject.check_lazy_import())
    asked(questions, "made")(lambda subject: subject.check_made())
    asked(questions, parts.CHECK)(parts.check_parts)
    return questions


def single_line(error: BaseException) -> bool:
    return not re.search(r"[\r\n]", str(error).strip())
