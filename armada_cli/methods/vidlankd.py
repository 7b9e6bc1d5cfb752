"""VidLanKD: a pre-training on text that learns from a video model's states, and the task after it (Tang et al. 2021)."""

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
    from torch import Tensor, nn


@dataclass(frozen=True)
class VideoOptions(PretrainingOptions):
    loss: str = option("both", "Which losses: nst, contrastive, or both", choices=("nst", "contrastive", "both"))
    video_weight: float = option(1.0, "Weight of both against the masked words", minimum=0)
    tau: float = option(1.0, "Temperature of the contrastive loss", above=0)
    variant: str = option(
        "paper",
        "official: nst without its constant part and divided by its positions, contrastive divided twice, padding counted",
        choices=("paper", "official"),
    )


@dataclass(frozen=True)
class VidLanKDOptions(VideoOptions, PretrainedOptions):
    def dependencies(self, trial: Planned) -> dict[str, Needs]:
        return self.pretrain(trial, "vidlankd-pretraining", VideoOptions)


class VidLanKDPretraining(Pretraining):
    """L = MLM + w (NST + contrastive), of s = unit(head(mean over the text's tokens of h)) and t = unit(h_t).

    NST (neuron selectivity): how each neuron answers over the positions, scaled to length 1, compared by K(a, b) = (a . b)^2:
    mean K(s, s) - 2 mean K(s, t) + mean K(t, t). Contrastive: in-batch NT-Xent with cosines over tau, 2 n anchors, negatives on
    both sides. The head is dense, GELU, LayerNorm, linear; the teacher's side has none.

    Source: zinengtang/VidLanKD (vlm/model.py, run_vlm_distributed.py), as read there. In it, and with `variant:
    official`, NST lacks mean K(t, t), so it can be negative, and is divided by the number of positions; the contrastive mean is
    divided by 2 n again; padding counts. The released scripts use NST alone (`loss: nst`), where the paper has both.

    **What differs, and why.** The authors' teacher gives a vector for every token, of the student's width and for the same
    corrupted input. A teacher here is a black box with one vector h_t for a whole text. Laid under all of its tokens, it would
    make every row of NST a constant, and the student would learn to be constant. So the positions of NST are the texts of the
    batch: for which texts a neuron answers, not at which word. The contrastive loss, position by position there, compares whole
    texts. "CRD" in the paper's text has a memory of negatives and tau .07; the code has the batch's and 1, as here.
    The pre-training goes on from the student's weights by default (the authors': `initial: scratch`), on far less text.

    Checked: each loss in float64 against its formula written out; NST -.5 for s = t with orthonormal rows of two neurons, and 0
    with the constant part; ln 3 for two texts with equal vectors, .274653 divided twice; padding changes nothing in the paper's
    variant. Not verified: the paper's numbers. Control: `features: {control: shuffled}`.
    """

    def __init__(self, options: Any, setup: Setup) -> None:
        from torch.nn.functional import normalize

        super().__init__(options, setup)
        assert setup.features is not None
        assert setup.feature_width is not None
        self.teacher = normalize(setup.features.float(), dim=-1)
        self.head = make_head(setup.hidden, setup.feature_width, setup.seed, "video head").to(setup.device)

    def student_modules(self) -> dict[str, nn.Module]:
        return {"video_head": self.head}

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from torch.nn.functional import normalize

        states, official = last_states(output), self.options.variant == "official"
        s = normalize(self.head(mean_state(states, None if official else own_tokens(batch, states))), dim=-1)
        t = self.teacher[batch.rows.to(self.teacher.device)]
        s, t = self.setup.gather(s), self.setup.gather(t)
        terms = [self.masked_words(output)]
        if self.options.loss != "contrastive":
            terms.append(Term("neurons", self.options.video_weight, neuron_selectivity(s, t, official=official)))
        if self.options.loss != "nst":
            terms.append(Term("contrastive", self.options.video_weight, contrast(s, t, self.options.tau, official=official)))
        return terms

    def advice(self) -> dict[str, str]:
        words = f"try video_weight {{{self.options.video_weight} / ratio}}"
        return {
            name: words for name, other in (("neurons", "contrastive"), ("contrastive", "nst")) if self.options.loss != other
        }


class VidLanKD(Undistilled):
    """L = L_T(Y, o_s), from a student that `VidLanKDPretraining` trained on the texts. The teacher is not used any more, so the
    exported student is an ordinary one."""


def mean_state(states: Tensor, own: Tensor | None) -> Tensor:
    """The mean over a text's own tokens, or over all positions where `own` is None.

    states: [n, tokens, d]; own: bool [n, tokens] -> [n, d]; zeros for a text without tokens of its own.
    """
    if own is None:
        return states.mean(1)
    weights = own.to(states.dtype)[..., None]
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def neuron_selectivity(s: Tensor, t: Tensor, *, official: bool = False) -> Tensor:
    """mean K(s, s) - 2 mean K(s, t) + mean K(t, t) over all pairs of neurons, K(a, b) = (a . b)^2.

    s: [positions, neurons of the student]; t: [positions, neurons of the teacher] -> scalar, at least 0. A neuron's answers are
    scaled to length 1 over the positions. The sum over pairs of neurons of (a . b)^2 is that over pairs of positions of the
    product of the two Gram matrices, so nothing as large as neurons x neurons x positions is made.

    Args:
        official: without the last part, and divided by the number of positions.
    """
    from torch.nn.functional import normalize

    s, t = normalize(s, dim=0), normalize(t, dim=0)
    own, other = s @ s.T / s.shape[1], t @ t.T / t.shape[1]
    value = own.square().sum() - 2 * (own * other).sum()
    return value / len(s) if official else value + other.square().sum()


def contrast(s: Tensor, t: Tensor, tau: float, *, official: bool = False) -> Tensor:
    """NT-Xent: each of the 2 n vectors tells its partner from all others of both sides, by their cosines over tau.

    s, t: [n, width], of length 1 -> scalar: the mean over the anchors.

    Args:
        official: divided by 2 n again.
    """
    import torch
    from torch.nn.functional import cross_entropy

    both = torch.cat([s, t])
    likeness = both @ both.T / tau
    likeness = likeness.masked_fill(torch.eye(len(both), dtype=torch.bool, device=both.device), float("-inf"))
    partner = torch.arange(len(both), device=both.device).roll(len(s))
    value = cross_entropy(likeness, partner)
    return value / len(both) if official else value


REFERENCE = "Tang et al. 2021, VidLanKD, arXiv 2107.02681; zinengtang/VidLanKD"

CARD = Component(
    "vidlankd",
    "The student pre-trained on text beside the teacher's vectors (neurons, contrast), then fine-tuned",
    "armada_cli.methods.vidlankd:VidLanKD",
    VidLanKDOptions,
    WITH_LOGITS,
    reference=REFERENCE,
    formula="first MLM + w (NST(s, t) + NT-Xent(s, t)), s = unit(head(mean h)), t = unit(h_t); then L_T(Y, o_s)",
)

PRETRAINING = Component(
    "vidlankd-pretraining",
    "The first half of `vidlankd`: masked words, beside the teacher's vectors of the texts",
    "armada_cli.methods.vidlankd:VidLanKDPretraining",
    VideoOptions,
    {"masked"},
    reference=REFERENCE,
    formula="MLM + w (NST(s, t) + NT-Xent(s, t)), s = unit(head(mean h)), t = unit(h_t)",
)
