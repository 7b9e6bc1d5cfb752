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
from running import armada, by_method, kept_bytes, results, train
from test_hard_methods import kill

from armada_cli import Batch, Environment, Model, Problem, Setup, Split, StudentOutput, Term, UserError
from armada_cli.conformance.problems import toy_model
from armada_cli.methods.dml import DML, DMLOptions
from armada_cli.methods.metadistil import MetaDistil, MetaDistilOptions
from armada_cli.methods.prokt import ProKT, ProKTOptions
from armada_cli.methods.sftn_teacher import SFTNTeacher, SFTNTeacherOptions
from armada_cli.settings import Train
from armada_cli.training.branch import Branch
from armada_cli.training.model import RowModel, encode
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
        **{"student": student, "fresh": fresh, **parts},
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
        is_close(own, expected)


@pytest.mark.parametrize("order", ["in-turn", "at-once"])
def test_micro_batches_give_the_peer_the_gradient_of_the_whole_batch(order: str) -> None:
    whole, parts = (DML(DMLOptions(order=order), make_setup()) for _ in range(2))
    whole.terms(*batch_of(whole.setup, torch.arange(8)))
    for rows in (torch.arange(2), torch.arange(2, 8)):
        parts.terms(*batch_of(parts.setup, rows, share=len(rows) / 8))
    for method in (whole, parts):
        method.after_step(0)
    for one, other in zip(whole.peer.module.parameters(), parts.peer.module.parameters(), strict=True):
        is_close(one, other)


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


# ------------------------------------------------------------------------------------------------------------------ prokt


def prokt(setup: Setup, **options: Any) -> ProKT:
    return ProKT(ProKTOptions(**{"zero_heads": False, **options}), setup)


def logits_by_hand(module: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """What a toy of `module` answers, with a gradient."""
    model = toy_model("classification", 0)
    model.module = module
    return model(rows).logits


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0])
def test_the_teacher_moves_first_and_gives_the_students_targets(strength: float) -> None:
    setup = make_setup()
    method = prokt(setup, strength=strength, teacher_lr=3e-3)
    twin = copy.deepcopy(method.teacher.module)
    batch, output = batch_of(setup, torch.arange(8))
    (term,) = method.terms(batch, output)
    p_s, log_q = output.logits.detach().softmax(-1), logits_by_hand(twin, batch.rows).log_softmax(-1)
    hard = -log_q[torch.arange(8), batch.labels].mean()
    soft = (p_s * (p_s.log() - log_q)).sum(-1).mean()
    ((1 - strength) * hard + strength * soft).backward()
    torch.optim.AdamW(twin.parameters(), lr=3e-3, weight_decay=0.0).step()
    for own, expected in zip(method.teacher.module.parameters(), twin.parameters(), strict=True):
        is_close(own, expected)
    is_close(term.value, kl(logits_by_hand(twin, batch.rows).softmax(-1), output.logits.softmax(-1)))
    assert term.weight == 1
    method.after_step(0)
    for own, expected in zip(method.teacher.module.parameters(), twin.parameters(), strict=True):
        is_close(own, expected)  # no second step


def test_zeroed_heads_agree_and_know_nothing() -> None:
    setup = make_setup()
    method = prokt(setup, zero_heads=True, strength=0.0, teacher_lr=1e-12)
    batch, output = batch_of(setup, torch.arange(8))
    z_t = method.teacher.model(batch.rows).logits
    is_close(method.teacher_loss(z_t, output.logits, batch.labels), torch.tensor(math.log(3.0)))
    (term,) = method.terms(batch, output)
    assert float(term.value.detach()) == pytest.approx(0, abs=1e-10)
    method.options = ProKTOptions(strength=1.0)
    assert float(method.teacher_loss(z_t, output.logits, batch.labels).detach()) == pytest.approx(0, abs=1e-10)


