"""The SuperGLUE tasks, and how the student reads those that are not simply a pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armada_cli.corpora.tasks import HubTask

CONNECTIVES = {"cause": "because", "effect": "so"}
"""Turns COPA's question word into the start of a clause that each choice completes."""


class Pair(HubTask):
    """CB (premise, hypothesis) and BoolQ (question, passage): both fields, one class; accuracy (paper, section 4)."""


class Copa(Pair):
    """COPA as multiple choice: the student reads (premise + "because" or "so", choice 1, choice 2) and scores each choice
    against the question. The teacher is shown the premise, the question word and both choices."""

    kind = "multiple-choice"

    def texts(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """("The glass broke because", "It fell.", "It was full.")"""
        premise = row["premise"].strip().rstrip(".")
        return (f"{premise} {CONNECTIVES[row['question']]}", row["choice1"], row["choice2"])

    def fault(self, row: Mapping[str, Any]) -> tuple[str, str] | None:
        """A question word that is neither cause nor effect, besides what no task can read."""
        if row["question"] not in CONNECTIVES:
            return f"column 'question' holds {row['question']!r}, not 'cause' or 'effect'", "Copy the dataset again"
        return super().fault(row)


class Wic(Pair):
    """WiC: the student reads the pair ("word: first sentence", "second sentence"), so that an ordinary pair classifier knows
    which word is meant; the positions of the word are not used. The teacher is shown the word and both sentences."""

    def texts(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """("bank: We sat on the bank.", "The bank was closed.")"""
        return (f"{row['word']}: {row['sentence1']}", row["sentence2"])
