"""How hard each term pulls at h'_s, against gradients worked out by hand, and that nobody's 0 stands for "unknown"."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from armada_student_decoders.options import DecoderOptions
from armada_student_decoders.student import Decoder
from armada_student_encoders.options import EncoderOptions
from armada_student_encoders.student import Encoder
from test_student_encoders import saved
from tiny_decoders import tiny_llama, tiny_opt
from torch import Tensor, nn

from armada_cli import Environment, Problem, Student, StudentOutput, Term
from armada_cli.losses import DistanceOptions
from armada_cli.losses.euclid import Euclid
from armada_cli.training import scales
from armada_cli.training.objective import task_loss
from armada_cli.training.pull import anchor, measure

OFFLINE = Environment(offline=True)
CHOICES = Problem("multiple-choice", 2, ("first", "second"), 32)
THREE = Problem("classification", 3, ("calm", "windy", "stormy"), 32)
QUESTIONS = [("the letter was grim", "the ferry", "a warm kitchen"), ("a teapot", "what a garden we saw", "the violin")]
TEXTS = [("the ferry was warm",), ("a grim letter",), ("nobody calls the old lantern bright",)]
ENCODERS = ["bert", "roberta", "distilbert", "electra", "deberta-v2"]


def encoder(family: str, tiny_student: Path, folder: Path) -> Encoder:
    return Encoder(EncoderOptions(model=str(saved(family, tiny_student, folder))), OFFLINE)


def decoder(family: str, folder: Path, **options: Any) -> Decoder:
    place = (tiny_llama if family == "llama" else tiny_opt)(folder)
    return Decoder(DecoderOptions(model=str(place), **options), OFFLINE)


def asked(student: Student, problem: Problem, hidden_states: bool = False) -> tuple[Any, StudentOutput, Tensor]:
    """A model without dropout, what it says of two or three rows, and their labels."""
    torch.manual_seed(3)
    model = student.build(problem).eval()
    rows = QUESTIONS if problem.kind == "multiple-choice" else TEXTS
    output = student.forward(model, student.pad(student.encode(rows, problem)), hidden_states)
    return model, output, torch.arange(len(rows)) % problem.outputs


def norms(output: StudentOutput, *values: Tensor) -> list[Any]:
    terms = [Term(str(number), 1.0, value) for number, value in enumerate(values)]
    return [norm for _, norm in measure(terms, anchor(output)).values()]


def at_the_logits(output: StudentOutput, labels: Tensor) -> Tensor:
    """The gradient of cross-entropy: (softmax - one-hot) / n."""
    logits = output.logits.detach()
    return (logits.softmax(-1) - nn.functional.one_hot(labels, logits.shape[1])) / len(logits)


def manifold(pooled: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 4 between a fixed target and the projection of `pooled`, the mean over choices, as the method has it; and the unit
    vector along which it pulls, taken back through the projection."""
    P = torch.linalg.qr(torch.randn(48, pooled.shape[-1], generator=torch.Generator().manual_seed(1)))[0]
    p_ts = torch.randn(len(pooled), 48, generator=torch.Generator().manual_seed(2))
    p_s = pooled @ P.T
    p_s = p_s.mean(1) if p_s.ndim == 3 else p_s
    apart = (p_s.mean(0) - p_ts.mean(0)).detach()
    return Euclid(DistanceOptions())(p_ts, p_s), (apart / apart.norm()) @ P


