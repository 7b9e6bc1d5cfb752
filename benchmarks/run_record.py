"""What the record of a run costs when a trial ends: `python benchmarks/run_record.py`.

Plans of 10 to 5,000 trials. `whole` is the time and the size of writing all of run.json, which was the cost of every trial once
and is that of a run's beginning and end now; `a trial` is what a trial that ends costs; `to read` is what a report waits for
when every trial has left a line.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from armada_cli import Environment
from armada_cli.execution.conduct import Conduct
from armada_cli.plan.planning import make_plan
from armada_cli.recipe.loader import load_recipe
from armada_cli.registry.catalog import Catalog
from armada_cli.run_record import CHANGES, RECORD, read_record

SEEDS = (2, 200, 1000)
METHODS = "[undistilled, parameter-matched, {name: armada, manifold: [cosine, euclid, elementwise]}]"
RECIPE = """
student: minilm-offline
teacher: speech-offline
tasks: [{{name: files, file: {file}}}]
methods: {methods}
seeds: {seeds}
"""
TRIALS_TO_TIME = 50


def main() -> None:
    print(f"{'trials':>8} {'whole':>10} {'bytes':>12} {'a trial':>10} {'bytes':>8} {'to read':>10}")
    for seeds in SEEDS:
        with tempfile.TemporaryDirectory() as name:
            conduct = plan(Path(name), seeds)
            print(row(conduct))


def plan(folder: Path, seeds: int) -> Conduct:
    """A run that has not begun, of five trials a seed."""
    rows = "".join(f"sentence number {number},{'ab'[number % 2]}\n" for number in range(100))
    (folder / "table.csv").write_text("text,label\n" + rows, encoding="utf-8")
    recipe = folder / "many.yaml"
    recipe.write_text(RECIPE.format(file=folder / "table.csv", methods=METHODS, seeds=seeds), encoding="utf-8")
    environment = Environment(runs=folder / "runs")
    return Conduct(make_plan(load_recipe(str(recipe), Catalog.load(), environment), environment), environment, 0)


def row(conduct: Conduct) -> str:
    trials = [trial.id for trial in conduct.plan.trials]
    whole = timed(lambda: conduct.record.begin(conduct._whole_record()), 3)
    size = (conduct.folder / RECORD).stat().st_size
    for trial in trials[:-TRIALS_TO_TIME]:
        conduct.record.change(trial, "done", "", "accuracy")
    before = changes_size(conduct.folder)
    last = trials[-TRIALS_TO_TIME:]
    one = statistics.median(
        timed(lambda trial=trial: conduct.record.change(trial, "done", "", "accuracy"), 1) for trial in last
    )  # type: ignore[misc]
    line = (changes_size(conduct.folder) - before) / len(last)
    reading = timed(lambda: read_record(conduct.folder), 3)
    assert all(entry["status"] == "done" for entry in read_record(conduct.folder)["trials"])
    return f"{len(trials):>8,} {whole:>8.4f} s {size:>12,} {one:>8.4f} s {line:>8.0f} {reading:>8.4f} s"


def changes_size(folder: Path) -> int:
    path = folder / CHANGES
    return path.stat().st_size if path.exists() else 0


def timed(action: Callable[[], object], times: int) -> float:
    """Seconds by the clock, the median."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


if __name__ == "__main__":
    main()
