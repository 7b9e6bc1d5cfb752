"""An options module that imports what an options module must not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from armada_cli import option


@dataclass(frozen=True)
class HeavyOptions:
    words: int = option(int(np.int64(8)), "Words that are heard", minimum=1)
