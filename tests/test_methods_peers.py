"""Methods that train other models in step with the student: their losses derived again in float64, whose gradients flow where,
and what they train end to end."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from running import armada, by_method, results, train
from test_hard_methods import kill, students

from armada_cli import Batch, Setup, StudentOutput, Term
from armada_cli.conformance.problems import toy_model
from armada_cli.methods.dml import DML, DMLOptions
from armada_cli.settings import Train
from armada_cli.training.model import RowModel
from armada_cli.training.seeds import stream

Z_T, Z_S = torch.tensor([[math.log(3.0), 0.0]]).double(), torch.zeros(1, 2).double()
"""The teacher's and the student's logits for which KL(t || s) = .130812 and KL(s || t) = .143841."""

STEPS = 10
TRAIN = Train(batch_size=8, lr=1e-2, weight_decay=0.0, clip=0.0)


def make_setup(kind: str = "classification", settings: Train = TRAIN, **parts: Any) -> Setup:
    """A setup of toys in float64, by hand: `fresh` is given other seeds by its stream's name."""
    student = toy_model(kind, 1)
    student.module.double()
    labels = student.encoded.labels

    def fresh(choice: Any, name: str, start: str | None = None) -> RowModel:
        model = toy_model(kind, stream(0, name))
        model.module.double().train()
        return model

    return Setup(
        problem=student.student.problem,  # type: ignore[attr-defined]
        hidden=24,
        feature_width=None,
        features=None,
        labels=labels.double() if labels.is_floating_point() else labels,
        seed=0,
        train=settings,
        losses=lambda choice: choice,
        stream=lambda name: stream(0, name),
        steps=STEPS,
        learning_rate=lambda step: settings.lr * (1 - step / STEPS),
        student=student,
        **{"fresh": fresh, **parts},
    )


def batch_of(setup: Setup, rows: torch.Tensor, share: float = 1.0, step: int = 0) -> tuple[Batch, StudentOutput]:
    model = setup.student
    assert isinstance(model, RowModel)
    inputs = model.inputs(rows.tolist())
    output = model(rows, hidden_states=True)
    return Batch(rows, setup.labels[rows], None, step, share, inputs["attention_mask"], inputs), output


def total(terms: list[Term]) -> torch.Tensor:
    return torch.stack([term.weight * term.value for term in terms]).sum()


def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """KL of distributions [n, c] per example, written out."""
    return (p * (p.log() - q.log())).sum(-1).mean()


