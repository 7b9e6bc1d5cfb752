"""The multimodal baselines: each loss against its formula in float64, what a recipe plans of them, and what they train."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from armada_student_encoders.options import EncoderOptions
from armada_student_encoders.student import Encoder
from running import armada, by_method, kept_bytes, results, train
from safetensors.torch import load_file
from test_hard_methods import kill
from test_run_generation import llama  # noqa: F401  (fixture)
from test_student_encoders import saved
from torch import Tensor

from armada_cli import Batch, Environment, Problem, Setup, Split, UserError, choose
from armada_cli.methods.text_pretraining import own_tokens
from armada_cli.methods.vidlankd import contrast, mean_state, neuron_selectivity
from armada_cli.methods.visual_guidance import make_dictionary, make_guide
from armada_cli.methods.vokenization import choose_keys, find_vokens, voken_loss
from armada_cli.methods.x_adapter import make_adapter
from armada_cli.settings import Train
from armada_cli.training.model import RowModel, encode
from armada_cli.training.seeds import stream

TEXTS = ["the ferry was warm", "a grim letter", "nobody calls the old lantern bright, but it is bright", "a dull teapot"]
MASKED = Problem("masked", 0, (), 32)
TWO = Problem("classification", 2, ("bad", "good"), 32)
WIDTH = 8


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def set_up(place: Path, problem: Problem, rows: list[tuple[str, ...]] | None = None, seed: int = 0) -> Setup:
    """A tiny student, the four texts or other rows, and a vector of each."""
    student = Encoder(EncoderOptions(model=str(place)), Environment(offline=True))
    torch.manual_seed(stream(seed, "student head") % 2**31)
    labels: Any = [(0, 1), (1, 1), (0, 0), (1, 0)] if problem.kind == "multilabel" else [0, 1, 0, 1]
    encoded = encode(student, problem, Split(rows or [(text,) for text in TEXTS], labels, TEXTS))
    model = RowModel(student, student.build(problem), encoded, torch.device("cpu"))
    model([0])  # as the host does before a method is made
    return Setup(
        problem=problem,
        hidden=32,
        feature_width=WIDTH,
        features=drawn(4, WIDTH, seed=9).float(),
        labels=encoded.labels,
        seed=seed,
        train=Train(),
        losses=lambda choice: pytest.fail("no loss is asked for"),
        stream=lambda name: stream(seed, name),
        steps=8,
        learning_rate=lambda step: 1e-3,
        student=model,
    )


def make(name: str, setup: Setup, **options: Any) -> Any:
    choice = choose("method", name, **options)
    return choice.registered.component.load()(choice.options, setup)


def batch_of(setup: Setup, padding: int = 0, features: Tensor | None = None) -> Batch:
    """All four texts as a batch, with so many more padding tokens on the right."""
    model: Any = setup.student
    inputs = {
        name: torch.nn.functional.pad(value, (0, padding), value=1 if name == "special_tokens_mask" else 0)
        for name, value in model.inputs(range(4)).items()
    }
    return Batch(torch.arange(4), setup.labels, features, 0, mask=inputs["attention_mask"], inputs=inputs)


def values(method: Any, setup: Setup, padding: int = 0) -> dict[str, Tensor]:
    """The method's terms on all four texts, in eval mode, where what is masked depends on the text alone."""
    batch = batch_of(setup, padding, setup.features)
    method.before_forward(batch)
    output = setup.student.student.forward(setup.student.module.eval(), batch.inputs, hidden_states=method.hidden_states)
    return {term.name: term.value for term in method.terms(batch, output)}


# -------------------------------------------------------------------------------------------------------- vokenization


