"""What a finished student says to the tokens of the responses of another trial's rows: files with digests, written once and
mapped. Rows differ in length, so all tokens stand one behind another, and `offsets` says where each row begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from armada_cli.contracts import TokenTargets, TopTokens
from armada_cli.execution.outputs import damage_of_outputs, new_outputs

FILES = ("log_probabilities.bin", "ids.bin", "labels.bin", "offsets.npy")


@dataclass
class TokenBlock:
    """What is kept of some rows: `ids` [m, k], `log_probabilities` [m, k + 1], `labels` [m], and how many of the m tokens each
    row has, [n]."""

    ids: Tensor
    log_probabilities: Tensor
    labels: Tensor
    counts: Tensor


class StoredTokens:
    """The distributions of a split, read from their files.

    Args:
        folder: where `write_tokens` put them; asked: what they are.

    Attributes:
        source: for each row the one whose distributions it is given, from the first on and again from there where that one has
            fewer tokens; None is its own. The tokens that stand there stay its own.
    """

    def __init__(self, folder: Path, asked: TopTokens) -> None:
        self.source: Sequence[int] | None = None
        self.offsets = np.load(folder / "offsets.npy", allow_pickle=False)
        tokens = int(self.offsets[-1])
        self.labels = np.memmap(folder / "labels.bin", "<i4", "r", shape=(tokens,))
        self.ids = np.memmap(folder / "ids.bin", "<i4", "r").reshape(tokens, -1)
        kept = np.dtype(asked.precision).newbyteorder("<")
        self.values = np.memmap(folder / "log_probabilities.bin", kept, "r").reshape(tokens, self.ids.shape[1] + 1)

    def __call__(self, rows: Tensor) -> TokenTargets:
        """Of rows of the split, [n], in that order."""
        numbers = rows.tolist()
        own = np.concatenate([np.arange(self.offsets[row], self.offsets[row + 1]) for row in numbers])
        places = own if self.source is None else np.concatenate([self._borrow(row, self.source[row]) for row in numbers])
        values = torch.from_numpy(self.values[places].astype(np.float32))
        ids, labels = (torch.from_numpy(array.astype(np.int64)) for array in (self.ids[places], self.labels[own]))
        return TokenTargets(ids, values.log_softmax(-1), labels)  # rounded numbers sum to 1 again

    def _borrow(self, row: int, source: int) -> np.ndarray:
        """As many places of another row as a row has tokens."""
        first, end = self.offsets[source], self.offsets[source + 1]
        return first + np.arange(self.offsets[row + 1] - self.offsets[row]) % (end - first)


def keep_tokens(folder: Path, rows: int, asked: TopTokens, compute: Iterable[TokenBlock]) -> StoredTokens:
    """The distributions in a folder, computed and written where they are missing or damaged.

    Args:
        compute: makes blocks of rows, in order; it is read only when they are written.

    Raises:
        UserError: the disk is full or read-only.
    """
    stored = read_tokens(folder, rows, asked)
    if stored is None:
        write_tokens(folder, asked, compute)
        stored = StoredTokens(folder, asked)
    return stored


def write_tokens(folder: Path, asked: TopTokens, blocks: Iterable[TokenBlock]) -> None:
    """Write blocks of rows, by rename.

    Raises:
        UserError: the disk is full or read-only.
    """
    with new_outputs(folder, FILES) as half:
        counts: list[Tensor] = []
        kept = np.dtype(asked.precision).newbyteorder("<")
        with (
            (half / FILES[0]).open("wb") as values,
            (half / FILES[1]).open("wb") as ids,
            (half / FILES[2]).open("wb") as labels,
        ):
            for block in blocks:
                values.write(block.log_probabilities.numpy().astype(kept).tobytes())
                ids.write(block.ids.numpy().astype("<i4").tobytes())
                labels.write(block.labels.numpy().astype("<i4").tobytes())
                counts.append(block.counts)
        ends = torch.cat(counts).cumsum(0).numpy().astype("<i8")
        np.save(half / FILES[3], np.concatenate([np.zeros(1, "<i8"), ends]), allow_pickle=False)


def read_tokens(folder: Path, rows: int, asked: TopTokens) -> StoredTokens | None:
    """The distributions; None when there are none of so many rows, or they are not as they were written."""
    if damage_of_outputs(folder, FILES):
        return None
    try:
        stored = StoredTokens(folder, asked)
    except (OSError, ValueError):
        return None
    return stored if len(stored.offsets) == rows + 1 else None