@pytest.mark.parametrize("family", ENCODERS)
def test_in_multiple_choice_the_tasks_gradient_is_what_its_formula_says(family, tiny_student, tmp_path) -> None:
    """z = w h'_s + b for each choice, so dL/dh'_s is (softmax - one-hot) / n times w. It was logged as 0."""
    student = encoder(family, tiny_student, tmp_path)
    model, output, labels = asked(student, CHOICES)
    (w,) = [item for item in model.modules() if isinstance(item, nn.Linear)][-1].weight.detach()
    expected = float(at_the_logits(output, labels).norm() * w.norm())
    pulled, direction = manifold(output.pooled)
    task, other = norms(output, task_loss("multiple-choice", output.logits, labels), pulled)
    assert task == pytest.approx(expected, rel=1e-4)
    # Each of n x c rows is pulled along the same direction, by 1 / (n c).
    assert other == pytest.approx(float(direction.norm()) / 2, rel=1e-4)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_in_a_decoders_multiple_choice_too(family, tmp_path) -> None:
    model, output, labels = asked(decoder(family, tmp_path, lora=0, export="merged"), CHOICES)
    (w,) = model.score.weight.detach()
    expected = float(at_the_logits(output, labels).norm() * w.norm())
    pulled, direction = manifold(output.pooled)
    task, other = norms(output, task_loss("multiple-choice", output.logits, labels), pulled)
    assert task == pytest.approx(expected, rel=1e-4)
    assert other == pytest.approx(float(direction.norm()) / 2, rel=1e-4)


@pytest.mark.parametrize("lora", [0, 2])
@pytest.mark.parametrize("family", ["llama", "opt"])
def test_a_decoder_that_classifies_is_measured_at_the_token_that_its_head_reads(family, lora, tmp_path) -> None:
    options = {"lora": lora} if lora else {"lora": 0, "export": "merged"}
    model, output, labels = asked(decoder(family, tmp_path, **options), THREE)
    W = [item for name, item in model.named_modules() if "score" in name and isinstance(item, nn.Linear)][-1].weight.detach()
    expected = float((at_the_logits(output, labels) @ W).norm())
    pulled, direction = manifold(output.pooled)
    task, other = norms(output, task_loss("classification", output.logits, labels), pulled)
    assert task == pytest.approx(expected, rel=1e-4)
    assert other == pytest.approx(float(direction.norm()) / 3**0.5, rel=1e-4)


def test_a_decoder_that_writes_is_measured_for_both_of_its_terms(tmp_path) -> None:
    student = decoder("llama", tmp_path)
    problem = Problem("generation", 0, (), 96)
    model = student.build(problem).eval()
    rows = [("Name a boat.", "A ferry."), ("Count to two, slowly.", "One, two.")]
    output = student.forward(model, student.pad(student.encode(rows, problem)))
    assert output.loss is not None
    pulled, direction = manifold(output.pooled)
    task, other = norms(output, output.loss, pulled)
    assert task > 0
    # A row's share goes to the tokens of its prompt alike: by the mean, 1 / length of the direction's square each.
    lengths = [len(student.reader.answered(*row, 96)[0]) for row in rows]
    assert other == pytest.approx(float(direction.norm()) / 2 * sum(1 / length for length in lengths) ** 0.5, rel=1e-4)


@pytest.mark.parametrize("problem", [THREE, CHOICES], ids=["classification", "multiple-choice"])
def test_a_method_that_pools_by_itself_is_measured_at_the_last_layer(problem, tiny_student, tmp_path) -> None:
    """BERT's pooler is tanh(W h + b) of the first token."""
    model, output, labels = asked(encoder("bert", tiny_student, tmp_path), problem, hidden_states=True)
    pooled = output.pooled.detach().flatten(0, -2)
    head = [item for item in model.modules() if isinstance(item, nn.Linear)][-1].weight.detach()
    if problem is CHOICES:
        at_pooled = at_the_logits(output, labels).flatten()[:, None] * head
    else:
        at_pooled = at_the_logits(output, labels) @ head
    expected = float(((at_pooled * (1 - pooled**2)) @ model.bert.pooler.dense.weight.detach()).norm())
    assert output.hidden_states is not None
    pulled, direction = manifold(output.hidden_states[-1][..., 0, :])
    task, other = norms(output, task_loss(problem.kind, output.logits, labels), pulled)
    assert task == pytest.approx(expected, rel=1e-4)
    assert other == pytest.approx(float(direction.norm()) / len(pooled) ** 0.5, rel=1e-4)


