"""Knowledge distillation from a text teacher (Hinton et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from armada_cli.contracts import Batch, Component, Method, Needs, Planned, Setup, StudentOutput, Term, TopTokens
from armada_cli.methods.kinds import ALL
from armada_cli.methods.text_teacher import SoftLabelOptions
from armada_cli.methods.token_teacher import TokenTeacher, TokenTeacherOptions


@dataclass(frozen=True)
class KDOptions(SoftLabelOptions, TokenTeacherOptions):
    def dependencies(self, trial: Planned) -> dict[str, Needs]:
        return {"teacher": Needs(self.teacher, seed=self.teacher_seed, vocabulary=trial.kind == "generation")}

    def reads(self, trial: Planned) -> dict[str, tuple[str | TopTokens, ...]]:
        return {"teacher": (self.reads_tokens(self.temperature) if trial.kind == "generation" else "logits",)}


class KD(Method):
    """L = (1 - a) L_T(Y, z_s) + a T^2 KL(softmax(z_t / T) || softmax(z_s / T)).

    The teacher is a finished trial of its own; its logits on the training split are computed once, without dropout, and
    kept for all its students. For regression the second term is the squared distance of the two predictions, for multi-label
    tasks the binary divergence per class.

    In generation both terms are means over the tokens of the batch's responses, the end of text among them, as the student's
    own loss is; with accumulation each micro-batch's mean counts by its rows. z_t is the teacher's over the vocabulary, kept as
    its `top_k` likeliest tokens and one sum of the others: the divergence is then over top_k + 1 outcomes, and with all tokens
    it is the full one. Both models must have one vocabulary.
    """

    def __init__(self, options: Any, setup: Setup) -> None:
        super().__init__(options, setup)
        self.tokens = setup.problem.kind == "generation"
        if self.tokens:
            self.teacher = TokenTeacher(setup, options, options.temperature)
        else:
            self.teacher_logits = setup.cached("teacher", "logits")

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from armada_cli.training.objective import soft_labels, task_loss

        kind, options = self.setup.problem.kind, self.options
        if self.tokens:
            return self._token_terms(batch, output)
        z_t = self.teacher_logits[batch.rows].to(output.logits.device)
        return [
            Term("task", 1 - options.alpha, task_loss(kind, output.logits, batch.labels), task=True),
            Term("soft labels", options.alpha, soft_labels(kind, z_t, output.logits, options.temperature, options.reduction)),
        ]

    def _token_terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from armada_cli.training.tokens import divergence

        assert output.loss is not None
        assert output.tokens is not None
        options = self.options
        soft = options.temperature**2 * divergence(*self.teacher.compare(batch, output)).mean()
        if options.reduction == "mean":
            soft = soft / output.tokens.logits.shape[-1]
        return [
            Term("task", 1 - options.alpha, output.loss, task=True),
            Term("soft labels", options.alpha, soft),
        ]

    def advice(self) -> dict[str, str]:
        return {"soft labels": "try a smaller alpha or temperature"}


CARD = Component(
    "kd",
    "Soft labels of a larger language model trained on the same task",
    "armada_cli.methods.kd:KD",
    KDOptions,
    ALL,
    reference="Hinton et al. 2015",
    formula="(1 - alpha) L_T(y, z_s) + alpha T^2 KL(softmax(z_t / T) || softmax(z_s / T))",
)
