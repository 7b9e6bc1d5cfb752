"""Methods with a finished text teacher: their losses against formulas written out here, and tiny runs of each."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from running import armada, by_method, kept_bytes, results, train
from test_hard_methods import kill

from armada_cli import Batch, Choice, Environment, Planned, Problem, Setup, Split, StudentOutput, Term, UserError, choose
from armada_cli.methods import continuation_kd, pkd, rail_kd, rco, takd, tinybert
from armada_cli.methods.kd import KD
from armada_cli.settings import Train
from armada_cli.training.attention_scores import ScoreWatch
from armada_cli.training.model import RowModel, encode
from armada_cli.training.seeds import stream
from armada_cli.training.token_matching import TokenMatcher

ROWS = 12
F_TEACHER, F_STUDENT = [[math.log(3), 0.0]], [[0.0, 0.0]]
"""Logits whose divergence is known by hand: .130812 at temperature 1."""


class Fake:
    """A student of given hidden states, in the place of a model."""

    def __init__(self, states: list[torch.Tensor]) -> None:
        self.states, self.module, self.student = states, torch.nn.Identity(), self

    def inputs(self, rows: Any) -> dict[str, torch.Tensor]:
        return {}

    def forward(self, *arguments: Any, **asked: Any) -> StudentOutput:
        return StudentOutput(torch.zeros(1, 2), torch.zeros(1, 2), tuple(state[:1] for state in self.states))


def setup(cached: dict[str, torch.Tensor], kind: str = "classification", **changed: Any) -> Setup:
    """A trial's surroundings in which the finished trial of each role gives `cached`, by ``role what``."""
    outputs = {"classification": 2, "regression": 1, "multilabel": 3, "multiple-choice": 2}[kind]
    labels = {"regression": torch.zeros(ROWS), "multilabel": torch.zeros(ROWS, 3)}.get(kind, torch.zeros(ROWS).long())
    values: dict[str, Any] = {
        "problem": Problem(kind, outputs, tuple("abc"[:outputs])),
        "hidden": 4,
        "feature_width": None,
        "features": None,
        "labels": labels,
        "seed": 0,
        "train": Train(epochs=3, batch_size=4),
        "losses": lambda choice: choice,
        "stream": lambda name: stream(0, name),
        "steps": 9,
        "learning_rate": lambda step: 1e-3,
        "cached": lambda role, what, epoch=None: cached[f"{role} {what}" + ("" if epoch is None else f" {epoch}")],
        "layers": lambda role: 8,
        "epochs": lambda role: 6,
    }
    return Setup(**values | changed)


def batch(labels: torch.Tensor, step: int = 0, mask: torch.Tensor | None = None) -> Batch:
    return Batch(torch.arange(len(labels)), labels, None, step, mask=mask)


def values(terms: list[Term]) -> dict[str, float]:
    return {term.name: float(term.value.detach()) for term in terms}


def weights(terms: list[Term]) -> dict[str, float]:
    return {term.name: term.weight for term in terms}


def sized(layers: int | None, name: str = "encoder") -> Any:
    """A choice of a student whose options say how many layers it has."""
    size = {} if layers is None else {"layers": layers}
    return SimpleNamespace(name=name, options=SimpleNamespace(size=lambda: size))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def divergence(z_t: torch.Tensor, z_s: torch.Tensor, temperature: float) -> float:
    """T^2 KL per example, in numpy."""
    p, q = (softmax(z.detach().double().numpy() / temperature) for z in (z_t, z_s))
    return float(temperature**2 * (p * np.log(p / q)).sum(-1).mean())


# ---------------------------------------------------------------------------------------------------- continuation-kd


def test_the_teachers_scale_and_the_labels_weight_follow_the_papers_thirty_epochs() -> None:
    scales = [continuation_kd.teacher_scale(epoch, 30, 10) for epoch in range(1, 31)]
    expected = [0.1] * 2 + [0.1 * tenth for tenth in range(2, 10) for _ in range(3)] + [1.0] * 4
    assert scales == pytest.approx(expected)
    psi = [continuation_kd.label_weight(epoch, 30, "glue") for epoch in range(1, 31)]
    assert psi == pytest.approx([epoch / 40 for epoch in range(1, 21)] + [1.0] * 10)
    cv = [continuation_kd.label_weight(epoch, 200, "cv") for epoch in (1, 150, 200)]
    assert cv == pytest.approx([1 / 150, 1, 1])
    assert [continuation_kd.label_weight(epoch, 3, "step") for epoch in (1, 2, 3)] == [0, 0, 1]


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 10, 11, 29])
def test_any_number_of_epochs_grows_the_teacher_to_its_size_and_ends_on_labels(epochs: int) -> None:
    scales = [continuation_kd.teacher_scale(epoch, epochs, 10) for epoch in range(1, epochs + 1)]
    assert scales == sorted(scales)
    assert scales[-1] == 1
    assert 0 < scales[0] <= 1
    psi = [continuation_kd.label_weight(epoch, epochs, "glue") for epoch in range(1, epochs + 1)]
    assert psi == sorted(psi)
    assert psi[0] < 1
    assert psi[-1] == (1 if epochs > 1 else 0.75)


