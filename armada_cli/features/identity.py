"""What teachers' vectors are found by: who made a vector, and of what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armada_cli.contracts import Component, Environment, TeacherInput, fingerprint
from armada_cli.errors import UserError
from armada_cli.reading import open_file, parse_json

if TYPE_CHECKING:
    from armada_cli.registry.registered import Registered


def maker(teacher: Component | Registered) -> str:
    """Who computes a teacher's vectors, ``distribution version``; empty for a card whose plugin is not known."""
    return "" if isinstance(teacher, Component) else f"{teacher.distribution} {teacher.version}"


def write_makers(makers: Iterable[str]) -> str:
    """Makers as a file's metadata has them."""
    return json.dumps(list(makers))


def read_makers(text: str | None) -> tuple[str, ...]:
    """What `write_makers` wrote; none where there is nothing, or nothing that it wrote."""
    try:
        makers = parse_json(text or "[]")
    except ValueError:
        return ()
    return tuple(item for item in makers if isinstance(item, str)) if isinstance(makers, list) else ()


def teacher_identity(teacher: Component | Registered, options: Any, environment: Environment) -> dict[str, Any]:
    """Everything that can change a vector: the card's own identity, and the distribution that ships it when it is known,
    since two distributions may bring teachers of one name."""
    if isinstance(teacher, Component):
        return teacher.identity(options, environment)
    return {**teacher.component.identity(options, environment), "distribution": teacher.distribution}


def identity_key(identity: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that stand for an identity in the store, in file names and on the command line."""
    return fingerprint(dict(identity))


def read_identity(text: Any, key: str) -> dict[str, Any] | None:
    """The identity that a stored or imported text describes; None where it is damaged, or not the one that `key` stands for."""
    try:
        identity = parse_json(text)
        return identity if isinstance(identity, dict) and identity_key(identity) == key else None
    except (TypeError, ValueError):
        return None


def input_hash(value: TeacherInput) -> bytes:
    """SHA-256, 32 bytes: of a text's UTF-8, or of the content of a media file.

    Raises:
        UserError: the media file cannot be read, or the value is neither a text nor a path.
    """
    if isinstance(value, str):
        return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()
    if isinstance(value, Path):
        digest = hashlib.sha256()
        try:
            with open_file(value) as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise UserError(
                f"{value}: cannot be read for the teacher ({error.strerror})", "Check the task's media paths"
            ) from None
        return digest.digest()
    raise UserError(
        f"a task hands its teacher {type(value).__name__} {value!r:.60}", "A teacher's input is a text or a pathlib.Path"
    )


def input_hashes(inputs: Iterable[TeacherInput]) -> list[bytes]:
    """One hash per input, in order; an input seen before is not hashed again."""
    known: dict[TeacherInput, bytes] = {}
    hashes = []
    for value in inputs:
        digest = known.get(value) if isinstance(value, (str, Path)) else None
        if digest is None:
            digest = known[value] = input_hash(value)
        hashes.append(digest)
    return hashes
