"""What scores and predictions say about a difference. The one place for statistics; pure functions, one idea a file.

seeds: mean, sd, paired t-test over seeds, Holm's correction.
rows: exact McNemar tests of two arms, row by row.
splits, row_features: any metric of a split, when rows are swapped between arms or left out.
permutation: the paired permutation test of a metric.
intervals: confidence interval of a difference over seeds and rows.
power: seeds and rows that would show a difference.
tasks: probability of improvement, Friedman's test and mean ranks, the one-sided t-test over tasks.
verdict: all of it in words.

Only `seeds` is imported here, since reports read it and have to start fast: it needs no numpy.
"""

from armada_cli.reporting.statistics.seeds import (
    SEEDS_FOR_A_TEST,
    Difference,
    Summary,
    compare,
    correct,
    holm,
    mean,
    spread,
    summarise,
)

__all__ = ["SEEDS_FOR_A_TEST", "Difference", "Summary", "compare", "correct", "holm", "mean", "spread", "summarise"]