def test_the_bounded_distance_is_the_papers() -> None:
    z_t, z_s = torch.tensor([[2.0, 0.0]]), torch.zeros(1, 2, requires_grad=True)
    assert continuation_kd.bounded_distance(z_t, z_s, 0.5, 1.0).item() == pytest.approx(0.5)
    inside = continuation_kd.bounded_distance(z_t, z_s, 0.5, 1.0, distance="mean")
    inside.backward()
    assert inside.item() == 0
    assert torch.equal(z_s.grad, torch.zeros(1, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("distance", ["sum", "mean"])
@pytest.mark.parametrize("hinge", ["example", "batch"])
def test_the_bounded_distance_reduces_as_it_says(distance: str, hinge: str) -> None:
    z_t, z_s, phi, m = random(8, 3), random(8, 3, seed=1), 0.3, 2.5
    total, kept = 0.0, []
    for row in range(8):
        squares = [(float(z_s[row, c]) - phi * float(z_t[row, c])) ** 2 for c in range(3)]
        kept.append(sum(squares) / (3 if distance == "mean" else 1) - m * phi)
    total = sum(max(0.0, value) for value in kept) / 8 if hinge == "example" else max(0.0, sum(kept) / 8)
    assert continuation_kd.bounded_distance(z_t, z_s, phi, m, distance, hinge).item() == pytest.approx(total)


def test_continuation_kd_takes_its_weights_from_the_epoch() -> None:
    z_t = random(ROWS, 2).float()
    made = setup({"teacher logits": z_t}, train=Train(epochs=3))
    method = continuation_kd.ContinuationKD(continuation_kd.ContinuationKDOptions(teacher=sized(2), margin=0.0), made)
    output = StudentOutput(z_t[:4].clone(), torch.zeros(4, 4))
    found = [weights(method.terms(batch(made.labels[:4], step), output)) for step in (0, 2, 3, 6)]
    assert [item["task"] for item in found] == [0.25, 0.25, 0.5, 1]
    assert [item["teacher's logits"] for item in found] == [0.75, 0.75, 0.5, 0]
    last = values(method.terms(batch(made.labels[:4], 3), output))
    assert last["teacher's logits"] == 0, "phi is 1 from the second of three epochs on, where the student is the teacher"


# --------------------------------------------------------------------------------------------------------------- pkd


def test_layers_are_matched_as_in_the_paper() -> None:
    assert pkd.match_layers(12, 6, "skip") == [2, 4, 6, 8, 10]
    assert pkd.match_layers(12, 6, "last") == [7, 8, 9, 10, 11]
    assert pkd.match_layers(24, 6, "skip") == [4, 8, 12, 16, 20]
    assert pkd.match_layers(12, 3, "last") == [10, 11]
    assert pkd.match_layers(7, 4, "skip") == [1, 3, 5]
    for teacher, student, words in [(3, 4, "named"), (4, 1, "single layer")]:
        with pytest.raises(UserError, match="pkd"):
            pkd.match_layers(teacher, student, words)


def test_the_layers_distance_is_one_between_crossed_unit_vectors_of_width_two() -> None:
    h_s, h_t = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    assert pkd.layers_distance(h_t, h_s).item() == pytest.approx(1.0)
    assert pkd.layers_distance(7 * h_t, h_s).item() == pytest.approx(1.0), "length does not count"
    assert pkd.layers_distance(7 * h_t, h_s, normalize=False).item() == pytest.approx(25.0)


@pytest.mark.parametrize("normalize", [True, False])
def test_the_layers_distance_is_a_mean_over_all_numbers(normalize: bool) -> None:
    h_t, h_s = random(5, 3, 4), random(5, 3, 4, seed=1)
    total = 0.0
    for row in range(5):
        for layer in range(3):
            t, s = h_t[row, layer].numpy(), h_s[row, layer].numpy()
            if normalize:
                t, s = t / np.sqrt((t**2).sum()), s / np.sqrt((s**2).sum())
            total += float(((t - s) ** 2).sum())
    assert pkd.layers_distance(h_t, h_s, normalize).item() == pytest.approx(total / (5 * 3 * 4), rel=1e-5)
    assert pkd.layers_distance(h_t, h_t, normalize).item() == 0


def patient(kind: str = "classification", own: int = 4, wide: int = 4, **options: Any) -> tuple[pkd.PKD, StudentOutput, Setup]:
    """A student of four layers and a teacher of eight; both read rows of three tokens, the choices' rows of two choices."""
    lead = (ROWS, 2) if kind == "multiple-choice" else (ROWS,)
    states = [random(*lead, 3, own, seed=layer).float().requires_grad_() for layer in range(5)]
    outputs = {"regression": 1, "multilabel": 3}.get(kind, 2)
    cached = {
        "teacher logits": random(ROWS, outputs, seed=20).float(),
        "teacher first:2,4,6": random(*lead, 3, wide, seed=21).float(),
        "teacher first:1,1,8": random(*lead, 3, wide, seed=22).float(),
    }
    made = setup(cached, kind, student=Fake(states))
    method = pkd.PKD(pkd.PKDOptions(teacher=sized(8), **options), made)
    logits = random(ROWS, outputs, seed=23).float().requires_grad_()
    return method, StudentOutput(logits, torch.zeros(ROWS, own), tuple(states)), made


def test_pkd_compares_first_tokens_of_the_matched_layers_and_adds_kd() -> None:
    method, output, made = patient(beta=7.0, alpha=0.25, temperature=3.0)
    terms = method.terms(batch(made.labels), output)
    assert weights(terms) == {"task": 0.75, "soft labels": 0.25, "layers": 7.0}
    h_t = made.cached("teacher", "first:2,4,6")
    assert output.hidden_states is not None
    h_s = torch.stack([output.hidden_states[layer][:, 0] for layer in (1, 2, 3)], 1)
    found = values(terms)
    assert found["layers"] == pytest.approx(pkd.layers_distance(h_t, h_s).item())
    assert found["soft labels"] == pytest.approx(divergence(method.teacher_logits, output.logits, 3.0), rel=1e-4)
    sum(term.weight * term.value for term in terms).backward()  # type: ignore[union-attr]
    moved = [state.grad is not None for state in output.hidden_states]
    assert moved == [False, True, True, True, False]
    assert float(output.hidden_states[1].grad[:, 1:].abs().max()) == 0  # type: ignore[index]
    assert not method.teacher_states.requires_grad


def test_pkd_scales_the_choices_of_a_row_together() -> None:
    method, output, made = patient("multiple-choice")
    found = values(method.terms(batch(made.labels), output))["layers"]
    assert output.hidden_states is not None
    h_t = made.cached("teacher", "first:2,4,6").double().numpy()  # [rows, choices, layers, width]
    total = 0.0
    for row in range(ROWS):
        for number, layer in enumerate((1, 2, 3)):
            own = output.hidden_states[layer].detach().double().numpy()[row, :, 0]
            t, s = np.concatenate(list(h_t[row, :, number])), np.concatenate(list(own))
            total += float(((t / np.linalg.norm(t) - s / np.linalg.norm(s)) ** 2).sum())
    assert found == pytest.approx(total / (ROWS * 3 * 8), rel=1e-5)


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_pkd_knows_every_kind_that_has_logits(kind: str) -> None:
    method, output, made = patient(kind)
    labels = made.labels
    found = values(method.terms(batch(labels), output))
    if kind == "regression":
        assert found["soft labels"] == pytest.approx((method.teacher_logits - output.logits).square().mean().item())
    assert all(math.isfinite(value) for value in found.values())
    same = StudentOutput(method.teacher_logits.clone(), output.pooled, output.hidden_states)
    assert values(method.terms(batch(labels), same))["soft labels"] == pytest.approx(0, abs=1e-6)


def test_pkd_learns_a_projection_where_widths_differ_and_says_so_where_it_may_not() -> None:
    method, output, made = patient(wide=6)
    assert method.projection is not None
    assert list(method.student_modules()) == ["projection"]
    assert method.projection.weight.shape == (6, 4)
    sum(term.weight * term.value for term in method.terms(batch(made.labels), output)).backward()  # type: ignore[union-attr]
    assert float(method.projection.weight.grad.abs().max()) > 0  # type: ignore[union-attr]
    assert torch.equal(method.projection.weight, patient(wide=6)[0].projection.weight)  # type: ignore[union-attr]
    assert patient()[0].student_modules() == {}
    assert list(patient(projection="linear")[0].student_modules()) == ["projection"]
    with pytest.raises(UserError, match="width 4 with a teacher's of width 6"):
        patient(wide=6, projection="none")


def test_pkd_takes_the_layers_that_are_named_and_no_others() -> None:
    assert patient(layers=(1, 1, 8))[0].teacher_layers == [1, 1, 8]
    for layers in ((1, 2), (1, 2, 9)):
        with pytest.raises(UserError, match="a teacher that has 8"):
            patient(layers=layers)
    assert list(pkd.PKDOptions(teacher=sized(8), layers=(0, 1)).problems(None))  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------------- takd


def test_an_assistant_that_is_the_teacher_makes_takd_kd() -> None:
    z = random(ROWS, 2).float()
    made = setup({"teacher logits": z, "assistant logits": z})
    options = takd.TAKDOptions(teacher=sized(2), alpha=0.3, temperature=2.0, reduction="mean")
    output = StudentOutput(random(ROWS, 2, seed=1).float(), torch.zeros(ROWS, 4))
    one, other = takd.TAKD(options, made), KD(options, made)
    seen = batch(made.labels)
    assert values(one.terms(seen, output)) == values(other.terms(seen, output))
    assert weights(one.terms(seen, output)) == weights(other.terms(seen, output))


def test_fixture_f_through_takd() -> None:
    made = setup({"assistant logits": torch.tensor(F_TEACHER)}, labels=torch.zeros(1).long())
    output = StudentOutput(torch.tensor(F_STUDENT), torch.zeros(1, 4))
    for temperature, reduction, expected in [
        (1.0, "batchmean", 0.130812),
        (1.0, "mean", 0.065406),
        (2.0, "batchmean", 0.145363),
    ]:
        method = takd.TAKD(takd.TAKDOptions(teacher=sized(2), temperature=temperature, reduction=reduction), made)
        assert values(method.terms(batch(made.labels), output))["soft labels"] == pytest.approx(expected, abs=1e-6)


def planned(student: Choice) -> Planned:
    return Planned(student, choose("task", "cola"), None, 5, "classification")


def test_the_assistant_lies_midway_and_learns_from_the_teacher() -> None:
    teacher, student = choose("student", "bert-base"), choose("student", "bert-6l")
    options = takd.TAKDOptions(teacher=teacher, alpha=0.3, assistant_temperature=2.0, teacher_seed=4)
    (needs,) = options.dependencies(planned(student)).values()
    assert needs.student.options.layers == 9
    assert (needs.student.name, needs.seed) == ("bert-base", 4)
    assert isinstance(needs.method, Choice)
    learned = needs.method.options
    assert (needs.method.name, learned.teacher, learned.alpha, learned.temperature) == ("kd", teacher, 0.3, 2.0)
    other = choose("student", "minilm-offline")
    (needs,) = takd.TAKDOptions(teacher=teacher, assistant=other).dependencies(planned(student)).values()
    assert needs.student is other


def test_an_assistant_must_be_named_where_layers_are_not_known() -> None:
    teacher = choose("student", "encoder", model="somebody/unknown-model")
    with pytest.raises(UserError, match="whose layers are not known"):
        takd.TAKDOptions(teacher=teacher).dependencies(planned(choose("student", "bert-6l")))


# --------------------------------------------------------------------------------------------------------------- rco


def test_anchors_are_evenly_spaced_and_end_at_the_last_epoch() -> None:
    assert rco.space_anchors(4, 10) == [3, 5, 8, 10]
    assert rco.space_anchors(4, 12) == [3, 6, 9, 12]
    assert rco.space_anchors(1, 7) == [7]
    for anchors in range(1, 8):
        for epochs in range(1, 9):
            spaced = rco.space_anchors(anchors, epochs)
            assert spaced == sorted(set(spaced))
            assert len(spaced) == min(anchors, epochs)
            assert spaced[0] >= 1
            assert spaced[-1] == epochs


def route(anchors: int, **changed: Any) -> tuple[rco.RCO, Setup]:
    """A route behind a teacher of six epochs, whose logits are the number of the epoch; the finished one's are 100."""
    cached = {f"teacher logits {epoch}": torch.full((ROWS, 2), float(epoch)) for epoch in range(1, 7)}
    made = setup(cached | {"teacher logits": torch.full((ROWS, 2), 100.0)}, **changed)
    return rco.RCO(rco.RCOOptions(teacher=sized(2), anchors=anchors), made), made


def test_the_student_follows_each_anchor_for_an_equal_share_and_the_finished_teacher_last() -> None:
    method, made = route(3)
    followed = [float(method.teacher_logits[method.anchor_at(step)][0, 0]) for step in range(made.steps)]
    assert followed == [2.0] * 3 + [4.0] * 3 + [100.0] * 3
    short, made = route(4, steps=2)
    assert [short.anchor_at(step) for step in range(2)] == [0, 1]
    assert float(short.teacher_logits[1][0, 0]) == 100


def test_a_route_of_one_anchor_is_kd_and_asks_for_no_epochs() -> None:
    made = setup({"teacher logits": random(ROWS, 2).float()})
    options = rco.RCOOptions(teacher=sized(2), anchors=1, alpha=0.3)
    output = StudentOutput(random(ROWS, 2, seed=1).float(), torch.zeros(ROWS, 4))
    one, other = rco.RCO(options, made), KD(options, made)
    seen = batch(made.labels, 8)
    assert values(one.terms(seen, output)) == values(other.terms(seen, output))
    assert weights(one.terms(seen, output)) == weights(other.terms(seen, output))
    (needs,) = options.dependencies(planned(choose("student", "bert-6l"))).values()
    assert not needs.epochs
    (needs,) = rco.RCOOptions(teacher=sized(2)).dependencies(planned(choose("student", "bert-6l"))).values()
    assert needs.epochs


# ----------------------------------------------------------------------------------------------------------- rail-kd


def test_the_unit_distance_is_two_between_orthogonal_vectors() -> None:
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    assert rail_kd.unit_distance(one, other).item() == pytest.approx(2.0)
    assert rail_kd.unit_distance(one, other, "norm").item() == pytest.approx(1.41421, abs=1e-5)
    for distance in ("squared", "norm"):
        own = torch.tensor([[2.0, 0.0]], requires_grad=True)
        value = rail_kd.unit_distance(one, own, distance)
        assert value.item() == pytest.approx(0, abs=1e-5)
        value.backward()
        assert torch.isfinite(own.grad).all()  # type: ignore[union-attr]


def test_layers_are_drawn_anew_each_epoch_in_ascending_order_and_by_the_seed() -> None:
    drawn = [rail_kd.draw_layers(12, 6, stream(0, f"epoch {epoch}")) for epoch in range(40)]
    assert all(layers == sorted(set(layers)) and len(layers) == 6 for layers in drawn)
    assert {layer for layers in drawn for layer in layers} == set(range(1, 13))
    assert drawn[0] != drawn[1]
    assert drawn == [rail_kd.draw_layers(12, 6, stream(0, f"epoch {epoch}")) for epoch in range(40)]


def rails(kind: str = "classification", own: int = 4, wide: int = 5, **options: Any) -> tuple[Any, StudentOutput, Setup]:
    """A student of three layers and a teacher of eight."""
    lead = (ROWS, 2) if kind == "multiple-choice" else (ROWS,)
    states = [random(*lead, 3, own, seed=layer).float().requires_grad_() for layer in range(4)]
    outputs = {"regression": 1, "multilabel": 3}.get(kind, 2)
    cached = {
        "teacher logits": random(ROWS, outputs, seed=20).float(),
        "teacher mean:*": random(*lead, 9, wide, seed=21).float(),
    }
    made = setup(cached, kind, student=Fake(states))
    method = rail_kd.RailKD(rail_kd.RailKDOptions(teacher=sized(8), width=6, **options), made)
    logits = random(ROWS, outputs, seed=23).float().requires_grad_()
    return method, StudentOutput(logits, torch.zeros(ROWS, own), tuple(states)), made


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.sqrt((vector**2).sum())


@pytest.mark.parametrize("kind", ["classification", "regression", "multilabel", "multiple-choice"])
@pytest.mark.parametrize("form", ["linear", "concat"])
def test_rail_kd_is_its_formula(form: str, kind: str) -> None:
    method, output, made = rails(kind, form=form, alpha=0.2, beta=0.5, temperature=2.0)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])[torch.arange(ROWS) % 2]
    mask = torch.stack([mask, mask.flip(0)], 1) if kind == "multiple-choice" else mask
    terms = method.terms(batch(made.labels, 4, mask), output)
    assert weights(terms) == {"task": pytest.approx(0.3), "soft labels": 0.2, "layers": 0.5}
    drawn = method.layers_of(4)
    teacher = made.cached("teacher", "mean:*").double().numpy()
    assert output.hidden_states is not None
    own = [state.detach().double().numpy() for state in output.hidden_states]
    weight = {
        side: [[value.detach().double().numpy() for value in (linear.weight, linear.bias)] for linear in maps]
        for side, maps in method.maps.items()
    }
    distances = []
    places = [(row,) for row in range(ROWS)] if mask.ndim == 2 else [(row, choice) for row in range(ROWS) for choice in (0, 1)]
    for place in places:
        kept = mask[place].bool().numpy()
        h_s = [own[layer][place][kept].mean(0) for layer in (1, 2, 3)]
        h_t = [teacher[place][layer] for layer in drawn]
        if form == "concat":
            h_s, h_t = [np.concatenate(h_s)], [np.concatenate(h_t)]
        for pair, (t, s) in enumerate(zip(h_t, h_s, strict=True)):
            (w_t, b_t), (w_s, b_s) = weight["teacher"][pair], weight["student"][pair]
            distances.append(float(((unit(w_t @ t + b_t) - unit(w_s @ s + b_s)) ** 2).sum()))
    assert values(terms)["layers"] == pytest.approx(np.mean(distances), rel=1e-4)
    if kind in ("classification", "multiple-choice"):
        assert values(terms)["soft labels"] == pytest.approx(divergence(method.teacher_logits, output.logits, 2.0), rel=1e-4)


