"""`armada check` of a recipe over a CSV of 200,000 rows, the first time and again: `python benchmarks/check.py [ROWS]`.

Each check is a process of its own with a cache of its own. The processor time that a process used as a user is what to compare
where others use the machine too; the wall time is what a person waits on an idle one.
"""

from __future__ import annotations

import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = 200_000
WORDS = 12
REPEATS = 5
TO_REACH = {"the first time": 10.0, "again": 0.6}

RECIPE = """
student: minilm-offline
teacher: speech-offline
tasks: [{{name: files, file: {file}}}]
methods: [undistilled, armada]
"""


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = write(folder, rows)
        print(f"{rows:,} rows, {(folder / 'table.csv').stat().st_size / 1e6:.0f} MB")
        for what, times in (("the first time", 1), ("again", REPEATS)):
            found = [check(recipe, folder) for _ in range(times)]
            user, wall = (statistics.median(column) for column in zip(*found, strict=True))
            print(f"armada check, {what}: {user:.2f} s user, {wall:.2f} s wall (to reach: {TO_REACH[what]:g} s)")


def write(folder: Path, rows: int) -> Path:
    """A table of made-up sentences in three classes, and a recipe over it."""
    draw = random.Random(0)
    words = [f"word{number}" for number in range(5_000)]
    with (folder / "table.csv").open("w", encoding="utf-8") as stream:
        stream.write("text,label\n")
        stream.writelines(f"{' '.join(draw.choices(words, k=WORDS))},{'abc'[row % 3]}\n" for row in range(rows))
    recipe = folder / "large.yaml"
    recipe.write_text(RECIPE.format(file=folder / "table.csv"), encoding="utf-8")
    return recipe


def check(recipe: Path, folder: Path) -> tuple[float, float]:
    """Seconds of one process: as a user, and by the clock."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "armada_cli.main", "check", str(recipe), "--runs", str(folder / "runs")]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime, time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - started
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before, wall


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
