"""A method: beside its task, the student learns to foretell the teacher's vector from its own pooled output."""

from dataclasses import dataclass
from typing import ClassVar

from armada_cli import Component, Method, Term, hookimpl, option


@dataclass(frozen=True)
class HintOptions:
    needs_teacher: ClassVar[bool] = True

    weight: float = option(1.0, "Weight of the hint", minimum=0)


class Hint(Method):
    def __init__(self, options, setup):
        import torch

        super().__init__(options, setup)
        # A stream of its own: the head is the same in every trial of this seed, whatever else was drawn.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setup.stream("hint"))
            self.head = torch.nn.Linear(setup.hidden, setup.feature_width).to(setup.device)

    def student_modules(self):
        return {"hint": self.head}

    def terms(self, batch, output):
        from torch.nn import functional

        task = functional.cross_entropy(output.logits.float(), batch.labels)
        hint = functional.mse_loss(self.head(output.pooled.float()), batch.features)
        return [Term("task", 1.0, task, task=True), Term("hint", self.options.weight, hint)]


@hookimpl
def armada_methods():
    return [
        Component(
            "hint",
            "The student foretells the teacher's vector",
            "example_method:Hint",
            HintOptions,
            {"classification"},
            defaults={"lr": 1e-3},
        )
    ]
