"""L_T and the two forms of section 3.1, each in one place."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def task_loss(kind: str, outputs: Tensor, labels: Tensor) -> Tensor:
    """L_T(Y, o): cross-entropy (classification, multiple choice), mean squared error (regression), or binary
    cross-entropy per class (multi-label).

    Args:
        kind: the task's kind.
        outputs: o, [n, c]; c = 1 for regression.
        labels: Y: long [n], float [n], or float [n, c].
    """
    outputs = outputs.float()
    if kind == "regression":
        return functional.mse_loss(outputs.squeeze(-1), labels)
    if kind == "multilabel":
        return functional.binary_cross_entropy_with_logits(outputs, labels)
    return functional.cross_entropy(outputs, labels)


def phi(kind: str, outputs: Tensor, tau: float) -> Tensor:
    """Phi(o / tau) of Eq. 2: softmax for classification, identity for regression; for multi-label tasks a sigmoid per
    class (ours: the paper has none to say, and its softmax would force the classes to compete)."""
    outputs = outputs.float() / tau
    if kind == "regression":
        return outputs
    if kind == "multilabel":
        return outputs.sigmoid()
    return outputs.softmax(-1)


def logit_matching(kind: str, o_ts: Tensor, o_s: Tensor, tau: float) -> Tensor:
    """The second addend of Eq. 2: ``mean_i || Phi(o_ts_i / tau) - Phi(o_s_i / tau) ||_2``; a norm per example, then the mean.

    o_ts (detached), o_s: [n, c] -> scalar.
    """
    return (phi(kind, o_ts, tau) - phi(kind, o_s, tau)).norm(dim=-1).mean()


def soft_labels(kind: str, z_t: Tensor, z_s: Tensor, temperature: float = 1.0, reduction: str = "batchmean") -> Tensor:
    """What a text teacher's logits ask of a student's: T^2 KL(softmax(z_t / T) || softmax(z_s / T)) (Hinton et al. 2015).

    For regression, where a softmax over one output is constant, the squared distance of the two predictions; for multi-label
    tasks the binary divergence per class. Multiple choice is compared over the choices of a row. The gradient flows to both
    arguments: detach what is not to learn.

    Args:
        z_t, z_s: logits, [n, c]; for regression [n, 1], standardised.
        reduction: ``batchmean``, the divergence per example, or ``mean``, divided by the number of classes too, as torch's
            ``mean`` does. Regression and multi-label have no such choice.
    """
    z_t, z_s = z_t.float(), z_s.float()
    if kind == "regression":
        return functional.mse_loss(z_s, z_t)
    if kind == "multilabel":
        # KL of two Bernoulli distributions: the cross-entropy less the teacher's own entropy.
        p_t = (z_t / temperature).sigmoid()
        cross = functional.binary_cross_entropy_with_logits(z_s / temperature, p_t)
        return temperature * temperature * (cross - functional.binary_cross_entropy_with_logits(z_t / temperature, p_t))
    p_s, p_t = (z_s / temperature).log_softmax(-1), (z_t / temperature).log_softmax(-1)
    divergence = temperature * temperature * functional.kl_div(p_s, p_t, log_target=True, reduction="batchmean")
    # Said here, since torch announces that its own "mean" will one day mean "batchmean".
    return divergence / z_s.shape[-1] if reduction == "mean" else divergence
