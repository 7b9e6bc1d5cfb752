"""Wall time of the commands that must be instant: `python benchmarks/startup.py`.

Each command is a fresh process, in turn with the others; the figures are the median and the fastest of `REPEATS`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPEATS = 11
COMMANDS = {"--help": 0.15, "list teachers": 0.3, "check quickstart": 0.4}
HEAVY = ("torch", "transformers", "diffusers", "datasets", "numpy", "pandas")


def main() -> None:
    armada = Path(sys.executable).with_name("armada")
    times: dict[str, list[float]] = {command: [] for command in COMMANDS}
    for number in range(REPEATS + 1):
        for command in COMMANDS:
            start = time.perf_counter()
            subprocess.run([armada, *command.split()], stdout=subprocess.DEVNULL, check=True)
            if number:  # the first round fills the caches
                times[command].append(time.perf_counter() - start)
    for command, limit in COMMANDS.items():
        middle, best = statistics.median(times[command]), min(times[command])
        print(f"startup: armada {command}: {middle:.3f} s, fastest {best:.3f} (to reach: {limit})")
    for command in COMMANDS:
        print(f"startup: armada {command} imports {', '.join(heavy(command)) or 'nothing heavy'}")


def heavy(command: str) -> list[str]:
    """Which of the heavy packages a command imports."""
    code = (
        "import sys; from armada_cli.main import run; run(sys.argv[1:]); "
        f"print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    return done.stderr.split()


if __name__ == "__main__":
    main()
