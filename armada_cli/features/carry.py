"""Vectors in one safetensors file, to make them on another machine, or to buy them from an API once.

For each teacher identity with key K the file has the tensors ``K.vectors`` (float32 [n, width]) and ``K.inputs`` (uint8
[n, 32], the SHA-256 of each input), and in its metadata the identity as JSON under ``K``, who
computed them under ``K.makers`` and a digest under ``K.digest``.
No text travels: the receiving side knows its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armada_cli.contracts import canonical
from armada_cli.errors import UserError
from armada_cli.features.identity import read_identity, read_makers, write_makers
from armada_cli.features.prepare import read_tensors, write_tensors
from armada_cli.features.store import FeatureStore

if TYPE_CHECKING:
    import numpy as np

FORMAT = "armada-vectors 1"
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Carried:
    """One identity that was exported or imported: its teacher's name, its rows, and how many of those are new here."""

    key: str
    teacher: str
    rows: int
    width: int
    new: int = 0


def export_vectors(store: FeatureStore, keys: Sequence[str], path: Path) -> list[Carried]:
    """Write all sound vectors of the given identities to `path`, by rename.

    Raises:
        UserError: there is nothing to export, or the file cannot be written.
    """
    import numpy as np

    tensors: dict[str, np.ndarray] = {}
    metadata = {"format": FORMAT}
    carried = []
    for key in keys:
        hashes = store.hashes(key)
        vectors, sound = store.get(key, hashes)
        hashes = [item for item, ok in zip(hashes, sound, strict=True) if ok]
        if not hashes:
            continue
        identity = store.identity(key)
        if identity is None:
            hint = f"Run a recipe that uses it, which writes it again, or leave {key} out with --identity"
            raise UserError(f"{store.path}: the description of the teacher {key} is damaged", hint)
        tensors[f"{key}.vectors"] = np.ascontiguousarray(vectors[sound])
        tensors[f"{key}.inputs"] = np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), 32)
        metadata[key] = canonical(identity)
        metadata[f"{key}.makers"] = write_makers(store.makers(key))
        metadata[f"{key}.digest"] = _digest(tensors[f"{key}.inputs"], tensors[f"{key}.vectors"])
        carried.append(Carried(key, str(identity.get("name", "?")), len(hashes), vectors.shape[1]))
    if not carried:
        raise UserError(f"{store.path}: there are no vectors to export", "Run: armada features list")
    write_tensors(path, tensors, metadata)
    return carried


def import_vectors(store: FeatureStore, path: Path) -> list[Carried]:
    """Merge a file that `export_vectors` wrote. It is checked as a whole before anything is stored; an input that the store
    has already keeps its vector.

    Raises:
        UserError: the file is absent, damaged or of another kind, or its width is not that of the stored vectors.
    """
    tensors, metadata = read_tensors(path, "exported features", "Export them again")
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: is not a file that `armada features export` wrote", "Give that file")
    keys = sorted(name for name in metadata if name != "format" and "." not in name)
    if not keys or {f"{key}.{part}" for key in keys for part in ("inputs", "vectors")} != set(tensors):
        raise UserError(f"{path}: its tensors and its metadata name different teachers", "Export them again")
    identities = {key: _check(path, key, tensors, metadata) for key in keys}
    for key in keys:
        width, known = tensors[f"{key}.vectors"].shape[1], store.width(key)
        if known is not None and known != width:
            hint = f"One of the two is of another teacher; to take the file's, run: armada features prune --identity {key}"
            raise UserError(f"{path}: vectors of {identities[key]['name']!r} are {width} wide, the stored ones {known}", hint)
    carried = []
    for key in keys:
        vectors = tensors[f"{key}.vectors"]
        hashes = [row.tobytes() for row in tensors[f"{key}.inputs"]]
        new = 0
        for start in range(0, len(hashes), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            new += store.put(identities[key], hashes[part], vectors[part], read_makers(metadata.get(f"{key}.makers")))
        carried.append(Carried(key, str(identities[key]["name"]), len(hashes), vectors.shape[1], new))
    return carried


def _check(path: Path, key: str, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> dict[str, Any]:
    """One identity of a file, or the reason why it cannot be trusted."""
    import numpy as np

    hint = "Nothing was imported; export the features again"
    identity = read_identity(metadata[key], key)
    if identity is None or "name" not in identity:
        raise UserError(f"{path}: the teacher identity {key} does not match its description", hint)
    place = f"{path}: vectors of {identity['name']!r}"
    inputs, vectors = tensors[f"{key}.inputs"], tensors[f"{key}.vectors"]
    if vectors.dtype != np.float32 or vectors.ndim != 2 or 0 in vectors.shape:
        raise UserError(f"{place} are {vectors.dtype} {list(vectors.shape)}, not float32 [rows, width]", hint)
    if inputs.dtype != np.uint8 or inputs.shape != (len(vectors), 32):
        raise UserError(
            f"{place}: the input hashes are {inputs.dtype} {list(inputs.shape)}, not uint8 [{len(vectors)}, 32]", hint
        )
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise UserError(f"{place}: row {int(np.argmin(finite))} is not finite", hint)
    if _digest(inputs, vectors) != metadata.get(f"{key}.digest"):
        raise UserError(f"{place} do not match their digest, the file was changed or damaged", hint)
    if len({row.tobytes() for row in inputs}) != len(inputs):
        raise UserError(f"{place}: an input occurs twice", hint)
    return identity


def _digest(inputs: np.ndarray, vectors: np.ndarray) -> str:
    import numpy as np

    digest = hashlib.blake2b(f"{inputs.shape}{vectors.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(inputs).data)
    digest.update(np.ascontiguousarray(vectors).data)
    return digest.hexdigest()
