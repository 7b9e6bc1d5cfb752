"""Batches, rates and checkpoints: the parts of the loop that decide what is trained in which order."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from armada_cli.settings import Train
from armada_cli.training import checkpoint
from armada_cli.training.batching import POOL, epoch_batches, evaluation_batches, steps_per_epoch
from armada_cli.training.projection import OrthogonalMap, StiefelOptimizer
from armada_cli.training.schedule import learning_rate
from armada_cli.training.seeds import drawn_from, stream


def lengths(rows: int) -> list[int]:
    draw = random.Random(0)
    return [draw.randint(3, 60) for _ in range(rows)]


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 8 * POOL, 8 * POOL + 1, 1000])
def test_an_epoch_has_every_row_once_and_as_many_steps_as_promised(rows: int) -> None:
    batches = epoch_batches(lengths(rows), 8, seed=0, epoch=0)
    assert sorted(row for batch in batches for row in batch) == list(range(rows))
    assert len(batches) == steps_per_epoch(rows, 8)
    assert max(map(len, batches)) <= 8


def test_batches_hardly_need_padding() -> None:
    sizes = lengths(2000)
    batches = epoch_batches(sizes, 8, seed=0, epoch=0)
    padded = sum(max(sizes[row] for row in batch) * len(batch) for batch in batches)
    assert padded < 1.1 * sum(sizes)


def test_the_order_is_the_seeds_and_the_epochs_alone() -> None:
    sizes = lengths(100)
    assert epoch_batches(sizes, 8, 0, 1) == epoch_batches(sizes, 8, 0, 1)
    assert epoch_batches(sizes, 8, 0, 1) != epoch_batches(sizes, 8, 0, 2)
    assert epoch_batches(sizes, 8, 0, 1) != epoch_batches(sizes, 8, 1, 1)


def test_evaluation_takes_every_row_within_its_budget_of_tokens() -> None:
    sizes = lengths(300)
    batches = evaluation_batches(sizes, tokens=200)
    assert sorted(row for batch in batches for row in batch) == list(range(300))
    assert all(len(batch) * max(sizes[row] for row in batch) <= 200 for batch in batches)
    assert evaluation_batches([500], tokens=200) == [[0]]  # one text over the budget still gets its turn


@pytest.mark.parametrize(("schedule", "last"), [("linear", 0.0), ("cosine", 0.0), ("constant", 1.0)])
def test_the_rate_rises_over_the_warm_up_and_then_follows_its_schedule(schedule: str, last: float) -> None:
    train = Train(lr=1.0, warmup=0.2, schedule=schedule)
    rates = [learning_rate(train, 50, step) for step in range(50)]
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(last, abs=0.03)


@pytest.mark.parametrize(
    ("schedule", "quarter", "half"), [("linear", 0.75, 0.5), ("cosine", 0.853553, 0.5), ("constant", 1.0, 1.0)]
)
def test_a_schedule_has_its_own_shape_between_the_warm_up_and_the_end(schedule: str, quarter: float, half: float) -> None:
    train = Train(lr=2.0, warmup=0.2, schedule=schedule)
    assert [learning_rate(train, 50, step) for step in range(3)] == pytest.approx([2 * step / 11 for step in (1, 2, 3)])
    assert learning_rate(train, 50, 20) == pytest.approx(2 * quarter)
    assert learning_rate(train, 50, 30) == pytest.approx(2 * half)


def test_streams_are_independent_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with drawn_from(0, "aligner"):
        first = torch.rand(3)
    assert torch.equal(torch.rand(1), expected)
    with drawn_from(0, "extra heads"):
        assert not torch.equal(torch.rand(3), first)
    with drawn_from(0, "aligner"):
        assert torch.equal(torch.rand(3), first)
    assert stream(0, "a") != stream(1, "a")


def trained(steps: int) -> tuple[checkpoint.State, torch.nn.Linear, OrthogonalMap, StiefelOptimizer, torch.optim.AdamW]:
    torch.manual_seed(0)
    layer, item = torch.nn.Linear(6, 4), OrthogonalMap(4, 3)
    adam, stiefel = torch.optim.AdamW(layer.parameters(), lr=1e-2), StiefelOptimizer([item], 3)
    state = checkpoint.State({"layer": layer, "map": item}, {"adam": adam, "map": stiefel.adam})
    walk(layer, item, adam, stiefel, 0, steps)
    return state, layer, item, stiefel, adam


def walk(layer, item, adam, stiefel, start: int, steps: int) -> None:
    for step in range(start, steps):
        x = torch.randn(5, 6, generator=torch.Generator().manual_seed(step))
        item(layer(x)).pow(2).sum().backward()
        adam.step()
        adam.zero_grad()
        stiefel.step(1e-2)


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_checkpoint_goes_on_to_the_same_bits_between_two_moves_of_the_maps_too(tmp_path: Path, at: int) -> None:
    _, whole, whole_map, _, _ = trained(8)
    state, *_ = trained(at)
    checkpoint.save(tmp_path, at, state, {"epochs": []})
    fresh, layer, item, stiefel, adam = trained(0)
    found = checkpoint.load(tmp_path, fresh)
    assert found is not None
    assert found[0] == at
    walk(layer, item, adam, stiefel, at, 8)
    assert torch.equal(layer.weight, whole.weight)
    assert torch.equal(item.weight, whole_map.weight)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    state, *_ = trained(2)
    checkpoint.save(tmp_path, 2, state, {"epochs": ["two"]})
    older = tmp_path / "step-2"
    (tmp_path / "step-4").mkdir()
    for name in ("state.json", "state.safetensors"):
        (tmp_path / "step-4" / name).write_bytes((older / name).read_bytes()[:40])
    found = checkpoint.load(tmp_path, trained(0)[0])
    assert found is not None
    assert found[:2] == (2, {"epochs": ["two"]})


def test_saving_leaves_only_the_newest_checkpoint(tmp_path: Path) -> None:
    state, *_ = trained(1)
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, state, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-3"]
