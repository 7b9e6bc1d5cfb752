"""What a folder's files held when they were finished: size and SHA-256 of each, in one file beside them.

A disk that gives back another bit says nothing of it, and whatever is built on such a file is wrong without a word. So every
file that another trial or a resumed one reads is compared with what was written. Folders that were made before there were
digests have none; their files are taken as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from armada_cli.contracts import fingerprint
from armada_cli.files import write_json
from armada_cli.reading import load_json, parse_json, read_bytes

FILE = "digests.json"

Digests = dict[str, tuple[int, str]]
"""A file's name below the folder -> its bytes and the hexadecimal digits of their SHA-256."""


class DamagedDigests(ValueError):
    """The file of digests is not what was written."""


def digest_of(content: bytes) -> tuple[int, str]:
    """Size and SHA-256 of some bytes."""
    return len(content), hashlib.sha256(content).hexdigest()


def write_digests(folder: Path, names: Iterable[str], later: Mapping[str, bytes] | None = None) -> None:
    """Hash files and write down what they hold.

    Args:
        names: files and folders below `folder`; those that are not there are left out.
        later: name -> content of files that will be written after the digests.

    Raises:
        OSError: a file cannot be read. UserError: the digests cannot be written.
    """
    digests: Digests = {}
    for name in names:
        for path in _files(folder / name):
            digests[path.relative_to(folder).as_posix()] = _hash(path)
    digests |= {name: digest_of(content) for name, content in (later or {}).items()}
    files = {name: list(entry) for name, entry in digests.items()}
    write_json(folder / FILE, {"files": files, "check": fingerprint(files, 64)})


def read_digests(folder: Path) -> Digests | None:
    """What `write_digests` wrote; None when it wrote nothing here.

    Raises:
        DamagedDigests: what is there is not what was written.
    """
    try:
        stored = load_json(folder / FILE)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DamagedDigests(f"{FILE} cannot be read") from error
    files = stored.get("files") if isinstance(stored, dict) else None
    if not isinstance(files, dict) or not all(_is_entry(entry) for entry in files.values()):
        raise DamagedDigests(f"{FILE} is no table of digests")
    if stored.get("check") != fingerprint(files, 64):
        raise DamagedDigests(f"{FILE} was changed")
    return {name: (int(entry[0]), str(entry[1])) for name, entry in files.items()}


def differences(folder: Path, digests: Digests, below: Iterable[str] | None = None) -> Iterator[str]:
    """One line for each file that is missing or holds something else.

    Args:
        below: compare these files and folders alone, and say which of them have no digest though others have.
    """
    chosen = digests
    if below is not None:
        chosen = {}
        for start in below:
            part = {name: entry for name, entry in digests.items() if name == start or name.startswith(f"{start}/")}
            if not part:
                yield f"{start} has no digest"
            chosen |= part
    for name, entry in sorted(chosen.items()):
        if complaint := difference(folder / name, entry):
            yield f"{name} {complaint}"


def difference(path: Path, entry: tuple[int, str]) -> str | None:
    """What is wrong with one file, as the end of a sentence; None when it holds what was written."""
    try:
        size = path.stat().st_size
        if size != entry[0]:
            return f"has {size} bytes, {entry[0]} were written"
        return None if _hash(path) == entry else "does not match its digest"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def load_checked_json(folder: Path, name: str) -> Any:
    """The value of a JSON file, compared with its digest where its folder has some.

    Raises:
        OSError: it cannot be read. ValueError: it is damaged, or so are the digests.
    """
    content = read_bytes(folder / name)
    digests = read_digests(folder)
    if digests is not None and digests.get(name) != digest_of(content):
        raise ValueError("it does not match its digest")
    return parse_json(content)


def _hash(path: Path) -> tuple[int, str]:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return stream.tell(), digest


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(item for item in path.rglob("*") if item.is_file())
    elif path.is_file():
        yield path


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], int) and isinstance(entry[1], str)
