"""Which process computes which input, when several extract into one store.

A claim is a lock on one byte of ``<store>.claims``, at a place that the input's hash gives. There are `PLACES` of them, since
the kernel keeps a process's locks in a list: inputs that fall on one place are claimed together, and a process that finds a
place taken comes back to it later. The kernel lets go of a process's
locks when it dies, however it dies: there is nothing to expire, and nothing to clean up after `kill -9`. Where the platform
has no such locks (Windows) every claim succeeds; two processes may then compute the same input, and the store keeps one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from armada_cli.errors import UserError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]


PLACES = 2048


class Claims:
    """The claims of one process on one store. Use one object per process: closing any other handle of the file frees all."""

    def __init__(self, store: Path, key: str) -> None:
        self.key = key
        self._held: set[int] = set()
        self._descriptor: int | None = None
        if fcntl is None:
            return
        path = Path(f"{store}.claims")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be made ({error.strerror})", "Free some space, or name another runs folder"
            ) from None

    def close(self) -> None:
        """Let go of everything."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _place(self, item: bytes) -> int:
        digest = hashlib.blake2b(item, digest_size=8, key=self.key.encode()).digest()
        return int.from_bytes(digest, "little") % PLACES

    def take(self, items: Iterable[bytes]) -> bool:
        """Claim inputs, all or none of them; False when another process has one."""
        taken: list[int] = []
        for place in {self._place(item) for item in items} - self._held:
            if not self._lock(place):
                for other in taken:
                    self._unlock(other)
                return False
            taken.append(place)
        self._held.update(taken)
        return True

    def _lock(self, place: int) -> bool:
        if self._descriptor is None:
            return True
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            pass  # a file system without locks: work twice rather than not at all
        return True

    def _unlock(self, place: int, count: int = 1) -> None:
        if self._descriptor is not None:
            # Without locks there is nothing to give back.
            with contextlib.suppress(OSError):
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, count, place)

    def release(self) -> None:
        """Give all claims back."""
        if self._held:
            self._unlock(0, PLACES)
        self._held.clear()
