"""The manifold losses of section 3.2, one file each. This module holds their cards and imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from armada_cli.contracts import Component, option

NORMALISATIONS = ("none", "centroids", "rows")


@dataclass(frozen=True)
class CosineOptions:
    normalize: str = option(
        "centroids",
        "centroids: of unit length, as Proposition 1's proof reads Eq. 3; rows: every projection; none: Eq. 3 as printed",
        choices=NORMALISATIONS,
    )


@dataclass(frozen=True)
class DistanceOptions:
    normalize: str = option(
        "none",
        "none: as printed; centroids: each batch divided by the norm of its centroid; rows: every projection of unit length",
        choices=NORMALISATIONS,
    )


CARDS = [
    Component(
        "cosine",
        "1 - inner product of the batch centroids (Eq. 3)",
        "armada_cli.losses.cosine:Cosine",
        CosineOptions,
        {"manifold"},
        reference="Eq. 3; Huo et al. 2021",
    ),
    Component(
        "euclid",
        "L2 distance of the batch centroids (Eq. 4)",
        "armada_cli.losses.euclid:Euclid",
        DistanceOptions,
        {"manifold"},
        reference="Eq. 4",
    ),
    Component(
        "elementwise",
        "mean L2 distance of paired projections (Eq. 5)",
        "armada_cli.losses.elementwise:Elementwise",
        DistanceOptions,
        {"manifold"},
        reference="Eq. 5",
    ),
]
