"""What a recipe says about vectors that exist already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from armada_cli import Environment, UserError, option

SUFFIXES = (".safetensors", ".npy")


@dataclass(frozen=True)
class PrecomputedOptions:
    """Options of `precomputed`."""

    path: str = option(
        help="File of vectors: .safetensors with a tensor `features` [n, width], or .npy of that shape", path=True
    )
    ids: str = option(
        "",
        "File with the text of each row, in row order: .jsonl (strings, or objects with a field `text`) or plain text, one a "
        "line; not needed where the .safetensors has a metadata entry `ids`, a JSON list of texts",
        path=True,
    )
    missing: str = option(
        "error",
        "A text without a vector: error, or random (a vector drawn from the text's hash, for a dry run)",
        choices=("error", "random"),
    )

    def smoke(self, folder: Path) -> Self:
        """The same vectors, which cost nothing; the rows of a smoke run are not among their texts."""
        return replace(self, missing="random")

    def problems(self, environment: Environment) -> Iterator[str]:
        vectors = Path(self.path)
        if vectors.suffix not in SUFFIXES:
            yield f"path {self.path!r} is neither .safetensors nor .npy"
        elif not vectors.is_file():
            yield f"path {self.path!r} is no file"
        if self.ids and not Path(self.ids).is_file():
            yield f"ids {self.ids!r} is no file"
        if vectors.suffix == ".npy" and not self.ids:
            yield "a .npy file says nothing about its rows; name the file of their texts with `ids`"

    def unanswerable(self, inputs: Sequence[str | Path], environment: Environment) -> Iterator[str]:
        """Files that cannot be read, do not fit each other or lack some of the texts: what the teacher itself would say."""
        from armada_teacher_precomputed.teacher import Precomputed

        try:
            Precomputed(self, environment).require(list(dict.fromkeys(inputs)))
        except UserError as error:
            yield str(error)
