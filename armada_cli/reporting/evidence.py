"""What two arms answered to the same validation rows, read from the predictions that their trials keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from armada_cli.predictions import Predictions, read_predictions
from armada_cli.reporting.folder import TrialRecord

if TYPE_CHECKING:
    import numpy as np

ROW_MEANS = "mean"
"""The metric of rows that have a score of their own (generation)."""


@dataclass(frozen=True)
class PairedRows:
    """Two arms on the rows of one split, seed by seed.

    Attributes:
        seeds: common to both, [s]; arm, base: outputs [s, n, c], or [s, n] of rows that have their own score.
        labels: [n] or [n, c]; the rows' numbers where they have their own score.
        metric: of the task, or `ROW_MEANS`.
    """

    seeds: tuple[int, ...]
    arm: np.ndarray
    base: np.ndarray
    labels: np.ndarray
    metric: str


class Evidence:
    """The predictions of trials, each read once.

    Attributes:
        lacking: id -> trial, of those that were asked for and have none: of an earlier version, or damaged.
    """

    def __init__(self) -> None:
        self._read: dict[str, Predictions | None] = {}
        self.lacking: dict[str, TrialRecord] = {}

    def of(self, trial: TrialRecord) -> Predictions | None:
        """What a finished trial keeps."""
        if trial.id not in self._read:
            self._read[trial.id] = read_predictions(trial.folder)
        if self._read[trial.id] is None:
            self.lacking[trial.id] = trial
        return self._read[trial.id]

    def pair(self, arm: Mapping[int, TrialRecord], base: Mapping[int, TrialRecord]) -> PairedRows | None:
        """The finished trials of two arms on one task, seed -> trial, row by row; None where a seed in common lacks
        predictions, or they are of other rows."""
        import numpy as np

        scored = [{seed: trial for seed, trial in side.items() if trial.score is not None} for side in (arm, base)]
        seeds = sorted(scored[0].keys() & scored[1].keys())
        sides = [[self.of(side[seed]) for seed in seeds] for side in scored]
        known = [[item for item in side if item is not None] for side in sides]
        if not seeds or any(len(side) < len(seeds) for side in known):
            return None
        first = known[0][0]
        for item in (*known[0], *known[1]):
            if item.outputs.shape != first.outputs.shape or not _same(item.labels, first.labels):
                return None
        outputs = [np.stack([item.outputs for item in side]) for side in known]
        if first.labels is None:
            return PairedRows(tuple(seeds), outputs[0][..., 0], outputs[1][..., 0], first.rows, ROW_MEANS)
        return PairedRows(tuple(seeds), outputs[0], outputs[1], first.labels, scored[0][seeds[0]].metric)


def _same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    import numpy as np

    return (one is None) == (other is None) and (one is None or other is None or np.array_equal(one, other))
