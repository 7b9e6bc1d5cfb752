"""Files that are either the old ones or the whole new ones, whatever happens in between."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from armada_cli.errors import UserError
from armada_cli.reading import load_json

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]


def cache_folder() -> Path:
    """Where things lie that can be computed again: ``$XDG_CACHE_HOME/armada``, or ``~/.cache/armada``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "armada"


def expand(path: Path | str) -> Path:
    """A path as a user wrote it, with ``~`` and ``~user`` in full.

    Raises:
        UserError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{str(path)!r}: there is no home folder for {Path(path).parts[0]!r}", "Write the path in full"
        ) from None


def write_atomic(path: Path, text: str) -> None:
    """`write_bytes_atomic` of a text as UTF-8. What UTF-8 lacks (bytes of file names) is written as JSON escapes it."""
    write_bytes_atomic(path, text.encode("utf-8", "backslashreplace"))


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or the whole new one, whatever happens in between.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    try:
        with replacing(path) as stream:
            stream.write(content)
    except OSError as error:
        raise disk_error(path, error) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A stream for the content of a whole new file, which takes the place of `path` in one step at the end of the block, on the
    disk. When the block raises, nothing has happened; when the process is killed, `sweep_halves` removes what it left.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stream, half = _open_half(path)
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            os.chmod(half, 0o666 & ~_umask())  # temporary files are private, these are ordinary results
            if fcntl is not None:
                os.replace(half, path)  # as long as the lock is held: what nobody holds is swept
        if fcntl is None:
            os.replace(half, path)
    except BaseException:
        remove(half, path.parent)
        raise


HALF = ".part"
"""How the name of an unfinished file ends; it begins with a dot and the name of the file that it was to become."""


def _open_half(path: Path) -> tuple[BinaryIO, Path]:
    """A new unfinished file and its place, with a lock that dies with this process."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=HALF)
        stream = os.fdopen(descriptor, "wb")
        if fcntl is None:
            return stream, Path(name)
        with contextlib.suppress(OSError):  # a file system without locks: nobody else gets one either, and nothing is swept
            fcntl.flock(stream, fcntl.LOCK_EX)
        if os.path.exists(name):
            return stream, Path(name)
        stream.close()  # it was swept between its making and the lock


def sweep_halves(folder: Path, names: Sequence[str] | None = None) -> None:
    """Remove the unfinished files that killed processes left in `folder`: of the files `names` (those of earlier versions too,
    whose halves had no ending), or of all. One that a living process writes is left alone, and so is whatever is named
    otherwise."""
    if fcntl is None or not folder.is_dir():
        return
    wanted, ending = (".+", "") if names is None else ("|".join(map(re.escape, names)), "?")
    half = re.compile(rf"\.({wanted})\.[a-z0-9_]{{8}}({re.escape(HALF)}){ending}", re.DOTALL)
    for path in folder.iterdir():
        if half.fullmatch(path.name):
            with contextlib.suppress(OSError):
                _sweep_half(path)


def _sweep_half(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a link or a named pipe is none of ours
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(path, path.parent)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def unfinished_folder(target: Path) -> Iterator[Path]:
    """A new hidden folder beside `target` to prepare it in, which is gone behind the block. What killed processes left of such
    folders for this target is removed first: a lock on a folder dies with its process.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep_unfinished_folders(target)
    folder, descriptor = _make_unfinished_folder(target)
    try:
        yield folder
    finally:
        remove(folder, target.parent)
        os.close(descriptor)


def _make_unfinished_folder(target: Path) -> tuple[Path, int]:
    """A new folder, and a descriptor that holds its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=HALF))
        with contextlib.suppress(FileNotFoundError):  # it was swept between its making and the lock
            descriptor = os.open(folder, os.O_RDONLY)
            if fcntl is not None:
                with contextlib.suppress(OSError):  # as in `_open_half`
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
            if folder.exists():
                return folder, descriptor
            os.close(descriptor)


