"""Rated sentences as a task: read from the archive, cleaned, and split by document."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Sequence
from typing import Any

from armada_cli import Environment, Split, UserError
from armada_cli.corpora.tasks import DividedTask, is_held_out
from armada_task_ratings.archive import Sentence, read
from armada_task_ratings.options import RatingsOptions, fetching


class Ratings(DividedTask):
    """A sentence -> its mean rating, or its sign. The teacher is shown the same text."""

    options: RatingsOptions

    def __init__(self, options: RatingsOptions, environment: Environment) -> None:
        super().__init__(options, environment)
        self.kind = options.kind()

    def labels(self) -> Sequence[str]:
        """The target's name, or negative and positive."""
        return ("rating",) if self.kind == "regression" else ("negative", "positive")

    def read(self) -> dict[str, Split]:
        """Both splits, or UserError where the source is missing or not as expected, or a split is empty."""
        options, file = self.options, self.options.file()
        sentences = read(file, options.sha256, options.source, fetching(file.parent))
        if self.kind == "classification":
            sentences = [s for s in sentences if s.rating != 0 and abs(s.rating) >= options.margin]
        parts = divide(sentences, options.validation_share, options.seed)
        for name, part in parts.items():
            if not part:
                raise UserError(f"ratings-offline: no sentence is left for {name}", "Change margin or validation_share")
        return {name: self._as_split(part) for name, part in parts.items()}

    def _as_split(self, sentences: Sequence[Sentence]) -> Split:
        texts = [clean(sentence.text) for sentence in sentences]
        regression = self.kind == "regression"
        labels: list[Any] = [s.rating if regression else int(s.rating > 0) for s in sentences]
        return Split([(text,) for text in texts], labels, texts)


def clean(text: str) -> str:
    """The text on one line, HTML escapes resolved."""
    return " ".join(html.unescape(text).split())


def divide(sentences: Sequence[Sentence], share: float, seed: int) -> dict[str, list[Sentence]]:
    """Whole documents, by a hash of seed and name, to one side each. A training text that is in both then goes."""

    def draw(*parts: object) -> bytes:
        return hashlib.sha256("\0".join(map(str, (seed, *parts))).encode()).digest()

    order = sorted((s for s in sentences if clean(s.text)), key=lambda s: draw(s.document, s.text))
    held = {s.document for s in order if is_held_out(draw(s.document), share)}
    validation = [s for s in order if s.document in held]
    seen = {clean(s.text).casefold() for s in validation}
    train = [s for s in order if s.document not in held and clean(s.text).casefold() not in seen]
    return {"train": train, "validation": validation}
