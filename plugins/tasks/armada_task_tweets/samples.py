"""Sentences of our own in the form of the package's file, for `--smoke`."""

from __future__ import annotations

import csv
from pathlib import Path

from armada_cli.models.tiny import SENTENCES, once

VALIDATION_SHARE = 1 / 3
"""Splits are drawn by a hash of the text: with this share, and these texts, all three classes are on both sides."""

OPENINGS = {
    "negative": ("What a pity:", "I am tired of this:"),
    "neutral": ("As reported today:", "For the record:"),
    "positive": ("How lovely:", "This made my day:"),
}


def rows() -> list[tuple[str, float, str]]:
    """(sentiment, confidence, text), 24 of them, each class in equal number."""
    rated = []
    for number in range(24):
        label = list(OPENINGS)[number % 3]
        opening = OPENINGS[label][number // 3 % 2]
        rated.append((label, 1.0, f"{opening} {SENTENCES[(number + 2) % len(SENTENCES)]}"))
    return rated


def write(path: Path) -> None:
    """The rows as a CSV file with the package's columns."""

    def make(folder: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("sentiment", "confidence", "text"))
            writer.writerows(rows())

    once(path.parent, make)
