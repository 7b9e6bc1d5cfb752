"""How much a trial reads: rows of its training split, and tokens of a row. Counted where the data are on this machine, and the
published numbers elsewhere. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

from armada_cli.execution.judgement import Verdict
from armada_cli.held_out import held_out_rows
from armada_cli.plan.trials import Trial
from armada_cli.recipe.model import Choice


def training_rows(trial: Trial, verdict: Verdict) -> int | None:
    """Rows of a trial's training split: those that were read, or else what its task says of itself."""
    if trial.id in verdict.rows:
        return verdict.rows[trial.id]
    rows = published_rows(trial.task, trial.limit)
    return rows if rows is None or trial.held_out is None else rows - len(held_out_rows(rows, trial.held_out))


def published_rows(task: Choice, limit: Mapping[str, int], split: str = "train") -> int | None:
    """Rows of a split as a task says them of itself, within the limit; None where it says nothing and there is no limit."""
    sizes = [size for size in (_says(task).get(split), limit.get(split)) if size is not None]
    return min(sizes, default=None)


def _says(task: Choice) -> Mapping[str, int]:
    """The published rows of each split, and the usual tokens of an input."""
    return task.options.rows() if hasattr(task.options, "rows") else {}


def input_length(trial: Trial) -> int:
    """Tokens of one input: what its task says is usual, at most what is read of it."""
    longest = int(trial.train["max_length"])
    return min(longest, _says(trial.task).get("tokens", longest))
