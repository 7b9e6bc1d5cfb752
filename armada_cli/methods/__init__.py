"""The methods, one file each: its card, its options and its class. Nothing heavy is imported before a class is made."""

from __future__ import annotations

from armada_cli.methods import (
    armada,
    dml,
    kd,
    parameter_matched,
    undistilled,
)

CARDS = [
    undistilled.CARD,
    armada.CARD,
    parameter_matched.CARD,
    kd.CARD,
    dml.CARD,
]
