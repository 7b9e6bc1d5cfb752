"""Watches for pickles being read: a pickle can run any code, so data and weights must come in a format that cannot."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

BETWEEN_PROCESSES = ("multiprocessing", "concurrent", "accelerate", "distributed")
"""What these read they have written themselves a moment ago."""

READERS = ("pickle", "_pickle", "_compat_pickle", "torch", "numpy", "joblib", "cloudpickle", "dill", "pandas")
"""Passed over on the way to whoever asked them."""

_asked_for: list[str] | None = None
_installed = False


@contextmanager
def watched(asked_for: list[str]) -> Iterator[None]:
    """Inside, every class that a pickle asks for is appended to `asked_for`, with the line that read it.

    Python announces each one to its audit hooks, whichever library reads the pickle. A pickle of plain numbers and texts asks
    for no class and goes unseen.
    """
    global _asked_for, _installed
    if not _installed:
        sys.addaudithook(_listen)  # for good: Python has no way to take one back
        _installed = True
    before, _asked_for = _asked_for, asked_for
    try:
        yield
    finally:
        _asked_for = before


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if _asked_for is None or event != "pickle.find_class":
        return
    frame: FrameType | None = sys._getframe(1)
    place = ""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] in BETWEEN_PROCESSES:
            return
        if not place and module.partition(".")[0] not in READERS:
            place = f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
        frame = frame.f_back
    _asked_for.append(f"{'.'.join(map(str, arguments))} ({place})")