def test_the_vokens_term_is_the_mean_over_the_texts_own_tokens() -> None:
    states, head = drawn(3, 5, 4), torch.nn.Linear(4, 6).double()
    own = torch.tensor([[0, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]).bool()
    vokens = torch.tensor([5, 0, 2])
    total, count = 0.0, 0
    for row, token in own.nonzero().tolist():
        logits = head(states[row, token]).tolist()
        total += math.log(sum(math.exp(x) for x in logits)) - logits[int(vokens[row])]
        count += 1
    assert float(voken_loss(head, states, own, vokens).detach()) == pytest.approx(total / count, rel=1e-12)


def test_uniform_voken_logits_cost_the_logarithm_of_their_number() -> None:
    head = torch.nn.Linear(4, 50).double()
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    loss = voken_loss(head, drawn(2, 3, 4), torch.ones(2, 3).bool(), torch.tensor([1, 7]))
    assert float(loss.detach()) == pytest.approx(math.log(50), rel=1e-12)


def test_a_batch_without_own_tokens_costs_nothing() -> None:
    assert (
        float(
            voken_loss(torch.nn.Linear(4, 6).double(), drawn(2, 3, 4), torch.zeros(2, 3).bool(), torch.zeros(2).long()).detach()
        )
        == 0
    )


@pytest.mark.parametrize("bank", ["drawn", "centroids"])
def test_a_voken_is_the_nearest_key_and_several_texts_share_one(bank: str) -> None:
    vectors = drawn(40, 6).numpy()
    found = find_vokens(vectors, 1000, bank, 3)
    assert found.shape == (40,)
    assert 2 <= len(set(found.tolist())) <= 20, "at most one key for two different vectors"
    assert np.array_equal(found, find_vokens(3 * vectors, 1000, bank, 3)), "by cosine"
    assert len(set(find_vokens(vectors, 5, bank, 3).tolist())) == 5
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = unit @ unit.T
    # Whoever shares a voken lies nearer to its fellows than to the others, on average.
    together = found[:, None] == found[None, :]
    assert likeness[together].mean() > likeness[~together].mean() + 0.2


def test_drawn_keys_are_vectors_of_texts_and_the_nearest_counts() -> None:
    vectors = drawn(30, 5, seed=4).numpy()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    keys = choose_keys(unit, 8, "drawn", 1)
    assert keys.shape == (8, 5)
    assert {tuple(key) for key in keys} <= {tuple(row) for row in unit}
    assert not np.array_equal(keys, choose_keys(unit, 8, "drawn", 2))
    expected = [max(range(8), key=lambda key: math.fsum(row * keys[key])) for row in unit]
    assert find_vokens(vectors, 8, "drawn", 1).tolist() == expected


def test_texts_with_equal_vectors_have_equal_vokens() -> None:
    assert find_vokens(np.ones((5, 3)), 1000, "drawn", 0).tolist() == [0] * 5


def test_vokens_reach_the_student_and_its_head_and_not_what_is_padded(tiny_student: Path) -> None:
    setup = set_up(tiny_student, MASKED)
    method = make("vokenization-pretraining", setup)
    found = values(method, setup)
    assert set(found) == {"masked words", "vokens"}
    found["vokens"].backward()
    module: Any = setup.student.module
    assert float(module.bert.encoder.layer[-1].output.dense.weight.grad.abs().sum()) > 0
    assert all(float(weight.grad.abs().sum()) > 0 for weight in method.head.parameters())
    assert module.cls.predictions.bias.grad is None, "vokens are told by a head of their own"
    with torch.no_grad():
        more = values(method, setup, padding=7)
    for name, value in found.items():
        torch.testing.assert_close(more[name], value.detach(), rtol=1e-5, atol=1e-6)


def test_special_tokens_and_padding_are_no_own_tokens(tiny_student: Path) -> None:
    setup = set_up(tiny_student, MASKED)
    batch = batch_of(setup, padding=3)
    own = own_tokens(batch, torch.zeros(*batch.inputs["input_ids"].shape, 1))
    lengths = batch.inputs["attention_mask"].sum(1)
    assert own.sum(1).tolist() == (lengths - 2).tolist()
    assert not own[:, 0].any()


# ------------------------------------------------------------------------------------------------------------ vidlankd


def unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()


def kernel(a: Tensor, b: Tensor) -> float:
    """The mean of (x . y)^2 over all pairs of columns, each scaled to length 1."""
    pairs = [float(unit(a[:, i]) @ unit(b[:, j])) ** 2 for i in range(a.shape[1]) for j in range(b.shape[1])]
    return sum(pairs) / len(pairs)


def test_neuron_selectivity_is_its_formula_over_all_pairs_of_neurons() -> None:
    s, t = drawn(6, 4, seed=1), drawn(6, 3, seed=2)
    own, cross, other = kernel(s, s), kernel(s, t), kernel(t, t)
    assert float(neuron_selectivity(s, t)) == pytest.approx(own - 2 * cross + other, rel=1e-12)
    assert float(neuron_selectivity(s, t, official=True)) == pytest.approx((own - 2 * cross) / 6, rel=1e-12)


def test_neurons_that_answer_alike_are_at_the_floor() -> None:
    s = torch.eye(2, dtype=torch.float64)  # two neurons with orthonormal answers
    assert float(neuron_selectivity(s, s)) == pytest.approx(0, abs=1e-12)
    assert 2 * float(neuron_selectivity(s, s, official=True)) == pytest.approx(-0.5, rel=1e-12)
    same = drawn(5, 3)
    assert float(neuron_selectivity(same[:, [2, 0, 1]] * 4, same)) == pytest.approx(0, abs=1e-12), "in any order and size"
    assert float(neuron_selectivity(drawn(1, 3), drawn(1, 4))) == pytest.approx(0, abs=1e-12), "a batch of one text"


def test_the_contrastive_loss_is_its_formula_over_all_anchors() -> None:
    s, t = (torch.nn.functional.normalize(drawn(3, 4, seed=seed), dim=1) for seed in (1, 2))
    both, tau = [*s, *t], 0.3
    total = 0.0
    for number, anchor in enumerate(both):
        likeness = [math.exp(float(anchor @ other) / tau) for place, other in enumerate(both) if place != number]
        total -= math.log(math.exp(float(anchor @ both[(number + 3) % 6]) / tau) / sum(likeness))
    assert float(contrast(s, t, tau)) == pytest.approx(total / 6, rel=1e-12)
    assert float(contrast(s, t, tau, official=True)) == pytest.approx(total / 36, rel=1e-12)


def test_two_texts_with_equal_vectors_cost_the_logarithm_of_three() -> None:
    same = torch.ones(2, 3, dtype=torch.float64) / math.sqrt(3)
    assert float(contrast(same, same, 1.0)) == pytest.approx(1.098612, abs=1e-6)
    assert float(contrast(same, same, 1.0, official=True)) == pytest.approx(0.274653, abs=1e-6)
    assert float(contrast(same[:1], same[:1], 1.0)) == 0, "a single text has nothing to be told from"


def test_the_mean_state_is_over_the_texts_own_tokens() -> None:
    states = drawn(2, 3, 4)
    own = torch.tensor([[True, False, True], [False, False, False]])
    torch.testing.assert_close(mean_state(states, own)[0], (states[0, 0] + states[0, 2]) / 2)
    assert mean_state(states, own)[1].tolist() == [0] * 4
    torch.testing.assert_close(mean_state(states, None), states.mean(1))


@pytest.mark.parametrize(("variant", "same"), [("paper", True), ("official", False)])
def test_padding_changes_nothing_in_the_papers_variant(tiny_student: Path, variant: str, same: bool) -> None:
    setup = set_up(tiny_student, MASKED)
    method = make("vidlankd-pretraining", setup, variant=variant)
    with torch.no_grad():
        found, more = values(method, setup), values(method, setup, padding=7)
    assert set(found) == {"masked words", "neurons", "contrastive"}
    equal = [torch.allclose(found[name], more[name], rtol=1e-4, atol=1e-6) for name in ("neurons", "contrastive")]
    assert equal == [same, same]


def test_the_whole_term_is_made_of_the_heads_answer_and_the_vectors(tiny_student: Path) -> None:
    setup = set_up(tiny_student, MASKED)
    method = make("vidlankd-pretraining", setup, tau=0.5)
    batch = batch_of(setup)
    output = setup.student.student.forward(setup.student.module.eval(), batch.inputs, hidden_states=True)
    assert output.hidden_states is not None
    assert setup.features is not None
    found = {term.name: term.value for term in method.terms(batch, output)}
    rows = []
    for row, last in enumerate(output.hidden_states[-1]):
        own = last[1 : int(batch.inputs["attention_mask"][row].sum()) - 1]
        rows.append(unit(method.head(own.mean(0))))
    s, t = torch.stack(rows), torch.stack([unit(row) for row in setup.features])
    torch.testing.assert_close(found["neurons"], neuron_selectivity(s, t))
    torch.testing.assert_close(found["contrastive"], contrast(s, t, 0.5))
    sum(found.values()).backward()  # type: ignore[union-attr]
    assert setup.features.grad is None
    assert float(method.head[0].weight.grad.abs().sum()) > 0


@pytest.mark.parametrize(("loss", "names"), [("nst", {"neurons"}), ("contrastive", {"contrastive"})])
def test_one_of_the_two_losses_alone(tiny_student: Path, loss: str, names: set[str]) -> None:
    setup = set_up(tiny_student, MASKED)
    method = make("vidlankd-pretraining", setup, loss=loss)
    assert set(values(method, setup)) == {"masked words", *names}
    assert set(method.advice()) == names


def test_from_scratch_is_from_random_weights_that_the_seed_fixes(tiny_student: Path) -> None:
    place = "bert.embeddings.word_embeddings.weight"
    saved = load_file(tiny_student / "model.safetensors")["embeddings.word_embeddings.weight"]

    def weights(**options: Any) -> dict[str, Tensor]:
        setup = set_up(tiny_student, MASKED)
        make("vokenization-pretraining", setup, **options)
        return setup.student.module.state_dict()

    assert torch.equal(weights()[place], saved)
    first, second = weights(initial="scratch"), weights(initial="scratch")
    assert not torch.isclose(first[place], saved).any(1).all()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(first["cls.predictions.decoder.weight"], first[place]), "still tied"


# ------------------------------------------------------------------------------------------------- pre-trainings planned


TRAINED_BY = {"vokenization": "vokenization-pretraining", "vidlankd": "vidlankd-pretraining"}


def specs(runs: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(runs.glob("trials/*/spec.json"))]


@pytest.mark.parametrize("name", TRAINED_BY)
def test_a_pre_training_on_the_tasks_own_texts_comes_first_and_alone_reads_vectors(
    recipe: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    runs = tmp_path / "runs"
    done = train(
        recipe(
            methods=f"[{{name: {name}, pretraining_epochs: 1, pretraining_lr: 0.002}}]",
            limit="{train: 40, validation: 16}",
            seeds="[0, 1]",
        ),
        runs,
    )
    assert done.status == 0, done.err
    (first,) = [spec for spec in specs(runs) if spec["build"]["task"]["name"] == "texts"]
    begun = [spec for spec in specs(runs) if spec is not first and spec["depends"]]
    assert len(begun) == 2, "both seeds begin from one pre-training"
    assert {spec["depends"]["start"] for spec in begun} == {first["id"]}
    assert [spec["features"] for spec in begun] == [None, None]
    assert first["features"] is not None
    assert first["build"]["method"]["name"] == TRAINED_BY[name]
    assert (first["train"]["epochs"], first["train"]["lr"]) == (1, 0.002)
    assert json.loads((runs / "trials" / first["id"] / "result.json").read_text())["rows"]["train"] == 40
    for spec in begun:
        folder = runs / "trials" / spec["id"] / "student"
        assert not (folder / "inference.safetensors").exists()
        assert json.loads((folder / "config.json").read_text())["architectures"] == ["BertForSequenceClassification"]


@pytest.mark.parametrize("name", TRAINED_BY)
def test_check_tells_of_the_pre_training_and_of_no_text_but_those(
    recipe: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    plan = json.loads(armada("check", recipe(methods=f"[{name}]"), "--runs", tmp_path / "runs", "--json").out)
    assert plan["trials"]["total"] == 2
    (line,) = plan["dependencies"]
    assert line.endswith("on texts of words")
    assert [(item["task"], item["total"]) for item in plan["texts"]] == [("texts of words", 96)]


def test_a_control_takes_the_knowledge_out_of_the_pre_training(recipe: Callable[..., Path], tmp_path: Path) -> None:
    methods = "[vokenization, {name: vokenization, features: {control: shuffled}}]"
    done = train(recipe(methods=methods, train="{epochs: 1, batch_size: 16, lr: 1e-3}"), tmp_path / "runs")
    assert done.status == 0, done.err
    first = [spec for spec in specs(tmp_path / "runs") if spec["build"]["task"]["name"] == "texts"]
    assert sorted(spec["control"] for spec in first) == ["none", "shuffled"]
    assert len(results(tmp_path / "runs")) == 4


def test_a_file_of_texts_is_read_whole_in_place_of_the_tasks_own(
    recipe: Callable[..., Path], vectors: Path, tmp_path: Path
) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(vectors.with_suffix(".txt").read_text(encoding="utf-8").splitlines()[:60]), encoding="utf-8")
    methods = f"[{{name: vidlankd, loss: nst, texts: {{name: texts, file: {lines}, validation_share: 0.2}}}}]"
    path = recipe(methods=methods, limit="{train: 20, validation: 16}", train="{epochs: 1, batch_size: 16, lr: 1e-3}")
    done = train(path, tmp_path / "runs")
    assert done.status == 0, done.err
    sizes = sorted(
        json.loads(path.read_text(encoding="utf-8"))["rows"]["train"] for path in tmp_path.glob("runs/trials/*/result.json")
    )
    assert sizes[0] == 20
    assert 40 <= sizes[1] < 60


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ({"methods": "[vokenization]", "teacher": "null"}, "needs a teacher"),
        ({"methods": "[vidlankd]", "student": "opt-1.3b"}, "is a decoder"),
        ({"methods": "[vokenization-pretraining]"}, "cannot train task"),
        ({"methods": "[{name: vokenization, vokens: 1}]"}, "vokens"),
    ],
)
def test_what_cannot_be_trained_is_one_line_of_check(
    recipe: Callable[..., Path], tmp_path: Path, lines: dict[str, str], words: str
) -> None:
    ended = armada("check", recipe(**lines), "--runs", tmp_path / "runs")
    assert ended.status == 2
    assert words in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED_BY)
