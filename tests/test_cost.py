"""What a training cost is counted, whatever was interrupted, and stands in the report beside plain fine-tuning."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from report_runs import trials, write_run
from running import by_method, train

from armada_cli.reporting.costs import make_cost_table
from armada_cli.reporting.folder import read_run
from armada_cli.reporting.groups import make_groups
from armada_cli.reporting.tables import ReportTable
from armada_cli.training.cost import Cost

ALLOW = "--allow-local-code"


def cost_of(folder: Path) -> ReportTable | None:
    (group,) = make_groups(read_run(folder))
    return make_cost_table(group)


def figures(table: ReportTable) -> dict[str, list[str]]:
    return {row.label: [cell.lines[0] for cell in row.cells] for section in table.sections for row in section.rows}


def test_passes_of_the_student_and_of_live_teachers_are_counted(
    recipe: Callable[..., Path], tiny_student: Path, tmp_path: Path
) -> None:
    (tmp_path / "hard_methods.py").write_bytes(Path(__file__).with_name("hard_methods.py").read_bytes())
    large = f"{{name: encoder, model: {tiny_student}}}"
    small = f"{{name: encoder, model: {tiny_student}, layers: 1}}"
    local = "file: hard_methods.py, class"
    methods = (
        f"[undistilled, {{name: kd, as: kd, teacher: {large}}}, {{{local}: Peers, as: peers, peer: {small}}}, "
        f"{{{local}: Route, as: route, teacher: {small}}}, {{{local}: Virtual, as: virtual, teacher: {small}}}]"
    )
    limit = "{train: 40, validation: 16}"
    done = train(recipe(methods=methods, limit=limit, teacher="null"), tmp_path / "runs", ALLOW)
    assert done.status == 0, done.err
    found = {title.split(" · ")[1]: item for title, item in by_method(tmp_path / "runs").items()}
    rows = 2 * 40
    assert found["undistilled"]["passes"] == found["kd"]["passes"] == {"student": rows}
    assert found["peers"]["passes"] == {"fresh": rows, "student": rows}
    assert found["route"]["passes"] == {"finished": rows, "student": rows}
    assert found["virtual"]["passes"] == {"fresh": 2 * rows, "student": 3 * rows}
    assert found["undistilled"]["parameters"]["teachers"] == {}
    assert found["kd"]["parameters"]["teachers"] == {"teacher": found["undistilled"]["parameters"]["trained"]}
    assert found["peers"]["parameters"]["teachers"]["peer"] > 0
    assert "cost" in (tmp_path / "runs" / "tiny" / "report.txt").read_text(encoding="utf-8")


def test_a_cost_goes_on_from_a_checkpoint() -> None:
    cost = Cost()
    cost.count("student", 3)
    again = Cost()
    again.restore(dict(cost.passes))
    again.count("student", 2)
    assert again.passes == {"student": 5}


PEAKS = """
import torch
from armada_cli.training.cost import peak_memory, reset_peak_memory
device = torch.device("cpu")
large = torch.ones(60_000_000)
reset_peak_memory(device)
print(peak_memory(device))
del large
reset_peak_memory(device)
print(peak_memory(device))
"""


def test_the_peak_is_that_since_it_was_reset() -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, env=variables, timeout=300)
    assert done.returncode == 0, done.stderr
    held, after = (None if line == "None" else int(line) for line in done.stdout.split())
    if held is None or after is None:
        pytest.skip("this system does not tell how much memory a process held")
    assert held - after > 200e6


def test_the_table_has_ratios_to_the_undistilled_student_of_the_same_task_and_seed(tmp_path: Path) -> None:
    plain = {"steps": 10, "passes": {"student": 100}, "parameters": {"student": 9}}
    taught = {
        "steps": 20,
        "passes": {"student": 200, "finished": 300},
        "parameters": {"teachers": {"teacher": 110_000_000}},
    }
    entries = [
        *trials(
            "cola",
            "undistilled",
            [50.0, 51.0],
            result=plain,
            timings={"wall": 1, "stages": {"training": 2.0}, "peak_memory": 2_000_000_000},
        ),
        *trials("cola", "tinybert", [52.0, None], result=taught, timings={"wall": 1, "stages": {"training": 5.0}}),
    ]
    table = cost_of(write_run(tmp_path, entries))
    assert table is not None
    assert figures(table) == {
        "undistilled": ["1.00", "1.00", "–", "1.00", "2.0", "–"],
        "tinybert": ["2.00", "2.00", "1.50", "2.50", "–", "110M"],
    }


def test_without_figures_there_is_no_table(tmp_path: Path) -> None:
    entries = [*trials("cola", "undistilled", [50.0]), *trials("cola", "kd", [51.0])]
    assert cost_of(write_run(tmp_path, entries)) is None