def test_the_known_divergences_are_the_teachers_and_the_students() -> None:
    setup = make_setup()
    method = prokt(setup, strength=1.0)
    is_close(method.teacher_loss(Z_T, Z_S, torch.tensor([0])), torch.tensor(0.143841))


def test_prokts_gradients_stay_where_they_belong() -> None:
    setup = make_setup()
    method = prokt(setup)
    terms = method.terms(*batch_of(setup, torch.arange(8)))
    assert all(p.grad is None for p in setup.student.module.parameters())
    total(terms).backward()
    assert all(p.grad is None for p in method.teacher.module.parameters())
    assert all(p.grad is not None for p in setup.student.module.parameters())


def test_with_micro_batches_the_teacher_moves_behind_them_all() -> None:
    whole, parts = prokt(make_setup()), prokt(make_setup())
    whole.terms(*batch_of(whole.setup, torch.arange(8)))
    before = weights(parts.teacher.module)
    for rows in (torch.arange(2), torch.arange(2, 8)):
        parts.terms(*batch_of(parts.setup, rows, share=len(rows) / 8))
        assert all(torch.equal(p, old) for p, old in zip(parts.teacher.module.parameters(), before, strict=True))
    parts.after_step(0)
    for one, other in zip(whole.teacher.module.parameters(), parts.teacher.module.parameters(), strict=True):
        is_close(one, other)


def test_a_teacher_without_the_students_pull_is_plainly_fine_tuned() -> None:
    setup = make_setup()
    method = prokt(setup, strength=0.0)
    plain = copy.deepcopy(method.teacher.module)
    adam = torch.optim.AdamW(plain.parameters(), lr=TRAIN.lr, weight_decay=0.0)
    for step in range(5):
        rows = torch.arange(step, step + 8)
        method.terms(*batch_of(setup, rows, step=step))
        with torch.no_grad():
            for parameter in setup.student.module.parameters():
                parameter += 0.1
        adam.param_groups[0]["lr"] = setup.learning_rate(step)
        torch.nn.functional.cross_entropy(logits_by_hand(plain, rows), setup.labels[rows]).backward()
        adam.step()
        adam.zero_grad()
    for one, other in zip(plain.parameters(), method.teacher.module.parameters(), strict=True):
        is_close(one, other)


# ------------------------------------------------------------------------------------------------------------------- sftn


def sftn_teacher(setup: Setup, **options: Any) -> SFTNTeacher:
    method = SFTNTeacher(SFTNTeacherOptions(**options), setup)
    method.branches.double()
    return method


@pytest.mark.parametrize("direction", ["to-branch", "to-teacher"])
def test_the_friendly_teachers_terms_are_its_formula(direction: str) -> None:
    setup = make_setup()
    method = sftn_teacher(setup, direction=direction)
    batch, output = batch_of(setup, torch.arange(8))
    task, divergence, labels = method.terms(batch, output)
    assert (task.weight, divergence.weight, labels.weight) == (1, 3, 1)
    (z_branch,) = method.branch_logits(batch, output)
    p, q = output.logits.softmax(-1), z_branch.softmax(-1)
    is_close(task.value, -p[torch.arange(8), batch.labels].log().mean())
    is_close(labels.value, -q[torch.arange(8), batch.labels].log().mean())
    is_close(divergence.value, kl(p, q) if direction == "to-branch" else kl(q, p))


def test_a_branch_is_the_students_upper_layers_on_the_teachers_states() -> None:
    setup = make_setup()
    method = sftn_teacher(setup)
    batch, output = batch_of(setup, torch.arange(8))
    assert output.hidden_states is not None
    (branch,) = method.branches
    assert method.taps == [1]
    state = branch.adapter(output.hidden_states[1])
    is_close(method.branch_logits(batch, output)[0], branch.module.head(branch.module.layers[1].forward(state).mean(-2)))
    below = [name for name, p in branch.module.named_parameters() if not p.requires_grad]
    assert below == ["embedding.weight"]  # the layer below is gone