def test_rail_kd_does_not_see_padding() -> None:
    method, output, made = rails()
    mask = torch.ones(ROWS, 3)
    before = values(method.terms(batch(made.labels, 0, mask), output))
    assert output.hidden_states is not None
    longer = tuple(torch.cat([state, 9 * torch.ones(ROWS, 2, 4)], 1) for state in output.hidden_states)
    mask = torch.cat([mask, torch.zeros(ROWS, 2)], 1)
    after = values(method.terms(batch(made.labels, 0, mask), StudentOutput(output.logits, output.pooled, longer)))
    assert after == pytest.approx(before, rel=1e-6)


def test_rail_kd_moves_the_student_and_both_sides_maps_and_no_teacher() -> None:
    method, output, made = rails()
    sum(term.weight * term.value for term in method.terms(batch(made.labels), output)).backward()
    assert all(float(p.grad.abs().max()) > 0 for p in method.student_modules()["maps"].parameters())
    assert output.hidden_states is not None
    assert [state.grad is not None for state in output.hidden_states] == [False, True, True, True]
    assert not method.teacher_means.requires_grad
    assert method.layers_of(0) == method.layers_of(2) != method.layers_of(3), "nine steps are three epochs"


def test_rail_kd_leaves_the_top_layers_out_if_asked_and_refuses_a_teacher_that_is_too_shallow() -> None:
    method, _, _ = rails(top=False)
    assert method.student_layers == [1, 2]
    assert max(max(method.layers_of(step)) for step in range(9)) <= 7
    with pytest.raises(UserError, match="cannot draw 3 layers of the teacher's 2"):
        rail_kd.RailKD(method.options.__class__(teacher=sized(2)), dataclasses.replace(method.setup, layers=lambda role: 2))
    assert list(rail_kd.RailKDOptions(teacher=sized(2), alpha=0.6, beta=0.6).problems(None))  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------- tinybert


