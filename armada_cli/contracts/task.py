"""The contract of a task: labelled text and how answers to it are scored."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from armada_cli.contracts.component import Environment
from armada_cli.contracts.teacher import TeacherInput

TASK_KINDS = ("classification", "regression", "multilabel", "multiple-choice", "generation", "masked")
"""What a task can ask of a student. ``masked`` is a pre-training on text without labels, whose student others begin from."""


@dataclass(frozen=True)
class Split:
    """One split of a task, as columns of equal length n.

    Attributes:
        texts: what the student reads. A single text ``(a,)``, a pair ``(a, b)``; for multiple choice the question
            followed by its choices, ``(question, choice_0, ..., choice_k-1)``. For generation ``(prompt, response)`` in
            training; in evaluation ``(prompt,)``, or ``(prompt, candidate_0, ...)`` where likelihoods are compared. For masked
            a text or a pair.
        labels: class numbers (classification, multiple choice), floats (regression), tuples of 0/1 (multi-label), or
            whatever `Task.score` compares an answer with (generation); zeros (masked).
        teacher_inputs: what the teacher is shown, one text or path per example.
    """

    texts: Sequence[tuple[str, ...]]
    labels: Sequence[Any]
    teacher_inputs: Sequence[TeacherInput]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int]) -> Split:
        """The given rows, in the given order."""
        return Split(
            [self.texts[row] for row in rows],
            [self.labels[row] for row in rows],
            [self.teacher_inputs[row] for row in rows],
        )

    def limited(self, rows: int | None, name: str = "train") -> Split:
        """A fixed random sample of so many rows, in the split's own order, the same for every seed; None is all."""
        chosen = limited_rows(len(self), rows, name)
        return self if chosen is None else self.take(chosen)


def limited_rows(count: int, limit: int | None, name: str) -> list[int] | None:
    """The numbers of the rows that a limit leaves of the `count` rows of a split, going up; None is all."""
    if limit is None or limit >= count:
        return None
    return sorted(random.Random(f"armada limit {name}").sample(range(count), limit))


@dataclass(frozen=True)
class Decoding:
    """How the answers to a generation task are made.

    Attributes:
        max_new_tokens: tokens of an answer at most; max_prompt_tokens: a longer prompt loses its beginning, None is as long
            as the student's context allows.
        sample: draw each token; otherwise the most likely one, or beam search with `beams` over 1.
        temperature, top_p, top_k: the distribution drawn from; top_k 0 is all tokens.
        seeds: one whole evaluation each; scores are their mean. Without `sample` there should be one.
    """

    max_new_tokens: int = 256
    max_prompt_tokens: int | None = None
    sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    beams: int = 1
    seeds: tuple[int, ...] = (0,)


class Task(ABC):
    """Labelled text and how to score an answer to it."""

    def __init__(self, options: Any, environment: Environment) -> None:
        self.options = options
        self.environment = environment

    kind: str = "classification"
    """One of `TASK_KINDS`."""

    decoding: Decoding | None = None
    """For generation: how answers are made. None compares the likelihoods of the candidates that `split` gives."""

    @abstractmethod
    def split(self, name: str) -> Split:
        """``train`` or ``validation``.

        Raises:
            UserError: data that is missing or wrong, with file, row and column.
        """

    def sample(self, name: str, rows: int | None) -> Split:
        """The rows of a split that a limit leaves: ``split(name).limited(rows, name)``. A task that can choose rows while it
        reads them has its own, so that the others need no memory; `limited_rows` tells which they are.

        Raises:
            UserError: as `split`; rows that are not chosen are judged too.
        """
        return self.split(name).limited(rows, name)

    @abstractmethod
    def labels(self) -> Sequence[str]:
        """Names of the classes, in the order of their numbers; for regression one name, the target's; for generation and masked
        none."""

    @abstractmethod
    def score(self, outputs: Any, labels: Sequence[Any]) -> dict[str, float]:
        """outputs: float [n, c], the student's logits (or the prediction, c = 1, for regression); for generation n answers
        (`str`), or float [n, candidates] of log-likelihoods, -inf where a row has fewer; for masked [n, 2] (see
        `StudentOutput.logits`). labels: n as in `Split`.
        Returns metric name -> value in the unit of the published tables (percent); `metric` names the main one. In generation
        ``answered`` may stand beside it: the share of rows from which an answer could be read. A report shows what it lacks."""

    @property
    @abstractmethod
    def metric(self) -> str:
        """The main metric: a key of what `score` returns."""
