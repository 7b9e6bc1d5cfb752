"""500 texts through a service that spoils a quarter of its calls, with three kills of the client: each is charged once.

    python benchmarks/paid_pictures.py [TEXTS]

Lost answers (before and in the middle of the body, after the charge), 500, 429, 503, cut and dripping answers, hang-ups; the
service honours ``Idempotency-Key``. Exit status 1 when a text has no picture, or was charged twice.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from armada_teacher_image_api.options import ImageApiOptions
from image_server import ImageServer
from test_teacher_image_api import Run, kept

FAULTS = ("lost answer", "lost body", "broken", "busy", "overloaded", "cut body", "drip", "hang up")


def main(count: int) -> int:
    texts = [f"text {number}" for number in range(count)]
    with (
        tempfile.TemporaryDirectory() as name,
        ImageServer(rate=0.25, seed=11, faults=FAULTS, idempotent=True, delay=0.01, slow=2) as server,
    ):
        folder = Path(name)
        encoder = ImageApiOptions().smoke(folder / "smoke").encoder
        begun = time.monotonic()
        for share in (0.2, 0.45, 0.7):
            run = Run(folder, server, encoder, texts, concurrency=8, retries=20, timeout=1.0)
            while len(kept(folder)) < share * count and run.process.is_alive():
                time.sleep(0.01)
            run.send(signal.SIGKILL)
            run.process.join(10)
        last = Run(folder, server, encoder, texts, concurrency=8, retries=20, timeout=1.0)
        said = last.wait(600)
        pictures, charges = len(kept(folder)), sum(server.paid.values())
        seconds = time.monotonic() - begun
    print(f"{count} texts, {server.calls} calls: {pictures} pictures, {charges} charges, {seconds:.0f} s; {said.strip()}")
    return int(not (pictures == charges == count and said == "done\n"))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
