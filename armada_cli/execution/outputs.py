"""What a finished student gives for the rows of another trial: arrays with a digest, computed once and mapped from their
file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from armada_cli.contracts import StudentOutput
from armada_cli.digests import DamagedDigests, differences, read_digests, write_digests
from armada_cli.errors import UserError
from armada_cli.files import disk_error, remove, replace_folder

VALUES = "values.npy"
KINDS: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}


@dataclass(frozen=True)
class Asked:
    """What is asked of each row.

    Attributes:
        part: ``logits``, ``pooled``, ``first`` or ``mean``.
        layers: numbers of layers for the last two, None for all.
        precision: what the values are kept in, ``float32`` or ``float16``.
    """

    part: str
    layers: tuple[int, ...] | None = None
    precision: str = "float32"

    @property
    def hidden_states(self) -> bool:
        return self.part in ("first", "mean")

    def of(self, output: StudentOutput, mask: Tensor | None) -> Tensor:
        """The values of one batch, [n, ...].

        Raises:
            ValueError: the student has no such layer, or gives no hidden states.
        """
        if not self.hidden_states:
            return getattr(output, self.part)
        states = output.hidden_states or ()
        numbers = range(len(states)) if self.layers is None else self.layers
        if not states or not all(-len(states) <= number < len(states) for number in numbers):
            raise ValueError(
                f"cached() asks for layers {list(numbers)}; the student has {len(states)}, the embeddings included"
            )
        return torch.stack([self._pooled(states[number].float(), mask) for number in numbers], -2)

    def _pooled(self, state: Tensor, mask: Tensor | None) -> Tensor:
        if self.part == "first":
            return state[..., 0, :]
        weights = torch.ones(state.shape[:-1], device=state.device) if mask is None else mask.to(state)
        return (state * weights[..., None]).sum(-2) / weights.sum(-1, keepdim=True).clamp(min=1)


def parse(what: str) -> Asked:
    """``logits``, ``pooled``, ``first:1,3``, ``mean:-1``, ``first:*``, and states in half precision: ``first:1,3 float16``.

    Raises:
        ValueError: it is nothing of that.
    """
    if what in ("logits", "pooled"):
        return Asked(what)
    known = re.fullmatch(r"(first|mean):(\*|-?\d+(?:,-?\d+)*)(?: (float16|float32))?", what)
    if known is None:
        raise ValueError(
            f"cached() is asked for {what!r}; it knows 'logits', 'pooled', 'first:1,3', 'mean:-1', 'first:*', "
            "and states in half precision, 'first:* float16'"
        )
    return Asked(known[1], None if known[2] == "*" else tuple(map(int, known[2].split(","))), known[3] or "float32")


def keep_outputs(folder: Path, rows: int, compute: Callable[[], Iterable[Tensor]], precision: str = "float32") -> Tensor:
    """The values in a folder [rows, ...], computed and written where it is missing or damaged.

    Args:
        compute: makes blocks of rows, in order.
        precision: of a file that is written, ``float32`` or ``float16``.

    Raises:
        UserError: the disk is full or read-only, or a value is too large for the precision.
    """
    values = read_outputs(folder, rows)
    if values is None:
        write_outputs(folder, rows, compute(), precision)
        values = read_outputs(folder, rows)
    if values is None:
        raise UserError(f"{folder} does not hold what was just written", "Check the disk")
    return values


def write_outputs(folder: Path, rows: int, blocks: Iterable[Tensor], precision: str = "float32") -> None:
    """Write blocks of rows, which together are `rows`, by rename.

    Raises:
        UserError: the disk is full or read-only, or a value is too large for the precision.
    """
    with new_outputs(folder, (VALUES,)) as half, (half / VALUES).open("wb") as stream:
        for number, block in enumerate(_plain(blocks, KINDS[precision])):
            if number == 0:
                header = {"descr": KINDS[precision].str, "fortran_order": False, "shape": (rows, *block.shape[1:])}
                np.lib.format.write_array_header_1_0(stream, header)
            stream.write(block.data)


@contextmanager
def new_outputs(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """A folder to write files of these names into; behind the block they get digests and take the place of `folder`.

    Raises:
        UserError: the disk is full or read-only.
    """
    half = folder.with_name(f".{folder.name}.new")
    remove(half, folder.parent)
    try:
        half.mkdir(parents=True)
        yield half
        write_digests(half, names)
        replace_folder(half, folder)
    except OSError as error:
        remove(half, folder.parent)
        raise disk_error(folder, error) from error
    except BaseException:
        remove(half, folder.parent)
        raise


def _plain(blocks: Iterable[Tensor], kind: np.dtype[Any]) -> Iterator[np.ndarray]:
    for block in blocks:
        values = np.ascontiguousarray(block.float().cpu().numpy())
        finite = np.abs(values[np.isfinite(values)])
        largest = finite.max() if finite.size else 0.0
        if largest > np.finfo(kind).max:
            raise UserError(
                f"a teacher's states reach {largest:.3g}, and float16 holds {np.finfo(kind).max:.5g} at most",
                "Keep them in float32; `armada show method NAME` has the option",
            )
        yield values.astype(kind, copy=False)


def read_outputs(folder: Path, rows: int) -> Tensor | None:
    """The values, mapped from their file; None when there are none of so many rows, or they are not as they were written."""
    if damage_of_outputs(folder, (VALUES,)):
        return None
    try:
        values = np.load(folder / VALUES, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError):
        return None
    return torch.from_numpy(values) if values.dtype in KINDS.values() and values.ndim > 1 and len(values) == rows else None


def damage_of_outputs(folder: Path, names: Sequence[str] = ()) -> str | None:
    """What is wrong with a folder of outputs, as a file's name and the end of a sentence; None when nothing is.

    Args:
        names: files that it must have; none are those that it has digests of.
    """
    try:
        digests = read_digests(folder)
    except DamagedDigests as error:
        return str(error)
    if not digests:
        return "its files have no digests"
    return next(differences(folder, digests, names or tuple(digests)), None)