def test_the_branchs_loss_moves_the_teacher_below_its_tap_and_not_above() -> None:
    setup = make_setup()
    method = sftn_teacher(setup)
    module: Any = setup.student.module
    labels = method.terms(*batch_of(setup, torch.arange(8)))[2]
    labels.value.backward()
    assert float(module.layers[0][0].weight.grad.abs().max()) > 0
    assert module.layers[1][0].weight.grad is None
    assert module.head.weight.grad is None
    assert all(p.grad is not None for p in method.branches.parameters() if p.requires_grad)


def test_branches_without_weight_leave_a_plain_training() -> None:
    setup = make_setup()
    method = sftn_teacher(setup, branch_kl=0.0, branch_labels=0.0)
    batch, output = batch_of(setup, torch.arange(8))
    plain = torch.autograd.grad(
        torch.nn.functional.cross_entropy(output.logits, batch.labels),
        list(setup.student.module.parameters()),
        retain_graph=True,
    )
    total(method.terms(batch, output)).backward()
    for parameter, gradient in zip(setup.student.module.parameters(), plain, strict=True):
        is_close(parameter.grad, gradient)  # type: ignore[arg-type]


ARCHITECTURES = ["Bert", "Roberta", "MPNet", "DistilBert", "DebertaV2", "Electra"]