def test_killed_it_goes_on_to_the_same_bytes(recipe: Callable[..., Path], tmp_path: Path, name: str) -> None:
    path = recipe(
        methods=f"[{name}]", limit="{train: 40, validation: 16}", train="{epochs: 2, batch_size: 8, lr: 1e-3, log_every: 1}"
    )
    whole = train(path, tmp_path / "whole")
    assert whole.status == 0, whole.err
    for moment in random.Random(name).sample(range(2, 14), 2):  # two trials of ten steps
        runs = tmp_path / f"killed-{moment}"
        kill(path, runs, moment)
        again = train(path, runs)
        assert again.status == 0, again.err
        assert results(runs) == results(tmp_path / "whole")
        assert kept_bytes(runs) == kept_bytes(tmp_path / "whole")


def test_the_formula_and_the_reference_are_shown() -> None:
    for name in ("vokenization", "vidlankd"):
        shown = armada("show", "method", name).out
        assert "MLM" in shown
        assert "arXiv" in shown


# ------------------------------------------------------------------------------------ x-adapter and visual guidance


INSIDE = {
    "x-adapter": {},
    "visual-guidance": {},
    "guided-by-its-text": {"guided_by": "text"},
    "guided officially": {"variant": "official"},
}


def make_inside(title: str, setup: Setup, **options: Any) -> Any:
    return make("x-adapter" if title == "x-adapter" else "visual-guidance", setup, **INSIDE[title], **options)


