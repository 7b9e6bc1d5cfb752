"""The training loop on a student of two layers: what reaches the optimizer, when dropout is on, and whose weights stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from armada_cli import Problem, Setup, Student, StudentOutput
from armada_cli.contracts import Environment, NoOptions
from armada_cli.errors import Interrupted
from armada_cli.execution.assemble import make_accelerator
from armada_cli.methods.undistilled import Undistilled
from armada_cli.settings import Train
from armada_cli.training.evaluation import Scoring
from armada_cli.training.host import Host
from armada_cli.training.loop import Loop
from armada_cli.training.model import Encoded, RowModel
from armada_cli.training.optimizer import adamw
from armada_cli.training.precision import held_in
from armada_cli.training.schedule import learning_rate
from armada_cli.training.seeds import stream

ROWS, WIDTH = 24, 4


class Net(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.norm, self.head = nn.Linear(WIDTH, 6), nn.LayerNorm(6), nn.Linear(6, 2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pooled = self.dropout(self.norm(self.inner(x)).tanh())
        return self.head(pooled), pooled


class Toy(Student):
    """Rows are four numbers each. For every forward pass `modes` notes whether dropout was on, `types` the logits' type."""

    modes: list[bool]
    types: list[torch.dtype]

    def build(self, problem: Problem, weights: Path | None = None, *, new_head: bool = False) -> nn.Module:
        raise AssertionError("the tests bring the model along")

    def encode(self, texts: Sequence[tuple[str, ...]], problem: Problem) -> list[dict[str, Any]]:
        raise AssertionError("the tests bring the rows along")

    def pad(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return {"x": torch.stack([row["x"] for row in examples])}

    def forward(self, model: Any, batch: Any, hidden_states: bool = False, attentions: bool = False) -> StudentOutput:
        self.modes.append(model.training)
        logits, pooled = model(batch["x"])
        self.types.append(logits.dtype)
        return StudentOutput(logits, pooled)

    def save(self, model: nn.Module, problem: Problem, folder: Path) -> None:
        raise AssertionError("nothing is exported here")


def encoded(seed: int) -> Encoded:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, WIDTH, generator=generator)
    labels = torch.randint(2, (ROWS,), generator=generator)
    return Encoded([{"x": row} for row in x], [WIDTH] * ROWS, labels, labels.tolist())


def loop(
    folder: Path | None = None,
    scores: Sequence[float] = (),
    dropout: float = 0.0,
    stopping: Callable[[], bool] = lambda: False,
    metric: str = "accuracy",
    **settings: Any,
) -> Loop:
    """A training of eight rows a step, three steps an epoch. `scores` are what the validation split gives, epoch by epoch."""
    train = Train(**{"precision": "float32", "batch_size": 8, "epochs": 2, "lr": 1e-2, "warmup": 0.0, **settings})
    training, given, model = encoded(1), iter(scores), Net(dropout)
    student = Toy(NoOptions(), Environment())
    student.modes, student.types = [], []
    problem = Problem("classification", 2, ("a", "b"))
    made = Setup(
        problem=problem,
        hidden=6,
        feature_width=None,
        features=None,
        labels=training.labels,
        seed=0,
        train=train,
        losses=lambda choice: pytest.fail("no loss is asked for"),
        stream=lambda name: stream(0, name),
        steps=3 * train.epochs,
        learning_rate=lambda step: learning_rate(train, 3 * train.epochs, step),
    )
    task: Any = SimpleNamespace(
        metric=metric, labels=lambda: problem.labels, score=lambda outputs, labels: {metric: next(given)}
    )
    accelerator = make_accelerator(train, Environment(device="cpu"))
    return Loop(
        RowModel(student, model, training, accelerator.device, train.precision),
        Undistilled(NoOptions(), made),
        Scoring(task, encoded(2) if scores else None),
        None,
        train,
        0,
        Host(accelerator, folder, stopping=stopping),
    )


def observed(made: Loop) -> list[tuple[float, torch.Tensor]]:
    """Runs the training. The rate and the whole gradient of every optimizer step, as the optimizer found them."""
    found: list[tuple[float, torch.Tensor]] = []

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        gradient = torch.cat([p.grad.flatten().clone() for p in made.trainable if p.grad is not None])
        found.append((optimizer.param_groups[-1]["lr"], gradient))

    made.optimizer.register_step_pre_hook(note)
    made.run()
    return found


