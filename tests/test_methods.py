"""What a method's terms are, and what they move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from armada_cli import Batch, Problem, Setup, StudentOutput, Term
from armada_cli.losses import DistanceOptions
from armada_cli.losses.euclid import Euclid
from armada_cli.methods.armada import Armada, ArmadaOptions
from armada_cli.methods.kd import KD, KDOptions
from armada_cli.methods.label_smoothing import LabelSmoothing, LabelSmoothingOptions
from armada_cli.methods.parameter_matched import ParameterMatched, ParameterMatchedOptions
from armada_cli.methods.undistilled import Undistilled
from armada_cli.settings import Train
from armada_cli.training import scales
from armada_cli.training.objective import logit_matching, task_loss
from armada_cli.training.projection import TOLERANCE
from armada_cli.training.pull import measure
from armada_cli.training.seeds import stream

ROWS, HIDDEN, WIDTH, CLASSES = 24, 10, 6, 3


def setup(kind: str = "classification", seed: int = 0, logits: torch.Tensor | None = None) -> Setup:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(CLASSES, (ROWS,), generator=generator)
    return Setup(
        problem=Problem(kind, CLASSES, ("a", "b", "c")),
        hidden=HIDDEN,
        feature_width=WIDTH,
        features=torch.nn.functional.one_hot(labels, WIDTH).float() + 0.1 * torch.randn(ROWS, WIDTH, generator=generator),
        labels=labels,
        seed=seed,
        train=Train(batch_size=8),
        losses=lambda choice: choice.registered.component.load()(choice.options),
        stream=lambda name: stream(seed, name),
        cached=lambda role, what: logits if logits is not None else torch.zeros(ROWS, CLASSES),
        steps=10,
        learning_rate=lambda step: 1e-2,
    )


def batch_of(made: Setup, n: int = 8) -> tuple[Batch, StudentOutput]:
    rows = torch.arange(n)
    assert made.features is not None
    pooled = torch.randn(n, HIDDEN, generator=torch.Generator().manual_seed(2)).requires_grad_()
    head = torch.randn(HIDDEN, CLASSES, generator=torch.Generator().manual_seed(3))
    return Batch(rows, made.labels[rows], made.features[rows], step=0), StudentOutput(pooled @ head, pooled)


def armada(made: Setup, **options: Any) -> Armada:
    return Armada(ArmadaOptions(**{"hidden": 12, **options}), made)


def total(terms: list[Term]) -> torch.Tensor:
    return torch.stack([term.weight * term.value for term in terms]).sum()


def test_armada_has_the_five_terms_of_the_method_with_the_papers_weights() -> None:
    made = setup()
    method = armada(made, alpha=0.25, beta=0.5, gamma=2.0)
    weights = {term.name: term.weight for term in method.terms(*batch_of(made))}
    assert weights == {"task": 0.75, "output": 0.25, "auxiliary task": 1.5, "auxiliary output": 0.5, "manifold": 0.5}


def test_the_terms_are_the_equations() -> None:
    made = setup()
    method = armada(made, tau=3.0)
    batch, output = batch_of(made)
    values = {term.name: term.value for term in method.terms(batch, output)}
    t = method.aligners[0](batch.features)
    p_s, aux_s = method.heads(output.pooled)
    expected = {
        "task": task_loss("classification", output.logits, batch.labels),
        "output": logit_matching("classification", t.o, output.logits, 3.0),
        "auxiliary task": task_loss("classification", aux_s, batch.labels),
        "auxiliary output": logit_matching("classification", t.aux, aux_s, 3.0),
        "manifold": Euclid(DistanceOptions())(t.p, p_s),
    }
    assert set(values) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(values[name], value, msg=name)


def test_what_comes_from_the_aligner_is_detached_in_the_students_loss() -> None:
    made = setup()
    method = armada(made, aligner="frozen")
    method.aligners[0].requires_grad_(True)  # frozen computes no loss of its own: any gradient here would be the student's
    terms = method.terms(*batch_of(made))
    sum(term.weight * term.value for term in terms).backward()  # type: ignore[union-attr]
    assert all(p.grad is None for p in method.aligners[0].parameters())


def test_the_aligner_learns_its_own_loss_and_nothing_of_the_students() -> None:
    """Eq. 1: its gradient is that of L_T(o_ts) + gamma L_T(o_aux_ts), whatever the student does."""
    made = setup()
    method = armada(made, gamma=0.5)
    batch, output = batch_of(made)
    method.terms(batch, output)
    found = {name: p.grad.clone() for name, p in method.aligners[0].named_parameters()}
    method.aligners[0].zero_grad()
    t = method.aligners[0](batch.features)
    (task_loss("classification", t.o, batch.labels) + 0.5 * task_loss("classification", t.aux, batch.labels)).backward()
    for name, p in method.aligners[0].named_parameters():
        torch.testing.assert_close(found[name], p.grad, msg=name)


def test_a_step_moves_the_aligner_and_each_map_at_the_rate_of_what_it_belongs_to() -> None:
    """Online distillation: one step of the aligner behind every step of the student. P_s goes at the student's rate."""
    made = setup()
    method = armada(made, projection_every=1, aligner_lr=2e-3)
    before = {name: value.clone() for name, value in method.own_modules()["aligner"].state_dict().items()}
    student_map = method.heads.P.weight.clone()
    total(method.terms(*batch_of(made))).backward()
    method.after_step(0)
    for name, value in method.own_modules()["aligner"].state_dict().items():
        assert not torch.equal(value, before[name]), name
    assert not torch.equal(method.heads.P.weight, student_map)
    assert all(p.grad is None for module in method.own_modules().values() for p in module.parameters())
    rates = {name: item.param_groups[0]["lr"] for name, item in method.optimizers().items()}
    assert rates == {"aligner": 2e-3, "P_ts": 2e-3, "P_s": made.learning_rate(0)}
    moved = (method.aligners[0].O.bias - before["0.O.bias"]).abs()  # Adam's first step is as long as its rate
    torch.testing.assert_close(moved, torch.full_like(moved, 2e-3), rtol=0.01, atol=0)


