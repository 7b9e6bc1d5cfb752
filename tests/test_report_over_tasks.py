"""What a report says of all tasks together."""

from __future__ import annotations

import re
from pathlib import Path

from report_runs import TASKS, trials, write_run

from armada_cli.reporting.report import report


def test_two_tasks_have_a_probability_of_improvement_and_the_papers_t(tmp_path: Path) -> None:
    entries = []
    for task in ("cola", "mrpc"):
        entries += [*trials(task, "undistilled", [50.0, 52.0, 54.0]), *trials(task, "kd", [53.0, 55.0, 57.0])]
    entries[-1]["score"] = 60.0  # differences of 3 and 4 points: t = 3.5 / (sqrt(.5) / sqrt(2)) = 7
    text = report(write_run(tmp_path, entries), "txt", 100)
    table = text[text.index("over all tasks") :]
    (probability,) = re.findall(r"^kd +([01][.]\d\d) [(]", table, re.MULTILINE)
    assert float(probability) == 0.89  # 8 of 9 pairs of runs, in both tasks
    assert re.search(r"^kd .* 7[.]00$", table, re.MULTILINE)
    assert "mean rank" not in table, "two tasks rank nobody"


def test_five_tasks_have_ranks_where_the_tasks_are_those(tmp_path: Path) -> None:
    names = list(TASKS)[:1]
    entries = []
    for number in range(5):
        for method, gain in (("undistilled", 0.0), ("kd", 1.0), ("pkd", 2.0)):
            for entry in trials(names[0], method, [50.0 + number + gain, 51.0 + number + gain]):
                entries.append(entry | {"task": f"task {number}", "id": f"{entry['id']}-{number}", "published": None})
    text = report(write_run(tmp_path, entries), "txt", 120)
    table = text[text.index("over all tasks") :]
    assert re.search(r"^kd .* 2[.]0 ", table, re.MULTILINE)
    assert re.search(r"^pkd .* 1[.]0 ", table, re.MULTILINE)
    assert "Friedman's test that all 3 methods rank alike over 5 tasks: p .007." in table


def test_one_task_has_no_such_table(tmp_path: Path) -> None:
    entries = [*trials("cola", "undistilled", [50.0, 51.0]), *trials("cola", "kd", [52.0, 53.0])]
    assert "over all tasks" not in report(write_run(tmp_path, entries), "txt", 100)
