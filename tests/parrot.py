"""A teacher for tests, as a distribution of its own: it writes down every call, and fails in the way its options say."""

from __future__ import annotations

import functools
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from distributions import write_distribution

from armada_cli import Environment
from armada_cli.registry.catalog import Catalog
from armada_cli.registry.registered import Registered

CARD = """
    from dataclasses import dataclass

    from armada_cli import Component, hookimpl, option


    @dataclass(frozen=True)
    class ParrotOptions:
        log: str = option("", "Where calls are written down", identity=False)
        width: int = option(6, "Width of its vectors", identity=False)
        mood: str = option("good", "How it fails", identity=False)
        delay: float = option(0.0, "Seconds a batch takes", identity=False)
        batch: int = option(4, "Batch size", identity=False)
        seed: int = option(0, "Seed")


    @hookimpl
    def armada_teachers():
        return [Component("parrot", "Says it back", "parrot_teacher:Parrot", ParrotOptions, {"text"})]
"""

TEACHER = """
    import hashlib
    import json
    import os
    import time

    import numpy as np

    from armada_cli import Teacher, Unanswered


    class Parrot(Teacher):
        def __init__(self, options, environment):
            super().__init__(options, environment)
            if options.mood == "unmakeable":
                raise RuntimeError("no cage\\nfor me")
            self.batch_size = options.batch
            self.failures = 2
            self._log(["made"])

        def _log(self, line):
            with open(self.options.log, "a") as stream:
                stream.write(json.dumps([os.getpid(), *line]) + "\\n")

        def represent(self, inputs):
            self._log(["asked", *map(str, inputs)])
            time.sleep(self.options.delay)
            mood = self.options.mood
            bad = [place for place, text in enumerate(inputs) if "bad" in str(text)]
            if mood == "unreachable" and self.failures:
                self.failures -= 1
                raise ConnectionError("no line")
            if mood == "raises" and bad:
                raise ValueError("I will not\\nsay that")
            digests = b"".join(hashlib.sha512(str(text).encode()).digest() for text in inputs)
            result = np.frombuffer(digests, np.uint8).reshape(len(inputs), 64)[:, : self.options.width].astype(np.float32)
            if mood in ("nan", "inf"):
                result[bad] = float(mood)
            if mood == "silent" and bad:
                raise Unanswered(result, {place: "not that one" for place in bad})
            if mood == "rows" and bad:
                result = result[1:]
            if mood == "wide" and bad:
                result = np.concatenate([result, result], axis=1)
            if mood == "flat" and bad:
                result = result[:, 0]
            if mood == "double" and bad:
                result = result.astype(np.float64)
            if mood == "list" and bad:
                result = result.tolist()
            return result
"""


class Parrot:
    """The installed distribution, with what its teacher has written down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "calls.jsonl"
        self.environment = Environment(runs=folder / "runs")

    @functools.cached_property
    def teacher(self) -> Registered:
        return Catalog.load().find("teacher", "parrot")

    def options(self, **values: Any) -> Any:
        return self.teacher.component.options(log=str(self.log), **values)

    def calls(self) -> list[list[str]]:
        """The inputs of every call, in order."""
        return [line[2:] for line in self._lines() if line[1] == "asked"]

    def made(self) -> int:
        """How often a teacher was constructed."""
        return sum(line[1] == "made" for line in self._lines())

    def _lines(self) -> list[list[Any]]:
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture(name="parrot")
def parrot_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parrot:
    place = write_distribution(
        tmp_path / "site", "armada-parrot", {"armada_parrot": CARD, "parrot_teacher": TEACHER}, {"parrot": "armada_parrot"}
    )
    monkeypatch.syspath_prepend(str(place))
    importlib.invalidate_caches()
    for name in ("armada_parrot", "parrot_teacher"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return Parrot(tmp_path)