def test_micro_batches_add_up_to_the_aligners_gradient_of_the_whole_batch() -> None:
    """Each counts by its share of the rows: Adam would hide a common factor, not a wrong proportion."""
    made = setup()
    whole, parts = armada(made), armada(made)
    batch, output = batch_of(made)
    whole.terms(batch, output)
    assert batch.features is not None
    for rows in (slice(0, 2), slice(2, 8)):
        share = len(batch.rows[rows]) / 8
        part = Batch(batch.rows[rows], batch.labels[rows], batch.features[rows], step=0, share=share)
        parts.terms(part, StudentOutput(output.logits[rows], output.pooled[rows]))
    for one, other in zip(whole.aligners[0].parameters(), parts.aligners[0].parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad)


def test_aligner_manifold_pulls_the_aligner_and_leaves_the_student_alone() -> None:
    made = setup()
    plain, pulled = armada(made), armada(made, aligner_manifold=True)
    batch, output = batch_of(made)
    plain.terms(batch, output)
    pulled.terms(batch, output)
    assert not torch.equal(plain.aligners[0].P.weight.grad, pulled.aligners[0].P.weight.grad)  # type: ignore[arg-type]
    assert output.pooled.grad is None


def test_pre_training_teaches_the_aligner_and_a_frozen_one_stays_as_drawn() -> None:
    made = setup()
    trained, frozen = armada(made, aligner_epochs=40), armada(made, aligner="frozen", aligner_epochs=40)
    loss = trained.aligner_loss(trained.align(made.features), made.features, made.labels).item()
    drawn = frozen.aligners[0].F[0].weight.clone()
    trained.prepare()
    frozen.prepare()
    frozen.terms(*batch_of(made))
    frozen.after_step(0)
    assert trained.aligner_loss(trained.align(made.features), made.features, made.labels).item() < loss / 2
    assert torch.equal(frozen.aligners[0].F[0].weight, drawn)
    assert trained.aligners[0].P.defect() < TOLERANCE