def test_tinybert_matches_embeddings_with_embeddings_and_top_with_top() -> None:
    assert tinybert.match_layers(12, 6) == [0, 2, 4, 6, 8, 10, 12]
    assert tinybert.match_layers(12, 5) == [0, 2, 4, 7, 9, 12]
    assert tinybert.match_layers(2, 2) == [0, 1, 2]


def test_fixture_f_through_the_second_stage() -> None:
    z_t, z_s = torch.tensor(F_TEACHER), torch.tensor(F_STUDENT)
    assert tinybert.soft_cross_entropy("classification", z_t, z_s, reduction="mean").item() == pytest.approx(0.346574, abs=1e-6)
    assert tinybert.soft_cross_entropy("classification", z_t, z_s).item() == pytest.approx(0.693147, abs=1e-6)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_the_soft_cross_entropy_is_its_formula_and_smallest_at_the_teachers_own_answers(kind: str) -> None:
    outputs, temperature = (1 if kind == "regression" else 3), (1.0 if kind == "regression" else 2.0)
    z_t, z_s = random(6, outputs), random(6, outputs, seed=1)
    t, s = z_t.numpy() / temperature, z_s.numpy() / temperature
    if kind == "classification":
        expected = float(-(softmax(t) * np.log(softmax(s))).sum(-1).mean())
    elif kind == "multilabel":
        p, q = 1 / (1 + np.exp(-t)), 1 / (1 + np.exp(-s))
        expected = float(-(p * np.log(q) + (1 - p) * np.log(1 - q)).mean())
    else:
        expected = float(((z_t - z_s) ** 2).mean())
    assert tinybert.soft_cross_entropy(kind, z_t, z_s, temperature).item() == pytest.approx(expected, rel=1e-5)
    same = z_t.clone().requires_grad_()
    tinybert.soft_cross_entropy(kind, z_t, same, temperature).backward()
    assert float(same.grad.abs().max()) == pytest.approx(0, abs=1e-6)  # type: ignore[union-attr]


