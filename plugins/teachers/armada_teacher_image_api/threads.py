"""What the threads that ask a service at once have in common."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from armada_cli import UserError
from armada_teacher_image_api.endpoint import Fault


class PromptQueue:
    """Prompts that threads get the pictures of, and what became of them.

    Attributes:
        stop: nothing new is begun.
        faults: of those that failed.
        ends: errors that ended it early, the first one first.
    """

    def __init__(self, prompts: dict[bytes, str]) -> None:
        self._left = iter(prompts.items())
        self._lock = threading.Lock()
        self._alike: Counter[str] = Counter()
        self._came = 0
        self.stop = threading.Event()
        self.faults: dict[bytes, Fault] = {}
        self.ends: list[BaseException] = []

    def next(self) -> tuple[bytes, str] | None:
        with self._lock:
            return None if self.stop.is_set() else next(self._left, None)

    def note(self, key: bytes, fault: Fault | None, judge: Callable[[Fault, int, int], UserError | None]) -> UserError | None:
        """Note what became of a prompt. Returns the reason to ask no further, by `judge`."""
        with self._lock:
            if fault is None:
                self._came += not self.stop.is_set()
                return None
            self.faults[key] = fault
            self._alike[fault.kind] += 1
            return judge(fault, self._alike[fault.kind], self._came)

    def end(self, error: BaseException) -> None:
        with self._lock:
            self.ends.append(error)
            self.stop.set()


def join_all(threads: list[threading.Thread], seconds: float) -> bool:
    """Wait for threads for so long; whether all have ended."""
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


class FirstAlone:
    """The first thread to enter is alone until it leaves, however it leaves; after that nobody waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = False
        self._holder: int | None = None

    def __enter__(self) -> None:
        if self._over:
            return
        self._lock.acquire()
        if self._over:
            self._lock.release()
        else:
            self._holder = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        if self._holder == threading.get_ident():
            self._over, self._holder = True, None
            self._lock.release()


class Pause:
    """The time before which no request may be sent, as the service has asked for a pause."""

    def __init__(self) -> None:
        self._until = 0.0

    def until(self, moment: float) -> None:
        self._until = max(self._until, moment)

    def over(self, stop: threading.Event) -> bool:
        """Wait for the end of the pause; False when `stop` was set."""
        while (rest := self._until - time.monotonic()) > 0 and not stop.is_set():
            stop.wait(min(rest, threading.TIMEOUT_MAX))
        return not stop.is_set()
