"""Vectors from a file, looked up by exact text."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from armada_cli import Environment, Teacher, UserError
from armada_cli.reading import check_file, encoding_fault, parse_json, read_bytes
from armada_teacher_precomputed.options import PrecomputedOptions

BLOCK = 8192
"""Vectors that are looked at together."""


class Precomputed(Teacher):
    """A table from text to vector. A media path is looked up by its string.

    Raises:
        UserError: on construction, when the files are damaged, do not fit each other, or give one text two vectors; in
            `represent`, when texts are missing, with their number and the first of them.
    """

    batch_size = 65536
    """Large, so that a message about missing texts counts them all; a look-up has nothing to lose in a crash."""

    options: PrecomputedOptions

    def __init__(self, options: PrecomputedOptions, environment: Environment) -> None:
        super().__init__(options, environment)
        path = Path(options.path)
        self.vectors, texts = _load(path)
        source = str(path)
        if options.ids:
            texts, source = read_texts(Path(options.ids)), options.ids
        if texts is None:
            raise UserError(f"{path}: says nothing about its rows", "Name the file of their texts with `ids`, one per row")
        if len(texts) != len(self.vectors):
            raise UserError(f"{source}: {len(texts)} texts for the {len(self.vectors)} rows of {path}", "Give one text per row")
        self.rows: dict[str, int] = {}
        for row, text in enumerate(texts):
            first = self.rows.setdefault(text, row)
            if first != row and not np.array_equal(self.vectors[first], self.vectors[row]):
                raise UserError(f"{source}: rows {first + 1} and {row + 1} are one text with two vectors", "Keep one of them")

    def represent(self, inputs: Sequence[str | Path]) -> np.ndarray:
        """inputs: n texts -> float32 [n, width]."""
        wanted, missing = self.require(inputs)
        if missing:
            known = [self.vectors[self.rows[text]] if text in self.rows else self._drawn(text) for text in wanted]
            return np.stack(known).astype(np.float32)
        return np.ascontiguousarray(self.vectors[[self.rows[text] for text in wanted]], dtype=np.float32)

    def require(self, inputs: Sequence[str | Path]) -> tuple[list[str], list[str]]:
        """The texts to look up, and those of them that have no vector.

        Raises:
            UserError: there are such texts, and `missing` does not allow them.
        """
        for value in inputs:
            if not isinstance(value, (str, Path)):
                raise TypeError(f"a text or a path is looked up, not {type(value).__name__}")
        wanted = [str(value) for value in inputs]
        missing = [text for text in wanted if text not in self.rows]
        if missing and self.options.missing == "error":
            first = missing[0] if len(missing[0]) <= 60 else missing[0][:57] + "..."
            raise UserError(
                f"{self.options.path}: has no vector for {len(missing)} of {len(wanted)} texts, the first is {first!r}",
                "Texts must match to the letter, spaces and case included",
            )
        self._refuse_infinite(wanted)
        return wanted, missing

    def _refuse_infinite(self, wanted: Sequence[str]) -> None:
        """Raises UserError: a number of these texts' vectors is not finite, or not in float32, as which it is handed out."""
        rows = np.asarray(sorted({self.rows[text] for text in wanted if text in self.rows}), dtype=np.int64)
        limit = np.finfo(np.float32).max
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            # NaN is not smaller than anything, so it fails this too.
            fine = np.less_equal(np.abs(self.vectors[block]), limit)
            if fine.all():
                continue
            place, column = (int(number) for number in np.argwhere(~fine)[0])
            row = int(block[place])
            text = next(text for text in wanted if self.rows.get(text) == row)
            raise UserError(
                f"{self.options.path}: row {row + 1}, column {column + 1} is {self.vectors[row, column]}, not a finite float32 "
                f"number (text {text if len(text) <= 60 else text[:57] + '...'!r})",
                "Compute this vector again, or remove its row and its text",
            )

    def _drawn(self, text: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        return np.asarray(np.random.default_rng(seed).standard_normal(self.vectors.shape[1]))


NUMPY_FLOATS = ("F16", "F32", "F64")
"""Floating-point types of safetensors that numpy has too. bfloat16 and the float8 types are torch's."""


def _read_with_torch(path: Path) -> np.ndarray:
    """The tensor `features`, of a type that numpy has not, as float32, which holds every value of such a type exactly."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensor = file.get_tensor("features")
    array: np.ndarray = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
    return array


def _load(path: Path) -> tuple[np.ndarray, list[str] | None]:
    """The vectors, and the texts where the file itself has them."""
    hint = "Write it again: float vectors of shape [rows, width]"
    texts = None
    try:
        check_file(path)
        if path.suffix == ".npy":
            # Not numpy.load: a zip of that name would be opened as one, and a pickle is refused here as well.
            vectors: np.ndarray = np.lib.format.open_memmap(path, mode="r")
        else:
            from safetensors import safe_open

            with safe_open(path, framework="np") as file:
                if "features" not in file.keys():  # noqa: SIM118 - the handle is no mapping
                    raise ValueError("it has no tensor `features`")
                known = file.get_slice("features").get_dtype() in NUMPY_FLOATS
                vectors = file.get_tensor("features") if known else _read_with_torch(path)
                ids = (file.metadata() or {}).get("ids")
            if ids is not None:
                texts = parse_json(ids)
                if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                    raise ValueError("its metadata entry `ids` is not a JSON list of texts")
    except Exception as error:  # numpy and safetensors raise half a dozen types for a damaged file
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read as vectors ({reason})", hint) from None
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind != "f" or 0 in vectors.shape:
        raise UserError(f"{path}: holds {vectors.dtype} {list(vectors.shape)}, not float vectors [rows, width]", hint)
    return vectors, texts


def read_texts(path: Path) -> list[str]:
    """One text per row: lines of a plain file, or of JSONL (strings, or objects with a field `text`).

    Raises:
        UserError: the file cannot be read, or a line holds something else; with its number.
    """
    try:
        data = read_bytes(path)
        if fault := encoding_fault(data):
            raise UserError(f"{path}: {fault[0]}", fault[1])
        content = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig").read()  # line ends as `open` reads them
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 (byte {error.start})", "Save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", "Name the file with the text of each row") from None
    # Not str.splitlines: that also cuts at characters that may stand inside a text.
    lines = content.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if path.suffix not in (".jsonl", ".json", ".ndjson"):
        return [line.removesuffix("\r") for line in lines]
    return [_text(path, number, line) for number, line in enumerate(lines, start=1)]


def _text(path: Path, number: int, line: str) -> str:
    try:
        value: Any = parse_json(line)
    except ValueError as error:
        raise UserError(
            f"{path}:{number}: is not JSON ({error})", 'Write one text a line, as "..." or {"text": "..."}'
        ) from None
    if isinstance(value, dict):
        value = value.get("text")
    if not isinstance(value, str):
        raise UserError(f"{path}:{number}: holds no text", 'Write one text a line, as "..." or {"text": "..."}')
    return value
