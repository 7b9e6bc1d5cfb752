"""A small method whose module reads the teacher's vectors inside the student, also when it answers. A local file of recipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.nn import functional

from armada_cli import Batch, Choice, Method, Needs, Planned, Setup, StudentOutput, Term, option


class Reads(Method):
    """Adds a linear map of h_t to the logits, by a hook on the student."""

    @dataclass(frozen=True)
    class Options:
        needs_teacher: ClassVar[bool] = True
        features_at_inference: ClassVar[bool] = True

    def __init__(self, options: Any, setup: Setup) -> None:
        super().__init__(options, setup)
        assert setup.feature_width is not None
        self.map = torch.nn.Linear(setup.feature_width, setup.problem.outputs)
        torch.nn.init.zeros_(self.map.weight)
        torch.nn.init.zeros_(self.map.bias)
        self.h_t: torch.Tensor | None = None
        head = [module for module in setup.student.module.modules() if isinstance(module, torch.nn.Linear)][-1]
        head.register_forward_hook(lambda module, inputs, logits: logits + self.map(self.h_t))

    def student_modules(self) -> dict[str, torch.nn.Module]:
        return {"map": self.map}

    def inference_modules(self) -> dict[str, torch.nn.Module]:
        return {"map": self.map}

    def before_forward(self, batch: Batch) -> None:
        assert batch.features is not None
        self.h_t = batch.features

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        return [Term("task", 1.0, functional.cross_entropy(output.logits, batch.labels), task=True)]


class Builds(Method):
    """Needs the student of another method."""

    @dataclass(frozen=True)
    class Options:
        method: Choice = option(help="How the other is trained", component="method")
        needs_teacher: ClassVar[bool] = True
        reads_features: ClassVar[bool] = False

        def dependencies(self, trial: Planned) -> dict[str, Needs]:
            return {"other": Needs(trial.student, self.method)}

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        assert batch.features is None
        self.setup.cached("other", "logits")
        return [Term("task", 1.0, functional.cross_entropy(output.logits, batch.labels), task=True)]