def logits(setup: Setup, method: Any = None, padding: int = 0) -> Tensor:
    batch = batch_of(setup, padding, setup.features)
    if method is not None:
        method.before_forward(batch)
    return setup.student.student.forward(setup.student.module.eval(), batch.inputs).logits


@pytest.mark.parametrize("problem", [TWO, Problem("regression", 1, ("much",), 32), Problem("multilabel", 2, ("a", "b"), 32)])
def test_an_up_projection_of_zero_is_the_frozen_student_to_the_bit(tiny_student: Path, problem: Problem) -> None:
    setup = set_up(tiny_student, problem)
    with torch.no_grad():
        before = logits(setup)
        method = make("x-adapter", setup)
        assert torch.equal(logits(setup, method), before)
        method.adapters[0].up.weight.normal_()
        assert not torch.equal(logits(setup, method), before)


def test_an_adapter_is_its_formula() -> None:
    adapter = make_adapter(6, 5, 3, 2).double()
    with torch.no_grad():
        for weight in adapter.parameters():
            weight.copy_(drawn(*weight.shape, seed=weight.numel()))
    h, h_t = drawn(2, 4, 6), drawn(2, 5, seed=1)
    found = adapter(h, h_t).detach()
    for row in range(2):
        tokens = (adapter.tokens.weight @ h_t[row] + adapter.tokens.bias).view(2, 3)
        for place in range(4):
            z = adapter.down.weight @ h[row, place] + adapter.down.bias
            scores = [((adapter.query.weight @ z) @ (adapter.key.weight @ t)).item() / math.sqrt(3) for t in tokens]
            weights = [math.exp(score) / sum(map(math.exp, scores)) for score in scores]
            attended = sum(w * (adapter.value.weight @ t) for w, t in zip(weights, tokens, strict=True))
            grown = adapter.up.weight @ torch.nn.functional.gelu(z + attended) + adapter.up.bias
            torch.testing.assert_close(found[row, place], (h[row, place] + grown).detach(), rtol=1e-10, atol=1e-10)