def weights(made: Loop) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in made.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_gradients_are_clipped_to_the_norm_that_is_set_and_zero_is_off() -> None:
    free = [float(gradient.norm()) for _, gradient in observed(loop(clip=0))]
    clipped = [float(gradient.norm()) for _, gradient in observed(loop(clip=0.01))]
    assert min(free) > 0.02
    assert clipped == pytest.approx([0.01] * 6, rel=1e-3)


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_micro_batches_give_the_optimizer_the_gradient_of_the_whole_batch(parts: int) -> None:
    """Of the losses alone one would not see a factor: AdamW takes it out again."""
    whole, divided = observed(loop(clip=0)), observed(loop(clip=0, accumulation=parts))
    torch.testing.assert_close(divided[0][1], whole[0][1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_every_step_is_taken_at_its_own_rate(schedule: str) -> None:
    made = loop(schedule=schedule, warmup=0.4)
    assert [rate for rate, _ in observed(made)] == [learning_rate(made.train, 6, step) for step in range(6)]


def test_dropout_is_on_in_every_epochs_steps_and_off_in_every_evaluation() -> None:
    made = loop(dropout=0.5, scores=[1, 2], evaluate="epoch")
    made.run()
    assert isinstance(made.student, Toy)
    assert made.student.modes == 2 * [True, True, True, False]


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_trained_in_bf16_is_scored_in_the_precision_of_its_weights(
    processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is what is exported. With several processes accelerate puts autocast around the model's own forward pass."""
    made = loop(scores=[1, 2], precision="bf16")
    with monkeypatch.context() as several:
        several.setattr(Accelerator, "num_processes", processes)
        made = loop(scores=[1, 2], precision="bf16")
    made.run()
    assert isinstance(made.student, Toy)
    assert made.student.types == 2 * [*3 * [torch.bfloat16], torch.float32]
    assert held_in(made.model) == "float32"
    validation = made.evaluation.scoring.validation
    assert validation is not None
    with torch.no_grad():
        alone = made.model.eval()(torch.stack([row["x"] for row in validation.rows]))[0]
    torch.testing.assert_close(made.evaluation.outputs(validation)[0], alone, rtol=0, atol=0)


def test_a_student_that_answers_every_row_alike_is_told_of_the_epoch_that_counts() -> None:
    made = loop(scores=[1, 2], lr=1e-9)
    with torch.no_grad():
        made.model.head.weight.zero_()
        made.model.head.bias.copy_(torch.tensor([0.0, 1.0]))
    outcome = made.run()
    assert outcome.sameness is not None
    assert outcome.sameness.startswith("the student gives all 24 evaluated rows the same answer (b)")
    assert loop(scores=[1, 2], lr=3e-2).run().sameness is None


def test_matrices_decay_and_vectors_do_not() -> None:
    model = Net(0.0)
    decay = {
        id(p): group["weight_decay"] for group in adamw(model.parameters(), 1e-3, 0.01).param_groups for p in group["params"]
    }
    assert {name: decay[id(p)] for name, p in model.named_parameters()} == {
        "inner.weight": 0.01,
        "inner.bias": 0.0,
        "norm.weight": 0.0,
        "norm.bias": 0.0,
        "head.weight": 0.01,
        "head.bias": 0.0,
    }


@pytest.mark.parametrize("scores", [[10, 30, 20, 5], [10, 30, 30, 30]])
def test_the_best_epochs_weights_are_kept_and_of_equals_the_first(scores: list[float]) -> None:
    short = loop(scores=scores, epochs=4, stopping=_after(6), schedule="constant")
    with pytest.raises(Interrupted):
        short.run()
    made = loop(scores=scores, epochs=4, select="best", schedule="constant")
    outcome = made.run()
    assert (outcome.selected, outcome.scores) == (2, {"accuracy": 30.0})
    assert same(weights(made), weights(short))


def test_of_a_metric_that_is_better_the_smaller_it_is_the_smallest_is_best() -> None:
    made = loop(scores=[0.9, 0.2, 0.4, 0.2], epochs=4, select="best", schedule="constant", metric="rmse")
    outcome = made.run()
    assert (outcome.selected, outcome.scores) == (2, {"rmse": 0.2})
    short = loop(scores=[0.9, 0.2], epochs=4, stopping=_after(6), schedule="constant", metric="rmse")
    with pytest.raises(Interrupted):
        short.run()
    assert same(weights(made), weights(short))


def test_the_last_epochs_weights_are_kept_where_nothing_else_is_said() -> None:
    made = loop(scores=[10, 30, 20, 5], epochs=4, schedule="constant")
    best = loop(scores=[10, 30, 20, 5], epochs=4, schedule="constant", select="best")
    assert (made.run().selected, best.run().selected) == (4, 2)
    assert not same(weights(made), weights(best))


@pytest.mark.parametrize("at", [4, 7, 9])
def test_a_training_that_goes_on_ends_with_the_weights_of_one_that_was_never_stopped(tmp_path: Path, at: int) -> None:
    """Those of its best epoch too, which lay before or behind the interruption."""
    scores = [10, 30, 20, 5]
    settings: dict[str, Any] = {"epochs": 4, "select": "best", "dropout": 0.3, "log_every": 2}
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = loop(tmp_path / "whole", scores, **settings)
    expected = whole.run()
    with pytest.raises(Interrupted):
        loop(tmp_path / "cut", scores, stopping=_after(at), **settings).run()
    again = loop(tmp_path / "cut", scores[at // 3 :], **settings)
    outcome = again.run()
    assert (outcome.epochs, outcome.selected) == (expected.epochs, expected.selected)
    assert same(weights(again), weights(whole))
    assert (tmp_path / "cut" / "log.jsonl").read_bytes() == (tmp_path / "whole" / "log.jsonl").read_bytes()


def _after(steps: int) -> Callable[[], bool]:
    """True from the given step on."""
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= steps
