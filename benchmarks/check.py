"""`armada check` of a recipe over a table of 200,000 rows, the first time and again: `python benchmarks/check.py [ROWS]`. A CSV
with one class in a cell, the same with lists in the cells (JSON, Python), JSONL and Parquet; each whole and with a limit of 64.

Each check is a process of its own with a cache of its own. The processor time that a process used as a user is what to compare
where others use the machine too; the wall time is what a person waits on an idle one.
"""

from __future__ import annotations

import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROWS = 200_000
WORDS = 12
REPEATS = 5
TO_REACH = {"the first time": 10.0, "again": 0.6}

RECIPE = """
student: minilm-offline
teacher: speech-offline
tasks: [{{name: files, file: {file}{options}}}]
methods: [undistilled, armada]
"""


CASES = {
    "classes.csv": "",
    "json-lists.csv": ", target: multilabel",
    "python-lists.csv": ", target: multilabel",
    "classes.jsonl": "",
    "lists.jsonl": ", target: multilabel",
    "classes.parquet": "",
}
"""File -> options of the task."""

LIMIT = ", limit: {train: 64, validation: 64}"


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, options in CASES.items():
            table = write(folder / file, rows)
            print(f"{file}: {rows:,} rows, {table.stat().st_size / 1e6:.0f} MB")
            for which, limit in (("whole", ""), ("limit 64", LIMIT)):
                recipe = folder / f"{which}.yaml"
                recipe.write_text(RECIPE.format(file=table, options=options + limit), encoding="utf-8")
                for what, times in (("the first time", 1), ("again", REPEATS)):
                    measured = [check(recipe, folder) for _ in range(times)]
                    user, wall, memory = (statistics.median(column) for column in zip(*measured, strict=True))
                    reach = f"to reach: {TO_REACH[what]:g} s"
                    print(f"  {which}, {what}: {user:.2f} s user, {wall:.2f} s wall ({reach}), {memory:.0f} MB at most")
            table.unlink()


def write(path: Path, rows: int) -> Path:
    """A table of made-up sentences in three classes, or with one or two of three labels."""
    draw = random.Random(0)
    words = [f"word{number}" for number in range(5_000)]
    labels: list[Any] = list("abc")
    if "lists" in path.stem:
        labels = [["a"], ["b"], ["a", "c"]]
    texts = (" ".join(draw.choices(words, k=WORDS)) for _ in range(rows))
    cells = [json.dumps(label) if "json" in path.stem else str(label) for label in labels]
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        columns = {"text": list(texts), "label": [labels[row % 3] for row in range(rows)]}
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        return path
    with path.open("w", encoding="utf-8", newline="") as stream:
        if path.suffix == ".jsonl":
            stream.writelines(json.dumps({"text": text, "label": labels[row % 3]}) + "\n" for row, text in enumerate(texts))
        else:
            writer = csv.writer(stream)
            writer.writerow(("text", "label"))
            writer.writerows((text, cells[row % 3]) for row, text in enumerate(texts))
    return path


def check(recipe: Path, folder: Path) -> tuple[float, float, float]:
    """One process: seconds as a user, seconds by the clock, and the most memory (MB)."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "armada_cli.main", "check", str(recipe), "--runs", str(folder / "runs")]
    started = time.perf_counter()
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"armada check ended with status {child.returncode}")
    return usage.ru_utime, wall, usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