@pytest.mark.parametrize(("variant", "weight"), [("paper", 0.0), ("official", 1.0)])
def test_a_regression_learns_the_teachers_predictions_or_officially_the_labels(variant: str, weight: float) -> None:
    z_t = random(ROWS, 1).float()
    made = setup({"teacher logits": z_t}, "regression")
    method = tinybert.TinyBERT(tinybert.TinyBERTOptions(teacher=sized(2), variant=variant), made)
    terms = method.terms(batch(made.labels), StudentOutput(z_t.clone(), torch.zeros(ROWS, 4)))
    assert weights(terms)["task"] == weight
    if variant == "paper":
        assert values(terms)["soft labels"] == 0


@pytest.mark.parametrize("hidden", [0, 2])
def test_the_layers_distances_are_means_over_what_is_there(hidden: int) -> None:
    h_t, h_s, a_t, a_s = random(3, 5, 4), random(3, 5, 4, seed=1), random(3, 2, 5, 5, seed=2), random(3, 2, 5, 5, seed=3)
    there = torch.ones(3, 5, dtype=torch.bool)
    if hidden:
        there[1, -hidden:] = False
        a_t[0, :, :, 0] = a_s[0, :, :, 0] = -3e38  # a hidden key of both counts as 0
        a_s[2, 0, 1, 1] = -100.0
    states, scores = [], []
    for n in range(3):
        for i in range(5):
            if not there[n, i]:
                continue
            states += [(float(h_s[n, i, d]) - float(h_t[n, i, d])) ** 2 for d in range(4)]
            for j in range(5):
                if there[n, j]:
                    pairs = [(float(a_s[n, h, i, j]), float(a_t[n, h, i, j])) for h in range(2)]
                    kept = [[0.0 if x <= -100 else x for x in pair] for pair in pairs]
                    scores += [(x - y) ** 2 for x, y in kept]
    assert tinybert.states_distance(h_t, h_s, there).item() == pytest.approx(np.mean(states))
    assert tinybert.scores_distance(a_t, a_s, there).item() == pytest.approx(np.mean(scores))


