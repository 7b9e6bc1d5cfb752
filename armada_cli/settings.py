"""The settings of a recipe that are not a component's options: how to train, and how representations become features."""

from __future__ import annotations

from dataclasses import dataclass

from armada_cli.contracts import option


@dataclass(frozen=True)
class Train:
    """Training settings. Defaults are the paper's for GLUE (appendix C); a component's card may carry its own."""

    epochs: int = option(10, "Passes over the training split", minimum=1)
    batch_size: int = option(32, "Examples per optimizer step, over all processes", minimum=1)
    lr: float = option(2e-5, "Learning rate of the student", above=0)
    weight_decay: float = option(0.01, "AdamW weight decay; biases and norms have none", minimum=0)
    warmup: float = option(0.1, "Share of the steps in which the rate rises linearly", minimum=0, below=1)
    schedule: str = option("linear", "What follows the warm-up", choices=("linear", "constant", "cosine"))
    clip: float = option(1.0, "Gradient norm of the student is clipped here; 0 is off", minimum=0)
    max_length: int = option(128, "Tokens of one input; longer texts are cut", minimum=8)
    accumulation: int = option(
        1, "Micro-batches per optimizer step; a loss that is no mean over rows sees one at a time", minimum=1
    )
    precision: str = option(
        "auto",
        "Of training, not of scores: float32, bf16 (autocast), or auto: bf16 where the processor multiplies it faster",
        choices=("auto", "float32", "bf16"),
    )
    select: str = option(
        "last",
        "Which epoch's scores count: last, or best on the rows of `select_on`, without it on validation",
        choices=("last", "best"),
    )
    evaluate: str = option(
        "epoch", "Score the validation split after every epoch, or once at the end", choices=("epoch", "end")
    )
    evaluation_batch: int = option(32, "Prompts that a generation task answers side by side", minimum=1)
    log_every: int = option(20, "Steps between two measurements of the loss terms", minimum=1)


@dataclass(frozen=True)
class Features:
    """How representations become h_t [n, 128] (the recipe's ``features:``)."""

    reduce: str = option(
        "auto",
        "pca (fitted on the training texts), gaussian (seeded projection), none, or auto: pca up to 4096 inputs wide",
        choices=("auto", "pca", "gaussian", "none"),
    )
    width: int = option(128, "Width of h_t", minimum=1)
    standardise: bool = option(True, "Zero mean and unit variance on the training texts")
    seed: int = option(0, "Seed of the projection")


@dataclass(frozen=True)
class SelectOn:
    """What the points of a method's grid are compared on (the recipe's ``select_on:``)."""

    rows: float = option(
        help="Share of the training rows that nothing is trained on; each trial is scored on them too", above=0, below=1
    )


@dataclass(frozen=True)
class MethodFeatures:
    """How a method is shown what its teacher knows: vectors, or a text teacher's outputs (``features:`` inside a method)."""

    control: str = option(
        "none",
        "shuffled: h_t permuted over the examples; noise: Gaussian h_t of the same moments",
        choices=("none", "shuffled", "noise"),
    )
