"""A component together with the plugin that brings it, and what a wrong name may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from armada_cli.contracts import Component

OWN_DISTRIBUTION = "armada-cli"


@dataclass(frozen=True)
class Registered:
    """A component together with where it came from."""

    kind: str
    component: Component
    plugin: str
    distribution: str
    version: str

    @property
    def name(self) -> str:
        return self.component.name

    @property
    def origin(self) -> dict[str, str]:
        return {"distribution": self.distribution, "version": self.version, "plugin": self.plugin}


LONGEST_NAME = 100
"""Characters of a word that may be another one misspelt."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean 'cosine'?``, or nothing when nothing is near."""
    if len(word) > LONGEST_NAME:
        return ""  # no slip of a finger; comparing it takes as long as it is
    names = list(known)
    near = difflib.get_close_matches(word.lower(), names, n=2, cutoff=0.55)
    near += [name for name in names if len(word) > 2 and (word.lower() in name or name in word.lower()) and name not in near][
        :1
    ]
    return f"did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