def test_fixed_projections_do_not_move() -> None:
    made = setup()
    method = armada(made, projection="fixed", projection_every=1)
    before = method.heads.P.weight.clone(), method.aligners[0].P.weight.clone()
    method.prepare()
    sum(term.weight * term.value for term in method.terms(*batch_of(made))).backward()  # type: ignore[union-attr]
    method.after_step(0)
    assert torch.equal(before[0], method.heads.P.weight)
    assert torch.equal(before[1], method.aligners[0].P.weight)


def test_weights_of_zero_take_their_terms_away() -> None:
    made = setup()
    names = [term.name for term in armada(made, alpha=0.0, beta=0.0, gamma=0.0).terms(*batch_of(made))]
    assert names == ["task"]


def what_the_aligner_reads(method: Armada) -> list[torch.Tensor]:
    """The list that every input of the aligner will be put into, in order."""
    seen: list[torch.Tensor] = []
    for aligner in method.aligners:
        aligner.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    return seen


def in_parts(made: Setup, sizes: Sequence[int], step: int = 0) -> list[tuple[Batch, StudentOutput]]:
    """All rows in an order of their own, cut into batches of the given sizes."""
    assert made.features is not None
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(7))
    pooled = torch.randn(ROWS, HIDDEN).requires_grad_()
    logits = pooled @ torch.randn(HIDDEN, CLASSES)
    return [
        (Batch(rows, made.labels[rows], made.features[rows], step), StudentOutput(logits[rows], pooled[rows]))
        for rows in order.split(list(sizes))
    ]


def test_noise_is_on_what_the_aligner_reads_in_pre_training_in_joint_training_and_in_its_scores() -> None:
    """One worse vector of each example, wherever it is read: figures 10 to 12 speak of the inputs fed to the aligner."""
    made = setup()
    assert made.features is not None
    method = armada(made, noise=0.5, aligner_epochs=2)
    seen = what_the_aligner_reads(method)
    method.prepare()
    first, second = torch.cat(seen[:3]), torch.cat(seen[3:])
    seen.clear()
    for batch, output in in_parts(made, (5, 19)):
        method.terms(batch, output)
    order = torch.cat([batch.rows for batch, _ in in_parts(made, (5, 19))])
    joint = torch.empty_like(made.features)
    joint[order] = torch.cat(seen)
    seen.clear()
    method.own_outputs()
    (scored,) = seen
    added = scored - made.features
    assert added.std().item() == pytest.approx(0.5, rel=0.2)
    assert torch.equal(joint, scored)
    for epoch in (first, second):
        assert torch.equal(epoch.sort(0).values, scored.sort(0).values), "the same rows in another order"


def test_noise_of_an_example_depends_on_neither_batch_nor_step_but_on_the_seed() -> None:
    def read(seed: int, sizes: Sequence[int], step: int) -> torch.Tensor:
        made = setup(seed=seed)
        made.features = torch.zeros(ROWS, WIDTH)
        method = armada(made, noise=1.0, aligner="frozen")
        seen = what_the_aligner_reads(method)
        parts = in_parts(made, sizes, step)
        for batch, output in parts:
            method.terms(batch, output)
        rows = torch.cat([batch.rows for batch, _ in parts])
        return torch.cat(seen)[rows.argsort()]

    whole = read(0, (ROWS,), 0)
    assert torch.equal(read(0, (7, 1, 16), 0), whole)
    assert torch.equal(read(0, (ROWS,), 9), whole)
    assert not torch.equal(read(1, (ROWS,), 0), whole)
    assert len({tuple(row) for row in whole.tolist()}) == ROWS, "no two examples share their noise"


