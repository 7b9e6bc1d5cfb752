"""Weights that come inside installed packages: made into a folder that `from_pretrained` reads, once, in the user's cache.

A package of weights is never imported. Its files are found through its metadata and compared with a known hash, and what is
made of them lies in a folder whose name has that hash, beside a note (`NOTE`) of sources and versions. The folder appears by
rename: it is whole or it is not there. Two processes that want it at once wait for each other.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from armada_cli.console import make_text_column, print_line, show_bars
from armada_cli.content import fingerprints_of_files
from armada_cli.errors import UserError
from armada_cli.files import cache_folder, make_readable, publish_folder, read_json, remove_leftovers, write_json
from armada_cli.models.weights import damage

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

NOTE = "source.json"
"""In a finished folder: which files it was made of, their SHA-256, and by which versions of which packages."""

BLOCK = 1 << 22

Step = Callable[[str, float], None]
"""Told what is being done, and the share of the whole that is done before it, 0 to 1."""


@dataclass(frozen=True)
class PackagedModel:
    """A model that installed packages carry.

    Attributes:
        name: of its folder; lower-case words joined by hyphens.
        title: for people.
        parts: (distribution, how the file's name ends); read one after the other they are the model's source.
        sha256: of all parts together.
        size: bytes of the finished folder, for messages.
        made_with: distributions whose versions the note records.
        form: raised when other files are made of the same source.
    """

    name: str
    title: str
    parts: tuple[tuple[str, str], ...]
    sha256: str
    size: int
    made_with: tuple[str, ...] = ()
    form: int = 1

    def folder(self) -> Path:
        """Where the finished folder is, or will be."""
        return cache_folder() / "models" / f"{self.name}-{self.sha256[:12]}-{self.form}"

    def ready(self) -> bool:
        """Whether the folder is there and holds what was made, to the last bit."""
        folder = self.folder()
        note = read_json(folder / NOTE)
        if not isinstance(note, dict) or note.get("sha256") != self.sha256 or not any(folder.glob("*.safetensors")):
            return False
        return damage(folder) is None and note.get("made") == fingerprints_of_files(folder, besides=NOTE)

    def identity(self) -> str:
        """What stands for the weights in an identity, made or not."""
        return f"sha256:{self.sha256}, form {self.form}"

    def sources(self) -> list[Path]:
        """The parts' files.

        Raises:
            UserError: a distribution is not installed, or has no such file.
        """
        return [_file(distribution, ending) for distribution, ending in self.parts]

    def verified(self) -> list[Path]:
        """`sources`, once their content has been compared with `sha256`.

        Raises:
            UserError: as `sources`; or they are other files than the known ones.
        """
        sources = self.sources()
        if _digest(sources) != self.sha256:
            names = " ".join(distribution for distribution, _ in self.parts)
            raise UserError(
                f"{self.title}: the files of {names.replace(' ', ', ')} are not those of the known release",
                f"Install them again: pip install --force-reinstall --no-deps {names}",
            )
        return sources

    def prepare(self, make: Callable[[list[Path], Path, Step], None]) -> Path:
        """The folder, made now unless it is there.

        Args:
            make: ``make(sources, folder, step)`` fills an empty folder and calls `step` as it goes.

        Raises:
            UserError: the source is missing or has another content, or the disk is full.
        """
        if self.ready():
            return self.folder()
        target = self.folder()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with alone(target.with_name(f"{target.name}.lock")) as certain:
                if certain:
                    remove_leftovers(target)
                if not self.ready():  # another process may have made it meanwhile
                    self._make(make, target)
        except OSError as error:
            raise UserError(
                f"cannot write {target}: {error.strerror or error}",
                f"{self.title} needs {self.size / 1e6:.0f} MB there, once; free some space, or name another cache with "
                "XDG_CACHE_HOME",
            ) from error
        return target

    def _make(self, make: Callable[[list[Path], Path, Step], None], target: Path) -> None:
        with telling(f"{self.title}, converted once into {target}") as step:
            step("reading the package", 0.0)
            sources = self.verified()
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", ignore_cleanup_errors=True) as place:
                folder = Path(place) / "folder"
                folder.mkdir()
                make(sources, folder, step)
                make_readable(folder)
                versions = {name: importlib.metadata.version(name) for name in self.made_with}
                files = [f"{distribution}: {path.name}" for (distribution, _), path in zip(self.parts, sources, strict=True)]
                results = fingerprints_of_files(folder, besides=NOTE)
                note = {"title": self.title, "sources": files, "sha256": self.sha256, "made_with": versions, "made": results}
                write_json(folder / NOTE, note)
                publish_folder(folder, target, self.ready)


def source_folder() -> Path:
    """Where files of packages lie that are fetched and not installed (`pip download`)."""
    return cache_folder() / "sources"


def _file(distribution: str, ending: str) -> Path:
    try:
        files = importlib.metadata.distribution(distribution).files or []
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"the package {distribution} is not installed", "Install it: see docs/offline.md") from None
    for item in files:
        if item.name.endswith(ending) and (path := Path(str(item.locate()))).is_file():
            return path
    raise UserError(
        f"the installed {distribution} has no file *{ending}", f"Install it again: pip install --force-reinstall {distribution}"
    )


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()


def joined(paths: Sequence[Path]) -> io.BufferedReader:
    """Several files read as one, at any place, without a copy of them."""
    return io.BufferedReader(_Joined(paths))


class _Joined(io.RawIOBase):
    def __init__(self, paths: Sequence[Path]) -> None:
        self._streams = [path.open("rb") for path in paths]
        self._ends: list[int] = []
        for path in paths:
            self._ends.append((self._ends[-1] if self._ends else 0) + path.stat().st_size)
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._ends[-1]}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        number = next((number for number, end in enumerate(self._ends) if self._place < end), None)
        if number is None:
            return 0
        stream, begin = self._streams[number], self._ends[number - 1] if number else 0
        stream.seek(self._place - begin)
        block = stream.read(min(len(buffer), self._ends[number] - self._place))
        buffer[: len(block)] = block
        self._place += len(block)
        return len(block)

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
        super().close()


@contextmanager
def alone(lock: Path) -> Iterator[bool]:
    """Only one process at a time, as long as the block lasts. Yields whether that is certain: Windows and some network file
    systems have no such locks, and there several may be at it."""
    if fcntl is None:
        yield False
        return
    with lock.open("w") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            yield False
            return
        yield True


@contextmanager
def telling(title: str) -> Iterator[Step]:
    """A bar where standard error is a terminal, one line where it is not."""
    if not sys.stderr.isatty():
        print_line(f"armada: {title}", error=True)
        yield lambda what, share: None
        return
    from rich.progress import BarColumn, TimeElapsedColumn

    percent, text = make_text_column("{task.percentage:>3.0f} %"), make_text_column("{task.description}")
    columns = (BarColumn(bar_width=24), percent, TimeElapsedColumn(), text)
    with show_bars(*columns, transient=True) as bar:
        bar.console.print(f"armada: {title}")
        task = bar.add_task("", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)
