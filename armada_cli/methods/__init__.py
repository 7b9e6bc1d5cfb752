"""The methods, one file each: its card, its options and its class. Nothing heavy is imported before a class is made."""

from __future__ import annotations

from armada_cli.methods import (
    armada,
    continuation_kd,
    dml,
    kd,
    label_smoothing,
    metadistil,
    parameter_matched,
    pkd,
    prokt,
    rail_kd,
    rco,
    seqkd,
    sftn,
    sftn_teacher,
    takd,
    undistilled,
    vidlankd,
    vokenization,
)

CARDS = [
    undistilled.CARD,
    armada.CARD,
    vidlankd.CARD,
    vidlankd.PRETRAINING,
    vokenization.CARD,
    vokenization.PRETRAINING,
    parameter_matched.CARD,
    kd.CARD,
    label_smoothing.CARD,
    dml.CARD,
    continuation_kd.CARD,
    pkd.CARD,
    takd.CARD,
    prokt.CARD,
    sftn.CARD,
    sftn_teacher.CARD,
    metadistil.CARD,
    rco.CARD,
    rail_kd.CARD,
    seqkd.CARD,
]