def test_only_adapters_and_what_stands_behind_the_layers_are_trained(tiny_student: Path) -> None:
    setup = set_up(tiny_student, TWO)
    method = make("x-adapter", setup)
    with torch.no_grad():
        method.adapters[1].up.weight.normal_(std=0.1)
    loss = values(method, setup)["task"]
    loss.backward()
    moved = {name for name, weight in setup.student.module.named_parameters() if weight.grad is not None}
    assert moved == {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}
    assert moved == {name for name, weight in setup.student.module.named_parameters() if weight.requires_grad}
    assert all(weight.grad is not None for weight in method.adapters[1].parameters())
    assert setup.features is not None
    assert setup.features.grad is None


def test_more_adapters_than_layers_is_one_line(tiny_student: Path) -> None:
    with pytest.raises(UserError, match="adapts 3 layers, and the student has 2"):
        make("x-adapter", set_up(tiny_student, TWO), adapted=3)


@pytest.mark.parametrize("title", INSIDE)
def test_padding_changes_nothing_but_in_the_official_variant(tiny_student: Path, title: str) -> None:
    setup = set_up(tiny_student, TWO)
    method = make_inside(title, setup, **({} if title == "x-adapter" or "text" in title else {"common_share": 0.6}))
    for module in method.inference_modules().values():
        for weight in module.parameters():
            torch.nn.init.normal_(weight, std=0.2) if weight.ndim > 1 else None
    with torch.no_grad():
        found, more = logits(setup, method), logits(setup, method, padding=5)
    assert torch.allclose(found, more, rtol=1e-4, atol=1e-5) == (title != "guided officially")


