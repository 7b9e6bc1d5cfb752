"""Contrasts of arms row by row, computed once and kept beside the run in ``contrasts.json``: a permutation test takes a second,
and a report has dozens."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armada_cli.digests import digest_of
from armada_cli.direction import lower_is_better
from armada_cli.errors import UserError
from armada_cli.files import read_json, write_json
from armada_cli.reporting.evidence import Evidence
from armada_cli.reporting.folder import TrialRecord

if TYPE_CHECKING:
    from armada_cli.reporting.statistics.verdict import Contrast

CONTRASTS = "contrasts.json"
"""In a run's folder."""

REVISION = 1
"""Of the statistics: contrasts that another one made are made again."""


class Contrasts:
    """The contrasts of trials.

    Args:
        evidence: where the predictions are read.
        folder: of the run that keeps the contrasts; None keeps none.
    """

    def __init__(self, evidence: Evidence, folder: Path | None = None) -> None:
        self.evidence = evidence
        self._path = None if folder is None else folder / CONTRASTS
        stored = None if self._path is None else read_json(self._path)
        known = stored.get("contrasts") if isinstance(stored, dict) and stored.get("revision") == REVISION else None
        self._known: dict[str, Any] = known if isinstance(known, dict) else {}
        self._used: dict[str, Contrast | None] = {}

    def compare(self, arm: Mapping[int, TrialRecord], base: Mapping[int, TrialRecord]) -> Contrast | None:
        """Two arms on one task, seed -> trial; None where they have no predictions of the same rows."""
        sides = [[[seed, trial.id] for seed, trial in sorted(side.items()) if trial.score is not None] for side in (arm, base)]
        key = digest_of(json.dumps(sides).encode())[1][:16]
        if key not in self._used:
            contrast = _restore(self._known.get(key)) or self._make(arm, base)
            self._used[key] = contrast
        return self._used[key]

    def _make(self, arm: Mapping[int, TrialRecord], base: Mapping[int, TrialRecord]) -> Contrast | None:
        from armada_cli.reporting.statistics.verdict import compare_arms

        rows = self.evidence.pair(arm, base)
        if rows is None:
            return None
        metric = next(iter(arm.values())).metric
        try:
            return compare_arms(rows.arm, rows.base, rows.labels, rows.metric, lower_is_better=lower_is_better(metric))
        except ValueError:  # a plugin's own metric, or too few rows
            return None

    def keep(self) -> None:
        """Write down those that were asked for. A folder that cannot be written only costs the time the next time."""
        made = {key: as_plain(contrast) for key, contrast in self._used.items() if contrast is not None}
        if self._path is not None and made != self._known:
            with contextlib.suppress(UserError):
                write_json(self._path, {"revision": REVISION, "contrasts": made})


def as_plain(contrast: Contrast) -> dict[str, Any]:
    """A contrast as JSON has it; endlessly many degrees of freedom are null."""
    stored = dataclasses.asdict(contrast)
    if contrast.interval is not None and math.isinf(contrast.interval.degrees):
        stored["interval"]["degrees"] = None  # JSON has no infinity
    return stored


def _restore(stored: Any) -> Contrast | None:
    """What `as_plain` gave; None where it is nothing of that."""
    from armada_cli.reporting.statistics.intervals import Components, Interval
    from armada_cli.reporting.statistics.power import Needed
    from armada_cli.reporting.statistics.verdict import Contrast

    parts = {"components": Components, "interval": Interval, "needed": Needed}
    try:
        made = {name: None if stored[name] is None else kind(**stored[name]) for name, kind in parts.items()}
        if made["interval"] is not None and made["interval"].degrees is None:
            made["interval"] = dataclasses.replace(made["interval"], degrees=math.inf)
        return Contrast(**{**stored, **made})
    except (TypeError, KeyError):
        return None