def test_noise_that_is_redrawn_is_another_at_every_step_and_still_no_matter_of_the_batch() -> None:
    made = setup()
    made.features = torch.zeros(ROWS, WIDTH)
    method = armada(made, noise=1.0, noise_redrawn=True, aligner_epochs=3)
    seen = what_the_aligner_reads(method)

    def read(sizes: Sequence[int], step: int) -> torch.Tensor:
        seen.clear()
        parts = in_parts(made, sizes, step)
        for batch, output in parts:
            method.terms(batch, output)
        return torch.cat(seen)[torch.cat([batch.rows for batch, _ in parts]).argsort()]

    first = read((ROWS,), 0)
    assert torch.equal(read((2, 22), 0), first)
    assert not torch.isclose(read((ROWS,), 1), first).any()
    seen.clear()
    made.train = Train(batch_size=ROWS)
    method.prepare()
    sums = {round(float(rows.sum()), 3) for rows in seen}
    assert len(sums) == 3, "every pass of the pre-training draws anew"


def test_twice_the_noise_is_the_same_noise_twice_as_strong() -> None:
    weak, strong = (armada(setup(), noise=sigma) for sigma in (0.25, 0.5))
    assert weak.noise is not None
    assert strong.noise is not None
    torch.testing.assert_close(strong.noise.drawn, 2 * weak.noise.drawn)  # type: ignore[operator]


def test_biases_of_the_aligner_are_not_decayed() -> None:
    """As `weight_decay` says of itself. The maps have an optimizer of their own, without decay."""
    method = armada(setup())
    assert method.adam is not None
    decay = {id(p): group["weight_decay"] for group in method.adam.param_groups for p in group["params"]}
    found = {name: decay.get(id(p)) for name, p in method.aligners[0].named_parameters()}
    assert found == {
        "F.0.weight": 0.01,
        "F.0.bias": 0.0,
        "O.weight": 0.01,
        "O.bias": 0.0,
        "P.weight": None,
        "O_aux.weight": 0.01,
        "O_aux.bias": 0.0,
    }


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_pooling_projects_the_first_token_or_the_mean_of_those_that_are_no_padding(pooling: str) -> None:
    made = setup()
    method = armada(made, pooling=pooling)
    batch, output = batch_of(made, 2)
    tokens = torch.randn(2, 3, HIDDEN, generator=torch.Generator().manual_seed(4))
    batch.mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    output.hidden_states = (torch.zeros(2, 3, HIDDEN), tokens)
    pooled = tokens[:, 0] if pooling == "cls" else torch.stack([tokens[0, :2].mean(0), tokens[1].mean(0)])
    values = {term.name: term.value for term in method.terms(batch, output)}
    assert method.hidden_states
    torch.testing.assert_close(values["auxiliary task"], task_loss("classification", method.heads(pooled)[1], batch.labels))


def test_several_aligners_read_their_own_teachers_columns_and_every_term_is_their_mean() -> None:
    made = setup()
    made.parts = (2, 4)
    method = armada(made)
    batch, output = batch_of(made)
    values = {term.name: term.value for term in method.terms(batch, output)}
    assert batch.features is not None
    t = [method.aligners[0](batch.features[:, :2]), method.aligners[1](batch.features[:, 2:])]
    p_s, aux_s = method.heads(output.pooled)
    expected = {
        "output": [logit_matching("classification", one.o, output.logits, 5.0) for one in t],
        "auxiliary output": [logit_matching("classification", one.aux, aux_s, 5.0) for one in t],
        "manifold": [Euclid(DistanceOptions())(one.p, p_s) for one in t],
    }
    for name, (one, other) in expected.items():
        torch.testing.assert_close(values[name], (one + other) / 2, msg=name)
    own = method.own_outputs()
    both = [method.aligners[0](made.features[:, :2]), method.aligners[1](made.features[:, 2:])]  # type: ignore[index]
    torch.testing.assert_close(own["aligner"], (both[0].o + both[1].o) / 2)
    torch.testing.assert_close(own["aligner auxiliary"], (both[0].aux + both[1].aux) / 2)