def sweep_unfinished_folders(target: Path) -> None:
    """Remove what killed processes left of `unfinished_folder`; a living one's is left alone."""
    if fcntl is None:
        return
    half = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}{re.escape(HALF)}", re.DOTALL)
    for path in target.parent.iterdir():
        if half.fullmatch(path.name):
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove(path, target.parent)
                finally:
                    os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` of readable JSON with sorted keys: equal values are equal bytes."""
    write_bytes_atomic(path, as_json(value))


def as_json(value: Any) -> bytes:
    """What `write_json` writes."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def read_json(path: Path) -> Any | None:
    """The value, or None when the file is missing or damaged (it will be made again)."""
    try:
        return load_json(path)
    except (OSError, ValueError):
        return None


def disk_error(path: Path, error: OSError) -> UserError:
    """An operating system's refusal, as one line."""
    reason = error.strerror or str(error)
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):  # a copied folder: a reason a file
        reason = re.sub(r"^\[Errno \d+\] ([^:]+): .*", r"\1", str(error.args[0][0][-1]), flags=re.DOTALL)
    return UserError(f"cannot write {path}: {reason}", "Free some space, or name another place with --runs")


@contextlib.contextmanager
def telling_disk_errors(path: Path) -> Iterator[None]:
    """Have `disk_error` tell what goes wrong in writing `path`, whoever writes: libraries in Rust raise errors of their own for
    a disk that is full.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise disk_error(path, error) from error
    except Exception as error:
        if said := _OF_THE_SYSTEM.search(str(error)):
            raise disk_error(path, OSError(int(said[2]), said[1])) from error
        raise


_OF_THE_SYSTEM = re.compile(r"([A-Z][a-z ]+) \(os error ([0-9]+)\)")
"""How Rust words an error of the operating system: No space left on device (os error 28)."""


def remove(path: Path, inside: Path, *, must: bool = False) -> None:
    """Remove a file, a link or a folder that lies inside the folder `inside`, at any depth. Of a link only the link goes,
    whatever it leads to. What is not there is no matter; what cannot be removed stays, unless it `must` go.

    Everything that this project deletes for good goes through here.

    Raises:
        UserError: it lies elsewhere (a link on the way to it leads out, or its name does); or it must go and cannot.
    """
    require_inside(path, inside)
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=not must)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        if must:
            reason = error.strerror or str(error)
            raise UserError(f"cannot remove {path}: {reason}", "Check the permissions of its folder") from error


def require_inside(path: Path, folder: Path) -> None:
    """Refuse a path that does not lie strictly inside `folder` when every link on the way to it is followed.

    Raises:
        UserError: it does not.
    """
    top, parent = os.path.realpath(folder), os.path.realpath(path.parent)
    if path.name in ("", ".", "..") or os.path.commonpath((top, parent)) != top:
        raise UserError(
            f"{path} does not lie inside {folder}, so it is left as it is", "Remove the link that leads there, if it is one"
        )


def replace_folder(source: Path, target: Path) -> None:
    """Put a complete folder in the place of another. Its files become as readable as any new file of this user: some
    libraries write weights for their owner alone."""
    make_readable(source)
    old = target.with_name(f".{target.name}.old")
    remove(old, target.parent)
    if target.exists():
        os.replace(target, old)
    os.replace(source, target)
    remove(old, target.parent)


def remove_leftovers(target: Path) -> None:
    """Remove what killed processes left of their work on a folder: hidden folders beside it that begin with its name. Only for
    a process that is alone; another's unfinished work looks the same."""
    for left in target.parent.glob(f".{target.name}.*"):
        remove(left, target.parent)


def publish_folder(made: Path, target: Path, ready: Callable[[], bool]) -> None:
    """Give a finished folder its name. Where another process was quicker its folder stays, if `ready` says that it is whole:
    somebody may be reading it.

    Raises:
        OSError: the folder cannot be moved.
    """
    if ready():
        return
    remove(target, target.parent)  # a damaged one
    try:
        os.replace(made, target)
    except OSError:
        if not ready():
            raise


def make_readable(folder: Path) -> None:
    """Give the files in a folder the permissions of any new file of this user."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.chmod(path, 0o666 & ~_umask())
