"""What the report computes from seeds, against scipy and against sums made by hand."""

from __future__ import annotations

import subprocess
import sys

import pytest
from scipy import stats

from armada_cli.reporting.statistics import compare, holm, spread, summarise


def test_mean_sd_and_best_by_hand() -> None:
    found = summarise([1.0, 2.0, 6.0])
    assert found is not None
    assert (found.n, found.mean, found.best) == (3, 3.0, 6.0)
    assert found.sd == pytest.approx(7**0.5)  # ((-2)^2 + (-1)^2 + 3^2) / (3 - 1) = 7


def test_one_seed_has_no_spread_and_no_seed_no_summary() -> None:
    found = summarise([4.5])
    assert found is not None
    assert found.sd is None
    assert spread([4.5]) is None
    assert summarise([]) is None


def test_the_best_of_a_loss_is_the_smallest() -> None:
    found = summarise([1.0, 2.0, 6.0], lower_is_better=True)
    assert found is not None
    assert found.best == 1.0


@pytest.mark.parametrize(
    ("arm", "base"),
    [
        ([20.2, 21.4, 21.3], [18.2, 19.6, 19.1]),
        ([70.0, 71.0, 69.5, 72.25], [70.5, 71.5, 69.0, 70.0]),
        ([-1.0, 0.5, 3.0, 2.0, 8.0], [0.0, 1.0, 2.0, 3.0, 4.0]),
    ],
)
def test_the_paired_t_test_is_scipys(arm: list[float], base: list[float]) -> None:
    found = compare(dict(enumerate(arm)), dict(enumerate(base)))
    assert found is not None
    assert found.p == pytest.approx(stats.ttest_rel(arm, base).pvalue, rel=1e-10)
    assert found.mean == pytest.approx(sum(arm) / len(arm) - sum(base) / len(base))
    assert found.sd == pytest.approx(stats.tstd([a - b for a, b in zip(arm, base, strict=True)]))


def test_a_paired_t_test_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, sd 1, t = 2 / (1 / sqrt 3) = 3.4641 with 2 degrees of freedom;
    # for 2 degrees the two-sided p is 1 - t / sqrt(t^2 + 2) = 1 - sqrt(12 / 14).
    found = compare({0: 2.0, 1: 4.0, 2: 6.0}, {0: 1.0, 1: 2.0, 2: 3.0})
    assert found is not None
    assert found.p == pytest.approx(1 - (12 / 14) ** 0.5)


def test_only_common_seeds_are_paired() -> None:
    found = compare({0: 5.0, 1: 6.0, 3: 9.0}, {1: 4.0, 2: 1.0, 3: 5.0})
    assert found is not None
    assert (found.differences, found.mean) == ({1: 2.0, 3: 4.0}, 3.0)
    assert (found.p, found.why) == (None, "needs 3 seeds")
    assert compare({0: 1.0}, {1: 1.0}) is None


def test_equal_differences_have_no_p_value_but_no_difference_has_p_one() -> None:
    # 0.1 + 0.2 style noise must not pass for variance.
    shifted = compare({0: 10.1, 1: 20.3, 2: 30.2}, {0: 10.0, 1: 20.2, 2: 30.1})
    assert shifted is not None
    assert (shifted.p, shifted.why) == (None, "no variance")
    same = compare({0: 10.1, 1: 20.3, 2: 30.2}, {0: 10.1, 1: 20.3, 2: 30.2})
    assert same is not None
    assert same.p == 1.0


def test_holms_correction_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.2: times 4, 3, 2, 1 = 0.04, 0.06, 0.06, 0.2.
    assert holm([0.03, 0.01, 0.2, 0.02]) == pytest.approx([0.06, 0.04, 0.2, 0.06])


def test_holm_never_exceeds_one_and_never_reorders() -> None:
    assert holm([0.9, 0.6]) == pytest.approx([1.0, 1.0])
    # 0.04 * 1 is less than 0.03 * 2: the larger p may not become the smaller one.
    assert holm([0.03, 0.04]) == pytest.approx([0.06, 0.06])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_a_report_reads_its_statistics_without_numpy() -> None:
    code = "import sys, armada_cli.reporting.statistics; print(sorted({'numpy', 'scipy'} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