def test_normalize_of_the_method_reaches_the_loss() -> None:
    made = setup()
    batch, output = batch_of(made)
    plain = armada(made, aligner="frozen").terms(batch, output)[-1].value
    rows = armada(made, aligner="frozen", normalize="rows").terms(batch, output)[-1].value
    assert rows <= 2
    assert not torch.equal(plain, rows)


def test_parameter_matched_has_armadas_heads_drawn_from_the_same_stream_and_no_teacher() -> None:
    made = setup()
    matched = ParameterMatched(ParameterMatchedOptions(), made)
    assert torch.equal(matched.heads.P.weight, armada(made).heads.P.weight)
    assert [term.name for term in matched.terms(*batch_of(made))] == ["task", "auxiliary task"]


def test_parameter_matched_learns_the_labels_twice_and_weighs_the_second_by_gamma() -> None:
    made = setup()
    method = ParameterMatched(ParameterMatchedOptions(gamma=0.25, projection_every=1), made)
    batch, output = batch_of(made)
    task, auxiliary = method.terms(batch, output)
    assert (task.weight, auxiliary.weight) == (1.0, 0.25)
    torch.testing.assert_close(task.value, task_loss("classification", output.logits, batch.labels))
    aux = method.heads(output.pooled)[1]
    torch.testing.assert_close(auxiliary.value, task_loss("classification", aux, batch.labels))
    before = method.heads.P.weight.clone()
    total([task, auxiliary]).backward()
    method.after_step(0)
    assert not torch.equal(method.heads.P.weight, before)


def test_undistilled_is_the_tasks_loss_alone() -> None:
    made = setup()
    batch, output = batch_of(made)
    (term,) = Undistilled(None, made).terms(batch, output)
    assert term.task
    torch.testing.assert_close(term.weight * term.value, task_loss("classification", output.logits, batch.labels))


def test_kd_is_hintons_loss_with_the_divergence_per_example() -> None:
    teacher = torch.randn(ROWS, CLASSES, generator=torch.Generator().manual_seed(9))
    made = setup(logits=teacher)
    method = KD(KDOptions(alpha=0.3, temperature=2.0), made)
    batch, output = batch_of(made)
    task, soft = method.terms(batch, output)
    p, q = (teacher[:8] / 2).softmax(-1), (output.logits / 2).softmax(-1)
    torch.testing.assert_close(soft.value, 4 * (p * (p.log() - q.log())).sum(-1).mean())
    assert (task.weight, soft.weight) == (0.7, 0.3)


def test_label_smoothing_is_kd_of_a_uniform_teacher_and_has_torchs_gradient() -> None:
    made = setup(logits=torch.zeros(ROWS, CLASSES))
    batch, output = batch_of(made)
    smoothed = total(LabelSmoothing(LabelSmoothingOptions(alpha=0.3, temperature=2.0), made).terms(batch, output))
    torch.testing.assert_close(smoothed, total(KD(KDOptions(alpha=0.3, temperature=2.0), made).terms(batch, output)))
    z = torch.randn(8, CLASSES, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).requires_grad_()
    own = total(LabelSmoothing(LabelSmoothingOptions(alpha=0.3), made).terms(batch, StudentOutput(z, output.pooled)))
    torchs = torch.nn.functional.cross_entropy(z, batch.labels, label_smoothing=0.3)
    torch.testing.assert_close(*(torch.autograd.grad(loss, z)[0].float() for loss in (own, torchs)))


def test_kd_divides_by_the_classes_too_where_it_is_told() -> None:
    made = setup(logits=torch.randn(ROWS, CLASSES, generator=torch.Generator().manual_seed(9)))
    batch, output = batch_of(made)
    each, mean = (KD(KDOptions(reduction=how), made).terms(batch, output)[1].value for how in ("batchmean", "mean"))
    torch.testing.assert_close(mean, each / CLASSES)