@pytest.mark.parametrize("kind", ["classification", "multiple-choice"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_students_of_these_architectures_can_be_cut(name: str, kind: str, tiny_student: Path, tmp_path: Path) -> None:
    """`Branch` itself compares what they answer with the whole student's; the longer states of another model go through too."""
    model = encoder_of(name, kind, tiny_student, tmp_path)
    whole = sum(p.numel() for p in model.module.parameters())
    branch = Branch(model, 2, 20, choices=kind == "multiple-choice")
    lead = (3, 2) if kind == "multiple-choice" else (3,)
    logits = branch(torch.randn(*lead, 7, 20), torch.ones(*lead, 7, dtype=torch.long))
    assert logits.shape == (3, 2)
    logits.sum().backward()
    trained = [p for p in branch.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    assert sum(p.numel() for p in trained) < 0.7 * whole


def test_a_student_that_runs_one_layer_again_and_again_is_refused(tiny_student: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="AlbertForSequenceClassification keeps its 4 layers in no list"):
        Branch(encoder_of("Albert", "classification", tiny_student, tmp_path), 2, 20)


def test_a_student_whose_answers_pass_its_layers_by_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy_model("classification", 0)
    forward = model.student.forward

    def leaking(module: Any, batch: Any, *arguments: Any, **asked: Any) -> StudentOutput:
        output = forward(module, batch, *arguments, **asked)
        output.logits = output.logits + module.embedding(batch["input_ids"]).sum((-1, -2))[:, None]
        return output

    monkeypatch.setattr(model.student, "forward", leaking)
    with pytest.raises(UserError, match="ToyModel cannot be cut below its layer 1: on its own states"):
        Branch(model, 1, 20)


def encoder_of(name: str, kind: str, tiny_student: Path, folder: Path) -> Any:
    """A student of four layers of an architecture of transformers, with random weights."""
    import transformers
    from armada_student_encoders.options import EncoderOptions
    from armada_student_encoders.student import Encoder

    words = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "embedding_size": 32,
        "max_position_embeddings": 64,
        "hidden_dim": 48,
        "dim": 32,
        "n_layers": 4,
        "n_heads": 2,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "conv_kernel_size": 3,
    }
    known = getattr(transformers, f"{name}Config")()
    config = type(known)(**{key: value for key, value in words.items() if hasattr(known, key) or key == "conv_kernel_size"})
    torch.manual_seed(5)
    made = getattr(transformers, f"{name}Model")(config)
    with torch.no_grad():
        for parameter in made.parameters():  # a fresh model's layers hardly do anything
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    made.save_pretrained(folder)
    for file in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        (folder / file).write_bytes((tiny_student / file).read_bytes())
    student = Encoder(EncoderOptions(model=str(folder)), Environment(offline=True))
    problem = Problem(kind, 2, ("a", "b"))
    module = student.build(problem)
    rows = [("the ferry was late", "what a view"), ("a warm day", "a dull one")] * 2
    split = Split([(a, b, b) for a, b in rows] if kind == "multiple-choice" else rows, [0, 1, 0, 1], [""] * 4)
    return RowModel(student, module, encode(student, problem, split), torch.device("cpu"))


# ------------------------------------------------------------------------------------------------------------- metadistil


class Scalar(Model):
    """A model of one number w, which it answers to every row."""

    def __init__(self, value: float) -> None:
        self.module = torch.nn.Module()
        self.module.w = torch.nn.Parameter(torch.tensor(value).double())

    def __call__(self, rows: Any, *, parameters: Any = None, **asked: Any) -> StudentOutput:
        w = self.module.w if parameters is None else parameters["w"]
        return StudentOutput(w.expand(len(rows), 1), torch.zeros(len(rows), 1))

    def inputs(self, rows: Any) -> dict[str, torch.Tensor]:
        return {}


def metadistil(setup: Setup, **options: Any) -> MetaDistil:
    method = MetaDistil(MetaDistilOptions(**{"beta": 0.0, **options}), setup)
    if method.projection is not None:
        method.projection.double()
    return method


def test_the_teachers_gradient_of_one_number_is_the_known_one() -> None:
    """w = 0, t = 1, loss (w - t)^2 / 2, a step of .1, quiz (w' - 2)^2 / 2: dL/dt = -.19, where a first-order method has 0. Our
    squared errors have no half in them: a step of .05, and twice the gradient."""
    setup = make_setup("regression", student=Scalar(0.0), fresh=lambda *_, **__: Scalar(1.0))
    setup.labels[:] = 2.0
    method = metadistil(setup, alpha=1.0, virtual_lr=0.05)
    rows = torch.arange(4)
    loss = method.quiz_loss(rows, setup.labels[rows], torch.tensor([5, 6]))
    (gradient,) = torch.autograd.grad(loss, [method.teacher.module.w])
    is_close(gradient / 2, torch.tensor(-0.19))


def test_the_official_soft_term_has_the_known_values() -> None:
    official, paper = (metadistil(make_setup(), variant=variant, temperature=1.0) for variant in ("official", "paper"))
    is_close(official.soft(Z_T, Z_S), torch.tensor(0.0625))
    is_close(paper.soft(Z_T, Z_S), torch.tensor(0.130812))
    official.options = MetaDistilOptions(variant="official", temperature=2.0)
    is_close(official.soft(Z_T, Z_S), torch.tensor(0.071797))
    assert float(official.soft(Z_T, Z_T)) == 0


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_the_students_loss_is_its_formula(variant: str) -> None:
    setup = make_setup()
    method = metadistil(setup, beta=100.0, variant=variant)
    rows = torch.tensor([row for row in range(24) if row not in method.quiz_rows.tolist()][:8])
    batch, output = batch_of(setup, rows)
    terms = {term.name: (term.weight, term.value) for term in method.terms(batch, output)}
    with torch.no_grad():
        taught = method.teacher.model(rows, hidden_states=True)  # the teacher that has moved
    p_t, p_s = (taught.logits / 5).softmax(-1), (output.logits / 5).softmax(-1)
    soft = 25 * kl(p_t, p_s) if variant == "paper" else 25 * (p_t - p_s).square().mean()
    h_s, h_t = output.hidden_states[1][:, 0], taught.hidden_states[1][:, 0]  # type: ignore[index]
    cosine = (h_s * h_t).sum(-1) / (h_s.norm(dim=-1) * h_t.norm(dim=-1))
    assert {name: weight for name, (weight, _) in terms.items()} == {"task": 0.5, "soft labels": 0.5, "layers": 100}
    is_close(terms["task"][1], -output.logits.log_softmax(-1)[torch.arange(8), batch.labels].mean())
    is_close(terms["soft labels"][1], soft)
    is_close(terms["layers"][1], (2 * (1 - cosine) / 24).mean())


def test_the_teacher_moves_along_the_gradient_through_the_virtual_step() -> None:
    """The same by torch's functional transforms, on the module's own layers, in float64."""
    from torch.func import functional_call, grad

    setup = make_setup()
    method = metadistil(setup, virtual_lr=0.5, temperature=2.0)
    rows, quiz = torch.arange(8), torch.tensor([20, 21, 22])
    inputs = setup.student.inputs(range(24))["input_ids"]  # type: ignore[attr-defined]
    student, teacher = setup.student.module, method.teacher.module

    class Pass(torch.nn.Module):
        def __init__(self, module: Any) -> None:
            super().__init__()
            self.module = module

        def forward(self, which: torch.Tensor) -> torch.Tensor:
            state = self.module.embedding(inputs[which])
            for layer in self.module.layers:
                state = layer(state)
            return self.module.head(state.mean(-2))

    def logits(module: torch.nn.Module, weights: dict[str, torch.Tensor], which: torch.Tensor) -> torch.Tensor:
        return functional_call(Pass(module), {f"module.{name}": value for name, value in weights.items()}, (which,))

    def loss(w: dict[str, torch.Tensor], t: dict[str, torch.Tensor]) -> torch.Tensor:
        own, taught = logits(student, w, rows), logits(teacher, t, rows)
        hard = -own.log_softmax(-1)[torch.arange(8), setup.labels[rows]].mean()
        return 0.5 * hard + 0.5 * 4 * kl((taught / 2).softmax(-1), (own / 2).softmax(-1))

    def judged(t: dict[str, torch.Tensor]) -> torch.Tensor:
        w = {name: value.detach() for name, value in student.named_parameters()}
        stepped = {name: w[name] - 0.5 * slope for name, slope in grad(loss)(w, t).items()}
        return -logits(student, stepped, quiz).log_softmax(-1)[torch.arange(3), setup.labels[quiz]].mean()

    expected = grad(judged)({name: value.detach() for name, value in teacher.named_parameters()})
    found = torch.autograd.grad(method.quiz_loss(rows, setup.labels[rows], quiz), method.teacher.trained)
    for (name, value), gradient in zip(expected.items(), found, strict=True):
        assert float(value.abs().max()) > 0
        torch.testing.assert_close(gradient, value, rtol=1e-4, atol=1e-7, msg=name)


def test_the_student_never_learns_from_a_quiz_row_and_the_quiz_is_of_no_other() -> None:
    setup = make_setup()
    method = metadistil(setup, quiz_share=0.25)
    assert len(method.quiz_rows) == 6
    learned = [row for row in range(24) if row not in method.quiz_rows.tolist()]
    rows = torch.tensor([*learned[:5], *method.quiz_rows[:3].tolist()])
    batch, output = batch_of(setup, rows)
    (gradient,) = torch.autograd.grad(total(method.terms(batch, output)), [output.logits])
    assert (gradient[:5] != 0).all()
    assert (gradient[5:] == 0).all()
    drawn = method.drawn_quiz(batch)
    assert set(drawn.tolist()) <= set(method.quiz_rows.tolist())
    assert len(drawn) == len(set(drawn.tolist())) == 6
    again = metadistil(make_setup(), quiz_share=0.25)
    assert torch.equal(again.quiz_rows, method.quiz_rows)


def test_a_batch_of_quiz_rows_alone_moves_nobody() -> None:
    setup = make_setup(settings=TRAIN)
    method = metadistil(setup, quiz_share=0.5)
    before = weights(method.teacher.module)
    batch, output = batch_of(setup, method.quiz_rows[:4])
    value = total(method.terms(batch, output))
    value.backward()
    assert float(value.detach()) == 0
    assert all(p.grad is None or not p.grad.any() for p in setup.student.module.parameters())
    assert all(torch.equal(p, old) for p, old in zip(method.teacher.module.parameters(), before, strict=True))


def test_metadistils_gradients_stay_where_they_belong_and_both_models_keep_their_modes() -> None:
    setup = make_setup()
    method = metadistil(setup, beta=1.0)
    before = weights(setup.student.module)
    terms = method.terms(*batch_of(setup, torch.arange(8)))
    assert setup.student.module.training
    assert not method.teacher.module.training
    assert all(p.grad is None for p in setup.student.module.parameters())
    assert all(torch.equal(p, old) for p, old in zip(setup.student.module.parameters(), before, strict=True))
    total(terms).backward()
    assert all(p.grad is None for p in method.teacher.module.parameters())


def test_with_micro_batches_the_teacher_that_is_judged_moves_behind_them_all() -> None:
    setup = make_setup()
    method = metadistil(setup)
    before = weights(method.teacher.module)
    for rows in (torch.arange(4), torch.arange(4, 8)):
        method.terms(*batch_of(setup, rows, share=0.5))
        assert all(torch.equal(p, old) for p, old in zip(method.teacher.module.parameters(), before, strict=True))
    method.after_step(0)
    assert not all(torch.equal(p, old) for p, old in zip(method.teacher.module.parameters(), before, strict=True))
    assert all(p.grad is None for p in method.teacher.module.parameters())


@pytest.mark.parametrize("scale", [(1.0, 0.0), (12.0, 1900.0)])
def test_a_teacher_of_a_regression_begins_as_it_ended(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: tuple[float, float]
) -> None:
    """It answers in standardised targets what the finished one answered in the user's unit."""
    import armada_cli.training.loop as loop

    factor, shift = scale
    words = ["harbour", "teapot", "garden", "ferry", "lantern", "kitchen", "violin", "meadow", "letter", "orchestra"]
    rows = ["text,label", *(f"what a {word} we saw,{factor * number + shift}" for number, word in enumerate(words))]
    table = tmp_path / "years.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    seen: dict[str, Any] = {}
    run = loop.Loop.run

    def look(self: Any) -> Any:
        if isinstance(self.method, MetaDistil):
            seen["method"] = self.method
            raise KeyboardInterrupt
        return run(self)

    monkeypatch.setattr(loop.Loop, "run", look)
    tasks = f"[{{name: files, file: {table}, target: regression}}]"
    settings = "{epochs: 20, batch_size: 4, lr: 3e-3, max_length: 32, precision: float32}"
    done = train(write("metadistil", tasks=tasks, limit="{train: 10}", train=settings), tmp_path / "runs")
    assert "method" in seen, done.err
    method = seen["method"]
    own, finished = method.teacher.model(range(4)).logits, method.setup.finished("teacher")(range(4)).logits
    assert float(finished.std()) > 0.02
    torch.testing.assert_close(own, finished, rtol=1e-3, atol=1e-3)


# ------------------------------------------------------------------------------------------------------------- end to end

SETTINGS = "{epochs: 2, batch_size: 8, lr: 1e-3, log_every: 1, max_length: 32, precision: float32}"
LIMIT = "{train: 40, validation: 16}"

METHODS = {
    "dml": "",
    "dml-large": "name: dml, peer: LARGE, variant: official",
    "metadistil": "teacher: LARGE",
    "prokt": "teacher: LARGE",
    "sftn": "teacher: LARGE",
}
"""Case -> its options beside the name, where LARGE is a wider and deeper student than the one that is trained."""

TRIALS = {"dml": 1, "dml-large": 1, "metadistil": 2, "prokt": 1, "sftn": 2}


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
        assert kept_bytes(runs) == kept_bytes(tmp_path / "whole")


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
