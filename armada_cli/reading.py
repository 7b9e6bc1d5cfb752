"""Reading of files that somebody else wrote, or that are damaged: it never hangs, and fails as its callers expect.

Every JSON that armada reads comes through here. The standard reader raises RecursionError where lists nest too deep; where
they nest a little less, whatever handles the value afterwards does. Opening a named pipe waits until somebody writes into it.
"""

from __future__ import annotations

import codecs
import errno
import functools
import io
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_DEPTH = 100
"""Lists and mappings inside each other. Nothing that armada or transformers writes is a tenth as deep."""

TOO_DEEP = f"it is nested more than {MAX_DEPTH} deep"


def parse_json(text: str | bytes, object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The value of a JSON text.

    Args:
        object_pairs_hook: as of `json.loads`.

    Raises:
        ValueError: it is not JSON (json.JSONDecodeError) or not UTF-8 (UnicodeDecodeError), holds a number of thousands of
            digits, or is nested more than `MAX_DEPTH` deep.
    """
    try:
        if object_pairs_hook is not None and isinstance(text, str) and not text.startswith("\ufeff"):
            value = _decoder(object_pairs_hook).decode(text)
        else:
            value = json.loads(text, object_pairs_hook=object_pairs_hook)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # Python's own words are about a setting of the interpreter
        raise ValueError("a number has too many digits") from None
    # Brackets in strings count too; it is the walk through every row of a large file that is to be spared.
    opening = ("[", "{") if isinstance(text, str) else (b"[", b"{")
    if sum(map(text.count, opening)) > MAX_DEPTH and not is_shallow(value):  # type: ignore[arg-type]
        raise ValueError(TOO_DEEP)
    return value


@functools.lru_cache(maxsize=1)
def _decoder(hook: Callable[[list[tuple[str, Any]]], Any]) -> json.JSONDecoder:
    """One for all lines of a file: making it takes longer than reading a line with it."""
    return json.JSONDecoder(object_pairs_hook=hook)


def load_json(path: Path) -> Any:
    """The value of a JSON file in UTF-8, with or without a byte order mark.

    Raises:
        OSError: it cannot be read, or is no ordinary file. ValueError: as `parse_json`.
    """
    return parse_json(read_bytes(path).decode("utf-8-sig"))


def encoding_fault(data: bytes) -> tuple[str, str] | None:
    """What is wrong and what to do about it, for the bytes of a text file that is UTF-16 (with or without a byte order mark),
    or that begins with two byte order marks; None for anything else. Without a mark, UTF-16 shows by every other byte of its
    beginning being zero, which holds for the markup and field names of any script's files."""
    if data.startswith(codecs.BOM_UTF8 * 2):
        return "the file begins with two byte order marks", "Save it again as UTF-8 without a byte order mark"
    begin = data[:200]
    zeros = max(begin[0::2].count(0), begin[1::2].count(0))
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or (len(begin) > 1 and zeros * 4 > len(begin)):
        return "the file is UTF-16, not UTF-8", "Save it as UTF-8"
    return None


def is_shallow(value: Any) -> bool:
    """Whether lists and mappings lie at most `MAX_DEPTH` deep inside each other, told without recursion."""
    level = [value]
    for _ in range(MAX_DEPTH):
        inside = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list)))
        level = [child for children in inside for child in children if isinstance(child, (dict, list))]
        if not level:
            return True
    return False


def open_file(path: Path) -> io.BufferedReader:
    """Open an ordinary file for reading; the opening never waits, as that of a named pipe would.

    Raises:
        OSError: it cannot be opened, or is a folder, a pipe, a socket or a device.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _check_ordinary(path, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path) -> bytes:
    """The content of an ordinary file.

    Raises:
        OSError: as `open_file`.
    """
    with open_file(path) as stream:
        return stream.read()


def check_file(path: Path) -> None:
    """Make sure that a library which opens `path` by itself will not wait for ever.

    Raises:
        OSError: nothing is there, or it is a folder, a pipe, a socket or a device.
    """
    _check_ordinary(path, os.stat(path).st_mode)


def _check_ordinary(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.ENXIO, "not an ordinary file", str(path))
