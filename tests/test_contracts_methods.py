"""What a method can see and do beside its own student's outputs: peers, second-order steps, finished students, beginnings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from distributions import write_distribution
from running import by_method, plugins_changed, results, train
from safetensors import safe_open
from safetensors.torch import load_file

from armada_cli import Environment, Problem, Split
from armada_cli.execution.exporting import loading
from armada_cli.training import loop
from armada_cli.training.model import RowModel, encode

PROBES = '''
    from dataclasses import dataclass

    from armada_cli import Choice, Component, Method, Needs, NoOptions, Term, hookimpl, option


    @dataclass(frozen=True)
    class OtherOptions:
        other: Choice = option("bert-base", "Another student", component="student")


    @dataclass(frozen=True)
    class TeacherOptions(OtherOptions):
        def dependencies(self, trial):
            return {"teacher": Needs(self.other)}


    @dataclass(frozen=True)
    class RouteOptions(OtherOptions):
        def dependencies(self, trial):
            return {"teacher": Needs(self.other, epochs=True)}


    @dataclass(frozen=True)
    class BeginOptions:
        on: Choice = option(help="What the student is trained on first", component="task")

        def dependencies(self, trial):
            return {"start": Needs(trial.student, task=self.on)}


    class Plain(Method):
        def task(self, batch, output):
            from torch.nn.functional import cross_entropy

            return Term("task", 1.0, cross_entropy(output.logits.float(), batch.labels), task=True)

        def terms(self, batch, output):
            return [self.task(batch, output)]


    class Mutual(Plain):
        """A peer is trained in step with the student; each follows the other."""

        def __init__(self, options, setup):
            import torch

            super().__init__(options, setup)
            self.peer = setup.fresh(options.other, "peer")
            self.adam = torch.optim.AdamW(self.peer.module.parameters(), lr=1e-3)

        def own_modules(self):
            return {"peer": self.peer.module}

        def optimizers(self):
            return {"peer": self.adam}

        def terms(self, batch, output):
            from torch.nn.functional import cross_entropy, kl_div

            said = self.peer(batch.rows).logits
            own, other = output.logits.log_softmax(-1), said.log_softmax(-1)
            loss = cross_entropy(said, batch.labels) + kl_div(other, own.detach(), log_target=True, reduction="batchmean")
            (batch.share * loss).backward()
            follow = kl_div(own, other.detach(), log_target=True, reduction="batchmean")
            return [self.task(batch, output), Term("peer", 1.0, follow)]

        def after_step(self, step):
            self.adam.step()
            self.adam.zero_grad(set_to_none=True)


    class Ahead(Plain):
        """The loss after a virtual step of the student is a part of the objective."""

        def terms(self, batch, output):
            import torch

            model = self.setup.student
            own = {name: weight for name, weight in model.module.named_parameters() if weight.requires_grad}
            before = self.task(batch, model(batch.rows, parameters=own)).value
            slopes = torch.autograd.grad(before, list(own.values()), create_graph=True)
            moved = {name: weight - 0.1 * slope for (name, weight), slope in zip(own.items(), slopes, strict=True)}
            return [self.task(batch, output), Term("ahead", 0.5, self.task(batch, model(batch.rows, parameters=moved)).value)]


    class Looking(Plain):
        """Attentions and hidden states of a finished teacher, live and kept."""

        attentions = True
        hidden_states = True

        def __init__(self, options, setup):
            super().__init__(options, setup)
            self.teacher = setup.finished("teacher")
            self.kept = setup.cached("teacher", "mean:0,-1")
            self.first = setup.cached("teacher", "first:*")
            assert not any(weight.requires_grad for weight in self.teacher.module.parameters())
            assert self.first.shape[1] == 3

        def terms(self, batch, output):
            import torch
            from torch.nn.functional import mse_loss

            seen = self.teacher(batch.rows, hidden_states=True, attentions=True)
            assert len(seen.hidden_states) == 3 and not seen.logits.requires_grad
            mask = batch.mask[..., None].float()
            mean = (seen.hidden_states[-1] * mask).sum(1) / mask.sum(1)
            torch.testing.assert_close(self.kept[batch.rows][:, 1], mean, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(self.first[batch.rows][:, 1], seen.hidden_states[1][:, 0], rtol=1e-3, atol=1e-4)
            look = mse_loss(output.attentions[-1], seen.attentions[-1])
            state = mse_loss(output.hidden_states[-1], seen.hidden_states[-1])
            return [self.task(batch, output), Term("attention", 1.0, look), Term("states", 0.1, state)]


    class Route(Plain):
        """Follows the teacher's students of each epoch in turn."""

        def __init__(self, options, setup):
            super().__init__(options, setup)
            self.teachers = [setup.finished("teacher", epoch) for epoch in (1, 2)]

        def terms(self, batch, output):
            from torch.nn.functional import mse_loss

            first, last = (teacher(batch.rows).logits for teacher in self.teachers)
            assert not first.equal(last)
            chosen = first if batch.step < self.setup.steps // 2 else last
            return [self.task(batch, output), Term("route", 1.0, mse_loss(output.logits, chosen))]


    class Inside(Plain):
        """A module of the method changes the embeddings that the student reads, by the words of the batch."""

        def __init__(self, options, setup):
            import torch

            super().__init__(options, setup)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(setup.stream("words"))
                self.words = torch.nn.Embedding(4, setup.hidden)
            self.batch, self.splits = None, set()
            setup.student.module.base_model.embeddings.register_forward_hook(self.add)

        def add(self, module, inputs, output):
            if self.batch is None:
                return output
            return output + self.words(self.batch.inputs["input_ids"] % 4)

        def student_modules(self):
            return {"words": self.words}

        def inference_modules(self):
            return {"words": self.words}

        def before_forward(self, batch):
            self.batch = batch
            assert batch.features is None and (batch.step == -1) == (batch.split == "validation") != self.words.training


    class Fewer(Plain):
        """Trains on half of the rows."""

        @classmethod
        def training(cls, options, split, answers):
            assert answers == {}
            return split.take(range(0, len(split), 2))


    def card(name, target, options=NoOptions):
        return Component(name, f"A probe: {name}", f"armada_probes:{target}", options, {"classification"})


    @hookimpl
    def armada_methods():
        return [
            card("mutual", "Mutual", OtherOptions),
            card("ahead", "Ahead"),
            card("looking", "Looking", TeacherOptions),
            card("route", "Route", RouteOptions),
            card("begin", "Plain", BeginOptions),
            card("inside", "Inside"),
            card("fewer", "Fewer"),
        ]
