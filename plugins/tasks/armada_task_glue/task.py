"""A GLUE task. Rows, labels, the teacher's text and the scores are what `HubTask` makes of the options."""

from __future__ import annotations

from armada_cli.corpora.tasks import HubTask


class Glue(HubTask):
    """One text or a pair, one class or (STS-B) a number from 0 to 5; Mcc for CoLA, Pearson for STS-B, accuracy for the others
    (paper, section 4), in percent."""
