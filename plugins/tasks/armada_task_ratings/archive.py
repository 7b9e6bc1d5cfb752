"""The rated sentences inside the source archive of vaderSentiment: read in memory, never extracted, never executed."""

from __future__ import annotations

import hashlib
import io
import math
import tarfile
from pathlib import Path
from typing import NamedTuple

from armada_cli import UserError

ARCHIVE = "vaderSentiment-3.3.2.tar.gz"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"
SOURCES = {
    "tweets": "tweets_GroundTruth.txt",
    "films": "movieReviewSnippets_GroundTruth.txt",
    "products": "amazonReviewSnippets_GroundTruth.txt",
    "news": "nytEditorialSnippets_GroundTruth.txt",
}
MAX_BYTES = 64 << 20
"""Of one file in an archive; the real ones are below 2 MB."""


class Sentence(NamedTuple):
    """One row. `document` is shared by the sentences of one review or editorial."""

    document: str
    rating: float
    text: str


def read(path: Path, sha256: str, source: str, fetch: str) -> list[Sentence]:
    """The rows of a source, in the file's order.

    Args:
        fetch: what the user can type to have the archive.

    Raises:
        UserError: the archive is missing, is another one, or has no such rows.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", f"Fetch it: {fetch}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path}: is not the known release (its SHA-256 is another)", f"Fetch it again: {fetch}")
    try:
        text = _member(_member(content, INNER), SOURCES[source]).decode("utf-8-sig")
    except (OSError, EOFError, tarfile.TarError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})", f"Fetch it again: {fetch}") from None
    lines = text.split("\n")  # not splitlines, which also cuts at characters inside a text
    return [_row(f"{path}: {SOURCES[source]}:{n}", line.rstrip("\r")) for n, line in enumerate(lines, 1) if line.strip()]


def _member(content: bytes, ending: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for member in archive:
            if member.isfile() and f"/{member.name}".endswith(f"/{ending}"):
                if member.size > MAX_BYTES:
                    raise ValueError(f"{ending} is too large")
                stream = archive.extractfile(member)
                if stream is not None:
                    return stream.read()
    raise ValueError(f"there is no {ending} in it")


def _row(where: str, line: str) -> Sentence:
    try:
        name, rating, text = line.split("\t", 2)
        value = float(rating)
        if not math.isfinite(value) or not -4 <= value <= 4:
            raise ValueError
    except ValueError:
        raise UserError(f"{where}: is no row of id, rating (-4 to 4) and text", "Fetch the archive again") from None
    return Sentence(name.partition("_")[0], value, text)