def weights(module: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def is_close(first: torch.Tensor, second: torch.Tensor, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(first.double(), second.double(), rtol=tolerance, atol=tolerance)


# -------------------------------------------------------------------------------------------------------------------- dml


def test_two_peers_add_the_known_divergences_to_their_losses() -> None:
    method = DML(DMLOptions(), make_setup())
    labels = torch.tensor([0])
    task, mutual = method.addends(Z_S, Z_T, labels)  # the second network is the fixture's teacher
    is_close(mutual, torch.tensor(0.130812))
    is_close(task, torch.tensor(math.log(2.0)))
    is_close(method.addends(Z_T, Z_S, labels)[1], torch.tensor(0.143841))


@pytest.mark.parametrize("kind", ["classification", "regression", "multilabel", "multiple-choice"])
def test_dml_is_its_formula(kind: str) -> None:
    setup = make_setup(kind)
    method = DML(DMLOptions(order="at-once"), setup)
    batch, output = batch_of(setup, torch.arange(8))
    own, other, labels = output.logits, method.peer.model(batch.rows).logits.detach(), batch.labels
    task, mutual = (term.value for term in method.terms(batch, output))
    if kind == "regression":
        expected = (own[:, 0] - labels).square().mean(), (own - other).square().mean()
    elif kind == "multilabel":
        p, q = own.sigmoid(), other.sigmoid()
        both = torch.stack([p, 1 - p], -1), torch.stack([q, 1 - q], -1)
        expected = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean(), kl(both[1], both[0])
    else:
        p, q = own.softmax(-1), other.softmax(-1)
        expected = -p[torch.arange(8), labels].log().mean(), kl(q, p)
    is_close(task, expected[0])
    is_close(mutual, expected[1])


def test_smoothed_labels_are_the_official_codes() -> None:
    setup = make_setup()
    method = DML(DMLOptions(variant="official"), setup)
    logits, labels = torch.randn(6, 3).double(), torch.arange(6) % 3
    target = torch.full((6, 3), 0.1 / 3).double()
    target[torch.arange(6), labels] += 0.9
    is_close(method.addends(logits, logits, labels)[0], -(target * logits.log_softmax(-1)).sum(-1).mean())


@pytest.mark.parametrize("order", ["in-turn", "at-once"])
def test_no_peer_gets_a_gradient_of_the_others_loss(order: str) -> None:
    setup = make_setup()
    method = DML(DMLOptions(order=order), setup)
    batch, output = batch_of(setup, torch.arange(8))
    terms = method.terms(batch, output)
    assert all(p.grad is None for p in setup.student.module.parameters())
    before = [None if p.grad is None else p.grad.clone() for p in method.peer.module.parameters()]
    total(terms).backward()
    for parameter, gradient in zip(method.peer.module.parameters(), before, strict=True):
        assert (parameter.grad is None) == (gradient is None)
        assert gradient is None or torch.equal(parameter.grad, gradient)  # type: ignore[arg-type]
    of_student = [p.grad.clone() for p in setup.student.module.parameters()]  # type: ignore[union-attr]
    method.after_step(0)
    for parameter, gradient in zip(setup.student.module.parameters(), of_student, strict=True):
        assert torch.equal(parameter.grad, gradient)  # type: ignore[arg-type]


@pytest.mark.parametrize(("order", "variant"), [("in-turn", "paper"), ("at-once", "paper"), ("in-turn", "official")])
def test_the_peer_learns_from_the_student_of_its_order(order: str, variant: str) -> None:
    """In turn it reads the student that has moved, at once the one that has not, on the rows of its variant."""
    setup = make_setup()
    method = DML(DMLOptions(order=order, variant=variant, peer_lr=3e-3), setup)
    copy_of_peer = copy.deepcopy(method.peer.module)
    rows = torch.arange(8)
    batch, output = batch_of(setup, rows)
    method.terms(batch, output)
    with torch.no_grad():
        for parameter in setup.student.module.parameters():
            parameter += 0.3
    moved = setup.student(rows).logits
    if variant == "official":
        rows = method.drawn_rows(8, 0, 0)
        assert not torch.equal(rows, torch.arange(8))
        assert not torch.equal(rows, method.drawn_rows(8, 1, 0))
        moved = setup.student(rows).logits
    method.after_step(0)
    source = moved if order == "in-turn" else output.logits
    twin = toy_model("classification", 0)
    twin.module = copy_of_peer
    logits = twin(rows).logits
    method.loss(logits, source, setup.labels[rows]).backward()
    adam = torch.optim.AdamW(copy_of_peer.parameters(), lr=3e-3, weight_decay=0.0)
    adam.step()
    for own, expected in zip(method.peer.module.parameters(), copy_of_peer.parameters(), strict=True):
        is_close(own, expected, 1e-9)


@pytest.mark.parametrize("order", ["in-turn", "at-once"])
def test_micro_batches_give_the_peer_the_gradient_of_the_whole_batch(order: str) -> None:
    whole, parts = (DML(DMLOptions(order=order), make_setup()) for _ in range(2))
    whole.terms(*batch_of(whole.setup, torch.arange(8)))
    for rows in (torch.arange(2), torch.arange(2, 8)):
        parts.terms(*batch_of(parts.setup, rows, share=len(rows) / 8))
    for method in (whole, parts):
        method.after_step(0)
    for one, other in zip(whole.peer.module.parameters(), parts.peer.module.parameters(), strict=True):
        is_close(one, other, 1e-9)


def test_identical_peers_stay_identical_on_identical_batches() -> None:
    setup = make_setup()
    method = DML(DMLOptions(order="at-once"), setup)
    student, peer = setup.student.module, method.peer.module
    peer.load_state_dict(student.state_dict())
    adam = torch.optim.AdamW(student.parameters(), lr=TRAIN.lr, weight_decay=0.0)
    start = weights(student)
    for step in range(5):
        terms = method.terms(*batch_of(setup, torch.arange(step, step + 8), step=step))
        assert float(terms[1].value.detach()) == pytest.approx(0, abs=1e-12)
        total(terms).backward()
        adam.param_groups[0]["lr"] = setup.learning_rate(step)
        adam.step()
        adam.zero_grad()
        method.after_step(step)
    for one, other, before in zip(student.parameters(), peer.parameters(), start, strict=True):
        is_close(one, other, 1e-12)
        assert not torch.equal(one, before)


# ------------------------------------------------------------------------------------------------------------- end to end

SETTINGS = "{epochs: 2, batch_size: 8, lr: 1e-3, log_every: 1, max_length: 32, precision: float32}"
LIMIT = "{train: 40, validation: 16}"

METHODS = {
    "dml": "",
    "dml-large": "name: dml, peer: LARGE, variant: official",
}
"""Case -> its options beside the name, where LARGE is a wider and deeper student than the one that is trained."""

TRIALS = {"dml": 1, "dml-large": 1}


@pytest.fixture(scope="session")
def larger_student(tmp_path_factory: pytest.TempPathFactory, tiny_student: Path) -> Path:
    """An MPNet of four layers and width 48: other layers, another width and another tokenizer than the tiny student's."""
    from transformers import MPNetConfig, MPNetModel, MPNetTokenizerFast

    folder = tmp_path_factory.mktemp("larger")
    words = (tiny_student / "vocab.txt").read_text(encoding="utf-8").split()
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *(word for word in words if not word.startswith("["))]
    MPNetTokenizerFast(vocab={word: number for number, word in enumerate(vocabulary)}).save_pretrained(folder)
    torch.manual_seed(8)
    config = MPNetConfig(
        vocab_size=len(vocabulary),
        hidden_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    MPNetModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def write(recipe: Callable[..., Path], tiny_student: Path, larger_student: Path) -> Callable[..., Path]:
    """The recipe of a case of `METHODS`."""

    def write(case: str, **lines: str) -> Path:
        options = METHODS[case].replace("LARGE", f"{{name: encoder, model: {larger_student}}}")
        named = options if options.startswith("name:") else f"name: {case}{', ' * bool(options)}{options}"
        return recipe(methods=f"[{{{named}}}]", **{"train": SETTINGS, "limit": LIMIT, "teacher": "null", **lines})

    return write


@pytest.mark.parametrize("case", METHODS)
def test_it_trains_with_a_teacher_of_another_width(write: Callable[..., Path], tmp_path: Path, case: str) -> None:
    done = train(write(case), tmp_path / "runs")
    assert done.status == 0, done.err
    assert len(results(tmp_path / "runs")) == TRIALS[case]


@pytest.mark.slow
@pytest.mark.parametrize("case", METHODS)
def test_killed_it_goes_on_to_the_same_bytes(write: Callable[..., Path], tmp_path: Path, case: str) -> None:
    path = write(case, train=SETTINGS.replace("epochs: 2", "epochs: 3"))
    whole = train(path, tmp_path / "whole")
    assert whole.status == 0, whole.err
    for moment in random.Random(case).sample(range(2, 15 * TRIALS[case] - 7), 2):
        runs = tmp_path / f"killed-{moment}"
        kill(path, runs, moment)
        again = train(path, runs)
        assert again.status == 0, again.err
        assert results(runs) == results(tmp_path / "whole")
        assert students(runs) == students(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("case", METHODS)
def test_its_recipe_has_a_smoke_run(write: Callable[..., Path], tmp_path: Path, case: str) -> None:
    done = armada("run", write(case), "--runs", tmp_path / "runs", "--workers", "0", "--smoke")
    assert done.status == 0, done.err


def test_the_report_shows_how_large_the_other_network_is(write: Callable[..., Path], tmp_path: Path) -> None:
    assert train(write("dml-large"), tmp_path / "runs").status == 0
    (result,) = by_method(tmp_path / "runs").values()
    assert result["parameters"]["own"]["peer"] > result["parameters"]["student"]


@pytest.mark.parametrize("case", METHODS)
def test_generation_is_refused_before_anything_is_loaded(write: Callable[..., Path], tmp_path: Path, case: str) -> None:
    found = armada("check", write(case, tasks="[dolly]", student="smollm2-offline"), "--runs", tmp_path / "runs")
    assert found.status == 2
    assert "cannot train" in found.err
