"""Which way a metric is better. Reports rank by it, and a training that keeps its best epoch does."""

from __future__ import annotations

LOWER_IS_BETTER = frozenset({"loss", "mae", "mse", "rmse", "perplexity"})
"""Names of metrics, in lower case, that are better the smaller they are. Of all others more is better."""


def lower_is_better(metric: str) -> bool:
    return metric.lower() in LOWER_IS_BETTER
