"""Kinds of tasks that a method can train."""

from __future__ import annotations

WITH_LOGITS = frozenset({"classification", "regression", "multilabel", "multiple-choice"})
"""The student answers with a tensor, which a method can compare with another."""

ALL = WITH_LOGITS | {"generation"}
"""Also those whose loss the student computes by itself."""
