"""h_t on disk: a teacher's vectors for one training split, reduced, standardised, and in the order of its rows.

Importing this module imports nothing heavy; `armada check` uses `prepared_key` and `count_missing`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armada_cli.contracts import Component, Environment, TeacherInput, canonical, fingerprint
from armada_cli.errors import UserError, one_line
from armada_cli.features.identity import identity_key, input_hashes, maker, read_makers, teacher_identity, write_makers
from armada_cli.features.store import FeatureStore
from armada_cli.files import replacing
from armada_cli.models.weights import read_metadata

if TYPE_CHECKING:
    import numpy as np

    from armada_cli.features.extract import ExtractionReport
    from armada_cli.features.reduce import Reduction, Rows
    from armada_cli.registry.registered import Registered
    from armada_cli.settings import Features

FORMAT = "armada-features 1"


class MissingVectors(UserError):
    """The store lacks vectors, perhaps because damaged ones were just dropped; extraction brings them back."""


@dataclass(frozen=True)
class Prepared:
    """Features ready for training.

    Attributes:
        path: the file, for `load_prepared`; key: its content address (`prepared_key`).
        width: width of h_t; rows: number of rows; reduction: ``pca``, ``gaussian`` or ``none``.
        explained: share of the variance that PCA kept, None otherwise.
        makers: the distributions with their versions that computed the vectors (`FeatureStore.makers`).
    """

    path: Path
    key: str
    width: int
    rows: int = 0
    reduction: str = ""
    explained: float | None = None
    makers: tuple[str, ...] = ()

    def note(self, teacher: Component | Registered) -> str | None:
        """A sentence for the user when another version of the teacher's plugin computed the vectors, in part or all."""
        others = [item for item in self.makers if item != maker(teacher)]
        if not others:
            return None
        name = teacher.name
        return (
            f"vectors of teacher {name!r} are from {' and '.join(others)}, and {maker(teacher)} is installed: its card says "
            f"the same revision, so they are used as they are (`armada features prune --teacher {name}` drops them)"
        )


def prepared_key(
    identity: str | dict[str, Any], inputs: Sequence[TeacherInput], spec: Features, fitted: str | None = None
) -> str:
    """Content address of prepared features: teacher identity (or its key), the reduction's settings, and the inputs in
    their order; for rows that are reduced as others were, the `fitted` key of those. Imports nothing heavy."""
    return _key(identity if isinstance(identity, str) else identity_key(identity), input_hashes(inputs), spec, fitted)


def _key(identity: str, hashes: Sequence[bytes], spec: Features, fitted: str | None = None) -> str:
    digest = hashlib.sha256(b"".join(hashes)).hexdigest()
    parts = {"format": FORMAT, "teacher": identity, "features": dataclasses.asdict(spec), "inputs": digest}
    return fingerprint(parts if fitted is None else {**parts, "fitted": fitted})


def prepared_path(environment: Environment, key: str) -> Path:
    """Where features with this key are, or will be."""
    return environment.runs / "features" / f"{key}.safetensors"


def count_missing(
    teacher: Component | Registered,
    options: Any,
    environment: Environment,
    hashes: Sequence[bytes],
    spec: Features,
    fitted: Sequence[bytes] | None = None,
) -> int:
    """Inputs (by their `input_hashes`) the teacher would still have to be asked for before training: 0 when the prepared
    file is there.

    Args:
        fitted: hashes of the inputs whose reduction these are given; None where they have one of their own.
    """
    key = identity_key(teacher_identity(teacher, options, environment))
    if prepared_path(environment, _key(key, hashes, spec, None if fitted is None else _key(key, fitted, spec))).is_file():
        return 0
    with FeatureStore.of(environment) as store:
        return len(store.missing(key, hashes))


def represent(
    teacher: Component | Registered,
    options: Any,
    environment: Environment,
    inputs: Sequence[TeacherInput],
    spec: Features,
    *,
    fitted: Prepared | None = None,
    progress: bool = True,
) -> tuple[Prepared, ExtractionReport | None]:
    """Extract what is missing, then prepare: all that a split needs of a teacher, at no cost when it is there.

    Args:
        teacher: its card, or better the card with its plugin; options: the teacher's options.
        inputs: the split's `teacher_inputs`, in row order, repeated ones included.
        spec: the recipe's ``features:``.
        fitted: for validation rows, the training split's features.

    Returns:
        The prepared features, and what the extraction did (None when the prepared file was there and sound).

    Raises:
        UserError: from the teacher, the store, or the disk.
    """
    key = identity_key(teacher_identity(teacher, options, environment))
    folder = environment.runs / "features"
    hashes = input_hashes(inputs)
    if prepared := _reuse(prepared_path(environment, _key(key, hashes, spec, fitted.key if fitted else None))):
        return prepared, None

    from armada_cli.features.extract import extract

    with FeatureStore.of(environment) as store:
        report = extract(teacher, options, environment, inputs, store, progress=progress)
        try:
            return prepare(key, inputs, spec, store, folder, fitted), report
        except MissingVectors:  # a row went bad, or was pruned, since the extraction read it
            report = extract(teacher, options, environment, inputs, store, progress=progress)
            return prepare(key, inputs, spec, store, folder, fitted), report


