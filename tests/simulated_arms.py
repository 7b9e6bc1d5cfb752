"""Answers of students that were never trained, with the ways in which rows and seeds of two arms depend on each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from armada_cli.reporting.statistics.intervals import Components


@dataclass(frozen=True)
class Students:
    """An answer is right where a sum of normal effects is positive.

    Attributes:
        right: share of right answers of the base. difference: what the arm has more.
        row: how much rows differ for everybody, a standard deviation like the others. arm_row: for an arm in all its seeds.
        seed: how much a seed is better on all rows. seed_row: how much rows differ for one seed alone.
    """

    right: float = 0.8
    difference: float = 0.0
    row: float = 1.5
    arm_row: float = 0.3
    seed: float = 0.05
    seed_row: float = 0.5

    def answer(self, generator: np.random.Generator, runs: int, seeds: int, rows: int) -> np.ndarray:
        """bool [runs, 2, seeds, rows], the arm first."""
        scale = np.sqrt(self.row**2 + self.arm_row**2 + self.seed**2 + self.seed_row**2)
        level = (ndtri([self.right + self.difference, self.right]) * scale).astype(np.float32)[:, None, None]
        effects = [
            (self.row, (runs, 1, 1, rows)),
            (self.arm_row, (runs, 2, 1, rows)),
            (self.seed, (runs, 2, seeds, 1)),
            (self.seed_row, (runs, 2, seeds, rows)),
        ]
        return level + sum(np.float32(size) * generator.standard_normal(shape, dtype=np.float32) for size, shape in effects) > 0


KINDS = {
    "seeds do nothing": Students(seed=0.0),
    "seeds do something": Students(),
    "seeds do most": Students(seed=0.2),
    "arms have rows of their own": Students(right=0.7, seed=0.0, seed_row=0.3, arm_row=0.8),
    "arms have rows and seeds do something": Students(right=0.7, seed=0.05, seed_row=0.3, arm_row=0.8),
    "hardly a row is wrong": Students(right=0.95, seed=0.03, seed_row=0.4),
}
"""From differences that are all chance in the rows to differences that are nearly all chance in the seeds: on 2,000 rows the sd
of a seed's difference is 0.6 to 5 points."""


def components_of(answers: np.ndarray) -> list[Components]:
    """Of the accuracies of answers [runs, 2, seeds, rows], by the formulas for means and all runs at once."""
    differences = answers[:, 0].astype(np.float32) - answers[:, 1]
    seeds, rows = differences.shape[1:]
    scores = 100 * differences.mean(axis=2, dtype=float)
    centred = 100 * (differences - differences.mean(axis=2, keepdims=True))
    covariance = (centred @ centred.transpose(0, 2, 1)).astype(float) / (rows - 1) / rows
    own = np.trace(covariance, axis1=1, axis2=2) / seeds
    shared = (covariance.sum(axis=(1, 2)) - seeds * own) / (seeds * (seeds - 1))
    return [
        Components(float(score.mean()), seeds, rows, float(score.var(ddof=1)), float(one), max(0.0, float(both)))
        for score, one, both in zip(scores, own, shared, strict=True)
    ]


def as_outputs(answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logits [..., rows, 2] of two classes, right where the answers [..., rows] are."""
    chosen = np.where(answers, labels, 1 - labels)
    return np.eye(2)[chosen]
