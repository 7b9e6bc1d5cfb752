"""How likely a difference is to be seen, and what would be needed, against simulated runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import nct, t
from simulated_arms import Students, components_of

from armada_cli.reporting.statistics.intervals import Components, bound
from armada_cli.reporting.statistics.power import MOST_ROWS, MOST_SEEDS, plan, power
from armada_cli.reporting.statistics.rows import mcnemar_over_seeds


def test_where_rows_are_all_alike_it_is_the_power_of_the_paired_t_test() -> None:
    components = Components(1.0, 5, 1000, 1.44, 0.0, 0.0)
    for seeds in (3, 5, 12):
        expected = nct.sf(t.ppf(0.975, seeds - 1), seeds - 1, 1.0 / (1.2 / seeds**0.5))
        assert power(1.0, components, seeds=seeds) == pytest.approx(expected, abs=0.003)


def test_the_power_for_no_difference_is_half_the_level() -> None:
    assert power(0.0, Components(0.0, 5, 1000, 1.0, 0.0, 0.0)) == pytest.approx(0.025, abs=0.001)


def test_what_is_needed_is_the_smallest_number_that_reaches_80_percent() -> None:
    components = Components(1.0, 3, 500, 2.0, 1.2, 0.1)
    needed = plan(components)
    assert needed.seeds is not None
    assert needed.rows is None, "three seeds differ by more than this, whatever the rows"
    assert power(1.0, components, seeds=needed.seeds) >= 0.80 > power(1.0, components, seeds=needed.seeds - 1)
    shared = Components(1.0, 5, 500, 0.3, 1.0, 0.9)
    needed = plan(shared)
    assert needed.rows is not None
    assert needed.seeds is None, "all seeds have the same rows, and those differ by more than this"
    assert power(1.0, shared, rows=needed.rows) >= 0.80 > power(1.0, shared, rows=needed.rows - 1)


def test_nothing_shows_a_difference_that_is_not_there() -> None:
    needed = plan(Components(0.0, 3, 500, 2.0, 1.2, 0.1))
    assert (needed.seeds, needed.rows) == (None, None)
    assert power(0.0, Components(0.0, 3, 500, 0.0, 0.0, 0.0)) == 0.0


def test_power_rises_with_seeds_and_rows_up_to_the_most_that_is_looked_at() -> None:
    components = Components(1.0, 3, 500, 2.0, 1.2, 0.3)
    by_seeds = [power(0.8, components, seeds=seeds) for seeds in (2, 3, 4, 6, 10, 30, MOST_SEEDS)]
    by_rows = [power(0.8, components, rows=rows) for rows in (50, 200, 500, 5000, MOST_ROWS)]
    assert by_seeds == sorted(by_seeds)
    assert by_rows == sorted(by_rows)


def test_one_seed_or_one_row_has_no_power() -> None:
    for setting in ({"seeds": 1}, {"rows": 1}):
        with pytest.raises(ValueError, match="at least"):
            power(1.0, Components(1.0, 3, 500, 2.0, 1.2, 0.3), **setting)


def seen(students: Students, seeds: int, rows: int, runs: int) -> float:
    """Share of the runs in which the arm is ahead by the interval and by the test over rows."""
    generator = np.random.default_rng([3, seeds, rows])
    ahead = 0
    step = max(1, 400_000 // (seeds * rows))
    for start in range(0, runs, step):
        answers = students.answer(generator, min(step, runs - start), seeds, rows)
        for run, components in zip(answers, components_of(answers), strict=True):
            ahead += bound(components).low > 0 and mcnemar_over_seeds(*run).p <= 0.05
    return ahead / runs


def long_run(students: Students, rows: int) -> Components:
    """The components of these students, from so many runs that they are nearly certain, with the true difference."""
    parts = []
    generator = np.random.default_rng(5)
    for _ in range(10):
        parts += components_of(students.answer(generator, 100, 3, rows))
    between, of_rows, shared = (
        float(np.mean([getattr(part, name) for part in parts])) for name in ("between", "of_rows", "shared")
    )
    return Components(100 * students.difference, 3, rows, between, of_rows, shared)


CASES = [
    (Students(difference=0.04), 3, 500),
    (Students(difference=0.03), 10, 500),
    (Students(difference=0.06, right=0.7, seed=0.0, seed_row=0.3, arm_row=0.8), 3, 300),
    (Students(difference=0.05, right=0.7, seed=0.0, seed_row=0.3, arm_row=0.8), 5, 600),
    (Students(difference=0.06, seed=0.1), 5, 300),
]


@pytest.mark.parametrize(("students", "seeds", "rows"), CASES)
def test_the_power_is_met_within_5_points(students: Students, seeds: int, rows: int) -> None:
    """The components are of 250 rows and 3 seeds, the experiment has others."""
    predicted = power(100 * students.difference, long_run(students, 250), seeds=seeds, rows=rows)
    assert seen(students, seeds, rows, 1000) == pytest.approx(predicted, abs=0.05)


def test_the_needed_seeds_show_the_difference_in_80_percent_of_runs() -> None:
    students = Students(difference=0.03)
    seeds = plan(long_run(students, 250)).seeds
    assert seeds is not None
    assert seen(students, seeds, 250, 1000) == pytest.approx(0.80, abs=0.05)


def test_the_needed_rows_show_the_difference_in_80_percent_of_runs() -> None:
    students = Students(difference=0.06, seed=0.0, seed_row=0.3, arm_row=0.8)
    rows = plan(long_run(students, 250)).rows
    assert rows is not None
    assert seen(students, 3, rows, 1000) == pytest.approx(0.80, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("students", "seeds", "rows"), CASES)
def test_the_power_is_met_within_5_points_in_2000_runs(students: Students, seeds: int, rows: int) -> None:
    predicted = power(100 * students.difference, long_run(students, 250), seeds=seeds, rows=rows)
    assert seen(students, seeds, rows, 2000) == pytest.approx(predicted, abs=0.05)