'''


@pytest.fixture
def probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = write_distribution(tmp_path / "site", "armada-probes", {"armada_probes": PROBES}, {"probes": "armada_probes"})
    monkeypatch.syspath_prepend(folder)
    with plugins_changed():
        yield


def methods_of(name: str, student: Path, folder: Path) -> str:
    """A recipe's value for a probe."""
    if name in ("mutual", "looking", "route"):
        return f"[{{name: {name}, other: {{name: encoder, model: {student}}}}}]"
    if name == "begin":
        (folder / "texts.txt").write_text("\n".join(f"the ferry was {word} today" for word in "abcdefghijklmnopqrst"))
        return f"[undistilled, {{name: begin, on: {{name: texts, file: {folder / 'texts.txt'}, validation_share: 0.3}}}}]"
    return f"[{name}]"


ALL = ["mutual", "ahead", "looking", "route", "begin", "inside", "fewer"]


@pytest.mark.parametrize("name", ALL)
def test_a_probe_trains_and_goes_on_after_any_step_to_the_same_bytes(
    probes: None, recipe: Callable[..., Path], tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = recipe(methods=methods_of(name, tiny_student, tmp_path))
    whole = train(path, tmp_path / "whole")
    assert whole.status == 0, whole.err
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    real, steps = loop.Loop._step, iter(range(1000))

    def step(self: loop.Loop, number: int, rows: list[int]) -> float:
        if next(steps) in (3, 20):
            raise KeyboardInterrupt
        return real(self, number, rows)

    monkeypatch.setattr(loop.Loop, "_step", step)
    for _ in range(3):
        cut = train(path, tmp_path / "cut")
    assert cut.status == 0, cut.err
    assert next(steps) > 4
    assert results(tmp_path / "cut") == results(tmp_path / "whole")
    for weights in (tmp_path / "whole").glob("trials/*/**/*.safetensors"):
        assert weights.read_bytes() == (tmp_path / "cut" / weights.relative_to(tmp_path / "whole")).read_bytes()


def test_a_student_begins_from_masked_text_with_a_head_of_its_own(
    probes: None, recipe: Callable[..., Path], tiny_student: Path, tmp_path: Path
) -> None:
    slow = "{epochs: 1, batch_size: 16, lr: 1e-9, max_length: 32, log_every: 2}"
    ended = train(recipe(methods=methods_of("begin", tiny_student, tmp_path), train=slow), tmp_path / "runs")
    assert ended.status == 0, ended.err
    specs = {item.parent: json.loads(item.read_text()) for item in (tmp_path / "runs").glob("trials/*/spec.json")}
    (first,) = (folder for folder, spec in specs.items() if spec["build"]["task"]["name"] == "texts")
    (begun,) = (folder for folder, spec in specs.items() if spec["depends"])
    (plain,) = specs.keys() - {first, begun}
    body, own, usual = (load_file(folder / "student" / "model.safetensors") for folder in (first, begun, plain))
    embedding = "bert.embeddings.word_embeddings.weight"
    torch.testing.assert_close(own[embedding], body[embedding], rtol=0, atol=1e-5)
    torch.testing.assert_close(own[embedding], usual[embedding], rtol=0, atol=1e-5)
    assert {"cls.predictions.transform.dense.weight"} <= body.keys()
    assert own["classifier.weight"].shape == (2, 32)
    assert json.loads((first / "result.json").read_text())["metric"] == "perplexity"


def test_a_student_with_modules_of_its_method_says_that_it_needs_armada(
    probes: None, recipe: Callable[..., Path], tmp_path: Path
) -> None:
    assert train(recipe(methods="[inside]"), tmp_path / "runs").status == 0
    (found,) = by_method(tmp_path / "runs").values()
    assert found["needs_armada"] is True
    assert "the exported student needs armada: words of its method is a part of it" in found["warnings"]
    with safe_open(found["folder"] / "student" / "inference.safetensors", "pt") as file:
        assert list(file.keys()) == ["words/weight"]
    assert loading(found["folder"] / "student")[-1].startswith("# not yet the whole student")


def test_the_students_of_all_epochs_are_kept_and_the_last_is_the_student(
    probes: None, recipe: Callable[..., Path], tiny_student: Path, tmp_path: Path
) -> None:
    assert train(recipe(methods=methods_of("route", tiny_student, tmp_path)), tmp_path / "runs").status == 0
    (teacher,) = (path.parent.parent for path in (tmp_path / "runs").glob("trials/*/epochs/1"))
    first, last, student = (
        (teacher / place / "model.safetensors").read_bytes() for place in ("epochs/1", "epochs/2", "student")
    )
    assert first != last == student
    assert "epochs/1/model.safetensors" in json.loads((teacher / "digests.json").read_text())["files"]


def test_a_second_order_step_has_the_slope_of_finite_differences(tiny_student: Path) -> None:
    from armada_student_encoders.options import EncoderOptions
    from armada_student_encoders.student import Encoder

    student = Encoder(EncoderOptions(model=str(tiny_student)), Environment(offline=True))
    problem = Problem("classification", 2, ("a", "b"), 32)
    torch.manual_seed(0)
    module = student.build(problem).double().eval()
    split = Split([("the harbour was warm",), ("a dull teapot",)], [0, 1], ["", ""])
    model = RowModel(student, module, encode(student, problem, split), torch.device("cpu"))
    labels = torch.tensor([0, 1])

    def after_a_step(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        before = torch.nn.functional.cross_entropy(model([0, 1], parameters=weights).logits, labels)
        slopes = torch.autograd.grad(before, list(weights.values()), create_graph=True)
        moved = {name: weight - 0.5 * slope for (name, weight), slope in zip(weights.items(), slopes, strict=True)}
        return torch.nn.functional.cross_entropy(model([1, 0], parameters=moved).logits, labels.flip(0))

    own = {name: weight.detach().requires_grad_() for name, weight in module.named_parameters()}
    chance = torch.Generator().manual_seed(1)
    direction = {name: torch.randn(weight.shape, generator=chance, dtype=weight.dtype) for name, weight in own.items()}
    slopes = torch.autograd.grad(after_a_step(own), list(own.values()))
    slope = sum(float((one * direction[name]).sum()) for name, one in zip(own, slopes, strict=True))
    far = 1e-5
    ends = [
        after_a_step({name: (weight + sign * far * direction[name]).detach().requires_grad_() for name, weight in own.items()})
        for sign in (1, -1)
    ]
    measured = float((ends[0] - ends[1]).detach()) / (2 * far)
    assert abs(slope) > 1e-3
    assert slope == pytest.approx(measured, rel=1e-5)


def test_attentions_of_a_model_that_was_not_built_for_them_are_refused(tiny_student: Path) -> None:
    from armada_student_encoders.options import EncoderOptions
    from armada_student_encoders.student import Encoder

    student = Encoder(EncoderOptions(model=str(tiny_student)), Environment(offline=True))
    problem = Problem("classification", 2, ("a", "b"), 32)
    rows = encode(student, problem, Split([("a warm ferry",)], [0], [""]))
    model = RowModel(student, student.build(problem), rows, torch.device("cpu"))
    with pytest.raises(ValueError, match="attentions"):
        model([0], attentions=True)
