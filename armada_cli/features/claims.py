"""Which process computes which input, when several extract into one store.

A claim is a lock on one byte of ``<store>.claims``, at a place that the input's hash gives. The kernel lets go of a process's
locks when it dies, however it dies: there is nothing to expire, and nothing to clean up after `kill -9`. Where the platform
has no such locks (Windows) every claim succeeds; two processes may then compute the same input, and the store keeps one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from armada_cli.errors import UserError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]


class Claims:
    """The claims of one process on one store. Use one object per process: closing any other handle of the file frees all."""

    def __init__(self, store: Path, key: str) -> None:
        self.key = key
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
        return int.from_bytes(digest, "little") >> 2  # offsets are signed 64-bit numbers

    def take(self, item: bytes) -> bool:
        """Claim an input; False when another process has it."""
        if self._descriptor is None:
            return True
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._place(item))
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            return True  # a file system without locks: work twice rather than not at all
        return True

    def release(self, items: Sequence[bytes]) -> None:
        """Give claims back."""
        if self._descriptor is None:
            return
        for item in items:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._place(item))
