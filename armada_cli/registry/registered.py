"""What the catalog knows of a component, and what a wrong name may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from armada_cli.contracts import Registered

OWN_DISTRIBUTION = "armada-cli"


RESERVED = {
    "student": ("name", "as", "train"),
    "teacher": ("name", "as"),
    "task": ("name", "as", "train", "limit"),
    "method": ("name", "as", "train", "features"),
    "loss": ("name",),
}
"""Keys that mean something beside a component of a kind in a recipe, and so cannot be its options."""

LONGEST_NAME = 100
"""Characters of a word that may be another one misspelt."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean 'cosine'?``, or nothing when nothing is near."""
    if len(word) > LONGEST_NAME:
        return ""  # too long for a mistyped name, and slow to compare
    names = list(known)
    near = difflib.get_close_matches(word.lower(), names, n=2, cutoff=0.55)
    near += [name for name in names if len(word) > 2 and (word.lower() in name or name in word.lower()) and name not in near][
        :1
    ]
    return f"did you mean {' or '.join(repr(name) for name in near)}?" if near else ""


__all__ = ["LONGEST_NAME", "OWN_DISTRIBUTION", "RESERVED", "Registered", "did_you_mean"]
