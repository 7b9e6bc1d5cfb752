"""What files hold, as digests that stand for them in an identity. Whole files are hashed, whatever their size; a large one is
hashed once, and its digest is remembered in the user's cache for as long as the file is the same.

"The same" is the file's device and inode, its size, and the times of its last change in nanoseconds: of its content (mtime) and
of anything about it (ctime), which no program can set back. A clock ticks, and a file that is changed twice within a tick keeps
its times, so a digest is remembered only where the file had been left alone for `SETTLED` before it was read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from armada_cli.errors import UserError
from armada_cli.files import cache_folder, write_bytes_atomic
from armada_cli.reading import load_json, open_file

FORMAT = 1
SETTLED = 2_000_000_000
"""Nanoseconds; the coarsest clock of a file system in use (FAT) ticks every two seconds."""

WORTH_KEEPING = 1 << 20
"""Bytes. What takes no longer to read than to look up is read every time."""

Mark = tuple[int, int, int, int, int]
"""Device, inode, size, mtime and ctime of a file."""


def content_fingerprint(path: Path) -> str:
    """SHA-256 of a whole file, or of a folder's file names and contents; files and folders whose names begin with a point are
    left out. Something that is not there is known by its name.

    Raises:
        UserError: a file cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _of_folder(path)
        if path.is_file():
            return _of_file(path)
    except OSError as error:
        raise UserError(
            f"{error.filename or path}: cannot be read ({error.strerror})", "Check the file and its permissions"
        ) from None
    return "missing:" + path.name


def fingerprints_of_files(folder: Path, besides: str) -> dict[str, str]:
    """Name -> `content_fingerprint` of each file below a folder. Links are left out, and the file `besides`.

    Raises:
        UserError: a file cannot be read.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: content_fingerprint(path) for name, path in names.items() if name != besides}


def _of_file(path: Path) -> str:
    if path.stat().st_size < WORTH_KEEPING:
        return "sha256:" + _hash(path)[0]
    with _Memory(path) as memory:
        return memory.fingerprint("", path)


def _of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    with _Memory(folder) as memory:
        for parts in sorted(_files(folder)):
            name = "/".join(parts)
            digest.update(f"{name}\0{memory.fingerprint(name, folder.joinpath(*parts))}\n".encode("utf-8", "surrogateescape"))
    return "folder:" + digest.hexdigest()


def _files(
    folder: Path, above: tuple[str, ...] = (), seen: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[tuple[str, ...]]:
    """The parts of each file's path below a folder, links followed, each folder once on the way down."""
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in seen:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path), (*above, entry.name), seen | {(status.st_dev, status.st_ino)})
            elif entry.is_file():
                yield (*above, entry.name)


class _Memory:
    """The digests of one file or of a folder's files that an earlier command has computed.

    They lie in a file of their own, named by the place they are about. It is replaced in one step, so several processes may
    use it at once; one that is damaged, or cannot be written, costs the time of hashing again and nothing else.
    """

    def __init__(self, root: Path) -> None:
        self.root = os.path.realpath(root)
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:32]
        self.place = cache_folder() / "hashes" / f"{name}.json"
        self.known: dict[str, list[Any]] = {}
        self.kept: dict[str, list[Any]] = {}
        self.hashed = 0

    def __enter__(self) -> _Memory:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            stored = load_json(self.place)
            if stored["format"] == FORMAT and stored["root"] == self.root:
                self.known = dict(stored["files"])
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None or self.hashed < WORTH_KEEPING:
            return
        stored = {"format": FORMAT, "root": self.root, "files": self.kept}
        with contextlib.suppress(UserError, OSError, ValueError):
            write_bytes_atomic(self.place, json.dumps(stored).encode("utf-8"))

    def fingerprint(self, name: str, path: Path) -> str:
        """The file's digest, from memory where it is the file that was hashed."""
        mark = _mark(os.stat(path))
        stored = self.known.get(name)
        entry = stored if _is_entry(stored) else None
        if entry is not None and tuple(entry[:5]) == mark:
            self.kept[name] = entry
            return "sha256:" + str(entry[5])
        digest, mark, settled = _hash(path)
        self.hashed += mark[2]
        if settled:
            self.kept[name] = [*mark, digest]
        return "sha256:" + digest


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 6 and isinstance(entry[5], str) and len(entry[5]) == 64


def _hash(path: Path) -> tuple[str, Mark, bool]:
    """SHA-256 in hexadecimal digits, the file it is of, and whether that file was at rest before and while it was read."""
    # SHA-256 and not BLAKE2: processors of the last ten years have instructions for it, and it is twice as fast there.
    begun = time.time_ns()
    with open_file(path) as stream:
        before = _mark(os.fstat(stream.fileno()))
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        after = _mark(os.fstat(stream.fileno()))
    return digest, before, before == after and begun - max(before[3], before[4]) > SETTLED


def _mark(status: os.stat_result) -> Mark:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
