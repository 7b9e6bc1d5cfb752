"""The first stage of SFTN: a teacher that is trained with branches of its student (Park et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from armada_cli.contracts import Batch, Choice, Component, Method, Planned, Setup, StudentOutput, Term, option
from armada_cli.errors import UserError
from armada_cli.methods.inside import require_layers_apart
from armada_cli.methods.kinds import WITH_LOGITS
from armada_cli.methods.text_teacher import depth_of, states_of_one_row

if TYPE_CHECKING:
    from torch import Tensor, nn

DIRECTIONS = ("to-branch", "to-teacher")


@dataclass(frozen=True)
class BranchOptions:
    """What both stages of SFTN say of the branches."""

    blocks: int = option(3, "Blocks that teacher and student are cut into; a branch leaves after each but the last", minimum=2)
    branch_kl: float = option(3.0, "Weight of the divergence between the branches' answers and the teacher's", minimum=0)
    branch_labels: float = option(1.0, "Weight of the branches' own loss on the labels", minimum=0)
    direction: str = option(
        "to-branch", "to-branch: KL(teacher || branch); to-teacher: KL(branch || teacher)", choices=DIRECTIONS
    )


@dataclass(frozen=True)
class SFTNTeacherOptions(BranchOptions):
    branch: Choice = option("bert-6l", "The student whose upper layers are the branches", component="student")

    def check(self, trial: Planned) -> None:
        if "encoder" not in self.branch.registered.component.provides:
            what = f"method 'sftn' makes branches of an encoder's layers, and student {self.branch.name!r} is a decoder"
            raise UserError(what, "Take an encoder, or another method")
        require_layers_apart("sftn", self.branch)
        deep, shallow = depth_of(trial.student), depth_of(self.branch)
        if deep is not None and shallow is not None:
            count_blocks(self.blocks, deep, shallow)


def count_blocks(wanted: int, teacher: int, student: int) -> int:
    """Into how many blocks a teacher and a student of so many layers are cut.

    Raises:
        UserError: one of them cannot be cut.
    """
    blocks = min(wanted, teacher, student)
    if blocks < 2:
        raise UserError(
            f"method 'sftn' cuts teacher and student into blocks, and they have {teacher} and {student} layers",
            "Take ones of at least two layers",
        )
    return blocks


class SFTNTeacher(Method):
    """L = L_T(y, z_t) + a mean_i KL(p_t || p_i) + b mean_i L_T(y, z_i), i over the branches, p = softmax(z) at temperature 1.

    The trial's student is the *teacher*. It and the student it is made friendly to (`branch`) are cut into as many blocks of
    nearly equal depth; behind each block of the teacher but the last, its hidden states go through a linear layer to the
    student's width and on through the student's remaining layers, pooler and head. Twelve layers and six make branches behind
    the layers 3 and 7 (from 0) with the student's layers 2 to 5 and 4 to 5. A branch begins from the student's pre-trained
    weights, learns at the teacher's rate, and is dropped. Gradients of both branch terms reach the teacher, through its hidden
    states and, in the divergence, through its answers too. For regression the divergence is the squared distance of the two
    predictions.

    A branch reads the teacher's tokens and mask, so the two may have different tokenizers. Whether a student can be cut is
    tried out on its own states before anything is trained (BERT, RoBERTa, MPNet, DistilBERT, DeBERTa-v2 and ELECTRA can); one
    that gives other answers then is refused.

    Sources: second-hand, a summary and the abstract (arXiv 2102.07650); no code was found, and the paper is about images. The
    three terms are from there; their weights (1, 3, 1) and the temperature are from memory, and the direction of the divergence
    and whether it reaches the teacher's answers are unknown. The blocks, and what a branch of a transformer is, are ours.

    Cost of a step against plain fine-tuning of the teacher: 1.5 for twelve layers and six.
    """

    hidden_states = True

    def __init__(self, options: Any, setup: Setup) -> None:
        from torch import nn

        from armada_cli.training.branch import Branch
        from armada_cli.training.seeds import drawn_from

        super().__init__(options, setup)
        states = states_of_one_row(setup.student, "the teacher")
        depth, width = len(states) - 1, states[-1].shape[-1]
        model = setup.fresh(options.branch, "branch 1")
        own = len(states_of_one_row(model, "the branches' student")) - 1
        blocks = count_blocks(options.blocks, depth, own)
        self.taps = [round(depth * i / blocks) for i in range(1, blocks)]
        """For each branch, how many of the teacher's layers lie below it."""
        self.branches = nn.ModuleList()
        for i in range(1, blocks):
            if i > 1:
                model = setup.fresh(options.branch, f"branch {i}")
            with drawn_from(setup.seed, f"adapter of branch {i}"):
                branch = Branch(model, round(own * i / blocks), width, setup.problem.kind == "multiple-choice")
            self.branches.append(branch.to(setup.device))

    def student_modules(self) -> dict[str, nn.Module]:
        return {"branches": self.branches}

    def kept_modules(self) -> dict[str, nn.Module]:
        return {}  # branches are as large as students, and dropped

    def branch_logits(self, batch: Batch, output: StudentOutput) -> list[Tensor]:
        """What each branch answers, [n, c]."""
        import torch

        assert output.hidden_states is not None
        mask = batch.inputs["attention_mask"]
        logits = []
        half = self.setup.train.precision == "bf16"
        with torch.autocast(torch.device(self.setup.device).type, torch.bfloat16, enabled=half):
            for tap, branch in zip(self.taps, self.branches, strict=True):
                logits.append(branch(output.hidden_states[tap], mask))
        return logits

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        import torch

        from armada_cli.training.objective import soft_labels, task_loss

        kind = self.setup.problem.kind
        logits = self.branch_logits(batch, output)
        pairs = [(output.logits, z) if self.options.direction == "to-branch" else (z, output.logits) for z in logits]
        divergence = torch.stack([soft_labels(kind, target, learner) for target, learner in pairs]).mean()
        labels = torch.stack([task_loss(kind, z, batch.labels) for z in logits]).mean()
        return [
            Term("task", 1.0, task_loss(kind, output.logits, batch.labels), task=True),
            Term("branches", self.options.branch_kl, divergence, inner=True),
            Term("branches' labels", self.options.branch_labels, labels, inner=True),
        ]

    def advice(self) -> dict[str, str]:
        return {
            "branches": f"try branch_kl {{{self.options.branch_kl} / ratio}}",
            "branches' labels": f"try branch_labels {{{self.options.branch_labels} / ratio}}",
        }


CARD = Component(
    "sftn-teacher",
    "A teacher trained with branches of the student it will have: the first stage of sftn",
    "armada_cli.methods.sftn_teacher:SFTNTeacher",
    SFTNTeacherOptions,
    WITH_LOGITS,
    reference="Park et al. 2021, Learning Student-Friendly Teacher Networks",
    formula="L_T(y, z_t) + branch_kl mean_i KL(softmax(z_t) || softmax(z_i)) + branch_labels mean_i L_T(y, z_i)",
)