@pytest.mark.parametrize("family", ["BERT", "MPNet", "RoBERTa", "DistilBERT", "DebertaV2"])
@pytest.mark.parametrize("training", [False, True])
def test_the_scores_are_what_the_softmax_is_given_whatever_the_family_and_before_dropout(family: str, training: bool) -> None:
    import transformers

    name = {"BERT": "Bert", "RoBERTa": "Roberta", "DistilBERT": "DistilBert"}.get(family, family)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if family == "DistilBERT":
        size = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(vocab_size=40, max_position_embeddings=32, **size)
    model = getattr(transformers, f"{name}Model")._from_config(config, attn_implementation="eager").train(training)
    watch = ScoreWatch(model)
    mask = torch.tensor([[1] * 6, [1, 1, 1, 1, 0, 0]])
    given = model(input_ids=torch.randint(3, 40, (2, 6)), attention_mask=mask, output_attentions=True).attentions
    scores = watch.take()
    assert [tuple(score.shape) for score in scores] == [(2, 2, 6, 6)] * 2
    for score, attention in zip(scores, given, strict=True):
        weight = score.softmax(-1)
        kept = attention > 0  # dropout takes some away in training, and makes the others larger
        shown = weight / (1 - config.to_dict().get("attention_probs_dropout_prob", config.to_dict().get("attention_dropout")))
        torch.testing.assert_close(attention[kept], (shown if training else weight)[kept])
        assert score[1, :, :, 4:].max().item() <= -100
    assert watch.take() == []
    torch.softmax(torch.zeros(1, 1, 2, 2), -1)
    assert watch.take() == [], "outside of a pass nothing is noted"
    with pytest.raises((TypeError, ValueError)):
        model(nothing=1)
    torch.softmax(torch.zeros(1, 1, 2, 2), -1)
    assert watch.take() == [], "a pass that fails ends the watch too"


class Reader:
    """A model that reads given tokens and knows their letters."""

    def __init__(self, rows: list[list[list[str]]] | list[list[str]], tokenizer: Any = None) -> None:
        self.rows, self.student = rows, SimpleNamespace(tokenizer=tokenizer)

    def inputs(self, rows: Any) -> dict[str, torch.Tensor]:
        (row,) = rows
        texts = self.rows[row] if isinstance(self.rows[row][0], list) else [self.rows[row]]
        words = self.student.tokenizer.words if self.student.tokenizer else None
        longest = max(map(len, texts))
        ids = [[words.index(w) if words else 1 for w in text] + [0] * (longest - len(text)) for text in texts]
        mask = [[1] * len(text) + [0] * (longest - len(text)) for text in texts]
        shape = (1, len(texts), longest) if isinstance(self.rows[row][0], list) else (1, longest)
        return {"input_ids": torch.tensor(ids).view(shape), "attention_mask": torch.tensor(mask).view(shape)}


class Words:
    """A tokenizer of a few words, the special tokens of which have the given names."""

    def __init__(self, first: str, end: str, *words: str) -> None:
        self.cls_token, self.sep_token, self.words = first, end, ["[PAD]", first, end, *words]

    def convert_tokens_to_ids(self, token: str) -> int:
        return self.words.index(token)

    def convert_ids_to_tokens(self, token: int) -> str:
        return self.words[token]


def test_tokens_of_two_families_are_matched_by_letters_and_roles() -> None:
    bert, mpnet = Words("[CLS]", "[SEP]", "tide", "##s", "low"), Words("<s>", "</s>", "tide", "Ġlow", "s")
    own = Reader([["[CLS]", "tide", "##s", "[SEP]", "low", "[SEP]"], ["[CLS]", "low", "[SEP]"]], bert)
    other = Reader([["<s>", "tide", "s", "</s>", "</s>", "Ġlow", "</s>"], ["<s>", "Ġlow", "</s>"]], mpnet)
    aligned = TokenMatcher(own, other).align([0, 1])  # type: ignore[arg-type]
    assert aligned.there.sum(1).tolist() == [6, 3]
    pairs = list(zip(aligned.own[0].tolist(), aligned.other[0].tolist(), strict=True))
    assert pairs[:3] == [(0, 0), (1, 1), (2, 2)]
    assert pairs[4:] == [(4, 5), (5, 6)]
    assert pairs[3] in [(3, 3), (3, 4)], "one of the two marks between the sentences has no partner"


def test_tokens_without_letters_are_matched_one_by_one_or_not_at_all() -> None:
    own, other = Reader([[["a", "b"], ["c"]]]), Reader([[["x", "y"], ["z"]]])
    aligned = TokenMatcher(own, other).align([0])  # type: ignore[arg-type]
    assert aligned.there.tolist() == [[True, True], [True, False]], "each choice is a sequence"
    with pytest.raises(UserError, match="different tokens"):
        TokenMatcher(own, Reader([[["x"], ["z"]]])).align([0])  # type: ignore[arg-type]


def intermediate(tiny_student: Path, variant: str = "paper", kind: str = "classification", **more: Any) -> Any:
    """The first stage between a tiny BERT and itself, or a copy with other weights (``other=True``)."""
    texts = [("the harbour was warm",), ("a dull old teapot we saw , but it is bright",), ("a warm ferry",)]
    if kind == "multiple-choice":
        texts = [("the harbour was", "warm", "a dull old teapot")] * 3
    problem = Problem(kind, 2, ("a", "b"), max_length=32, attentions=True)
    registered = choose("student", "encoder", model=str(tiny_student))
    models = []
    for number in range(2):
        plugin = registered.registered.component.load()(registered.options, Environment(offline=True))
        torch.manual_seed(number)
        module = plugin.build(problem).eval()
        if number and more.get("other"):
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
        rows = encode(plugin, problem, Split(texts, [0, 1, 0], ["", "", ""]))
        models.append(RowModel(plugin, module, rows, torch.device("cpu")))
    own, teacher = models
    teacher.module.requires_grad_(False)
    made = setup({}, kind, student=own, finished=lambda role, epoch=None: teacher, labels=torch.zeros(3).long())
    options = tinybert.IntermediateOptions(teacher=sized(2), variant=variant, heads=more.get("heads", "match"))
    method = tinybert.TinyBERTIntermediate(options, made)
    with torch.no_grad():
        method.map.weight.copy_(torch.eye(32))
        method.map.bias.zero_()
    return method, own, teacher, made


