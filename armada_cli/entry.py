"""Where the command begins: Ctrl-C ends it with its one line and status 130, also while its modules are still being imported.

This module imports nothing of the project, and importing it changes nothing: workers import it too.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """The console script. From here to the first line of `armada_cli.main.main` an interrupt ends the process at once: nothing
    is begun yet, and an exception in the middle of an import would be a traceback. A shell that ignores interrupts for a job
    in the background is left alone."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from armada_cli.main import main as begin

    begin(lambda: signal.signal(signal.SIGINT, usual))


def _leave(number: int, frame: object) -> None:
    os.write(2, b"armada: interrupted\n")
    os._exit(130)
