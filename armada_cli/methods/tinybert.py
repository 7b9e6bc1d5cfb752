"""TinyBERT's two stages on the task: first the teacher's layers without labels, then its soft labels (Jiao et al. 2020)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from armada_cli.contracts import Batch, Component, Method, Needs, Planned, Setup, StudentOutput, Term, TopTokens, option
from armada_cli.errors import UserError
from armada_cli.methods.kinds import WITH_LOGITS
from armada_cli.methods.text_teacher import LiveTeacherOptions, look_at_one_row, size_of
from armada_cli.registry.choosing import choose

if TYPE_CHECKING:
    from torch import Tensor, nn

    from armada_cli.training.attention_scores import ScoreWatch
    from armada_cli.training.token_matching import Alignment

MASKED = -100.0
"""Scores at or below are those of hidden keys: a mask was added to them."""


@dataclass(frozen=True)
class IntermediateOptions(LiveTeacherOptions):
    # The tokens of another row have no partners, so its states cannot stand in for those of a row.
    controls: ClassVar[tuple[str, ...]] = ()

    variant: str = option(
        "paper", "official: padding counts too, as in the authors' code; paper: it does not", choices=("paper", "official")
    )
    heads: str = option(
        "match", "match: head by head, as many on both sides; mean: the mean over each side's heads", choices=("match", "mean")
    )

    def check(self, trial: Planned) -> None:
        own, other = size_of(trial.student, "heads"), size_of(self.teacher, "heads")
        if own is not None and other is not None:
            require_heads(self.heads, own, other)


@dataclass(frozen=True)
class TinyBERTOptions(IntermediateOptions):
    variant: str = option(
        "paper",
        "official: padding counts, soft labels are divided by the number of classes, a regression learns its labels",
        choices=("paper", "official"),
    )
    intermediate_epochs: int = option(10, "Epochs of the first stage", minimum=1)
    intermediate_lr: float = option(5e-5, "Learning rate of the first stage, the same in every step", above=0)
    temperature: float = option(1.0, "Softens both distributions of the second stage", above=0)

    def dependencies(self, trial: Planned) -> dict[str, Needs]:
        shared = {item.name: getattr(self, item.name) for item in dataclasses.fields(IntermediateOptions)}
        train = {
            "epochs": self.intermediate_epochs,
            "lr": self.intermediate_lr,
            "schedule": "constant",
            "warmup": 0.0,
            "select": "last",
            "evaluate": "end",
        }
        first = dataclasses.replace(choose("method", "tinybert-intermediate", **shared), train=train)
        return {**super().dependencies(trial), "start": Needs(trial.student, first, seed=trial.seed)}

    def reads(self, trial: Planned) -> dict[str, tuple[str | TopTokens, ...]]:
        return {"teacher": ("logits",)}


# ------------------------------------------------------------------------------------------------------ the first stage


def require_heads(heads: str, student: int, teacher: int) -> None:
    """Raises UserError: heads are to be compared one by one, and the two sides have not as many."""
    if heads == "match" and student != teacher:
        raise UserError(
            f"method 'tinybert' cannot compare {student} heads of the student with {teacher} of the teacher",
            "Say `heads: mean`",
        )


def match_layers(teacher: int, student: int) -> list[int]:
    """The teacher's layer for each of the student's layers 0 (the embeddings) to `student`: 0, 2, 4, .., 12 of 12 for 6."""
    return [layer * teacher // student for layer in range(student + 1)]


def states_distance(h_t: Tensor, h_s: Tensor, there: Tensor) -> Tensor:
    """The mean squared difference over tokens that are there and the width. h_t, h_s: [n, m, d]; there: [n, m] -> scalar."""
    weight = there.to(h_s.dtype)
    return ((h_s - h_t).square().mean(-1) * weight).sum() / weight.sum()


def scores_distance(a_t: Tensor, a_s: Tensor, there: Tensor) -> Tensor:
    """The mean squared difference over heads and pairs of tokens that are there. Scores of hidden keys are 0 on both sides.

    a_t, a_s: scores before the softmax, [n, heads, m, m]; there: [n, m] -> scalar."""
    a_t, a_s = (scores.where(scores > MASKED, 0.0) for scores in (a_t, a_s))
    pairs = (there[:, :, None] & there[:, None, :]).to(a_s.dtype)
    return ((a_s - a_t).square().mean(1) * pairs).sum() / pairs.sum()


class TinyBERTIntermediate(Method):
    """L = sum_j MSE(A_s^j, A_t^g(j)) + sum_j MSE(W h_s^j, h_t^g(j)): attention scores of the student's layers 1 to n,
    and states of its embeddings and all its layers; g(j) is the j-th of n equal steps through the teacher's layers. No labels.

    A are the scores before the softmax with the mask added, taken from the pass itself: what the model hands to the softmax.
    Those at or below -100, hidden keys, are 0 on both sides. W is one linear map for all layers, also where the widths agree.

    Follows the authors' code, read (huawei-noah/Pretrained-Language-Model, TinyBERT/task_distill.py), which counts padding in
    all means (`variant: official`). Left out: the augmented data, the teacher's dropout, which the code leaves on, and the
    general TinyBERT as the first student. Ours: for depths that do not divide, g rounds down; where tokenizers differ, tokens
    of the same letters are matched in their order, and what has no partner is left out.
    """

    hidden_states = True
    attentions = True

    def __init__(self, options: object, setup: Setup) -> None:
        from torch import nn

        from armada_cli.training.attention_scores import ScoreWatch
        from armada_cli.training.seeds import drawn_from
        from armada_cli.training.token_matching import TokenMatcher

        super().__init__(options, setup)
        self.teacher = setup.finished("teacher")
        own, own_heads = look_at_one_row(setup.student, "the student", attentions=True)
        other, heads = look_at_one_row(self.teacher, "the teacher", attentions=True)
        require_heads(self.options.heads, own_heads, heads)
        self.layers = match_layers(len(other) - 1, len(own) - 1)
        with drawn_from(setup.seed, "tinybert map"):
            self.map = nn.Linear(own[-1].shape[-1], other[-1].shape[-1]).to(setup.device)
        self.own_scores, self.teacher_scores = ScoreWatch(setup.student.module), ScoreWatch(self.teacher.module)
        self.matcher = TokenMatcher(setup.student, self.teacher)

    def student_modules(self) -> dict[str, nn.Module]:
        return {"map": self.map}

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        import torch

        from armada_cli.training.objective import task_loss

        own_scores = self._scores(self.own_scores, output, "student")
        with torch.no_grad():
            teacher = self.teacher(batch.rows, hidden_states=True, attentions=True)
        teacher_scores = self._scores(self.teacher_scores, teacher, "teacher")
        own_states, teacher_states = flat_states(output), flat_states(teacher)
        aligned = self._align(batch, own_states[0], teacher_states[0])
        row = torch.arange(len(aligned.there), device=aligned.there.device)[:, None]
        attention = [
            scores_distance(
                self._between(teacher_scores[self.layers[layer] - 1], aligned.other),
                self._between(own_scores[layer - 1], aligned.own),
                aligned.there,
            )
            for layer in range(1, len(self.layers))
        ]
        states = [
            states_distance(
                teacher_states[other][row, aligned.other], self.map(own_states[layer])[row, aligned.own], aligned.there
            )
            for layer, other in enumerate(self.layers)
        ]
        return [
            # Nothing is learned of it: it shows how well the student guesses, and keeps every weight in the graph.
            Term("task", 0.0, task_loss(self.setup.problem.kind, output.logits, batch.labels), task=True),
            Term("attention", 1.0, torch.stack(attention).sum(), inner=True),
            Term("hidden states", 1.0, torch.stack(states).sum(), inner=True),
        ]

    def _scores(self, watch: ScoreWatch, output: StudentOutput, side: str) -> list[Tensor]:
        """The scores of a pass, a layer each: [n, heads, tokens, tokens]."""
        scores, layers = watch.take(), len(output.attentions or ())
        if not scores or len(scores) != layers:
            raise UserError(
                f"method 'tinybert' sees {len(scores)} matrices of attention scores in the {side}'s {layers} layers",
                "Take another model, or the method pkd",
            )
        return scores

    def _between(self, scores: Tensor, places: Tensor) -> Tensor:
        """Scores between the tokens at the given places [n, m]: [n, heads, m, m], or the mean over the heads as one."""
        import torch

        row = torch.arange(len(places), device=scores.device)[:, None, None]
        chosen = scores.movedim(1, -1)[row, places[:, :, None], places[:, None, :]].movedim(-1, 1)
        return chosen.mean(1, keepdim=True) if self.options.heads == "mean" else chosen

    def _align(self, batch: Batch, own: Tensor, other: Tensor) -> Alignment:
        """The tokens to compare: those that are there, or in the official variant all places."""
        import torch

        from armada_cli.training.token_matching import Alignment

        aligned = self.matcher.align(batch.rows.tolist(), own.device)
        if self.options.variant == "paper":
            return aligned
        if own.shape[1] != other.shape[1] or not torch.equal(aligned.own, aligned.other):
            raise UserError(
                "method 'tinybert', variant official: student and teacher cut texts into different tokens",
                "Say `variant: paper`",
            )
        places = torch.arange(own.shape[1], device=own.device).expand(own.shape[:2])
        return Alignment(places, places, torch.ones_like(places, dtype=torch.bool))

    def advice(self) -> dict[str, str]:
        less = "nothing: the labels teach nothing in this stage"
        return {"attention": less, "hidden states": less}


def flat_states(output: StudentOutput) -> list[Tensor]:
    """Hidden states [n, tokens, d]; of multiple choice each choice is a row."""
    assert output.hidden_states is not None
    return [state.reshape(-1, *state.shape[-2:]).float() for state in output.hidden_states]


INTERMEDIATE_CARD = Component(
    "tinybert-intermediate",
    "The teacher's attention and hidden states without labels: the first stage of tinybert",
    "armada_cli.methods.tinybert:TinyBERTIntermediate",
    IntermediateOptions,
    WITH_LOGITS,
    reference="Jiao et al. 2020, TinyBERT: Distilling BERT for Natural Language Understanding",
    formula="sum_j MSE(A_s^j, A_t^g(j)) + sum_j MSE(W h_s^j, h_t^g(j)), A before the softmax, g(j) = j n_t / n_s",
)


# ----------------------------------------------------------------------------------------------------- the second stage


def soft_cross_entropy(kind: str, z_t: Tensor, z_s: Tensor, temperature: float = 1.0, reduction: str = "batchmean") -> Tensor:
    """- sum_c softmax(z_t / T)_c log softmax(z_s / T)_c, the mean over examples, or over classes too (``mean``): at z_s = z_t
    it is the teacher's entropy. For multi-label tasks the binary cross-entropy per class, for regression the squared distance.

    z_t, z_s: [n, c] -> scalar."""
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

    z_t, z_s = z_t.float(), z_s.float()
    if kind == "regression":
        return mse_loss(z_s, z_t)
    if kind == "multilabel":
        return binary_cross_entropy_with_logits(z_s / temperature, (z_t / temperature).sigmoid())
    value = cross_entropy(z_s / temperature, (z_t / temperature).softmax(-1))
    return value / z_s.shape[-1] if reduction == "mean" else value


class TinyBERT(Method):
    """L = - sum_c softmax(z_t / T)_c log softmax(z_s / T)_c, from the student that the first stage, a trial of
    `tinybert-intermediate`, gave. No labels.

    T is 1 in the paper and the authors' code; the code divides by the number of classes too, and in a regression it learns the
    labels, which its authors call a mistake (issue 128 of their repository): the paper's numbers are of the teacher's
    predictions, the default here. The code's settings: first stage lr 5e-5 and 10 epochs, second 3e-5 and 3, batches of 32, on
    data augmented twenty times, which are left out, as is the ReLU that it puts before the classifier.
    """

    def __init__(self, options: object, setup: Setup) -> None:
        super().__init__(options, setup)
        self.teacher_logits = setup.cached("teacher", "logits")

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from armada_cli.training.objective import task_loss

        kind, options = self.setup.problem.kind, self.options
        z_t = self.teacher_logits[batch.rows.cpu()].to(output.logits.device)
        official = options.variant == "official"
        if official and kind == "regression":
            return [Term("task", 1.0, task_loss(kind, output.logits, batch.labels), task=True)]
        reduction = "mean" if official else "batchmean"
        return [
            # Nothing is learned of it: it shows how well the student does.
            Term("task", 0.0, task_loss(kind, output.logits, batch.labels), task=True),
            Term("soft labels", 1.0, soft_cross_entropy(kind, z_t, output.logits, options.temperature, reduction)),
        ]

    def advice(self) -> dict[str, str]:
        return {"soft labels": "nothing: it is all that is learned"}


CARD = Component(
    "tinybert",
    "The teacher's attention and hidden states first, then its soft labels",
    "armada_cli.methods.tinybert:TinyBERT",
    TinyBERTOptions,
    WITH_LOGITS,
    reference="Jiao et al. 2020, TinyBERT: Distilling BERT for Natural Language Understanding",
    formula="- softmax(z_t / T) . log softmax(z_s / T), behind a first stage of tinybert-intermediate",
)
