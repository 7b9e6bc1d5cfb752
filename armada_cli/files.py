"""Files that are either the old ones or the whole new ones, whatever happens in between."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from armada_cli.errors import UserError
from armada_cli.reading import load_json


def cache_folder() -> Path:
    """Where things lie that can be computed again: ``$XDG_CACHE_HOME/armada``, or ``~/.cache/armada``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "armada"


def write_atomic(path: Path, text: str) -> None:
    """`write_bytes_atomic` of a text as UTF-8."""
    write_bytes_atomic(path, text.encode("utf-8"))


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or the whole new one, whatever happens in between.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            temporary = Path(stream.name)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # temporary files are private, these are ordinary results
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise disk_error(path, error) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` of readable JSON with sorted keys: equal values are equal bytes."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any | None:
    """The value, or None when the file is missing or damaged (it will be made again)."""
    try:
        return load_json(path)
    except (OSError, ValueError):
        return None


def disk_error(path: Path, error: OSError) -> UserError:
    """An operating system's refusal, as one line."""
    reason = error.strerror or str(error)
    return UserError(f"cannot write {path}: {reason}", "Free some space, or name another place with --runs")


def replace_folder(source: Path, target: Path) -> None:
    """Put a complete folder in the place of another. Its files become as readable as any new file of this user: some
    libraries write weights for their owner alone."""
    make_readable(source)
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(source, target)
    shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(target: Path) -> None:
    """Remove what killed processes left of their work on a folder: hidden folders beside it that begin with its name. Only for
    a process that is alone; another's unfinished work looks the same."""
    for left in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(left, ignore_errors=True)


def publish_folder(made: Path, target: Path, ready: Callable[[], bool]) -> None:
    """Give a finished folder its name. Where another process was quicker its folder stays, if `ready` says that it is whole:
    somebody may be reading it.

    Raises:
        OSError: the folder cannot be moved.
    """
    if ready():
        return
    shutil.rmtree(target, ignore_errors=True)  # a damaged one
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
