"""The methods, one file each. This module holds their cards and options and imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from armada_cli.contracts import Choice, Component, Environment, Needs, NoOptions, Planned, option

DISCRIMINATIVE = frozenset({"classification", "regression", "multilabel", "multiple-choice"})
ALL_KINDS = DISCRIMINATIVE | {"generation"}
PROJECTION = 768
"""Width of the shared manifold: P_ts and P_s map onto R^768 (Table 1)."""


@dataclass(frozen=True)
class ArmadaOptions:
    """Names and defaults are the paper's (section 3, appendix C)."""

    needs_teacher: ClassVar[bool] = True

    manifold: Choice = option("euclid", "The manifold loss: cosine, euclid, elementwise, or any loss plugin", component="loss")
    alpha: float = option(
        0.5, "Weight of logit matching against the task's own loss (Eq. 2); in generation it is 0", minimum=0, maximum=1
    )
    beta: float = option(1.0, "Weight of the manifold loss", minimum=0)
    gamma: float = option(1.0, "Weight of the auxiliary outputs' losses", minimum=0)
    tau: float = option(5.0, "Temperature of logit matching (Eq. 2)", above=0)
    normalize: str | None = option(
        None,
        "Scaling of projections in the manifold loss; null: the loss's own default",
        choices=("none", "centroids", "rows", None),
    )
    hidden: int = option(896, "Width h of the TS Aligner; 896 makes it the paper's 0.8M parameters", minimum=1)
    aligner: str = option("trained", "frozen: random and never trained (Figure 9)", choices=("trained", "frozen"))
    aligner_lr: float | None = option(None, "Learning rate of the TS Aligner; null: what the task suggests, or 0.003", above=0)
    aligner_epochs: int = option(3, "Passes of the aligner's pre-training", minimum=0)
    aligner_manifold: bool = option(False, "Add beta x manifold to the aligner's loss too, as Table 1 reads")
    projection: str = option(
        "trained", "P_ts and P_s: trained on the Stiefel manifold, or fixed as drawn", choices=("trained", "fixed")
    )
    projection_every: int = option(
        1, "Steps whose gradients are gathered for one update of P_ts and P_s; more than 1 slows them down", minimum=1
    )
    pooling: str = option(
        "pooler",
        "What is projected as h'_s: the model's pooler, the first token, or the mean over tokens",
        choices=("pooler", "cls", "mean"),
    )
    noise: float = option(
        0.0,
        "Standard deviation of Gaussian noise on h_t wherever the aligner reads it, drawn once per example (Figure 10)",
        minimum=0,
    )
    noise_redrawn: bool = option(False, "Draw the noise anew at every step, in place of once per example")

    def smoke(self, folder: Path) -> ArmadaOptions:
        return replace(self, aligner_epochs=min(self.aligner_epochs, 1))

    def problems(self, environment: Environment) -> Iterable[str]:
        if self.normalize is not None and not hasattr(self.manifold.options, "normalize"):
            yield f"normalize: loss {self.manifold.name!r} has no such option"


@dataclass(frozen=True)
class ParameterMatchedOptions:
    gamma: float = option(1.0, "Weight of the auxiliary output's task loss", minimum=0)
    projection: str = option("trained", "P_s: trained on the Stiefel manifold, or fixed as drawn", choices=("trained", "fixed"))
    projection_every: int = option(
        1, "Steps whose gradients are gathered for one update of P_s; more than 1 slows it down", minimum=1
    )


@dataclass(frozen=True)
class KDOptions:
    teacher: Choice = option(
        "bert-base", "The text teacher: a student by name, or a mapping with its options", component="student"
    )
    alpha: float = option(0.5, "Weight of the teacher's soft labels", minimum=0, maximum=1)
    temperature: float = option(4.0, "Softens both distributions; the term is scaled by its square", above=0)
    reduction: str = option(
        "batchmean",
        "batchmean: the divergence per example; mean: divided by the number of classes too",
        choices=("batchmean", "mean"),
    )
    teacher_seed: int = option(0, "Seed of the teacher's own trial; every seed of the student shares it", minimum=0)

    def dependencies(self, trial: Planned) -> dict[str, Needs]:
        return {"teacher": Needs(self.teacher, seed=self.teacher_seed)}


CARDS = [
    Component(
        "undistilled",
        "The student fine-tuned on the labels alone",
        "armada_cli.methods.undistilled:Undistilled",
        NoOptions,
        ALL_KINDS,
    ),
    Component(
        "armada",
        "Cross-modal distillation through a TS Aligner: outputs, manifold, auxiliary outputs",
        "armada_cli.methods.armada:Armada",
        ArmadaOptions,
        ALL_KINDS,
        revision=2,
        reference="ARMADA, section 3, Eq. 1-5",
    ),
    Component(
        "parameter-matched",
        "The student with ARMADA's extra heads and no teacher: what the parameters alone give",
        "armada_cli.methods.parameter_matched:ParameterMatched",
        ParameterMatchedOptions,
        DISCRIMINATIVE,
    ),
    Component(
        "kd",
        "Soft labels of a larger language model trained on the same task",
        "armada_cli.methods.kd:KD",
        KDOptions,
        DISCRIMINATIVE,
        reference="Hinton et al. 2015",
    ),
]
