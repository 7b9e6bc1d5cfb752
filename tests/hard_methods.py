"""Small methods that need what only a few methods of the literature need. A local file of the tests' recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.nn import functional

from armada_cli import Batch, Choice, Method, Needs, Planned, Setup, Split, StudentOutput, Term, choose, option


def hard_labels(batch: Batch, output: StudentOutput, weight: float = 1.0) -> Term:
    return Term("task", weight, functional.cross_entropy(output.logits, batch.labels), task=True)


def soft_labels(teacher: torch.Tensor, output: StudentOutput) -> Term:
    """The divergence from a teacher's logits, per example."""
    p, q = output.logits.log_softmax(-1), teacher.to(output.logits.device).log_softmax(-1)
    return Term("soft labels", 0.5, functional.kl_div(p, q, log_target=True, reduction="batchmean"))


class Assistant(Method):
    """A chain of three trials: the student learns from an assistant, which learned from a teacher (TAKD)."""

    @dataclass(frozen=True)
    class Options:
        teacher: Choice = option(help="The largest model", component="student")
        assistant: Choice = option(help="The one between", component="student")

        def dependencies(self, trial: Planned) -> dict[str, Needs]:
            return {"assistant": Needs(self.assistant, choose("method", "kd", teacher=self.teacher))}

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        return [
            hard_labels(batch, output, 0.5),
            soft_labels(self.setup.cached("assistant", "logits")[batch.rows.cpu()], output),
        ]


class OfAnotherMethod(Method):
    """Learns from a student that another method trained, with the same seed (SFTN)."""

    @dataclass(frozen=True)
    class Options:
        method: Choice = option("parameter-matched", "How the teacher is trained", component="method")

        def dependencies(self, trial: Planned) -> dict[str, Needs]:
            return {"teacher": Needs(trial.student, self.method, seed=trial.seed)}

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        return [hard_labels(batch, output), soft_labels(self.setup.cached("teacher", "logits")[batch.rows.cpu()], output)]


class Route(Method):
    """Learns from the teacher of an earlier epoch first, then from that of a later one (RCO)."""

    @dataclass(frozen=True)
    class Options:
        teacher: Choice = option(help="The text teacher", component="student")

        def dependencies(self, trial: Planned) -> dict[str, Needs]:
            return {"teacher": Needs(self.teacher, epochs=True)}

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        epochs = self.setup.train.epochs
        epoch = 1 + batch.step * epochs // self.setup.steps
        with torch.no_grad():
            logits = self.setup.finished("teacher", epoch=epoch)(batch.rows).logits
        return [hard_labels(batch, output), soft_labels(logits, output)]


class Peers(Method):
    """A peer is trained in step with the student, each on the other's outputs (DML)."""

    @dataclass(frozen=True)
    class Options:
        peer: Choice = option(help="The other model", component="student")

    def __init__(self, options: Any, setup: Setup) -> None:
        super().__init__(options, setup)
        self.peer = setup.fresh(options.peer, "peer")
        self.adam = torch.optim.AdamW(self.peer.module.parameters(), lr=1e-3)

    def own_modules(self) -> dict[str, torch.nn.Module]:
        return {"peer": self.peer.module}

    def optimizers(self) -> dict[str, Any]:
        return {"peer": self.adam}

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        other = self.peer(batch.rows)
        loss = functional.cross_entropy(other.logits, batch.labels) + 0.5 * soft_labels(output.logits.detach(), other).value
        (batch.share * loss).backward()
        return [hard_labels(batch, output), soft_labels(other.logits.detach(), output)]

    def after_step(self, step: int) -> None:
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)


class Virtual(Method):
    """A teacher is trained by what the student would be after a step on its labels: a second-order step (MetaDistil)."""

    rate: ClassVar[float] = 0.05

    @dataclass(frozen=True)
    class Options:
        teacher: Choice = option(help="The co-trained teacher", component="student")

    def __init__(self, options: Any, setup: Setup) -> None:
        super().__init__(options, setup)
        self.teacher = setup.fresh(options.teacher, "teacher")
        self.sgd = torch.optim.SGD(self.teacher.module.parameters(), lr=0.1)

    def own_modules(self) -> dict[str, torch.nn.Module]:
        return {"teacher": self.teacher.module}

    def optimizers(self) -> dict[str, Any]:
        return {"teacher": self.sgd}

    def quiz(self, rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of the student behind a virtual step, as a function of the teacher's parameters."""
        student = self.setup.student
        own = {name: value for name, value in student.module.named_parameters() if value.requires_grad}
        before = student(rows, parameters=own)
        taught = soft_labels(self.teacher(rows, parameters=dict(self.teacher.module.named_parameters())).logits, before).value
        gradients = torch.autograd.grad(taught, list(own.values()), create_graph=True, allow_unused=True)
        stepped = {
            name: value if gradient is None else value - self.rate * gradient
            for (name, value), gradient in zip(own.items(), gradients, strict=True)
        }
        return functional.cross_entropy(student(rows, parameters=stepped).logits, labels)

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        parameters = list(self.teacher.module.parameters())
        gradients = torch.autograd.grad(self.quiz(batch.rows, batch.labels), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        with torch.no_grad():
            logits = self.teacher(batch.rows).logits
        return [hard_labels(batch, output), soft_labels(logits, output)]

    def after_step(self, step: int) -> None:
        self.sgd.step()
        self.sgd.zero_grad(set_to_none=True)


class Attentive(Method):
    """Compares attentions and all hidden states with those of a live, finished teacher (TinyBERT)."""

    hidden_states = True
    attentions = True

    @dataclass(frozen=True)
    class Options:
        teacher: Choice = option(help="The text teacher", component="student")

        def dependencies(self, trial: Planned) -> dict[str, Needs]:
            return {"teacher": Needs(self.teacher)}

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        with torch.no_grad():
            teacher = self.setup.finished("teacher")(batch.rows, hidden_states=True, attentions=True)
        assert output.hidden_states is not None
        assert teacher.hidden_states is not None
        assert output.attentions is not None
        assert teacher.attentions is not None
        pairs = [
            *zip(output.hidden_states, teacher.hidden_states, strict=True),
            *zip(output.attentions, teacher.attentions, strict=True),
        ]
        distance = torch.stack([functional.mse_loss(own.float(), other.float()) for own, other in pairs]).mean()
        return [hard_labels(batch, output), Term("layers", 1.0, distance)]


class Answered(Method):
    """Learns from the answers of a finished student, in the place of the task's own (SeqKD)."""

    @dataclass(frozen=True)
    class Options:
        teacher: Choice = option(help="Who answers", component="student")

        def dependencies(self, trial: Planned) -> dict[str, Needs]:
            return {"teacher": Needs(self.teacher, answers=True)}

    @classmethod
    def training(cls, options: Any, split: Split, answers: Mapping[str, Sequence[str]]) -> Split:
        texts = [(prompt, answer) for (prompt, *_), answer in zip(split.texts, answers["teacher"], strict=True)]
        return Split(texts, split.labels, split.teacher_inputs)

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        assert output.loss is not None
        return [Term("task", 1.0, output.loss, task=True)]


class Begun(Method):
    """Begins from a student that was pre-trained on masked text (vokenization)."""

    @dataclass(frozen=True)
    class Options:
        texts: Choice = option(help="The text", component="task")

        def dependencies(self, trial: Planned) -> dict[str, Needs]:
            return {"start": Needs(trial.student, task=self.texts)}

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        return [hard_labels(batch, output)]