@pytest.mark.parametrize("kind", ["classification", "multiple-choice"])
@pytest.mark.parametrize("variant", ["paper", "official"])
def test_the_first_stage_is_nothing_between_a_model_and_itself(tiny_student: Path, variant: str, kind: str) -> None:
    method, own, _, made = intermediate(tiny_student, variant, kind)
    output = own(range(3), hidden_states=True, attentions=True)
    found = values(method.terms(batch(made.labels), output))
    assert found["attention"] == pytest.approx(0, abs=1e-10)
    assert found["hidden states"] == pytest.approx(0, abs=1e-10)


def test_the_first_stage_does_not_see_padding_and_officially_does(tiny_student: Path) -> None:
    for variant, same in (("paper", True), ("official", False)):
        method, own, _, _ = intermediate(tiny_student, variant, other=True)
        alone = []
        for rows in ([0], [2]):
            output = own(rows, hidden_states=True, attentions=True)
            alone.append(values(method.terms(Batch(torch.tensor(rows), torch.zeros(1).long(), None, 0), output)))
        output = own([0, 2], hidden_states=True, attentions=True)
        assert output.hidden_states is not None
        together = values(method.terms(Batch(torch.tensor([0, 2]), torch.zeros(2).long(), None, 0), output))
        lengths = [len(own.encoded.rows[row]["input_ids"]) for row in (0, 2)]
        mean = sum(a["hidden states"] * n for a, n in zip(alone, lengths, strict=True)) / sum(lengths)
        assert lengths[0] != lengths[1]
        assert (together["hidden states"] == pytest.approx(mean, rel=1e-4)) is same


def test_the_first_stage_moves_the_student_and_the_map_alone(tiny_student: Path) -> None:
    method, own, teacher, made = intermediate(tiny_student, other=True)
    terms = method.terms(batch(made.labels), own(range(3), hidden_states=True, attentions=True))
    assert weights(terms) == {"task": 0, "attention": 1, "hidden states": 1}
    sum(term.weight * term.value for term in terms).backward()
    assert all(p.grad is None for p in teacher.module.parameters())
    assert float(method.map.weight.grad.abs().max()) > 0
    named = dict(own.module.named_parameters())
    assert float(named["bert.encoder.layer.1.attention.self.query.weight"].grad.abs().max()) > 0
    assert float(named["classifier.weight"].grad.abs().max()) == 0, "labels teach nothing"


def test_the_mean_over_heads_is_compared_where_that_is_asked_for(tiny_student: Path) -> None:
    """What the averaged heads give is never more than what they give one by one (Jensen's inequality)."""
    found = []
    for heads in ("match", "mean"):
        method, own, _, made = intermediate(tiny_student, other=True, heads=heads)
        found.append(values(method.terms(batch(made.labels), own(range(3), hidden_states=True, attentions=True)))["attention"])
    assert 0 < found[1] < found[0]


def test_the_second_stage_begins_where_the_first_one_ends() -> None:
    teacher, student = choose("student", "bert-base"), choose("student", "bert-6l")
    options = tinybert.TinyBERTOptions(teacher=teacher, teacher_seed=3, variant="official", intermediate_epochs=7)
    needs = options.dependencies(planned(student))
    assert (needs["teacher"].student, needs["teacher"].seed) == (teacher, 3)
    first = needs["start"]
    assert (first.student, first.seed) == (student, 5)
    assert isinstance(first.method, Choice)
    assert first.method.name == "tinybert-intermediate"
    told = first.method.options
    assert (told.teacher, told.variant, told.teacher_seed) == (teacher, "official", 3)
    assert (first.method.train["epochs"], first.method.train["lr"], first.method.train["schedule"]) == (7, 5e-5, "constant")


# --------------------------------------------------------------------------------------------------------- tiny runs

TRAIN = "{epochs: 3, batch_size: 8, lr: 1e-3, log_every: 1, max_length: 32, precision: float32}"
METHODS = {
    "continuation-kd": ("", 2),
    "pkd": ("", 2),
    "rail-kd": ("", 2),
    "rco": (", anchors: 2", 2),
    "takd": ("", 3),
    "tinybert": (", intermediate_epochs: 3", 3),
}
"""Method -> its options, and the trials that its recipe plans."""


@pytest.fixture
def write(recipe: Callable[..., Path], tiny_student: Path) -> Callable[[str], Path]:
    """The recipe of a method; teacher and student are the same tiny model."""

    def write(method: str, **lines: str) -> Path:
        teacher = f"{{name: encoder, model: {tiny_student}}}"
        methods = f"[{{name: {method}, teacher: {teacher}{METHODS[method][0]}}}]"
        return recipe(**{"methods": methods, "train": TRAIN, "limit": "{train: 40, validation: 16}", "teacher": "null"} | lines)

    return write


@pytest.mark.parametrize("method", METHODS)
def test_it_trains(write: Callable[..., Path], tmp_path: Path, method: str) -> None:
    path, runs = write(method), tmp_path / "runs"
    done = train(path, runs)
    assert done.status == 0, done.err
    assert len(results(runs)) == METHODS[method][1]
    own = next(item for item in by_method(runs).values() if item["spec"]["build"]["method"]["name"] == method)
    assert own["terms"]


