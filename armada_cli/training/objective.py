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
