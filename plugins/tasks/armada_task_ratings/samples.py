"""Sentences of our own in an archive of the same form, for `--smoke` and for tests."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

from armada_cli.models.tiny import SENTENCES, once
from armada_task_ratings.archive import INNER, SOURCES


def write(path: Path) -> None:
    """An archive in which every source has 48 sentences; those of products and news stand four to a document."""

    def make(folder: Path) -> None:
        path.write_bytes(pack({f"vaderSentiment-3.3.2/{INNER}": pack({f"hutto/{f}": _table(s) for s, f in SOURCES.items()})}))

    once(path.parent, make)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pack(files: dict[str, bytes]) -> bytes:
    """A tar archive, gzipped."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), mtime=0)


def _table(source: str) -> bytes:
    lines = []
    for number in range(48):
        name = f"{number // 4 + 1}_{number % 4 + 1}" if source in ("products", "news") else str(number + 1)
        rating = (-1) ** number * (1 + number % 3)
        opening = "How lovely &amp; good" if rating > 0 else "What a pity &amp; a loss"
        lines.append(f"{name}\t{rating}.0\t{opening}: {SENTENCES[number % len(SENTENCES)]} ({number})\r\n")
    return "".join(lines).encode()
