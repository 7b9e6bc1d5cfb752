"""MetaDistil: the teacher learns to teach, from what its student would be after a step (Zhou et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from armada_cli.contracts import Batch, Component, Method, Planned, Setup, StudentOutput, Term, option
from armada_cli.errors import UserError
from armada_cli.methods.kinds import WITH_LOGITS
from armada_cli.methods.pkd import joined, layers_distance, match_layers
from armada_cli.methods.text_teacher import LiveTeacherOptions, depth_of, first_tokens, states_of_one_row

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class MetaDistilOptions(LiveTeacherOptions):
    controls: ClassVar[tuple[str, ...]] = ()  # its teacher is not what a finished trial gives: it goes on learning

    teacher_lr: float = option(1e-5, "Learning rate of the teacher", above=0)
    alpha: float = option(0.5, "Weight of the teacher's soft labels against the labels", minimum=0, maximum=1)
    temperature: float = option(5.0, "Softens both distributions; the term is scaled by its square", above=0)
    beta: float = option(100.0, "Weight of the layers' term, as pkd has it; 0 leaves it out", minimum=0)
    strategy: str = option(
        "skip",
        "Which layers of the teacher: every so many-th, or the last ones; its top layer is left out",
        choices=("skip", "last"),
    )
    variant: str = option(
        "paper",
        "The term of soft labels: paper: the divergence; official: the mean squared difference of the probabilities",
        choices=("paper", "official"),
    )
    virtual_lr: float | None = option(None, "Length of the student's virtual step; null: the student's own rate `lr`", above=0)
    quiz_share: float = option(
        0.1, "Share of the training rows that the teacher is judged on, and the student does not learn from", above=0, below=1
    )
    quiz_batch: int | None = option(None, "Rows of one quiz; null: as many as the batch has", minimum=1)

    def check(self, trial: Planned) -> None:
        deep, shallow = depth_of(self.teacher), depth_of(trial.student)
        if self.beta > 0 and deep is not None and shallow is not None:
            require_matching(deep, shallow)


def require_matching(teacher: int, student: int) -> None:
    """Raises UserError: a student of so many layers has none below its top one, or a teacher has fewer."""
    if student < 2 or teacher < student:
        what = f"layers below the top one, of a student that has {student} and a teacher that has {teacher}"
        raise UserError(f"method 'metadistil' cannot match {what}", "Say `beta: 0`, or take a deeper one")


class MetaDistil(Method):
    """The student's loss is L_s = (1 - a) L_T(y, z_s) + a Soft(z_t, z_s) + b MSE(h_t / |h_t|, h_s / |h_s|), h the first token's
    states of the matched layers (as `PKD`). On every batch:

    1. a virtual student takes one plain gradient step of L_s, w' = w - r dL_s/dw, with dropout;
    2. the teacher takes a step of AdamW on L_T(y, z_s(w')) of a quiz, rows that the student never learns from, without dropout.
       The gradient goes through the virtual step (second order) to the teacher, and is clipped as the student's is;
    3. the student, w as it was, takes its own step of L_s with the teacher that has moved.

    Soft is T^2 KL(softmax(z_t / T) || softmax(z_s / T)) per example (``paper``), or T^2 times the squared difference of the two
    distributions, mean over examples and classes (``official``). For regression it is the squared distance of the predictions,
    where the official code's term is always 0; for multi-label tasks the distributions are of each class. The teacher begins as
    a finished trial on all training rows, and is in `eval` mode throughout. With accumulation it gathers its gradient over the
    micro-batches of a step and moves behind them: the student then learns from the teacher as it was before.

    The quiz rows are a share of the training rows, drawn from a stream of their own. They stay in the batches, which are those
    of all methods of the seed, and are taken out of the student's loss: the number of steps is the same, and the student learns
    from nine tenths of the rows. The validation split is never touched. (The official code takes a file that its user makes; a
    comment in it says that the development set was used. It takes the whole quiz set at every step, which is unusable on large
    tasks; here a quiz is one batch.)

    Where the widths differ, a linear map without bias, trained with the student but held still in the virtual step, takes the
    student's states to the teacher's width (ours).

    Sources: the official code (JetRunner/MetaDistil, nlp/) for the round, the form of Soft and the weights; its authors say
    that it may contain bugs. The paper's text was not at hand: that its soft term is the divergence is our reading.

    Cost of a step against plain fine-tuning, for a teacher of twice the student's depth: about 7, estimated. Attention is
    computed without torch's fast kernels, which have no second derivative.
    """

    def __init__(self, options: Any, setup: Setup) -> None:
        import torch

        from armada_cli.training.companion import Companion

        super().__init__(options, setup)
        self.hidden_states = options.beta > 0
        self.teacher = Companion(setup.fresh(options.teacher, "teacher", start="teacher"), setup, options.teacher_lr)
        self.teacher.module.eval()
        self.rate = setup.train.lr if options.virtual_lr is None else options.virtual_lr
        self.student_layers: list[int] = []
        self.teacher_layers: list[int] = []
        self.projection: nn.Linear | None = None
        if self.hidden_states:
            self._match_layers()
        chance = torch.Generator().manual_seed(setup.stream("quiz rows"))
        count = len(setup.labels)
        size = max(1, round(options.quiz_share * count))
        if size == count:
            raise UserError(f"method 'metadistil' cannot keep a quiz of {size} of {count} training rows", "Take more rows")
        self.quiz_rows = torch.randperm(count, generator=chance)[:size].sort().values
        self.gathering = False
        """Whether the teacher holds gradients of micro-batches that it has not moved on."""

    def _match_layers(self) -> None:
        from torch import nn

        from armada_cli.training.seeds import drawn_from

        own = states_of_one_row(self.setup.student, "the student")
        other = states_of_one_row(self.teacher.model, "the teacher")
        student, teacher = len(own) - 1, len(other) - 1
        require_matching(teacher, student)
        self.student_layers = list(range(1, student))
        self.teacher_layers = match_layers(teacher, student, self.options.strategy)
        widths = own[-1].shape[-1], other[-1].shape[-1]
        if widths[0] != widths[1]:
            with drawn_from(self.setup.seed, "metadistil projection"):
                self.projection = nn.Linear(*widths, bias=False).to(self.setup.device)

    def student_modules(self) -> dict[str, nn.Module]:
        return {} if self.projection is None else {"projection": self.projection}

    def own_modules(self) -> dict[str, nn.Module]:
        return {"teacher": self.teacher.module}

    def optimizers(self) -> dict[str, Any]:
        return {"teacher": self.teacher.adam}

    # ------------------------------------------------------------------------------------------------- the student's loss

    def soft(self, z_t: Tensor, z_s: Tensor) -> Tensor:
        """Soft(z_t, z_s) of the variant."""
        from torch.nn.functional import mse_loss

        from armada_cli.training.objective import phi, soft_labels

        kind, temperature = self.setup.problem.kind, self.options.temperature
        if self.options.variant == "paper" or kind == "regression":
            return soft_labels(kind, z_t, z_s, temperature)
        return temperature**2 * mse_loss(phi(kind, z_s, temperature), phi(kind, z_t, temperature))

    def addends(self, own: StudentOutput, taught: StudentOutput, labels: Tensor) -> list[Term]:
        """L_s of a student's and a teacher's outputs on the same rows."""
        from armada_cli.training.objective import task_loss

        options = self.options
        terms = [
            Term("task", 1 - options.alpha, task_loss(self.setup.problem.kind, own.logits, labels), task=True),
            Term("soft labels", options.alpha, self.soft(taught.logits, own.logits)),
        ]
        if self.hidden_states:
            h_s, h_t = first_tokens(own, self.student_layers), first_tokens(taught, self.teacher_layers)
            h_s = h_s if self.projection is None else self.projection(h_s)
            terms.append(Term("layers", options.beta, layers_distance(joined(h_t), joined(h_s)), inner=True))
        return terms

    # ------------------------------------------------------------------------------------------------- the teacher's step

    def quiz_loss(self, rows: Tensor, labels: Tensor, quiz: Tensor) -> Tensor:
        """L_T on the rows `quiz` of the student behind a virtual step on `rows`: a function of the teacher's parameters."""
        import torch

        from armada_cli.training.companion import trained_parameters, without_dropout
        from armada_cli.training.objective import task_loss

        student, teacher = self.setup.student, self.teacher.model
        own = dict(trained_parameters(student.module))
        taught = teacher(rows, hidden_states=self.hidden_states, parameters=dict(trained_parameters(teacher.module)))
        before = student(rows, hidden_states=self.hidden_states, parameters=own)
        loss = torch.stack([term.weight * term.value for term in self.addends(before, taught, labels)]).sum()
        gradients = torch.autograd.grad(loss, list(own.values()), create_graph=True, allow_unused=True)
        stepped = {
            name: value if gradient is None else value - self.rate * gradient
            for (name, value), gradient in zip(own.items(), gradients, strict=True)
        }
        with without_dropout(student.module):
            logits = student(quiz, parameters=stepped).logits
        return task_loss(self.setup.problem.kind, logits, self.setup.labels[quiz.to(self.setup.labels.device)])

    def drawn_quiz(self, batch: Batch) -> Tensor:
        """The quiz of a (micro-)batch: some of the quiz rows, without repetition."""
        import torch

        from armada_cli.training.processes import this_process

        name = f"quiz of step {batch.step}, row {int(batch.rows[0])}, process {this_process()}"
        chance = torch.Generator().manual_seed(self.setup.stream(name))
        count = self.options.quiz_batch or len(batch.rows)
        return self.quiz_rows[torch.randperm(len(self.quiz_rows), generator=chance)[:count]]

    def _learn_to_teach(self, batch: Batch, learned: Tensor) -> None:
        """Add this batch's gradient to the teacher's parameters; `learned` says which of its rows are not of the quiz, [n]."""
        import torch

        parameters = self.teacher.trained
        gradients: Any = [None] * len(parameters)
        if learned.any():
            rows, labels = batch.rows[learned.to(batch.rows.device)], batch.labels[learned.to(batch.labels.device)]
            loss = batch.share * self.quiz_loss(rows, labels, self.drawn_quiz(batch))
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            # Every process holds the same gradients, also one whose rows are all of the quiz.
            gradient = torch.zeros_like(parameter) if gradient is None else gradient
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        import torch

        learned = ~torch.isin(batch.rows.cpu(), self.quiz_rows)
        self._learn_to_teach(batch, learned)
        if batch.share == 1:
            self.teacher.step(batch.step, average=True)
        else:
            self.gathering = True
        nothing = not bool(learned.any())
        learned[0] |= nothing  # terms without weight, so that all processes have gradients of the same parameters
        kept = learned.to(output.logits.device)
        with torch.no_grad():
            taught = self.teacher.model(batch.rows[learned.to(batch.rows.device)], hidden_states=self.hidden_states)
        terms = self.addends(_rows_of(output, kept), taught, batch.labels[kept])
        return [replace(term, weight=0.0) for term in terms] if nothing else terms

    def after_step(self, step: int) -> None:
        if self.gathering:
            self.teacher.step(step)
            self.gathering = False

    def advice(self) -> dict[str, str]:
        return {
            "soft labels": "try a smaller alpha or temperature",
            "layers": f"try beta {{{self.options.beta} / ratio}}",
        }


def _rows_of(output: StudentOutput, kept: Tensor) -> StudentOutput:
    """The outputs of some rows."""
    states = output.hidden_states
    return StudentOutput(
        output.logits[kept], output.pooled[kept], None if states is None else tuple(state[kept] for state in states)
    )


CARD = Component(
    "metadistil",
    "A teacher that is trained by what its student would be after a step",
    "armada_cli.methods.metadistil:MetaDistil",
    MetaDistilOptions,
    WITH_LOGITS,
    reference="Zhou et al. 2022, BERT Learns to Teach",
    formula="(1 - alpha) L_T(y, z_s) + alpha Soft(z_t, z_s) + beta MSE(h_t, h_s); teacher: L_T of a quiz at w - r dL_s/dw",
)
