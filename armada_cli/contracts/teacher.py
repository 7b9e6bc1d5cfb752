"""The contract of a teacher: a frozen model that turns a text into a vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from armada_cli.contracts.component import Environment

if TYPE_CHECKING:
    import numpy as np

TeacherInput: TypeAlias = Any
"""What a teacher is shown for one example: a text (`str`), or the media a task hands over (a `pathlib.Path` to it)."""


class Teacher(ABC):
    """A frozen, black-box model that turns a text (or given media) into a vector. It never sees a label.

    A vector must depend on its own input, the options and the seed in them alone: not on its neighbours in the batch,
    the number of threads or the time of day. The host checks shape, dtype and finiteness of what comes back, stores
    each batch before it asks for the next, and never asks twice for the same input.
    """

    batch_size: int = 32
    """How many inputs the host hands over at once; a crash loses at most this many."""

    def __init__(self, options: Any, environment: Environment) -> None:
        self.options = options
        self.environment = environment

    @abstractmethod
    def represent(self, inputs: Sequence[TeacherInput]) -> np.ndarray:
        """inputs: n texts or paths -> float32 array [n, width], one row per input, all finite."""

    def close(self) -> None:
        """Free what the teacher holds (a process, a model on a GPU)."""


class Unanswered(Exception):
    """Raised by `Teacher.represent` when it has no vector for some inputs of a batch and asking again now is of no use, while
    the others are well. The host stores those, goes on with the next batches, and names what is missing at the end.

    Args:
        vectors: float32 [n, width], a row per input of the batch; what stands in the rows of `reasons` does not matter. None
            when there is no vector at all.
        reasons: row -> why there is none, in one line.
        listed: where the teacher keeps the whole list, for the message.
    """

    def __init__(self, vectors: np.ndarray | None, reasons: Mapping[int, str], listed: str = "") -> None:
        self.vectors = vectors
        self.reasons = dict(reasons)
        self.listed = listed
        super().__init__(f"{len(self.reasons)} inputs have no vector: {next(iter(self.reasons.values()), '')}")