@pytest.mark.parametrize("method", METHODS)
def test_it_says_where_it_is_not_defined(write: Callable[..., Path], tmp_path: Path, method: str) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("the tide was low .\n" * 8, encoding="utf-8")
    done = armada("check", write(method, tasks=f"[{{name: texts, file: {lines}}}]"), "--runs", tmp_path / "runs")
    assert done.status == 2
    assert f"method '{method}' cannot train task 'texts' (masked)" in " ".join(done.err.split())


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_killed_it_goes_on_to_the_same_bytes(write: Callable[..., Path], tmp_path: Path, method: str) -> None:
    path = write(method)
    assert train(path, tmp_path / "whole").status == 0
    steps = 15 * METHODS[method][1]
    for moment in (3, steps // 2, steps - 8):
        runs = tmp_path / f"killed-{moment}"
        kill(path, runs, moment)
        assert train(path, runs).status == 0
        assert results(runs) == results(tmp_path / "whole")
        assert kept_bytes(runs) == kept_bytes(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_with_it_runs_as_smoke(tmp_path: Path, method: str) -> None:
    methods = f"methods=[{{name: {method}, teacher: mpnet-offline}}]"
    done = armada(
        "run", "quickstart", "--smoke", "--runs", tmp_path, "--workers", "0", "--set", methods, "--set", "teacher=null"
    )
    assert done.status == 0, done.err


# ------------------------------------------------------------------------------------------------- what is kept of a teacher


def read_by(method: str, **options: Any) -> dict[str, tuple[Any, ...]]:
    """What a method of a six-layer student asks of its twelve-layer teacher, as its options say."""
    trial = Planned(choose("student", "bert-6l"), choose("task", "rte"), None, 0, "classification")
    return choose("method", method, **options).options.reads(trial)


def test_every_method_says_what_it_reads_of_its_text_teacher() -> None:
    for method in ("kd", "sftn", "continuation-kd", "tinybert"):
        assert read_by(method) == {"teacher": ("logits",)}
    assert read_by("takd") == {"assistant": ("logits",)}
    assert read_by("pkd") == {"teacher": ("logits", "first:2,4,6,8,10")}
    assert read_by("pkd", layers=(1, 2, 3, 4, 5)) == {"teacher": ("logits", "first:1,2,3,4,5")}
    assert read_by("rail-kd") == {"teacher": ("logits", "mean:*")}
    assert read_by("rail-kd", stored_in="float16") == {"teacher": ("logits", "mean:* float16")}
    assert read_by("rco", anchors=3) == {"teacher": ("logits",) * 3}
    for method in ("metadistil", "tinybert-intermediate"):
        assert read_by(method) == {"teacher": ("live",)}


@pytest.mark.parametrize("method", ["pkd", "rail-kd"])
def test_states_are_kept_and_learned_in_half_precision(
    recipe: Callable[..., Path], tiny_student: Path, tmp_path: Path, method: str
) -> None:
    teacher = f"{{name: encoder, model: {tiny_student}}}"
    methods = f"[{{name: {method}, teacher: {teacher}{METHODS[method][0]}, stored_in: float16}}]"
    path = recipe(methods=methods, train=TRAIN, limit="{train: 40, validation: 16}", teacher="null")
    done = train(path, tmp_path / "runs")
    assert done.status == 0, done.err
    kept = [np.load(file, mmap_mode="r") for file in (tmp_path / "runs").rglob("values.npy")]
    assert sorted((array.ndim, array.dtype.name) for array in kept) == [(2, "float32"), (3, "float16")]


def test_the_teacher_reads_each_row_once_for_all_methods_seeds_and_controls(
    recipe: Callable[..., Path], tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that go forward through the teacher, which is known by its one layer, once its own trial is done."""
    from armada_student_encoders.student import Encoder

    teacher, runs = f"{{name: encoder, model: {tiny_student}, layers: 1}}", tmp_path / "runs"
    lines = {"train": TRAIN, "limit": "{train: 40, validation: 16}", "teacher": "null"}
    done = train(recipe(student=teacher, methods="[undistilled]", **lines), runs)
    assert done.status == 0, done.err
    forward, read = Encoder.forward, []

    def counting(self: Any, model: Any, batch: Any, *arguments: Any, **asked: Any) -> StudentOutput:
        if model.config.num_hidden_layers == 1:
            read.append(len(batch["input_ids"]))
        return forward(self, model, batch, *arguments, **asked)

    monkeypatch.setattr(Encoder, "forward", counting)

    def rows_read(name: str, *methods: str, seeds: str) -> int:
        read.clear()
        named = ", ".join(f"{{name: {method}, teacher: {teacher}}}" for method in methods)
        ended = train(recipe(name, methods=f"[{named}]", seeds=seeds, **lines), runs)
        assert ended.status == 0, ended.err
        return sum(read)

    assert rows_read("first", "kd", seeds="[0]") == 40
    before = len(results(runs))
    others = ("kd, features: {control: shuffled}", "kd, features: {control: noise}", "continuation-kd")
    assert rows_read("more", "kd", *others, seeds="[0, 1]") == 0
    assert len(results(runs)) == before + 7


def test_check_counts_the_gigabytes_before_they_are_made(tmp_path: Path) -> None:
    """MPNet has 12 layers of 768: 13 states a row for rail-kd, 5 for pkd; rco keeps logits of 3 epochs, the last with kd."""
    teacher = "teacher: {name: mpnet-offline, train: {epochs: 3}}"
    methods = ", ".join(f"{{name: {name}, as: {name}, {teacher}}}" for name in ("kd", "rail-kd", "pkd", "rco", "metadistil"))
    methods += f", {{name: pkd, as: half, stored_in: float16, {teacher}}}"
    recipe = tmp_path / "kept.yaml"
    recipe.write_text(
        "student: minilm-offline\ntasks: [tweets-offline]\nlimit: {train: 1000}\n" + f"methods: [{methods}]\n", encoding="utf-8"
    )
    ended = armada("check", recipe, "--json", "--runs", tmp_path / "runs")
    assert ended.status == 0, ended.err
    outputs = json.loads(ended.out)["outputs"]
    assert [item["live"] for item in outputs if "live" in item] == ["metadistil"]
    kept = {item["what"]: item["gigabytes"] for item in outputs if "what" in item}
    assert kept.pop("logits of 3 epochs") is None, "this task's options do not tell its classes"
    assert kept == pytest.approx(
        {
            "states of all layers": 1000 * 13 * 768 * 4 / 1e9,
            "states of 5 layers": 1000 * 5 * 768 * 4 / 1e9,
            "states of 5 layers in float16": 1000 * 5 * 768 * 2 / 1e9,
        }
    )
