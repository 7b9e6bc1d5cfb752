"""Sequence-level knowledge distillation (Kim & Rush 2016): the student learns the teacher's own answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from armada_cli.contracts import (
    Batch,
    Component,
    Decoding,
    Environment,
    Method,
    Needs,
    Planned,
    Setup,
    Split,
    StudentOutput,
    Term,
    TopTokens,
    option,
)
from armada_cli.errors import TrialFailed
from armada_cli.methods.token_teacher import TokenTeacher, TokenTeacherOptions


@dataclass(frozen=True)
class SeqKDOptions(TokenTeacherOptions):
    controls: ClassVar[tuple[str, ...]] = ("shuffled",)

    kd_ratio: float = option(0.0, "Weight of the teacher's distribution at each token of its answers", minimum=0, maximum=1)
    sample: bool = option(False, "Draw the answers from the teacher's full distribution; otherwise beam search")
    beams: int = option(5, "Answers that beam search follows side by side; 1 takes the likeliest token each time", minimum=1)
    max_new_tokens: int = option(256, "Tokens of an answer at most", minimum=1)
    max_prompt_tokens: int | None = option(
        None, "A longer prompt loses its beginning; null: as long as the teacher's context allows", minimum=1
    )

    def problems(self, environment: Environment) -> Iterable[str]:
        if self.kd_ratio == 1:
            yield "kd_ratio: at 1 the answers themselves have no weight; choose a smaller one, or the method kd"

    def decoding(self) -> Decoding:
        """How the teacher answers the training prompts."""
        beams = 1 if self.sample else self.beams
        return Decoding(self.max_new_tokens, self.max_prompt_tokens, self.sample, beams=beams)

    def dependencies(self, trial: Planned) -> dict[str, Needs]:
        tokens = self.kd_ratio > 0
        return {"teacher": Needs(self.teacher, seed=self.teacher_seed, answers=self.decoding(), vocabulary=tokens)}

    def reads(self, trial: Planned) -> dict[str, tuple[str | TopTokens, ...]]:
        return {"teacher": (self.reads_tokens(1.0),)} if self.kd_ratio else {}


class SeqKD(Method):
    """L = (1 - r) CE(y_t) + r H(p_t, p_s), means over the tokens of y_t, the teacher's answers to the training prompts.

    H is the cross-entropy of the two distributions over the vocabulary at a token, without a temperature; see `KD` for what is
    kept of the teacher's. With r = 0 (`kd_ratio`) it is the method of the paper, and one vocabulary is not needed; r = 0.5 with
    `sample: true` is what the scripts of MiniLLM (microsoft/LMOps, minillm/finetune.py) run under this name. The paper searches
    with beams (its number of five is remembered and was not verified); the scripts draw one answer a prompt, at temperature 1
    from the full distribution.

    The answers take the place of the responses as they are: no row is left out, so that a student takes as many steps as under
    any other method. An empty answer teaches to end at once. Behind an answer that reached `max_new_tokens` stands the end of
    text as behind any other, so the limit should be one that few answers reach. The validation split stays the task's own.
    """

    def __init__(self, options: SeqKDOptions, setup: Setup) -> None:
        super().__init__(options, setup)
        self.tokens = options.kd_ratio > 0
        self.teacher = TokenTeacher(setup, options) if self.tokens else None

    @classmethod
    def training(cls, options: SeqKDOptions, split: Split, answers: Mapping[str, Sequence[str]]) -> Split:
        said = answers["teacher"]
        if not any(answer.strip() for answer in said):
            raise TrialFailed(
                "all answers of the teacher to the training prompts are empty, and nothing can be learned of them"
            )
        texts = [(prompt, answer) for (prompt, *_), answer in zip(split.texts, said, strict=True)]
        return Split(texts, split.labels, split.teacher_inputs)

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from armada_cli.training.tokens import soft_cross_entropy

        assert output.loss is not None
        ratio = self.options.kd_ratio
        terms = [Term("task", 1 - ratio, output.loss, task=True)]
        if self.teacher is not None:
            terms.append(Term("soft labels", ratio, soft_cross_entropy(*self.teacher.compare(batch, output)).mean()))
        return terms

    def advice(self) -> dict[str, str]:
        return {"soft labels": "try a smaller kd_ratio"} if self.tokens else {}


CARD = Component(
    "seqkd",
    "The answers of a larger language model in the place of the task's own",
    "armada_cli.methods.seqkd:SeqKD",
    SeqKDOptions,
    {"generation"},
    reference="Kim & Rush 2016",
    formula="(1 - kd_ratio) CE(y_t, p_s) + kd_ratio H(p_t, p_s), y_t the teacher's answers",
)