@pytest.mark.parametrize("problem", [THREE, CHOICES], ids=["classification", "multiple-choice"])
@pytest.mark.parametrize("family", ENCODERS)
def test_at_the_last_layer_no_architecture_loses_a_term(family, problem, tiny_student, tmp_path) -> None:
    _, output, labels = asked(encoder(family, tiny_student, tmp_path), problem, hidden_states=True)
    assert output.hidden_states is not None
    found = norms(output, task_loss(problem.kind, output.logits, labels), output.hidden_states[-1].pow(2).mean())
    assert all(isinstance(norm, float) and norm > 0 for norm in found)


# ------------------------------------------------------------------------------------------------------------ unknown


def of_a_view() -> tuple[dict[str, Any], Tensor]:
    """What a plugin gives that hands out h'_s as a view: logits do not come from it."""
    h = torch.ones(2, 4, requires_grad=True)
    output = StudentOutput(h.sum(-1, keepdim=True), (2 * h).view(1, 2, 4))
    terms = [Term("task", 1.0, output.logits.mean(), task=True), Term("manifold", 1.0, output.pooled.norm())]
    return measure(terms, anchor(output)), h


def test_a_gradient_that_autograd_calls_unused_is_unknown_and_not_0() -> None:
    terms, _ = of_a_view()
    assert terms == {"task": [4.0, "unknown"], "manifold": [pytest.approx(32**0.5, rel=1e-5), 1.0]}


def test_an_unknown_pull_of_the_task_is_a_line_and_no_ratio() -> None:
    records = [{"step": 0, "terms": of_a_view()[0]}]
    (line,) = scales.warnings(records, {})
    assert line.startswith("how hard the terms pull on h'_s beside the task's own loss is unknown: ")
    assert scales.summary(records)["task"] == {"value": 4.0, "gradient": "unknown"}


def test_an_unknown_pull_of_another_term_is_a_line_of_its_own() -> None:
    records = [{"step": 0, "terms": {"task": [1.0, 1.0], "manifold": [1.0, "unknown"], "output": [1.0, 3.0]}}]
    ratio, unknown = scales.warnings(records, {})
    assert ratio.startswith("the output term pulls on h'_s 3.0 times as hard")
    assert unknown.startswith("how hard the manifold term pulls on h'_s is unknown")


def test_a_single_term_is_compared_with_nothing_and_needs_no_line() -> None:
    assert scales.warnings([{"step": 0, "terms": {"task": [1.0, "unknown"]}}], {}) == []


def test_a_term_that_says_it_is_of_inner_layers_gives_no_warning() -> None:
    below = torch.ones(2, 4, requires_grad=True)
    h = 2 * below
    terms = [Term("task", 1.0, h.mean(), task=True), Term("layers", 1.0, below.norm(), inner=True)]
    measured = measure(terms, h)
    assert measured["layers"] == [pytest.approx(8**0.5, rel=1e-5), "by inner layers"]
    assert scales.warnings([{"step": 0, "terms": measured}], {}) == []


def test_a_term_of_inner_layers_that_passes_the_last_is_measured() -> None:
    h = torch.ones(2, 4, requires_grad=True)
    assert measure([Term("layers", 1.0, h.sum(), inner=True)], h)["layers"] == [8.0, pytest.approx(8**0.5, rel=1e-5)]


def test_a_constant_pulls_with_0_and_what_is_not_finite_is_no_number() -> None:
    h = torch.ones(3, requires_grad=True)
    terms = [Term("constant", 1.0, torch.tensor(2.0)), Term("broken", 1.0, (h - 1).norm().log())]
    assert measure(terms, h) == {"constant": [2.0, 0.0], "broken": ["not finite", "not finite"]}
    records = [{"step": step, "terms": {"task": [value, value]}} for step, value in enumerate(["not finite", 3.0, 1.0])]
    assert scales.summary(records)["task"] == {"value": 2.0, "gradient": 2.0}