@pytest.mark.parametrize("title", INSIDE)
def test_rows_that_nobody_told_of_are_an_error(tiny_student: Path, title: str) -> None:
    setup = set_up(tiny_student, TWO)
    make_inside(title, setup)
    with pytest.raises(RuntimeError, match="was not told of"):
        setup.student([0])


def guide(hidden: int = 4, width: int = 3, outputs: int = 0) -> Any:
    made = make_guide(hidden, width, outputs).double()
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(drawn(*weight.shape, seed=weight.numel()))
    return made


def test_attention_and_gate_are_their_formulas() -> None:
    made, h, pictures = guide(), drawn(1, 3, 4), drawn(1, 3, 3, seed=1)
    mask = torch.tensor([[1, 1, 0]])
    attended = made.attend(h, pictures, mask).detach()
    shown = [made.lift.weight @ picture + made.lift.bias for picture in pictures[0]]
    keys = [made.key.weight @ value + made.key.bias for value in shown]
    for place in range(3):
        scores = [math.exp(float((h[0, place] @ key).detach())) for key in keys[:2]]
        mixed = sum(score / sum(scores) * value for score, value in zip(scores, shown, strict=False))
        torch.testing.assert_close(attended[0, place], (made.out.weight @ mixed + made.out.bias).detach(), rtol=1e-9, atol=1e-9)
        both = torch.cat([h[0, place], attended[0, place]])
        g = 1 / (1 + torch.exp(-(made.gate.weight @ both + made.gate.bias)))
        wanted = (1 - g) * h[0, place] + g * attended[0, place]
        torch.testing.assert_close(made.gated(h, attended)[0, place].detach(), wanted.detach(), rtol=1e-9, atol=1e-9)


