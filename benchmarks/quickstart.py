"""The quickstart from nothing to its table, and again: `python benchmarks/quickstart.py`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    armada = Path(sys.executable).with_name("armada")
    with tempfile.TemporaryDirectory() as folder:
        for name, limit in (("first run", "300 s"), ("again", "seconds, no teacher call")):
            start = time.perf_counter()
            subprocess.run([armada, "run", "quickstart", "--runs", folder], stdout=subprocess.DEVNULL, check=True)
            print(f"quickstart: {name} {time.perf_counter() - start:.1f} s (to reach: {limit})")


if __name__ == "__main__":
    main()