def test_kd_of_numbers_is_the_squared_distance_of_the_predictions() -> None:
    teacher = torch.randn(ROWS, 1, generator=torch.Generator().manual_seed(9))
    made = setup("regression", logits=teacher)
    batch, output = batch_of(made)
    batch.labels, output.logits = batch.labels.float(), output.logits[:, :1]
    value = KD(KDOptions(), made).terms(batch, output)[1].value
    torch.testing.assert_close(value, ((teacher[:8] - output.logits) ** 2).mean())


def test_kd_of_several_labels_is_the_binary_divergence_per_class_times_the_squared_temperature() -> None:
    teacher = torch.randn(ROWS, CLASSES, generator=torch.Generator().manual_seed(9))
    made = setup("multilabel", logits=teacher)
    batch, output = batch_of(made)
    batch.labels = torch.nn.functional.one_hot(batch.labels, CLASSES).float()
    value = KD(KDOptions(temperature=2.0), made).terms(batch, output)[1].value
    p, q = (teacher[:8] / 2).sigmoid(), (output.logits / 2).sigmoid()
    divergence = p * (p.log() - q.log()) + (1 - p) * ((1 - p).log() - (1 - q).log())
    torch.testing.assert_close(value, 4 * divergence.mean())


def test_kd_of_a_perfect_match_is_zero() -> None:
    made = setup()
    _, output = batch_of(made, ROWS)
    batch, _ = batch_of(made, ROWS)
    method = KD(KDOptions(), setup(logits=output.logits.detach()))
    assert method.terms(batch, output)[1].value.item() == pytest.approx(0, abs=1e-6)


def test_other_seeds_draw_other_heads_and_another_aligner() -> None:
    one, other = armada(setup(seed=0)), armada(setup(seed=1))
    assert not torch.equal(one.heads.P.weight, other.heads.P.weight)
    assert not torch.equal(one.aligners[0].F[0].weight, other.aligners[0].F[0].weight)


def test_a_term_that_outweighs_the_tasks_is_named_with_its_ratio_and_advice() -> None:
    made = setup()
    method = armada(made, beta=50.0)
    batch, output = batch_of(made)
    records = [{"step": step, "terms": measure(method.terms(batch, output), output.pooled)} for step in range(3)]
    (line,) = [text for text in scales.warnings(records, method.advice()) if "manifold" in text]
    ratio = records[0]["terms"]["manifold"][1] / records[0]["terms"]["task"][1]
    assert f"{ratio:.1f} times as hard as the task's own loss" in line
    assert f"try beta {50 / ratio:.2g}" in line


def test_the_advice_for_an_auxiliary_term_names_the_weight_that_would_balance_it() -> None:
    made = setup()
    records = [{"step": 0, "terms": {"task": [1.0, 1.0], "auxiliary task": [1.0, 4.0], "soft labels": [1.0, 5.0]}}]
    matched = ParameterMatched(ParameterMatchedOptions(gamma=2.0), made)
    auxiliary, other = scales.warnings(records, matched.advice())
    assert auxiliary.endswith("; try gamma 0.5")
    assert other.endswith("; try a smaller weight for it"), "a term that the method says nothing of"
    assert scales.warnings(records, KD(KDOptions(), made).advice())[1].endswith("; try a smaller alpha or temperature")


def test_advice_that_cannot_be_worked_out_stands_as_it_is_written() -> None:
    records = [{"step": 0, "terms": {"task": [1.0, 1.0], "hint": [1.0, 4.0]}}]
    (line,) = scales.warnings(records, {"hint": "try {x / ratio}, {1e-05 / ratio} or {}"})
    assert line.endswith("; try {x / ratio}, 2.5e-06 or {}")


def test_terms_in_balance_give_no_warning() -> None:
    made = setup()
    batch, output = batch_of(made)
    records = [{"step": 0, "terms": measure(armada(made, beta=0.01, gamma=0.1).terms(batch, output), output.pooled)}]
    assert scales.warnings(records, {}) == []