def test_a_gate_of_zeros_is_half_open() -> None:
    made, h, attended = guide(), drawn(2, 3, 4), drawn(2, 3, 4, seed=1)
    torch.nn.init.zeros_(made.gate.weight)
    torch.nn.init.zeros_(made.gate.bias)
    torch.testing.assert_close(made.gated(h, attended), 0.5 * h + 0.5 * attended)


def test_the_convolution_is_its_formula() -> None:
    made, attended = guide(32, 3, 2).eval(), drawn(1, 3, 32)
    assert [item.weight.shape for item in made.filters] == [(2, 32, size) for size in (2, 3, 4, 5)]
    padded = torch.cat([attended[0], torch.zeros(2, 32, dtype=torch.float64)])
    features = []
    for item, size in zip(made.filters, (2, 3, 4, 5), strict=True):
        for number in range(2):
            sums = [
                sum(float(item.weight[number, :, k] @ padded[at + k]) for k in range(size)) + float(item.bias[number])
                for at in range(5 - size + 1)
            ]
            features.append(max(0.0, *sums))
    wanted = made.beside.weight @ torch.tensor(features, dtype=torch.float64)
    torch.testing.assert_close(made.convolve(attended)[0].detach(), wanted.detach(), rtol=1e-9, atol=1e-9)


def test_an_empty_table_leaves_the_texts_logits_alone_in_the_official_variant(tiny_student: Path) -> None:
    setup = set_up(tiny_student, TWO)
    with torch.no_grad():
        before = logits(setup)
        method = make("visual-guidance", setup, variant="official", common_share=0.6)
        assert not torch.allclose(logits(setup, method), before)
        method.guide.gallery.zero_()
        for name, weight in method.guide.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
        assert torch.equal(logits(setup, method), before)


def test_a_word_is_looked_up_by_the_texts_that_it_stands_out_in() -> None:
    rows = [[1, 7, 7, 8, 2], [1, 8, 9, 2], [1, 10, 9, 2], [1, 10, 11, 2]]
    words, used = make_dictionary(rows, 1, 2, 0.5, torch.Generator().manual_seed(0))
    assert words.shape == (12, 2)
    # By count x log(texts / texts with it): 7 in the first, 8 before 9, 9 before 10, and 11 in the last.
    found = {token: [int(used[number - 1]) for number in row if number] for token, row in enumerate(words.tolist()) if any(row)}
    assert found == {7: [0], 8: [1], 9: [2], 11: [3]}
    words, used = make_dictionary(rows, 9, 1, 0.5, torch.Generator().manual_seed(0))
    assert (words[[1, 2]] == 0).all(), "what is in all texts is no word"
    assert (words > 0).sum(1).max() == 1
    assert int(words.max()) == len(used)


def test_the_mean_of_a_words_pictures_is_over_those_that_there_are() -> None:
    made = guide()
    pictures = drawn(3, 3)
    made.add_pictures(torch.tensor([[0, 0], [1, 0], [2, 3]]), pictures, trained=False)
    made.double()
    found = made.look_up(torch.tensor([[0, 1, 2, 77]]))[0]
    wanted = torch.stack([torch.zeros(3), pictures[0], (pictures[1] + pictures[2]) / 2, torch.zeros(3)])
    torch.testing.assert_close(found.float(), wanted.float())


@pytest.mark.parametrize("title", INSIDE)
def test_it_trains_answers_and_says_what_its_student_needs(recipe: Callable[..., Path], tmp_path: Path, title: str) -> None:
    name = "x-adapter" if title == "x-adapter" else "visual-guidance"
    options = "".join(f", {key}: {value}" for key, value in INSIDE[title].items())
    runs = tmp_path / "runs"
    done = train(recipe(methods=f"[{{name: {name}{options}}}]", limit="{train: 60, validation: 24}"), runs)
    assert done.status == 0, done.err
    (found,) = by_method(runs).values()
    asks_teacher = title in ("x-adapter", "guided-by-its-text")
    assert found["needs_armada"] is True
    assert found.get("needs_teacher") == ("precomputed" if asks_teacher else None)
    assert (found["spec"]["seen"] is not None) == asks_teacher
    held = load_file(found["folder"] / "student" / "inference.safetensors")
    assert all(torch.isfinite(value.float()).all() for value in held.values())
    assert found["terms"].keys() == {"task"}
    assert found["parameters"]["heads"] == 0
    assert found["parameters"]["inference"] <= sum(value.numel() for value in held.values())