def prepare(
    identity: str | dict[str, Any],
    inputs: Sequence[TeacherInput],
    spec: Features,
    store: FeatureStore,
    folder: Path,
    fitted: Prepared | None = None,
) -> Prepared:
    """Reduce the stored vectors of `inputs` and write ``<folder>/<key>.safetensors``, or find it there.

    The file holds ``features`` float32 [rows, width] in the order of `inputs`, the reduction's parameters, and as metadata
    the teacher's identity, the settings and a digest of the features. The statistics are those of `inputs`, so hand over
    the training split alone; validation rows come with `fitted`, the training split's features, and are reduced and
    standardised as those were. It appears by rename: either whole or not at all.

    Raises:
        MissingVectors: the store lacks vectors for some inputs.
        UserError: the disk is full or read-only.
    """
    key = identity if isinstance(identity, str) else identity_key(identity)
    hashes = input_hashes(inputs)
    name = _key(key, hashes, spec, fitted.key if fitted else None)
    path = Path(folder) / f"{name}.safetensors"
    if prepared := _reuse(path):
        return prepared
    if not hashes:
        raise UserError("there are no texts to represent", "Check the task's rows and the recipe's limit")

    import numpy as np

    from armada_cli.features.reduce import block_rows

    absent = store.missing(key, hashes)
    wide = store.width(key)
    if absent or wide is None:
        raise MissingVectors(_lacking(len(absent), len(set(hashes))), "Run: armada features build RECIPE")
    rows_at_once = block_rows(wide)

    def rows() -> Iterator[np.ndarray]:
        for start in range(0, len(hashes), rows_at_once):
            vectors, present = store.get(key, hashes[start : start + rows_at_once])
            if not present.all():
                raise MissingVectors(_lacking(int((~present).sum()), len(set(hashes))), "Run the same command again")
            yield vectors

    whole = 4 * wide * len(hashes) <= 256 << 20
    if whole:  # PCA passes over the rows three times; small ones are read once
        blocks = list(rows())
        reduction = _reduce(lambda: iter(blocks), len(hashes), wide, spec, fitted)
    else:
        reduction = _reduce(rows, len(hashes), wide, spec, fitted)

    tensors = {"features": reduction.features, **{item: np.ascontiguousarray(v) for item, v in reduction.parameters.items()}}
    metadata = {
        "format": FORMAT,
        "key": name,
        "reduction": reduction.kind,
        "explained": "" if reduction.explained is None else repr(reduction.explained),
        "spec": canonical(dataclasses.asdict(spec)),
        "teacher": canonical(store.identity(key)),
        "makers": write_makers(makers := store.makers(key)),
        "digest": _digest(reduction.features),
    }
    write_tensors(path, tensors, metadata)
    return Prepared(path, name, reduction.features.shape[1], len(hashes), reduction.kind, reduction.explained, makers)


def _reduce(rows: Rows, n: int, wide: int, spec: Features, fitted: Prepared | None) -> Reduction:
    """Fit a reduction on the rows, or give them that of other rows."""
    from armada_cli.features.reduce import Reduction, apply_reduction, reduce_features

    if fitted is None:
        return reduce_features(rows, n, wide, **dataclasses.asdict(spec))
    parameters, metadata = read_tensors(fitted.path, "prepared features", "Run again: they are made anew")
    kind = metadata["reduction"]
    features = apply_reduction(rows, n, wide, kind, parameters, width=spec.width, seed=spec.seed)
    return Reduction(kind, features)


def _lacking(missing: int, total: int) -> str:
    return f"the feature store lacks {missing} of {total} vectors"


def _reuse(path: Path) -> Prepared | None:
    """The features that are there already; None when they are absent or damaged."""
    if not path.is_file():
        return None
    try:
        features, metadata = _read(path)
    except UserError:
        return None
    try:
        explained = float(metadata["explained"]) if metadata.get("explained") else None
    except ValueError:
        return None
    makers = read_makers(metadata.get("makers"))
    return Prepared(path, path.stem, features.shape[1], len(features), metadata.get("reduction", ""), explained, makers)


def load_prepared(path: Path) -> np.ndarray:
    """h_t of a training split, float32 [rows, width].

    Raises:
        UserError: the file is absent, damaged, or not one that `prepare` wrote.
    """
    return _read(Path(path))[0]


def _read(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    import numpy as np

    hint = "Delete it and run again: it is made anew from the feature store"
    tensors, metadata = read_tensors(path, "prepared features", hint)
    features = tensors.get("features")
    if metadata.get("format") != FORMAT or features is None:
        raise UserError(f"{path}: is not a file of prepared features", hint)
    if features.ndim != 2 or features.dtype != np.float32 or _digest(features) != metadata.get("digest"):
        raise UserError(f"{path}: is damaged (its features do not match their digest)", hint)
    return features, metadata


def _digest(features: np.ndarray) -> str:
    digest = hashlib.blake2b(str(features.shape).encode(), digest_size=16)
    digest.update(features.data)
    return digest.hexdigest()


def read_tensors(path: Path, what: str, hint: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All tensors of a safetensors file with its metadata.

    Raises:
        UserError: the file is absent, cut short or not safetensors; `what` and `hint` complete the sentence.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        metadata = read_metadata(path)
        return load_file(path), metadata
    except OSError as error:
        raise UserError(f"{path}: {what} cannot be read ({error.strerror})", hint) from None
    except (SafetensorError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{path}: is damaged or not a safetensors file ({one_line(error)})", hint) from None


def write_tensors(path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Write a safetensors file by rename, on the disk when this returns.

    Raises:
        UserError: the disk is full or read-only; nothing is left behind.
    """
    from safetensors.numpy import save

    try:
        with replacing(path) as stream:
            stream.write(save(tensors, metadata))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})", "Free some space, or name another place") from None
