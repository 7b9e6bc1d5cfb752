"""Vokenization: a pre-training on text in which every word also tells a picture, then the task (Tan and Bansal 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from armada_cli.contracts import Batch, Component, Needs, Planned, Setup, StudentOutput, Term, option
from armada_cli.methods.kinds import WITH_LOGITS
from armada_cli.methods.text_pretraining import (
    PretrainedOptions,
    Pretraining,
    PretrainingOptions,
    last_states,
    make_head,
    own_tokens,
)
from armada_cli.methods.undistilled import Undistilled

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

BLOCK = 4096
"""Texts whose vokens are looked up at once."""


@dataclass(frozen=True)
class VokenOptions(PretrainingOptions):
    vokens: int = option(1000, "Pictures to choose from, at most one for two different vectors", minimum=2)
    bank: str = option(
        "drawn", "drawn: vectors of so many of the texts; centroids: of clusters of all of them", choices=("drawn", "centroids")
    )
    voken_weight: float = option(1.0, "Weight of the vokens' term", minimum=0)


@dataclass(frozen=True)
class VokenizationOptions(VokenOptions, PretrainedOptions):
    def dependencies(self, trial: Planned) -> dict[str, Needs]:
        return self.pretrain(trial, "vokenization-pretraining", VokenOptions)


class VokenizationPretraining(Pretraining):
    """L = MLM + w mean over tokens of CE(head(h), voken), h the last hidden states of the corrupted input.

    Source: airsplay/vokenization (vlm/model.py, run_vlm_distributed.py, vokenization/indexing.py), as read there:
    both terms on the same corrupted input, the first on the masked tokens, the second on all but the special ones; weights 1
    and 1; the head is dense, GELU, LayerNorm, linear. Those are the defaults, and there is no difference between paper and code
    to choose from.

    **What differs, and why.** The authors' matcher gives each token in its sentence one of 50,000 photographs, the nearest by
    cosine. A teacher here is a black box that gives one vector for a whole text, so the voken is the text's: all of its tokens
    have the same one. It is the nearest by cosine of `vokens` keys, which are the teacher's own vectors: those of texts that
    are drawn (a set of pictures, as in the paper), or centroids of clusters. Were every text a key, its voken would be its own
    number: hence at most one key for two different vectors. The pre-training goes on from the student's weights by default (the
    authors' begins from random ones: `initial: scratch`), on far less text.

    Checked: the loss in float64 against its formula, ln V for uniform logits, and that padding and special tokens count for
    nothing. Not verified: the paper's numbers, which need its corpora and matcher. Control: `features: {control: shuffled}`.
    """

    def __init__(self, options: Any, setup: Setup) -> None:
        import torch

        super().__init__(options, setup)
        assert setup.features is not None
        vectors = setup.features.cpu().double().numpy()
        vokens = find_vokens(vectors, options.vokens, options.bank, setup.stream("keys"))
        self.vokens = torch.from_numpy(vokens).to(setup.device)
        self.head = make_head(setup.hidden, int(vokens.max()) + 1, setup.seed, "voken head").to(setup.device)

    def student_modules(self) -> dict[str, nn.Module]:
        return {"voken_head": self.head}

    def kept_modules(self) -> dict[str, nn.Module]:
        return {}  # as many outputs as there are pictures

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        states = last_states(output)
        loss = voken_loss(self.head, states, own_tokens(batch, states), self.vokens[batch.rows.to(self.vokens.device)])
        return [self.masked_words(output), Term("vokens", self.options.voken_weight, loss)]

    def advice(self) -> dict[str, str]:
        return {"vokens": f"try voken_weight {{{self.options.voken_weight} / ratio}}"}


class Vokenization(Undistilled):
    """L = L_T(Y, o_s), from a student that `VokenizationPretraining` trained on the texts. Vokens are not used any more, as in
    the authors' code, so the exported student is an ordinary one."""


def voken_loss(head: nn.Module, states: Tensor, own: Tensor, vokens: Tensor) -> Tensor:
    """The mean over the texts' own tokens of the cross-entropy of the text's voken.

    states: [n, tokens, d]; own: bool [n, tokens]; vokens: long [n] -> scalar, 0 where no token is a text's own.
    """
    from torch.nn.functional import cross_entropy

    losses = cross_entropy(head(states[own]), vokens[own.nonzero()[:, 0]], reduction="sum")
    return losses / own.sum().clamp(min=1)


def find_vokens(vectors: np.ndarray, vokens: int, bank: str, seed: int) -> np.ndarray:
    """The number of the nearest key of each vector, by cosine: float64 [n, width] -> int64 [n]."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # sums of several threads have other last bits
        unit = _unit(vectors)
        keys = choose_keys(unit, vokens, bank, seed)
        blocks = [unit[start : start + BLOCK] @ keys.T for start in range(0, len(unit), BLOCK)]
        return np.concatenate([block.argmax(1) for block in blocks])


def choose_keys(unit: np.ndarray, vokens: int, bank: str, seed: int) -> np.ndarray:
    """The keys, each of length 1: [n, width] -> [keys, width], so many as `vokens` and at most one for two different vectors.

    Args:
        bank: ``drawn`` from the vectors, or ``centroids`` of their clusters.
    """
    import numpy as np

    different = np.unique(unit, axis=0)
    count = max(1, min(vokens, len(different) // 2))
    if bank == "drawn":
        return different[np.sort(np.random.default_rng(seed).choice(len(different), count, replace=False))]
    from sklearn.cluster import KMeans

    return _unit(KMeans(count, n_init=1, max_iter=100, random_state=seed % 2**32).fit(unit).cluster_centers_)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Each row of length 1; a row of zeros stays."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


REFERENCE = "Tan and Bansal 2020, Vokenization, arXiv 2010.06775; airsplay/vokenization"

CARD = Component(
    "vokenization",
    "The student pre-trained on text with a picture's number for every word, then fine-tuned",
    "armada_cli.methods.vokenization:Vokenization",
    VokenizationOptions,
    WITH_LOGITS,
    reference=REFERENCE,
    formula="first MLM + w mean_tokens CE(head(h), voken of the text); then L_T(Y, o_s)",
)

PRETRAINING = Component(
    "vokenization-pretraining",
    "The first half of `vokenization`: masked words, and a picture's number for every word",
    "armada_cli.methods.vokenization:VokenizationPretraining",
    VokenOptions,
    {"masked"},
    reference=REFERENCE,
    formula="MLM + w mean_tokens CE(head(h), voken of the text)",
)