def test_no_frozen_weight_of_the_student_changes(recipe: Callable[..., Path], tiny_student: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert train(recipe(methods="[x-adapter]"), runs).status == 0
    (found,) = by_method(runs).values()
    before, after = load_file(tiny_student / "model.safetensors"), load_file(found["folder"] / "student" / "model.safetensors")
    body = {key.removeprefix("bert."): value for key, value in after.items() if key.startswith("bert.")}
    changed = {key for key, value in before.items() if not torch.equal(value, body[key])}
    assert changed == {"pooler.dense.weight", "pooler.dense.bias"}
    adapters = load_file(found["folder"] / "student" / "inference.safetensors")
    assert float(adapters["adapters/1.up.weight"].abs().sum()) > 0
    assert found["parameters"]["trained"] == sum(after[key].numel() for key in after if "pooler" in key or "classifier" in key)


@pytest.mark.parametrize("title", INSIDE)
def test_choices_share_their_rows_vector(tiny_student: Path, title: str) -> None:
    problem = Problem("multiple-choice", 1, ("choice",), 32)
    setup = set_up(tiny_student, problem, rows=[(text, "yes", "no, never") for text in TEXTS])
    method = make_inside(title, setup)
    assert logits(setup, method).shape == (4, 2)
    assert values(method, setup)["task"].ndim == 0


@pytest.mark.slow
@pytest.mark.parametrize("title", INSIDE)
def test_killed_inside_it_goes_on_to_the_same_bytes(recipe: Callable[..., Path], tmp_path: Path, title: str) -> None:
    name = "x-adapter" if title == "x-adapter" else "visual-guidance"
    options = "".join(f", {key}: {value}" for key, value in INSIDE[title].items())
    train_with = "{epochs: 3, batch_size: 8, lr: 1e-3, log_every: 1}"
    path = recipe(methods=f"[{{name: {name}{options}}}]", limit="{train: 40, validation: 16}", train=train_with)
    assert train(path, tmp_path / "whole").status == 0
    for moment in random.Random(title).sample(range(2, 10), 2):
        runs = tmp_path / f"killed-{moment}"
        kill(path, runs, moment)
        assert train(path, runs).status == 0
        assert results(runs) == results(tmp_path / "whole")
        assert kept_bytes(runs) == kept_bytes(tmp_path / "whole")


@pytest.mark.parametrize("family", ["roberta", "distilbert", "electra", "deberta-v2"])
def test_layers_of_other_families_are_found_and_frozen(tiny_student: Path, tmp_path: Path, family: str) -> None:
    setup = set_up(saved(family, tiny_student, tmp_path), TWO)
    with torch.no_grad():
        before = logits(setup)
        method = make("x-adapter", setup)
        assert torch.equal(logits(setup, method), before)
        method.adapters[0].up.weight.normal_()
        assert not torch.equal(logits(setup, method), before)
    trained = {name for name, weight in setup.student.module.named_parameters() if weight.requires_grad}
    assert trained
    assert not any("layer." in name or "embeddings" in name for name in trained)


def test_a_student_that_runs_one_layer_several_times_is_refused_in_one_line(tiny_student: Path, tmp_path: Path) -> None:
    from transformers import AlbertConfig, AlbertModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_student)
    sizes = {"hidden_size": 32, "embedding_size": 16, "num_attention_heads": 2, "intermediate_size": 64}
    AlbertModel(AlbertConfig(vocab_size=len(tokenizer), num_hidden_layers=2, pad_token_id=0, **sizes)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="they cannot be told apart in this one"):
        make("x-adapter", set_up(tmp_path, TWO))


def test_a_decoder_is_guided_too(recipe: Callable[..., Path], llama: Path, tmp_path: Path) -> None:  # noqa: F811
    methods = "[x-adapter, visual-guidance, {name: visual-guidance, variant: official}]"
    train_with = "{epochs: 1, batch_size: 8, lr: 1e-3, max_length: 64}"
    path = recipe(
        student=f"{{name: decoder, model: {llama}}}", methods=methods, train=train_with, limit="{train: 16, validation: 8}"
    )
    done = train(path, tmp_path / "runs")
    assert done.status == 0, done.err
    assert len(results(tmp_path / "runs")) == 3
