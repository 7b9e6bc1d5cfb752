"""A GLUE task. Rows, labels and the teacher's text are what `HubTask` makes of the options; this adds the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from armada_cli.corpora.tasks import HubTask
from armada_cli.evaluation import metrics


class Glue(HubTask):
    """One text or a pair, one class or (STS-B) a number from 0 to 5."""

    def score(self, outputs: Any, labels: Sequence[Any]) -> dict[str, float]:
        """Mcc for CoLA, Pearson for STS-B, accuracy for the others (paper, section 4), in percent."""
        return metrics.score(self.options.metrics, outputs, labels)
