"""Distributions over the vocabulary at the tokens of responses: what is kept of a teacher's, and how a student's are compared
with them.

A teacher's distribution is kept as its k likeliest tokens and one sum of all others, so two distributions are compared over
k + 1 outcomes: the divergence is that of the full ones, less what differs among the others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from armada_cli.contracts import Student, TokenTargets, TopTokens
from armada_cli.errors import UserError


def keep_top(logits: Tensor, asked: TopTokens) -> tuple[Tensor, Tensor]:
    """Of logits [m, V] what is kept: ids [m, k] and log-probabilities [m, k + 1], see `TokenTargets`; k is V at most."""
    top = logits.topk(min(asked.kept, logits.shape[-1]), dim=-1).indices
    return top, coarsen(logits, top, asked.temperature)


def coarsen(logits: Tensor, ids: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probabilities [m, k + 1] of softmax(logits / temperature): of the tokens `ids` [m, k], and of all others together.

    The others are summed themselves: one less the sum of the kept would be noise, or below nothing, where they are nearly all.
    """
    scaled = _at_least_single(logits) / temperature
    total = scaled.logsumexp(-1, keepdim=True)
    kept = scaled.gather(-1, ids) - total
    if ids.shape[-1] == scaled.shape[-1]:
        return torch.cat([kept, torch.full_like(total, -torch.inf)], -1)
    others = scaled.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([kept, others - total], -1)


def compare(targets: TokenTargets, logits: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the teacher and of the student, whose logits [m, V] these are, over the outcomes that are kept of
    the teacher: [m, k + 1], or [m, V] where those are all tokens."""
    p, q = targets.log_probabilities.to(logits.device), coarsen(logits, targets.ids.to(logits.device), temperature)
    # Where no others are left both say -inf of them, and the difference of the two is no number.
    outcomes = min(p.shape[-1], logits.shape[-1])
    return p[:, :outcomes], q[:, :outcomes]


def everything(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probabilities [m, V] of softmax(logits / temperature)."""
    return (_at_least_single(logits) / temperature).log_softmax(-1)


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of log-probabilities [m, c], in nats, each [m]; an outcome that p excludes adds nothing."""
    return _expected(p, p - q)


def soft_cross_entropy(p: Tensor, q: Tensor) -> Tensor:
    """-sum p log q of log-probabilities [m, c], in nats, each [m]: the divergence and the entropy of p."""
    return _expected(p, -q)


def _expected(p: Tensor, values: Tensor) -> Tensor:
    possible = p > -torch.inf
    return (p.exp() * torch.where(possible, values, torch.zeros_like(values))).sum(-1)


def _at_least_single(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def require_one_vocabulary(student: Student, teacher: Student, role: str) -> None:
    """Raises UserError: the two read texts as other numbers."""
    if student.vocabulary() != teacher.vocabulary():
        raise _differ(role)


def require_same_tokens(theirs: Tensor, labels: Tensor, role: str) -> None:
    """Raises UserError: the responses of a batch are other tokens for the teacher, [m], than `labels` [m], the student's."""
    if not torch.equal(theirs, labels.to(theirs.device)):
        raise UserError(
            f"the {role} reads the responses of some rows as other tokens than the student, which reads more or fewer of them "
            "at once",
            "Lower train.max_length to what both can read",
        )


def _differ(role: str) -> UserError:
    return UserError(
        f"the student and its {role} have different vocabularies, and what they say to each token cannot be compared",
        "Take two models of one family, or a method that needs texts alone (seqkd with kd_ratio: 0)",
    )
